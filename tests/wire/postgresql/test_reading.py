from __future__ import annotations

import pytest

from lockgate.wire.gate import ProtocolError
from lockgate.wire.postgresql.conversation import SYNC, Awaited, Conversation
from lockgate.wire.postgresql.reading import read
from lockgate.wire.postgresql.references import Refused
from tests.support.playbook import ScriptedGate

FOREIGN = "SELECT 'é'".encode() + b"\0"
ESCAPED = b"SELECT '\\'\0"
PLAIN = b"SELECT 1\0"


def conversation(*, utf8: bool = True, moved: bool = False, unreported: bool = False) -> Conversation:
    found = Conversation(ScriptedGate())
    found.utf8, found.encoding_moved, found.unreported = utf8, moved, unreported
    found.weigh()
    return found


def text(of: Conversation, raw: bytes) -> str | None:
    return read(of, raw, 0, len(raw))


def test_nothing_is_known_of_the_encoding_before_the_server_has_said_it() -> None:
    fresh = Conversation(ScriptedGate())
    assert text(fresh, PLAIN) == "SELECT 1"
    with pytest.raises(Refused, match="UTF8"):
        text(fresh, FOREIGN)


@pytest.mark.parametrize("state", [{}, {"utf8": False}, {"moved": True}, {"unreported": True}])
def test_plain_ascii_reads_the_same_whatever_the_settings(state: dict[str, bool]) -> None:
    assert text(conversation(**state), PLAIN) == "SELECT 1"


def test_utf8_reads_as_it_is() -> None:
    assert text(conversation(), FOREIGN) == "SELECT 'é'"
    assert text(conversation(), ESCAPED) == "SELECT '\\'"
    assert text(conversation(moved=True), FOREIGN) == "SELECT 'é'"


@pytest.mark.parametrize(
    ("state", "raw"), [({"unreported": True}, FOREIGN), ({"unreported": True}, ESCAPED), ({"moved": True}, FOREIGN)]
)
def test_what_hangs_on_an_answer_waits_for_it_or_is_refused(state: dict[str, bool], raw: bytes) -> None:
    of = conversation(**state)
    of.segment_open = True
    with pytest.raises(Refused, match="may have changed"):
        text(of, raw)
    of.pending.append(Awaited(SYNC))
    assert text(of, raw) is None


def test_bytes_that_are_not_utf8() -> None:
    with pytest.raises(Refused, match="not valid UTF-8"):
        text(conversation(), b"\xff\0")
    with pytest.raises(Refused, match="not valid UTF-8"):
        text(conversation(), b"\xed\xa0\x80\0")  # a surrogate


@pytest.mark.parametrize("raw", [b"", b"SELECT 1", b"SELECT\x001\0"])
def test_what_is_no_text(raw: bytes) -> None:
    with pytest.raises(ProtocolError):
        text(conversation(), raw)
