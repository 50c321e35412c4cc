"""A host with Debian's own kernel, provisioned by the scripts that provision the machines of vagrant/."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.packages.conftest import built
from tests.packages.host import AGENT, DPKG, SETTLED_SECONDS, psql, record, records
from tests.support.roots import INSIDE
from tests.support.system import Ran
from tests.support.vm import DEBIAN_11, DEBIAN_12, Vm, image

SCRIPTS = f"{INSIDE}/vagrant/scripts"
PACKAGE = f"{INSIDE}/build/lockgate.deb"
LOCAL = "127.0.0.1"
CUSTOMER = "SELECT name, email, ssn FROM customers WHERE id = 7"
SLOWLY = 600.0
"""Seconds for what takes seconds where processors aren't emulated."""

EARLY = """[Unit]
Description=Connects as soon as anything can, and again until it is let in
DefaultDependencies=no

[Service]
User=ann
ExecStart=/bin/bash -c 'n=0; until psql -XqAt -h 127.0.0.1 -U app -d shop -c "SELECT $$((++n)), name AS early FROM \
customers WHERE id = 1"; do sleep 0.1; done'

[Install]
WantedBy=sysinit.target
"""


@pytest.fixture(scope="module")
def vm() -> Iterator[Vm]:
    with Vm(image(DEBIAN_12), {"lockgate.deb": built(DPKG)}) as machine:
        yield machine


def ask(vm: Vm, statement: str) -> Ran:
    return vm.attempt(*psql(statement), user="ann")


def settled(vm: Vm, unit: str, state: str) -> None:
    vm.until(f"{unit} {state}", lambda: vm.active(unit) == state, 4 * SETTLED_SECONDS)


def test_a_life_on_a_stock_kernel(vm: Vm) -> None:
    # a host as it was before
    vm.run(f"{SCRIPTS}/datastore.sh", LOCAL, "127.0.0.0/8", timeout=SLOWLY)
    vm.run("useradd", "--create-home", "ann")
    before = ask(vm, CUSTOMER)
    assert before.status == 0, before

    # the package comes, and observes
    installed = vm.attempt(f"{SCRIPTS}/collector.sh", PACKAGE, LOCAL, timeout=SLOWLY)
    assert installed.status == 0, installed
    assert "the agent is running" in installed.said
    settled(vm, AGENT, "active")
    doctor = vm.attempt("lockgate", "doctor")
    assert doctor.status == 0, doctor
    assert ask(vm, CUSTOMER).output == before.output
    assert record(vm, "ssn", "customers", seconds=4 * SETTLED_SECONDS)["connection"]["workload"]["user"] == "ann"

    # it enforces
    status = vm.run(f"{SCRIPTS}/host.sh", PACKAGE, LOCAL, LOCAL, "enforce", timeout=SLOWLY)
    assert "datastore orders: enforcing" in status
    assert ask(vm, CUSTOMER).output.endswith("|***\n")
    assert ask(vm, "DROP TABLE orders").errors.startswith("ERROR:  lockgate: ")

    # an independent witness sees the agent reach the datastore, and nobody else
    seen = witnessed(vm)
    assert {"agent", "redirected"} <= seen.keys()
    assert "direct" not in seen
    assert {each["cgroup"] for each in seen["agent"]} == {f"/system.slice/{AGENT}"}

    # a reboot: whoever is first is intercepted
    vm.write("/etc/systemd/system/early.service", EARLY)
    vm.run("systemctl", "enable", "early.service")
    vm.reboot()
    settled(vm, AGENT, "active")
    settled(vm, "early.service", "inactive")
    refused = [line for line in vm.journal("early.service") if "refused" in line]
    assert refused, "it was there before anything could be reached"
    first = next(line for line in vm.journal("early.service") if re.match(r"\d+\|", line))
    tries, name = first.split("|")
    assert int(tries) > len(refused) / 2
    early = record(vm, "early", "customers", seconds=4 * SETTLED_SECONDS)
    assert f"SELECT {tries}, name AS early" in early["statement"]
    assert early["connection"]["principal"] == "ann"
    assert len([each for each in records(vm, "early", "customers") if each["type"] == "statement"]) == 1
    assert name

    # killed, it is back, and who connects meanwhile waits
    vm.run("systemctl", "kill", "--signal=KILL", AGENT)
    assert ask(vm, CUSTOMER).output.endswith("|***\n")
    # killed and not started again, it is a closed gate
    vm.write(f"/run/systemd/system/{AGENT}.d/once.conf", "[Service]\nRestart=no\n")
    vm.run("systemctl", "daemon-reload")
    vm.run("systemctl", "kill", "--signal=KILL", AGENT)
    settled(vm, AGENT, "failed")
    closed = ask(vm, CUSTOMER)
    assert closed.status == 2
    assert "refused" in closed.errors
    vm.run("systemctl", "start", AGENT)
    assert ask(vm, CUSTOMER).output.endswith("|***\n")

    # and removed, it is gone
    removed = vm.attempt("dpkg", "-r", "lockgate", timeout=SLOWLY)
    assert removed.status == 0, removed
    assert ask(vm, CUSTOMER).output == before.output


def witnessed(vm: Vm) -> dict[str, list[dict[str, str]]]:
    """What `lockgate trace` sees while ann works, by the way that connections went. It ends well."""
    vm.run("systemd-run", "--quiet", "--unit=witness", "--property=RemainAfterExit=yes",
           "--property=StandardOutput=file:/run/witness.out", "--property=StandardError=file:/run/witness.err",
           "lockgate", "trace", "--json", "--seconds", "60")  # fmt: skip
    vm.until("the witness at work", lambda: "watching" in vm.read("/run/witness.err"), 4 * SETTLED_SECONDS)
    for _ in range(3):
        assert ask(vm, CUSTOMER).output.endswith("|***\n")
    vm.run("systemctl", "kill", "--kill-whom=main", "--signal=INT", "witness.service")
    vm.until(
        "its end", lambda: "SubState=running" not in vm.run("systemctl", "show", "witness.service"), 4 * SETTLED_SECONDS
    )
    shown = vm.run("systemctl", "show", "witness.service")
    assert "ExecMainStatus=0" in shown, vm.read("/run/witness.err") + vm.read("/run/witness.out")
    seen: dict[str, list[dict[str, str]]] = {}
    for line in vm.read("/run/witness.out").splitlines():
        each = json.loads(line)
        seen.setdefault(each["way"], []).append(each)
    return seen


def test_a_kernel_that_is_too_old_changes_nothing() -> None:
    """Debian 11's own: 5.10."""
    with Vm(image(DEBIAN_11), {"lockgate.deb": built(DPKG)}) as vm:
        vm.run(f"{SCRIPTS}/datastore.sh", LOCAL, "127.0.0.0/8", timeout=SLOWLY)
        vm.run("useradd", "--create-home", "ann")
        before = ask(vm, CUSTOMER)
        assert before.status == 0, before
        installed = vm.attempt("dpkg", "-i", PACKAGE, timeout=SLOWLY)
        assert installed.status == 0, installed
        assert "nothing is intercepted" in installed.said
        assert vm.active(AGENT) != "active"
        (said,) = {line for line in vm.journal(AGENT) if line.startswith("lockgate: ")}
        assert "5.15" in said
        after = ask(vm, CUSTOMER)
        assert (after.status, after.output) == (0, before.output)
