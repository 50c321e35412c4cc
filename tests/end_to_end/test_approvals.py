"""The second key: a statement that waits in an unmodified psql until somebody else decides."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from tests.support.stack import Stack, environment

DELETE = "DELETE FROM scratch WHERE id = 1"


@pytest.fixture(autouse=True)
def _row(stack: Stack) -> None:
    stack.server.psql("TRUNCATE scratch; INSERT INTO scratch VALUES (1, 'one'), (2, 'two')")


def held(stack: Stack, person: str = "ann", *statements: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    """A psql that waits, and the hold as an approver sees it."""
    before = {h["id"] for h in waiting(stack)}
    options = [option for text in statements or (DELETE,) for option in ("-c", text)]
    process = subprocess.Popen(
        stack.psql_command(person, *options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment(),
    )  # fmt: skip
    deadline = time.monotonic() + 15
    while not (new := [h for h in waiting(stack) if h["id"] not in before]):
        if time.monotonic() > deadline or process.poll() is not None:
            out, err = process.communicate(timeout=5)
            raise AssertionError(f"not held: {out}{err}\n{stack.log('agent')[-2000:]}")
        time.sleep(0.05)
    return process, new[0]


def waiting(stack: Stack) -> list[dict[str, Any]]:
    return [s["hold"] for s in stack.json("approvals", "list", "--config", str(stack.agent_yaml), person="bob")]


def decide(stack: Stack, person: str, word: str, hold: str, *more: str) -> subprocess.CompletedProcess[str]:
    return stack.lockgate("approvals", word, hold, "--config", str(stack.agent_yaml), *more, person=person)


def rows(stack: Stack) -> str:
    return stack.server.psql("SELECT count(*) FROM scratch")


def test_it_waits_until_somebody_else_approves_and_then_runs(stack: Stack) -> None:
    process, hold = held(stack)
    assert (hold["principal"], hold["statement"], hold["approvers"]) == ("ann", DELETE, ["dba"])
    assert rows(stack) == "2\n"
    assert decide(stack, "bob", "approve", hold["id"]).returncode == 0
    out, err = process.communicate(timeout=20)
    assert out == "DELETE 1\n"
    assert "held for approval by dba" in err
    assert rows(stack) == "1\n"
    approval = next(r for r in stack.records(type="approval") if r["hold"] == hold["id"])
    assert (approval["outcome"], approval["person"], approval["digest"]) == ("approved", "bob", hold["digest"])


def test_an_approver_sees_the_values_that_were_bound(stack: Stack) -> None:
    code = (
        "import psycopg\n"
        f"with psycopg.connect(host='127.0.0.1', port={stack.server.port}, user='app', dbname='postgres') as db:\n"
        "    print(db.execute('DELETE FROM scratch WHERE body = %s', ('one',)).rowcount)"
    )
    client = subprocess.Popen(
        stack.command("ann", [sys.executable, "-c", code]), stdout=subprocess.PIPE, text=True, env=environment()
    )
    deadline = time.monotonic() + 20
    while not (found := [h for h in waiting(stack) if "body" in h["statement"]]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert found[0]["statement"] == 'DELETE FROM scratch WHERE body = $1\n-- $1 = "one"'
    assert decide(stack, "bob", "approve", found[0]["id"]).returncode == 0
    assert client.communicate(timeout=20)[0] == "1\n"


def test_a_denial_is_told_with_its_comment(stack: Stack) -> None:
    process, hold = held(stack)
    assert decide(stack, "bob", "deny", hold["id"], "--comment", "not on a Friday").returncode == 0
    _, err = process.communicate(timeout=20)
    assert "denied by bob: not on a Friday" in err
    assert rows(stack) == "2\n"


def test_nobody_approves_for_themselves_by_any_of_their_accounts(stack: Stack) -> None:
    process, hold = held(stack)
    for account in ("ann", "ann-laptop", "eve", "cyd"):
        run = decide(stack, account, "approve", hold["id"])
        assert run.returncode == 1, account
    assert rows(stack) == "2\n"
    decide(stack, "bob", "deny", hold["id"])
    process.communicate(timeout=20)


def test_an_approver_who_asks_needs_another(stack: Stack) -> None:
    process, hold = held(stack, "bob")
    assert decide(stack, "bob", "approve", hold["id"]).returncode == 1
    assert decide(stack, "ann-laptop", "approve", hold["id"]).returncode == 0
    assert process.communicate(timeout=20)[0] == "DELETE 1\n"


def test_an_approval_is_used_once(stack: Stack) -> None:
    process, hold = held(stack)
    assert decide(stack, "bob", "approve", hold["id"]).returncode == 0
    process.communicate(timeout=20)
    assert decide(stack, "bob", "approve", hold["id"]).returncode == 1
    again, other = held(stack)
    assert other["id"] != hold["id"], "the same statement again waits again"
    decide(stack, "bob", "deny", other["id"])
    again.communicate(timeout=20)


def test_what_stands_behind_it_waits_too(stack: Stack) -> None:
    process, hold = held(stack, "ann", DELETE, "SELECT count(*) FROM scratch")
    decide(stack, "bob", "approve", hold["id"])
    assert process.communicate(timeout=20)[0] == "DELETE 1\n1\n"


def test_cancel_ends_the_wait(stack: Stack) -> None:
    process, hold = held(stack)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert "canceling statement due to user request" in err
    assert all(h["id"] != hold["id"] for h in waiting(stack))
    assert decide(stack, "bob", "approve", hold["id"]).returncode == 1
    assert rows(stack) == "2\n"


def test_a_client_that_goes_takes_its_hold_along(stack: Stack) -> None:
    process, hold = held(stack)
    process.kill()
    process.communicate(timeout=20)
    deadline = time.monotonic() + 10
    while any(h["id"] == hold["id"] for h in waiting(stack)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert rows(stack) == "2\n"


def test_it_expires(stack: Stack) -> None:
    process, _ = held(stack)
    _, err = process.communicate(timeout=60)
    assert "nobody of dba approved within 30 s" in err
    assert rows(stack) == "2\n"


def test_a_collector_that_restarts_meanwhile_still_has_it(stack: Stack) -> None:
    process, hold = held(stack)
    stack.stop("collector", signal.SIGKILL)
    stack.start("collector")
    deadline = time.monotonic() + 15
    while decide(stack, "bob", "approve", hold["id"]).returncode:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert process.communicate(timeout=20)[0] == "DELETE 1\n"
