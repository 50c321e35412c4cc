"""Another version comes while people work."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.packages.host import AGENT, DPKG, Host

Newer = Callable[[Path], Path]

LOOP = """
i=0
while [ ! -e /tmp/enough ]; do
    i=$((i+1))
    if said=$(psql -XqAt -h 127.0.0.1 -U app -d shop -c "UPDATE payments SET state = 'load-$i' WHERE id = 1" 2>&1)
    then echo "done $i"; else echo "failed $i $said" | tr '\\n' ' '; echo; fi
    sleep 0.05
done > load
"""


@dataclass
class Load:
    """Statements by number: those that psql says succeeded, what it said of the others, those the server ran."""

    done: set[int]
    failed: dict[int, str]
    ran: set[int]


@contextmanager
def load(host: Host, into: Load) -> Iterator[None]:
    """billing.service at work, one connection after the other."""
    host.truth("ALTER SYSTEM SET log_statement = 'mod'")
    host.truth("SELECT pg_reload_conf()")
    cluster = host.truth("SHOW data_directory").split("/")[-2]
    host.machine.run("touch", "load", user="ann")
    process = host.machine.start("/bin/bash", "-c", LOOP, user="ann", unit="billing.service")
    try:
        host.machine.until("load", lambda: "done 5\n" in host.machine.read("/home/ann/load"))
        yield
        last = len(host.machine.read("/home/ann/load").splitlines())
        wanted = f"done {last + 10}\n"
        host.machine.until("load goes on", lambda: wanted in host.machine.read("/home/ann/load"), 60)
    finally:
        host.machine.run("touch", "/tmp/enough", user="ann")
        process.communicate(timeout=30)
    lines = host.machine.read("/home/ann/load").splitlines()
    into.done = {int(line.split()[1]) for line in lines if line.startswith("done")}
    into.failed = {int(line.split()[1]): line.split(" ", 2)[2] for line in lines if line.startswith("failed")}
    server = host.machine.read(f"/var/log/postgresql/postgresql-{cluster}-main.log")
    into.ran = {int(number) for number in re.findall(r"statement: UPDATE payments SET state = 'load-(\d+)'", server)}


def recorded(host: Host) -> set[int]:
    """Numbers of the statements that the collector knows to have completed."""
    host.machine.until("the spool is empty", lambda: "waiting 0" in host.lockgate("status").output)
    found = [record for record in host.records("UPDATE", "payments") if record["end"] is not None]
    return {int(re.findall(r"load-(\d+)", record["statement"])[0]) for record in found}


def test_nothing_goes_past_an_upgrade_under_load(host: Host, newer: Newer) -> None:
    host.installed()
    host.configure("enforce")
    before, version = host.main_pid(AGENT), host.version()
    seen = Load(set(), {}, set())
    with load(host, seen):
        upgraded = host.upgrade(newer(host.package))
        assert upgraded.status == 0, upgraded
    assert host.version() != version
    assert host.main_pid(AGENT) not in (0, before)

    assert seen.done, "nothing was done: nothing is shown"
    assert seen.done == seen.ran, "what psql says was done is what the server did"
    assert seen.ran == recorded(host), "and each of it is in the record"
    assert not seen.failed, "connections made meanwhile waited"
    assert host.machine.attempt("ls", "/usr/lib/lockgate/previous").status != 0, "nothing of the old version stays"
    assert host.lockgate("audit", "verify", "--config", "/etc/lockgate/collector.yaml").status == 0


def test_a_configuration_that_the_new_version_refuses_leaves_the_old_one_running(host: Host, newer: Newer) -> None:
    host.installed()
    host.configure("enforce")
    before = host.main_pid(AGENT)
    text = host.machine.read("/etc/lockgate/agent.yaml")
    host.machine.write("/etc/lockgate/agent.yaml", text.replace("agent: {", "agent: {colour: red, "))

    upgraded = host.upgrade(newer(host.package))
    ours = [line for line in upgraded.said.splitlines() if line.startswith("lockgate: ")]
    assert sum("agent.yaml:2" in line and "colour" in line for line in ours) == 1, upgraded
    if host.manager is DPKG:
        assert upgraded.status == 1
        assert "half-configured" in host.machine.run("dpkg", "-s", "lockgate")
    assert host.main_pid(AGENT) == before
    assert host.psql("SELECT ssn FROM customers WHERE id = 7").output == "***\n"
    # also what it has not read into memory yet: a new connection of a new kind, and its own commands
    assert host.psql("DROP TABLE orders").errors.startswith("ERROR:  lockgate: ")
    assert host.lockgate("doctor").status == 0

    host.machine.write("/etc/lockgate/agent.yaml", text)
    mend = ("dpkg", "--configure", "-a") if host.manager is DPKG else ("/usr/lib/lockgate/activate", "again")
    mended = host.machine.attempt(*mend)
    assert mended.status == 0, mended
    assert host.main_pid(AGENT) not in (0, before)
    assert host.psql("SELECT ssn FROM customers WHERE id = 7").output == "***\n"


def test_the_version_before_can_be_had_again_and_so_can_the_same(host: Host, newer: Newer) -> None:
    host.installed()
    host.configure("enforce")
    version = host.version()
    assert host.upgrade(newer(host.package)).status == 0
    downgraded = host.downgrade()
    assert downgraded.status == 0, downgraded
    assert host.version() == version
    assert host.machine.active(AGENT) == "active"
    assert host.psql("SELECT ssn FROM customers WHERE id = 7").output == "***\n"

    again = host.downgrade()
    assert again.status == 0, again
    assert host.psql("SELECT ssn FROM customers WHERE id = 7").output == "***\n"
    assert "mode: enforce" in host.machine.read("/etc/lockgate/agent.yaml")
    assert host.lockgate("audit", "verify", "--config", "/etc/lockgate/collector.yaml").status == 0
