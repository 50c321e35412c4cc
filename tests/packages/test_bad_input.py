"""What is wrong is said in one clear line; connections are as they were, or closed where that was enforced."""

from __future__ import annotations

import pytest

from tests.packages.conftest import Boot
from tests.packages.host import AGENT, COLLECTOR, PACKAGES, Host
from tests.support.machine import Abilities
from tests.support.system import Ran

CUSTOMER = "SELECT name, email, ssn FROM customers WHERE id = 7"
BROKEN = """
agent: {name: host-1}
intercept: {cgroup: /}
datastores:
  - {name: orders, protocol: postgresql, addresses: ["*:5432"], modus: observe}
collector: {address: "127.0.0.1:24224", api: "http://127.0.0.1:8080"}
"""


def install_and_fail(host: Host, before: Ran) -> str:
    """Install; the agent doesn't come up, says why in one line, and nothing is intercepted. That line."""
    ran = host.machine.attempt(*host.manager.install, "--force-confold", f"{PACKAGES}/{host.package.name}")
    assert ran.status == 0, "what is wrong with the host is no reason to leave the package half installed"
    assert "nothing is intercepted" in ran.said
    return said_and_let_through(host, before)


def said_and_let_through(host: Host, before: Ran) -> str:
    assert host.machine.active(AGENT) != "active"
    said = set(host.complaints())
    assert len(said) == 1, host.machine.journal(AGENT)
    after = host.psql(CUSTOMER)
    assert (after.status, after.output) == (0, before.output), "as before the first install"
    return said.pop()


def test_a_broken_configuration(debian: Host) -> None:
    before = debian.psql(CUSTOMER)
    debian.machine.write("/etc/lockgate/agent.yaml", BROKEN)
    said = install_and_fail(debian, before)
    assert "/etc/lockgate/agent.yaml:5:" in said
    assert "modus" in said
    assert debian.machine.active(AGENT) == "failed", "it is not tried again and again"
    assert len(debian.complaints()) == 1


def test_a_kernel_that_runs_no_bpf(boot: Boot) -> None:
    host = boot(abilities=Abilities(bpf=False))
    said = install_and_fail(host, host.psql(CUSTOMER))
    assert "bpf" in said.lower()


def test_a_system_without_cgroup2(boot: Boot) -> None:
    host = boot(abilities=Abilities(unified=False))
    said = install_and_fail(host, host.psql(CUSTOMER))
    assert "cgroup2" in said


def test_a_port_that_somebody_has(debian: Host) -> None:
    before = debian.psql(CUSTOMER)
    take(debian, "127.0.0.1:9464")
    said = install_and_fail(debian, before)
    assert "9464" in said
    free(debian)
    debian.settled(AGENT, "active")

    take(debian, "127.0.0.1:8080")
    debian.machine.attempt("systemctl", "start", COLLECTOR)
    (said,) = set(debian.complaints(COLLECTOR))
    assert "8080" in said
    free(debian)
    debian.settled(COLLECTOR, "active")


def take(host: Host, address: str) -> None:
    host.machine.run("systemd-run", "--quiet", "--unit=taken", f"--socket-property=ListenStream={address}", "true")


def free(host: Host) -> None:
    host.machine.run("systemctl", "stop", "taken.socket")


def full(host: Host, folder: str) -> None:
    """A disk of its own for that folder, with nothing left on it."""
    host.machine.run("mkdir", "-p", folder)
    host.machine.run("mount", "-t", "tmpfs", "-o", "size=256k", "full", folder)
    fill(host, folder)


def fill(host: Host, folder: str) -> None:
    host.machine.attempt("dd", "if=/dev/zero", f"of={folder}/full", "bs=4k")
    assert " 100% " in host.machine.run("df", folder)


def test_a_full_disk(debian: Host) -> None:
    before = debian.psql(CUSTOMER)
    full(debian, "/var/lib/lockgate")
    said = install_and_fail(debian, before)
    assert "/var/lib/lockgate" in said
    assert "No space left on device" in said

    # there is room again: it comes up by itself
    debian.machine.run("rm", "/var/lib/lockgate/full")
    debian.settled(AGENT, "active")


