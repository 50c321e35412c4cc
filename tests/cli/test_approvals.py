"""`lockgate approvals` as a person uses it, against a real agent socket and a real collector."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from lockgate.approval.client import Resolution
from lockgate.approval.hold import Hold, Lock, Locks
from lockgate.collector.holds import Holds
from tests.cli.host import Desk
from tests.collector.chains import hold


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with Desk(tmp_path) as found:
        yield found


def post(desk: Desk, *held: Hold) -> None:
    for each in held:
        desk.write(Holds(desk.server._writer.store).post, each, time.time())


def waits(desk: Desk, held: Hold) -> Future[Resolution]:
    return asyncio.run_coroutine_threadsafe(desk.client.hold(held), desk._loop)


def test_somebody_else_sees_and_approves_and_the_agent_goes_on(desk: Desk) -> None:
    held = hold(in_transaction_since=time.time())
    post(desk, held)
    answer = waits(desk, held)
    listed = desk.run("approvals", "list")
    assert listed.exit_code == 0
    assert "hold-0001" in listed.output
    assert "ann" in listed.output
    assert "DELETE FROM orders" in listed.output
    done = desk.run("approvals", "approve", "hold-0", "--comment", "ticket 7")
    assert done.exit_code == 0, done.output
    assert "Approved by bob (bob)." in done.output
    for shown in (
        "DELETE FROM orders",
        "Asked by:       ann, groups engineers",
        "bulk-writes",
        "/usr/bin/psql",
        "since 2",
    ):
        assert shown in done.output
    resolution = answer.result(20)
    assert (resolution.outcome, resolution.comment) == ("approved", "ticket 7")
    assert desk.run("approvals", "list").output == "Nothing is waiting.\n"
    assert "bob" in desk.run("approvals", "list", "--state", "approved").output


def test_denying(desk: Desk) -> None:
    held = hold()
    post(desk, held)
    answer = waits(desk, held)
    done = desk.run("approvals", "deny", held.id, "--json")
    assert (done.exit_code, json.loads(done.output)["state"]) == (0, "denied")
    assert answer.result(20).outcome == "denied"
    again = desk.run("approvals", "approve", held.id)
    assert again.exit_code == 1
    assert "nothing that waits" in again.output


def test_who_asked_is_told_that_it_takes_another(desk: Desk) -> None:
    post(desk, hold())
    for account in ("ann", "ann-admin"):
        desk.be(account, "dba", person="ann")
        done = desk.run("approvals", "approve", "hold-0001")
        assert done.exit_code == 1
        assert "it takes a second person" in done.output
    desk.be("eve", "engineers")
    assert "none of the approving groups: dba" in desk.run("approvals", "approve", "hold-0001").output


def test_json_is_a_line_each(desk: Desk) -> None:
    post(desk, hold(), hold(identifier="hold-0002"))
    lines = desk.run("approvals", "list", "--json").output.splitlines()
    assert [json.loads(line)["hold"]["id"] for line in lines] == ["hold-0001", "hold-0002"]


def test_an_id_that_is_not_unique_is_said(desk: Desk) -> None:
    post(desk, hold(), hold(identifier="hold-0002"), hold(identifier="hold-00022"))
    many = desk.run("approvals", "approve", "hold-")
    assert (many.exit_code, "fits 3 of what waits: hold-0001" in many.output) == (1, True)
    # an exact id is that one, though another begins with it
    assert desk.run("approvals", "approve", "hold-0002").exit_code == 0


def test_a_hostile_statement_does_not_reach_the_terminal(desk: Desk) -> None:
    post(desk, hold(statement="DELETE FROM orders\n\x1b[2A\x1b[JSELECT 1", reason="[red]x[/red]\x1b]0;"))
    for command in (("list",), ("approve", "hold-0001")):
        done = desk.run("approvals", *command)
        assert "\x1b" not in done.output
        assert r"\x1b[2A" in done.output


def test_an_agent_that_is_away_is_said(desk: Desk) -> None:
    desk.do(desk.control.close())
    done = desk.run("approvals", "list")
    assert done.exit_code == 1
    assert "agent.sock: the agent does not answer" in done.output


def test_a_collector_that_is_away_is_said(tmp_path: Path) -> None:
    with Desk(tmp_path) as desk:
        text = desk.agent_yaml.read_text().replace(desk.http, "127.0.0.1:1")
        desk.agent_yaml.write_text(text)
        done = desk.run("approvals", "list")
        assert done.exit_code == 1
        assert "the collector at http://127.0.0.1:1 does not answer" in done.output


def test_wrong_usage_is_2(desk: Desk, tmp_path: Path) -> None:
    assert desk.run("approvals", "approve").exit_code == 2
    assert desk.run("approvals", "list", "--state", "asleep").exit_code == 2
    assert desk.run("approvals", "list", config=tmp_path / "missing.yaml").exit_code == 2
    assert desk.run("approvals", "list", config=desk.collector_yaml).exit_code == 2


PRINT = "f" * 64


def test_granting_listing_and_revoking(desk: Desk) -> None:
    held = hold(fingerprint=PRINT, grant=7200.0, covers="other constants too")
    post(desk, held)
    desk.do(desk.client.tell_locks(held.id, Locks(at=time.time(), held=(Lock("ShareLock", "public.t", 3),), waiting=2)))
    listed = desk.run("approvals", "list").output
    assert "3, 2 wait" in listed
    assert "2h" in listed
    for wrong in ("3h", "59s"):
        refused = desk.run("approvals", "approve", held.id, "--grant", wrong)
        assert (refused.exit_code, "60 s to 7200 s" in refused.output) == (1, True)
    assert desk.run("approvals", "approve", held.id, "--grant", "2 hours").exit_code == 2
    answer = waits(desk, held)
    done = desk.run("approvals", "approve", held.id, "--grant", "1h")
    assert done.exit_code == 0, done.output
    assert "Granted to ann for 1h: statements like it run unasked, other constants too." in done.output
    assert "3 ShareLock on public.t; 2 sessions wait behind them" in done.output
    assert "has not said yet" in done.output
    granted = answer.result(20).granted
    assert granted is not None
    assert granted in done.output
    assert waits(desk, hold(identifier="hold-0002", fingerprint=PRINT, grant=7200.0)).result(20).by_grant == granted
    (state,) = [json.loads(line) for line in desk.run("approvals", "grants", "--json").output.splitlines()]
    assert (state["uses"], state["grant"]["id"], state["grant"]["by_person"]) == (1, granted, "bob")
    assert "other constants too" in desk.run("approvals", "grants").output
    ended = desk.run("approvals", "revoke", granted[:6], "--comment", "over")
    assert (ended.exit_code, "after 1 uses" in ended.output) == (0, True)
    assert desk.notes == [("revoke", f"grant {granted} by bob (bob): over")]
    assert desk.run("approvals", "grants").output == "Nothing is granted.\n"
    assert "revoked by bob" in desk.run("approvals", "grants", "--state", "ended").output
    assert desk.run("approvals", "revoke", granted).exit_code == 1


def test_a_hold_that_can_not_be_granted_says_why(desk: Desk) -> None:
    post(desk, hold(covers="no grant: scratch can stand for several relations"))
    done = desk.run("approvals", "approve", "hold-0001", "--grant", "1h")
    assert (done.exit_code, "several relations" in done.output) == (1, True)


def test_an_approval_that_the_agent_then_refused_exits_with_1(desk: Desk) -> None:
    held = hold()
    post(desk, held)
    waits(desk, held).add_done_callback(
        lambda _: asyncio.run_coroutine_threadsafe(
            desk.client.tell_became(held.id, "lockgate: \x1b[2Jfrozen"), desk._loop
        )
    )
    done = desk.run("approvals", "approve", held.id)
    assert done.exit_code == 1
    assert "the agent did not send it: lockgate: " in done.output
    assert "\x1b" not in done.output
