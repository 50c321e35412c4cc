"""A package comes: at first it only looks, then it enforces."""

from __future__ import annotations

import re

from tests.packages.host import AGENT, Host

CUSTOMER = "SELECT name, email, ssn FROM customers WHERE id = 7"


def test_a_first_install_observes_and_then_enforces(host: Host) -> None:
    before = host.psql(CUSTOMER)
    assert before.status == 0

    # it is installed, and nothing is blocked, masked or held
    installed = host.install()
    assert installed.status == 0, installed
    assert host.machine.active(AGENT) == "active"
    assert "OBSERVING: nothing is blocked, masked or held" in host.lockgate("status").output
    host.collect()
    assert host.psql(CUSTOMER).output == before.output
    assert host.psql("ALTER TABLE orders ADD COLUMN remark text").status == 0
    assert host.truth("SELECT count(remark) FROM orders") == "0\n"

    # but everything is recorded, with what enforcing would have done
    read = host.record("ssn", "FROM", "customers")
    assert read["connection"]["workload"]["user"] == "ann"
    assert re.fullmatch(r"/system\.slice/run-.*\.service", read["connection"]["workload"]["cgroup"])
    assert (read["mode"], read["verdict"], read["would"]) == ("observe", "allow", "allow")
    altered = host.record("ALTER", "TABLE", "orders")
    assert (altered["verdict"], altered["would"], altered["policy"]) == ("allow", "deny", "default-deny")

    # the worked example, observed: what it would have masked and held
    host.configure("observe")
    assert host.psql(CUSTOMER).output == before.output
    masked = host.record("ssn", "FROM", "customers")
    assert (masked["connection"]["principal"], masked["connection"]["datastore"]) == ("ann", "orders")
    assert host.psql("DELETE FROM orders WHERE id = 1").status == 0
    assert host.record("DELETE", "orders")["would"] == "hold"

    # one line turns enforcement on
    host.machine.run("sed", "-i", "s/mode: observe/mode: enforce/", "/etc/lockgate/agent.yaml")
    host.machine.run("systemctl", "restart", AGENT)
    seen = host.psql(CUSTOMER)
    assert seen.status == 0, seen
    name, email, ssn = seen.output.strip().split("|")
    plain = before.output.strip().split("|")
    assert name == plain[0]
    assert re.fullmatch(r"\w\*+@\w\*+\.com", email)
    assert ssn == "***"

    # a native error
    dropped = host.psql("DROP TABLE orders")
    assert dropped.status == 1
    assert dropped.errors.startswith("ERROR:  lockgate: the schema changes through reviewed migrations, not here\n")
    assert host.record("DROP", "TABLE", "orders")["verdict"] == "deny"

    # a second key, turned by somebody else
    waiting = host.psql_begin("DELETE FROM orders WHERE id = 2")
    try:
        host.machine.until("a hold", lambda: " ann " in host.lockgate("approvals", "list", user="bob").output)
        request = host.lockgate("approvals", "list", user="bob").output.splitlines()[-1].split()[0]
        refused = host.lockgate("approvals", "approve", request, user="ann")
        assert refused.status == 1
        assert "second person" in refused.said
        assert waiting.poll() is None
        approved = host.lockgate("approvals", "approve", request, "--comment", "ticket 4711", user="bob")
        assert approved.status == 0, approved
        assert waiting.wait(timeout=30) == 0
    finally:
        waiting.kill()
        waiting.communicate()
    assert host.truth("SELECT count(*) FROM orders WHERE id IN (1, 2)") == "0\n"

    # and the record of it all is whole
    verified = host.lockgate("audit", "verify", "--config", "/etc/lockgate/collector.yaml")
    assert verified.status == 0, verified


def test_a_reboot_intercepts_again(host: Host) -> None:
    host.installed()
    host.configure("enforce")
    host.machine.reboot()
    host.settled(AGENT, "active")
    seen = host.psql(CUSTOMER)
    assert seen.status == 0, seen
    assert seen.output.endswith("|***\n")
    assert host.record("ssn", "FROM", "customers")["connection"]["principal"] == "ann"
