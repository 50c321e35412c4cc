from __future__ import annotations

import pytest

from lockgate.wire.gate import ProtocolError, Ruling, Run
from lockgate.wire.names import NO_SEGMENT
from lockgate.wire.postgresql.conversation import Conversation, Named, Portal
from lockgate.wire.postgresql.references import (
    NOBODYS,
    Refused,
    candidates,
    copies,
    execution,
    make,
    makes,
    plain,
    wire_name,
)  # fmt: skip
from tests.support.playbook import ScriptedGate, understand


@pytest.fixture
def conversation() -> Conversation:
    return Conversation(ScriptedGate())


def texts(conversation: Conversation, text: str) -> list[str]:
    return [c.refusal or c.text for c in candidates(conversation, understand(text))]


def named(conversation: Conversation, name: str, text: str) -> None:
    conversation.statements.make(name, Named(understand(text), in_sql=False), 0)


def test_most_texts_have_nothing_to_do_with_names() -> None:
    assert plain(understand("SELECT 1; SELECT 2"))
    assert not any(plain(understand(t)) for t in ("PREPARE a AS SELECT 1", "EXECUTE a", "FETCH c", "COPY in"))


def test_what_may_copy() -> None:
    assert copies(understand("SELECT 1; COPY in"), ())
    assert copies(understand("EXECUTE a"), (understand("COPY in"),))
    assert not copies(understand("SELECT 1"), ())


@pytest.mark.parametrize("raw", [b"a" * 64, "é".encode(), NOBODYS.encode()])
def test_names_that_are_not_one_name_to_everybody(raw: bytes) -> None:
    assert wire_name(b"a" * 63) == "a" * 63
    with pytest.raises(Refused, match="63 ASCII"):
        wire_name(raw)


def test_execution_quotes_as_sql_does() -> None:
    assert execution('a"b') == 'EXECUTE "a""b"'


def test_a_chain_of_names_is_followed_and_a_ring_ends(conversation: Conversation) -> None:
    named(conversation, "a", "EXECUTE b")
    named(conversation, "b", "EXECUTE c")
    named(conversation, "c", "EXECUTE a")
    assert texts(conversation, "EXECUTE a") == ["EXECUTE b", "EXECUTE c", "EXECUTE a"]


def test_a_portal_of_the_protocol_is_a_cursor_to_sql(conversation: Conversation) -> None:
    conversation.portals.make("p", Portal(b"p", Run(understand("SELECT 1"), Ruling())), 0)
    conversation.cursors.make("p", Named(understand("DECLARE p CURSOR FOR SELECT 2"), in_sql=True), NO_SEGMENT)
    assert texts(conversation, "FETCH p") == ["DECLARE p CURSOR FOR SELECT 2", "SELECT 1"]


def test_names_that_can_not_be_followed_refuse(conversation: Conversation) -> None:
    assert "was not made" in texts(conversation, "EXECUTE a")[0]
    assert "63 ASCII" in texts(conversation, "PREPARE é AS SELECT 1")[0]
    assert "63 ASCII" in texts(conversation, f"DECLARE {'c' * 64} CURSOR FOR SELECT 1")[0]


def test_a_text_gives_its_names_when_it_is_sent(conversation: Conversation) -> None:
    request = understand("PREPARE a AS SELECT 1; DECLARE c CURSOR FOR SELECT 2; SELECT 3")
    assert len(makes(conversation, request)) == 2
    assert candidates(conversation, understand("EXECUTE a")) == (request,)
    assert candidates(conversation, understand("FETCH c")) == (request,)


def test_too_many_names_are_the_clients_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lockgate.wire.postgresql.conversation.NAMES", 1)
    conversation = Conversation(ScriptedGate())
    make(conversation.portals, "a", None, 0)
    with pytest.raises(ProtocolError, match="more than 1 names"):
        make(conversation.portals, "b", None, 0)
