from __future__ import annotations

import pytest

from lockgate.wire.gate import Ruling, Run
from lockgate.wire.postgresql.conversation import (
    BIND,
    EXECUTE,
    IDLE,
    IN_TRANSACTION,
    PARSE,
    PENDING,
    QUERY,
    SYNC,
    Awaited,
    Conversation,
    Named,
)  # fmt: skip
from tests.support.playbook import Masked, ScriptedGate, understand


@pytest.fixture
def gate() -> ScriptedGate:
    return ScriptedGate()


@pytest.fixture
def conversation(gate: ScriptedGate) -> Conversation:
    return Conversation(gate)


def begun(conversation: Conversation, text: str, ruling: Ruling | None = None) -> Run:
    run = Run(understand(text), ruling or Ruling())
    conversation.begin(run)
    return run


def test_a_run_is_told_to_the_gate_once(conversation: Conversation, gate: ScriptedGate) -> None:
    run = begun(conversation, "SELECT 1")
    conversation.settle(run, "completed")
    conversation.settle(run, "error")
    conversation.settle_all("disconnected")
    assert gate.settled == [("SELECT 1", "completed")]


def test_a_settled_run_lifts_its_barrier_and_no_other(conversation: Conversation) -> None:
    one, other = begun(conversation, "SET a"), begun(conversation, "SET b")
    conversation.barrier = other
    conversation.settle(one, "completed")
    assert conversation.barrier is other
    conversation.lift(other)
    assert conversation.barrier is None


def test_a_masked_run_veils_what_comes_after(conversation: Conversation) -> None:
    conversation.settle(begun(conversation, "SELECT 1"), "completed")
    assert not conversation.veiled
    conversation.settle(begun(conversation, "SECRET 1", Ruling(masking=Masked())), "completed")
    assert conversation.veiled


def test_an_error_takes_everything_with_it_up_to_sync(conversation: Conversation, gate: ScriptedGate) -> None:
    entry = conversation.statements.make("a", Named(understand("SELECT 2"), in_sql=False), 0)
    made = conversation.statements.make("b", Named(understand("PREPARE b AS SELECT 3"), in_sql=True), -1)
    failing = Awaited(EXECUTE, begun(conversation, "PREPARE b AS SELECT 3"), makes=((conversation.statements, made),))
    skipped = Awaited(BIND, begun(conversation, "SELECT 1"))
    conversation.held = failing
    conversation.pending += [failing, Awaited(PARSE, statement=entry), skipped, Awaited(SYNC), Awaited(QUERY)]
    conversation.skip_to_sync("22012")
    assert [a.owed for a in conversation.pending] == [SYNC, QUERY]
    assert gate.settled == [("PREPARE b AS SELECT 3", "error"), ("SELECT 1", "skipped")]
    assert conversation.statements.candidates("a", 9) == []
    assert len(conversation.statements.candidates("b", 9)) == 1  # it may have been made before it failed
    assert conversation.held is None
    assert not conversation.discarding
    assert conversation.sync_awaited()


def test_an_error_without_a_sync_behind_it_drops_what_comes(conversation: Conversation) -> None:
    conversation.pending.append(Awaited(PARSE))
    conversation.skip_to_sync("42601")
    assert conversation.discarding
    assert not conversation.sync_awaited()
    assert not conversation.ready_awaited()


def test_idle_is_where_an_error_leaves_no_trace(conversation: Conversation) -> None:
    assert conversation.status == IDLE
    assert conversation.idle
    conversation.status = IN_TRANSACTION
    assert not conversation.idle
    conversation.status = ord("E")
    assert conversation.idle
    conversation.segment_open = True
    assert not conversation.idle


def test_a_portal_that_ended_before_it_was_closed_has_completed(conversation: Conversation, gate: ScriptedGate) -> None:
    run = begun(conversation, "SELECT 1")
    run.tag = "SELECT 1"
    conversation.close(run)
    conversation.close(begun(conversation, "SELECT 2"))
    assert gate.settled == [("SELECT 1", "completed"), ("SELECT 2", "closed")]


def test_more_answers_may_be_owed_than_a_server_can_keep_to_itself() -> None:
    assert PENDING * 5 > 8192
