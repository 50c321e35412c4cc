"""What is owed is owed in order, and our own answers wait for their turn."""

from __future__ import annotations

import pytest

from lockgate.values.statement import Request
from lockgate.wire.gate import ProtocolError, Ruling, Run
from lockgate.wire.redis.conversation import Awaited, Conversation
from lockgate.wire.redis.pubsub import Subscriptions
from tests.support.redis_playbook import ScriptedGate


@pytest.fixture
def gate() -> ScriptedGate:
    return ScriptedGate()


@pytest.fixture
def conversation(gate: ScriptedGate) -> Conversation:
    return Conversation(gate, Subscriptions())


def run(text: str) -> Run:
    return Run(Request("redis", text, text, ()), Ruling())


def test_what_is_said_waits_for_what_is_owed(conversation: Conversation) -> None:
    conversation.say(b"1")
    first, second = run("a"), run("b")
    conversation.send(b"a", first)
    conversation.say(b"2")
    conversation.say(b"3")
    conversation.send(b"b", second)
    conversation.say(b"4")
    assert conversation.to_client == [b"1"]
    assert conversation.to_server == [b"a", b"b"]
    assert conversation.answered() is first
    conversation.speak()
    assert conversation.to_client == [b"1", b"2", b"3"]
    assert conversation.next() is second
    conversation.answered()
    conversation.speak()
    assert conversation.to_client == [b"1", b"2", b"3", b"4"]
    assert conversation.said == 0
    with pytest.raises(ProtocolError, match="nobody asked"):
        conversation.next()


def test_nothing_is_said_in_the_middle_of_a_reply_nor_behind_the_last_word(conversation: Conversation) -> None:
    conversation.midway = True
    conversation.say(b"bye", "disconnected")
    conversation.say(b"more")
    assert conversation.to_client == []
    conversation.midway = False
    conversation.speak()
    assert conversation.to_client == [b"bye"]
    assert conversation.over == "disconnected"


def test_a_barrier_is_lifted_by_its_answer_alone(conversation: Conversation) -> None:
    first, second = run("a"), run("b")
    conversation.send(b"a", first)
    conversation.send(b"b", second, barrier=True)
    conversation.answered()
    assert conversation.barrier is second
    conversation.answered()
    assert conversation.barrier is None


def test_what_is_owed_at_the_end_is_settled_once(conversation: Conversation, gate: ScriptedGate) -> None:
    conversation.send(b"a", run("a"))
    conversation.send(b"b", Awaited(run("b")), barrier=True)
    conversation.send(b"c", Awaited())
    conversation.say(b"x")
    conversation.settle_all("disconnected")
    conversation.settle_all("disconnected")
    assert gate.settled == [("a", "disconnected"), ("b", "disconnected")]
    assert conversation.barrier is None
