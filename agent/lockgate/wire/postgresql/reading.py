"""From the bytes of a statement's text to the text the server will read, or the reason why that can't be told.

The server reads a text by settings that may be changing while the text is on its way: `client_encoding` decides what
its bytes mean, `standard_conforming_strings` what a backslash does. Both are reported, but only with the next
ReadyForQuery, and a transaction's end may bring an old value back.
"""

from __future__ import annotations

from lockgate.wire.gate import ProtocolError, Refusal
from lockgate.wire.postgresql import errors
from lockgate.wire.postgresql.conversation import Conversation
from lockgate.wire.postgresql.references import Refused


def read(conversation: Conversation, message: bytes, start: int, end: int) -> str | None:
    """The text between `start` and the NUL at `end` - 1. None: how it reads is not known yet, but will be.

    Raises ProtocolError for a text that is not one, and Refused for one that the server may read differently.
    """
    raw = message[start : end - 1]
    if end <= start or message[end - 1] != 0 or b"\0" in raw:
        raise ProtocolError("statement text is not terminated, or holds a NUL")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise Refused(
            Refusal(errors.CHARACTER_NOT_IN_REPERTOIRE, "lockgate: the statement is not valid UTF-8")
        ) from None
    if conversation.wary and not (text.isascii() and (not conversation.unreported or "\\" not in text)):
        return _doubtful(conversation, text)
    return text


def _doubtful(conversation: Conversation, text: str) -> str | None:
    """A text whose reading hangs on settings: not ASCII, or with a backslash while a setting is unreported."""
    outstanding = bool(conversation.pending) or conversation.segment_open
    if outstanding and (conversation.unreported or conversation.encoding_moved):
        if conversation.ready_awaited():
            return None
        raise Refused(
            Refusal(
                errors.CHARACTER_NOT_IN_REPERTOIRE,
                "lockgate: a setting that says how this statement is read may have changed",
                hint="Send Sync first.",
            )
        )
    if not conversation.utf8 and not text.isascii():
        raise Refused(
            Refusal(
                errors.CHARACTER_NOT_IN_REPERTOIRE,
                "lockgate: with a client_encoding other than UTF8 only ASCII statements can be judged",
                hint="SET client_encoding TO 'UTF8'",
            )
        )
    return text
