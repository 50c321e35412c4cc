"""Reusable grants: the second run asks nobody, and whatever isn't what was granted asks somebody."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.end_to_end.test_approvals import decide, held, rows, waiting
from tests.support.stack import POLICIES, Stack, environment

GRANTING = POLICIES.replace('@timeout("30s")', '@timeout("20s")\n@timeout_in_transaction("15s")\n@grant("2h")')


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(policies=GRANTING) as running:
        yield running


@pytest.fixture(autouse=True)
def _clean(stack: Stack) -> None:
    stack.server.psql("TRUNCATE scratch; INSERT INTO scratch SELECT i, 'row' FROM generate_series(1, 20) i")
    for each in granted(stack):
        assert revoke(stack, "bob", each["grant"]["id"]).returncode == 0


def granted(stack: Stack, state: str = "live") -> list[dict[str, Any]]:
    command = ("approvals", "grants", "--state", state, "--config", str(stack.agent_yaml))
    return stack.json(*command, person="bob")


def revoke(stack: Stack, person: str, grant: str) -> subprocess.CompletedProcess[str]:
    return stack.lockgate("approvals", "revoke", grant, "--config", str(stack.agent_yaml), person=person)


def grant(stack: Stack, *statements: str, seconds: str = "1h") -> dict[str, Any]:
    """Bob lets ann's DELETE of one id run, for an hour."""
    process, hold = held(stack, "ann", *(statements or ("DELETE FROM scratch WHERE id = 1",)))
    done = decide(stack, "bob", "approve", hold["id"], "--grant", seconds, "--comment", "the night of the migration")
    assert done.returncode == 0, done.stderr + done.stdout
    process.communicate(timeout=20)
    return granted(stack)[0]


def waits(stack: Stack, person: str, *statements: str) -> None:
    """They are held, so not granted; denied here."""
    process, hold = held(stack, person, *statements)
    decide(stack, "bob" if person != "bob" else "ann-laptop", "deny", hold["id"])
    assert "denied by" in process.communicate(timeout=20)[1]


def test_the_second_run_asks_nobody_whatever_its_constants(stack: Stack) -> None:
    made = grant(stack)
    assert made["grant"]["by_person"] == "bob"
    for number in (2, 3):
        done = stack.psql("ann", f"DELETE FROM scratch WHERE id = {number}")
        assert (done.stdout, done.stderr) == ("DELETE 1\n", "")
    (again,) = granted(stack)
    assert again["uses"] == 2
    used = [r for r in stack.records(type="approval") if r.get("grant") == made["grant"]["id"]]
    assert [(r["outcome"], r["person"], r["comment"]) for r in used] == [
        ("approved", "bob", "the night of the migration")
    ] * 2
    (first,) = [r for r in stack.records(type="approval") if r.get("granted") == made["grant"]["id"]]
    assert first["person"] == "bob"


@pytest.mark.parametrize(
    ("person", "statement"),
    [
        ("ann", "DELETE FROM scratch"),
        ("ann", "DELETE FROM scratch WHERE id >= 2"),
        ("ann", "DELETE FROM scratch WHERE id = 2 OR true"),
        ("ann", "DELETE FROM orders WHERE id = 2"),
        ("ann", "DELETE FROM scratch WHERE id = 2; DELETE FROM scratch"),
        ("cyd", "DELETE FROM scratch WHERE id = 2"),
        ("bob", "DELETE FROM scratch WHERE id = 2"),
    ],
)
def test_what_was_not_granted_waits(stack: Stack, person: str, statement: str) -> None:
    grant(stack)
    waits(stack, person, statement)
    assert rows(stack) == "19\n"


def test_a_name_that_was_given_to_another_statement_waits(stack: Stack) -> None:
    grant(stack, "PREPARE p(int) AS DELETE FROM scratch WHERE id = $1", "EXECUTE p(1)")
    assert stack.psql("ann", "PREPARE p(int) AS DELETE FROM scratch WHERE id = $1", "EXECUTE p(1)").returncode == 0
    waits(stack, "ann", "PREPARE p(int) AS DELETE FROM scratch WHERE id <> $1", "EXECUTE p(1)")
    assert rows(stack) == "19\n"


def test_revoked_it_is_over_at_once(stack: Stack) -> None:
    made = grant(stack)["grant"]["id"]
    assert stack.psql("ann", "DELETE FROM scratch WHERE id = 2").returncode == 0
    for nobody in ("ann", "cyd", "eve"):
        assert revoke(stack, nobody, made).returncode == 1, nobody
    # ann's other account is of the dba group: to end a grant is to close the gate, and anybody of the group may
    assert revoke(stack, "ann-laptop", made).returncode == 0
    waits(stack, "ann", "DELETE FROM scratch WHERE id = 3")
    assert revoke(stack, "bob", made).returncode == 1
    (ended,) = [g for g in granted(stack, "ended") if g["grant"]["id"] == made]
    assert (ended["revoked"]["person"], ended["uses"]) == ("ann", 1)
    signed = [r["detail"] for r in stack.records(type="agent", event="revoke") if made in r["detail"]]
    assert f"grant {made} by ann-laptop (ann): " in signed