@pytest.mark.parametrize("mode", ["observe", "enforce"])
def test_a_disk_that_becomes_full(debian: Host, mode: str) -> None:
    debian.machine.run("mkdir", "-p", "/var/lib/lockgate")
    debian.machine.run("mount", "-t", "tmpfs", "-o", "size=8m", "full", "/var/lib/lockgate")
    before = debian.psql(CUSTOMER)
    debian.installed()
    debian.configure(mode)
    assert debian.psql(CUSTOMER).status == 0
    fill(debian, "/var/lib/lockgate")
    after = [debian.psql(CUSTOMER) for _ in range(40)][-1]
    if mode == "observe":
        assert after.output == before.output, "to observe is never to block"
    else:
        assert after.status != 0, "what can't be recorded is not sent"
        assert "lockgate: " in after.errors
    assert debian.machine.active(AGENT) == "active"
    debian.machine.run("rm", "/var/lib/lockgate/full")
    debian.machine.until("statements run again", lambda: debian.psql(CUSTOMER).status == 0)


def test_a_second_agent(debian: Host) -> None:
    debian.installed()
    debian.configure("enforce")
    first = debian.main_pid(AGENT)
    # by hand
    second = debian.lockgate("agent")
    assert second.status == 1
    (said,) = second.errors.splitlines()
    assert said.startswith("lockgate: /var/lib/lockgate: ")
    # as a copy of the unit
    debian.machine.run("cp", f"/usr/lib/systemd/system/{AGENT}", "/etc/systemd/system/second.service")
    debian.machine.run("systemctl", "daemon-reload")
    assert debian.machine.attempt("systemctl", "start", "second.service").status != 0
    assert len(set(debian.complaints("second.service"))) == 1
    debian.machine.run("systemctl", "stop", "second.service")

    assert debian.main_pid(AGENT) == first
    assert debian.psql(CUSTOMER).output.endswith("|***\n")


def test_where_it_was_enforced_it_stays_closed(debian: Host) -> None:
    debian.installed()
    debian.configure("enforce")
    debian.machine.write(f"/etc/systemd/system/{AGENT}.d/once.conf", "[Service]\nRestart=no\n")
    debian.machine.run("systemctl", "daemon-reload")
    debian.machine.run("systemctl", "kill", "--signal=KILL", AGENT)
    debian.settled(AGENT, "failed")
    refused = debian.psql(CUSTOMER)
    assert refused.status == 2
    assert "refused" in refused.errors

    # a configuration that is broken meanwhile doesn't open it
    text = debian.machine.read("/etc/lockgate/agent.yaml")
    debian.machine.write("/etc/lockgate/agent.yaml", BROKEN)
    assert debian.machine.attempt("systemctl", "start", AGENT).status != 0
    assert "modus" in debian.complaints()[-1]
    assert debian.psql(CUSTOMER).status == 2

    # nor does a reboot
    debian.machine.reboot()
    debian.settled(AGENT, "failed")
    assert debian.psql(CUSTOMER).status == 2

    debian.machine.write("/etc/lockgate/agent.yaml", text)
    debian.machine.run("systemctl", "start", AGENT)
    assert debian.psql(CUSTOMER).output.endswith("|***\n")


def test_where_it_was_observed_it_stays_open(debian: Host) -> None:
    before = debian.psql(CUSTOMER)
    debian.installed()
    debian.configure("observe")
    debian.machine.write(f"/etc/systemd/system/{AGENT}.d/once.conf", "[Service]\nRestart=no\n")
    debian.machine.run("systemctl", "daemon-reload")
    debian.machine.run("systemctl", "kill", "--signal=KILL", AGENT)
    debian.settled(AGENT, "failed")
    assert debian.psql(CUSTOMER).output == before.output
    debian.machine.reboot()
    debian.settled(AGENT, "active")
    assert debian.psql(CUSTOMER).output == before.output


def test_an_agent_that_is_killed_is_back_and_connections_wait_for_it(debian: Host) -> None:
    debian.installed()
    debian.configure("enforce")
    first = debian.main_pid(AGENT)
    debian.machine.run("systemctl", "kill", "--signal=KILL", AGENT)
    assert debian.psql(CUSTOMER).output.endswith("|***\n")
    debian.settled(AGENT, "active")
    assert debian.main_pid(AGENT) not in (0, first)