def test_nobody_grants_to_themselves_or_for_longer_than_the_policy_lets_them(stack: Stack) -> None:
    process, hold = held(stack, "ann", "DELETE FROM scratch WHERE id = 1")
    for person, seconds, why in (
        ("ann-laptop", "1h", "second person"),
        ("cyd", "1h", "none of the approving groups"),
        ("bob", "3h", "60 s to 7200 s"),
        ("bob", "30s", "60 s to 7200 s"),
    ):
        done = decide(stack, person, "approve", hold["id"], "--grant", seconds)
        assert (done.returncode, why in done.stderr) == (1, True), done.stderr
    assert decide(stack, "bob", "approve", hold["id"], "--grant", "forever").returncode == 2
    assert granted(stack) == []
    decide(stack, "bob", "deny", hold["id"])
    process.communicate(timeout=20)


def test_without_a_collector_what_was_granted_waits(stack: Stack) -> None:
    grant(stack)
    stack.stop("collector")
    process = subprocess.Popen(
        stack.psql_command("ann", "-c", "DELETE FROM scratch WHERE id = 2"), stderr=subprocess.PIPE, text=True,
        env=environment(),
    )  # fmt: skip
    time.sleep(1.0)
    assert rows(stack) == "19\n"
    stack.start("collector")
    process.communicate(timeout=20)
    assert rows(stack) == "18\n", "and goes on once it is back"


def test_in_a_transaction_it_waits_less_and_says_what_is_locked(stack: Stack) -> None:
    began = time.time()
    process, hold = held(stack, "ann", "BEGIN", "UPDATE scratch SET body = 'x' WHERE id = 5", "DELETE FROM scratch")
    try:
        assert 14 <= hold["expires"] - hold["created"] <= 15
        assert began - 1 <= hold["in_transaction_since"] <= hold["created"]
        blocked = subprocess.Popen(
            ["psql", "-XAt", "-h", "127.0.0.1", "-p", str(stack.server.port), "-U", "app", "-d", "postgres", "-c",
             "UPDATE scratch SET body = 'y' WHERE id = 5"], stdout=subprocess.DEVNULL, env=environment(),
        )  # fmt: skip
        deadline = time.monotonic() + 12
        while (locks := state_of(stack, hold["id"]).get("locks") or {}).get("waiting") != 1:
            assert time.monotonic() < deadline, locks
            time.sleep(0.5)
        assert {"mode": "RowExclusiveLock", "relation": "public.scratch", "count": 1} in locks["held"]
        listed = stack.lockgate("approvals", "list", "--config", str(stack.agent_yaml), person="bob").stdout
        assert "1 wait" in listed
        assert "2h" in listed
    finally:
        _, err = process.communicate(timeout=20)
    assert "a transaction is open, and keeps its locks" in err
    assert "as long as a transaction may be kept open" in err
    assert blocked.wait(timeout=10) == 0


def state_of(stack: Stack, hold: str) -> dict[str, Any]:
    command = ("approvals", "list", "--config", str(stack.agent_yaml))
    return next((s for s in stack.json(*command, person="bob") if s["hold"]["id"] == hold), {})


def test_the_approver_hears_what_became_of_it(stack: Stack) -> None:
    process, hold = held(stack, "ann", "DELETE FROM scratch WHERE id = 1")
    assert waiting(stack)
    done = decide(stack, "bob", "approve", hold["id"])
    assert (done.returncode, "Released: the agent has sent it." in done.stdout) == (0, True)
    process.communicate(timeout=20)
    # what the approver is told when a policy has come to forbid it meanwhile
    process, hold = held(stack, "ann", "DELETE FROM scratch WHERE id = 2")
    policies = stack.folder / "policies" / "all.cedar"
    before = policies.read_text()
    policies.write_text(
        before + '@id("freeze") @reason("frozen") forbid (principal, action == Action::"execute", resource);'
    )
    try:
        deadline = time.monotonic() + 10
        while not stack.records(type="agent", event="reload"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        done = decide(stack, "bob", "approve", hold["id"])
        assert (done.returncode, "the agent did not send it: lockgate: frozen" in done.stderr) == (1, True), done.stderr
    finally:
        policies.write_text(before)
        process.communicate(timeout=20)
        stack.wait_ready()
        time.sleep(2.5)


def test_a_table_of_the_same_name_in_the_way_ends_it(stack: Stack) -> None:
    grant(stack)
    stack.server.psql("CREATE SCHEMA other; CREATE TABLE other.scratch (id int); GRANT ALL ON other.scratch TO app")
    # the agent's snapshot may be a minute old where it saw no DDL: a new agent has none. Nothing else can be granted
    # behind this test, for as long
    stack.stop("agent")
    stack.start("agent")
    stack.wait_ready()
    waits(stack, "ann", "DELETE FROM scratch WHERE id = 2")
    process, hold = held(stack, "ann", "DELETE FROM scratch WHERE id = 2")
    done = decide(stack, "bob", "approve", hold["id"], "--grant", "1h")
    assert "scratch can stand for several relations" in done.stderr
    decide(stack, "bob", "deny", hold["id"])
    process.communicate(timeout=20)
