"""From the client to the server: every message is read, and what would run is judged, before a byte of it leaves."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from typing import Final

from lockgate.values.statement import Request
from lockgate.wire.gate import Asked, ProtocolError, Refusal, Ruling, Run
from lockgate.wire.names import NO_SEGMENT
from lockgate.wire.postgresql import errors, frames
from lockgate.wire.postgresql.answers import CANT_MASK
from lockgate.wire.postgresql.conversation import (
    BIND,
    CLOSE,
    DESCRIBE,
    EXECUTE,
    PARSE,
    PENDING,
    QUERY,
    REFUSED,
    REFUSED_QUERY,
    SYNC,
    UNREADABLE,
    Awaited,
    Conversation,
    Named,
    Portal,
)
from lockgate.wire.postgresql.reading import read
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
)

TERMINATE: Final = ord("X")
SYNCHRONISE: Final = ord("S")

_LENGTH: Final = struct.Struct("!I")
_TEXTS: Final = frozenset(b"QP")
_IN_COPY: Final = frozenset(b"dcfHSX")
_BARE_BYTES: Final = 5


class Frontend:
    """The client's half."""

    __slots__ = ("_back", "_conversation", "_in", "_limit", "_out", "_parked", "_reached", "closed")

    def __init__(self, conversation: Conversation, limit: int, back: list[bytes]) -> None:
        """`limit` bounds one message of the client, in bytes; `back` collects errors answered on the spot."""
        self._conversation = conversation
        self._limit = limit
        self._in = bytearray()
        self._parked: tuple[bytes, Request, Callable[[Ruling], None]] | None = None
        """The message that waits for a ruling, its request, and what goes on with the ruling."""
        self._reached = 0
        """How far `_handle` came, also when it raised: no message behind it has been sent."""
        self._out = conversation.to_server
        self._back = back
        self.closed = False
        """Whether the client said goodbye."""

    @property
    def parked(self) -> bool:
        """Whether a request waits for `resume`."""
        return self._parked is not None

    @property
    def waits(self) -> bool:
        """Whether something has arrived that an answer of the server may set going."""
        return bool(self._in) and self._parked is None

    @property
    def waiting_bytes(self) -> int:
        """What has arrived and waits for somebody else. A message that waits for its own rest doesn't count."""
        waiting = len(self._in)
        if waiting >= 5 and self._parked is None and waiting <= _LENGTH.unpack_from(self._in, 1)[0]:
            return 0
        return waiting

    def feed(self, data: bytes | memoryview) -> None:
        """Take bytes from the client; none of `data` is kept. Raises ProtocolError."""
        if self._in:
            self._in += data
            self.pump()
            return
        buf = bytes(data)
        done = self._handle(buf)
        if done < len(buf):
            self._in += buf[done:]

    def pump(self) -> None:
        """Go on with what has arrived until something has to be waited for. Raises ProtocolError."""
        del self._in[: self._handle(self._in)]

    def resume(self, ruling: Ruling) -> None:
        """The ruling on the request that waits; what came behind it follows. Raises ProtocolError."""
        self._release(ruling)
        self.pump()

    def _release(self, ruling: Ruling) -> None:
        if self._parked is None:
            raise RuntimeError("nothing waits for a ruling")
        (_, request, go), self._parked = self._parked, None
        if not self._conversation.discarding:
            go(ruling)
        elif ruling.refusal is None:
            # while it waited, the server met an error before it: it would be skipped
            self._moot(request, ruling, "skipped")

    def drop(self, ruling: Ruling) -> None:
        """The ruling on the request that waits, whose connection is over."""
        if self._parked is not None:
            (_, request, _), self._parked = self._parked, None
            if ruling.refusal is None:
                self._moot(request, ruling, "disconnected")

    def _moot(self, request: Request, ruling: Ruling, outcome: str) -> None:
        self._conversation.gate.settle(Run(request, ruling, outcome=outcome, settled=True))

    def _handle(self, buf: bytes | bytearray) -> int:
        """Handle messages from the start of `buf`; how many bytes of it are done with."""
        conversation = self._conversation
        pos, end = 0, len(buf)
        try:
            while end - pos >= 5 and self._parked is None and not self.closed:
                if (conversation.held is not None and not conversation.copying_in) or not conversation.ready:
                    break
                length: int = _LENGTH.unpack_from(buf, pos + 1)[0]
                if length < 4 or length > self._limit:
                    raise ProtocolError(f"message of {length} bytes: the bound is {self._limit}")
                total = length + 1
                if end - pos < total:
                    break
                kind = buf[pos]
                if conversation.barrier is not None and kind in _TEXTS and not conversation.copying_in:
                    break
                if len(conversation.pending) >= PENDING:
                    break
                if not self._message(kind, bytes(buf[pos : pos + total])):
                    break
                pos += total
        finally:
            self._reached = pos
        return pos

    def _message(self, kind: int, message: bytes) -> bool:
        """Handle one message. False leaves it where it is, to be tried again when the server has answered more."""
        handler = _HANDLERS.get(kind)
        if handler is None:
            raise ProtocolError(f"message of unknown type {chr(kind)!r}")
        conversation = self._conversation
        if conversation.discarding and kind not in (SYNCHRONISE, TERMINATE):
            return self._ignored(message)
        if conversation.copying_in and kind not in _IN_COPY:
            raise ProtocolError(f"message {chr(kind)!r} in the middle of COPY FROM STDIN")
        try:
            return handler(self, message)
        except Refused as refused:
            self._refused(kind, refused.refusal)
            return True

    def _ignored(self, message: bytes) -> bool:
        """A message that the server ignores where it is: it need not go."""
        return True

    def _refused(self, kind: int, refusal: Refusal) -> None:
        """A message of this kind is not let through."""
        if kind in _ALONE:
            self._refuse_query(refusal)
        else:
            self._refuse(refusal)

    # simple query

    def _query(self, message: bytes) -> bool:
        conversation = self._conversation
        text = read(conversation, message, 5, len(message))
        if text is None:
            return False
        request = conversation.gate.understand(text)
        ordinary = plain(request)
        asked = Asked(
            request,
            () if ordinary else candidates(conversation, request),
            conversation.in_transaction,
            failed=conversation.failed,
        )
        ruling = conversation.gate.run(asked)
        if ruling is None:
            self._parked = message, request, partial(self._run_query, message, asked, ordinary)
        else:
            self._run_query(message, asked, ordinary, ruling)
        return True

    def _run_query(self, message: bytes, asked: Asked, ordinary: bool, ruling: Ruling) -> None:
        if ruling.refusal is not None:
            self._refuse_query(ruling.refusal)
            return
        conversation, request = self._conversation, asked.request
        run = Run(request, ruling)
        conversation.begin(run)
        awaited = Awaited(QUERY, run)
        if ruling.barrier:
            conversation.stop_behind(run)
        if not ordinary:
            awaited.makes = makes(conversation, request)
            if copies(request, asked.candidates):
                conversation.held = awaited
        conversation.pending.append(awaited)
        self._out.append(message)

    def _function_call(self, _: bytes) -> bool:
        raise Refused(
            Refusal(errors.FEATURE_NOT_SUPPORTED, "lockgate: the function call protocol is refused: call it in SQL")
        )

    def _refuse_query(self, refusal: Refusal) -> None:
        conversation = self._conversation
        if conversation.idle:
            self._back += (errors.error_response(refusal), frames.ready_for_query(conversation.status))
            return
        conversation.pending.append(Awaited(REFUSED_QUERY, refusal=refusal))
        self._out.append(frames.query(NOBODYS))

    # extended query

    def _parse(self, message: bytes) -> bool:
        conversation = self._conversation
        raw, start = frames.cstring(message, 5)
        name = wire_name(raw)
        end = message.find(b"\0", start) + 1
        text = read(conversation, message, start, end)
        if text is None:
            return False
        if len(message) < end + 2 or len(message) != end + 2 + 4 * int.from_bytes(message[end : end + 2], "big"):
            raise ProtocolError("Parse has bytes left over, or too few")
        request = conversation.gate.understand(text)
        refusal = conversation.gate.prepare(request, name)
        if refusal is not None:
            raise Refused(refusal)
        entry = make(conversation.statements, name, Named(request, in_sql=False), conversation.segment)
        return self._send(message, Awaited(PARSE, statement=entry))

    def _bind(self, message: bytes) -> bool:
        conversation = self._conversation
        raw_portal, start = frames.cstring(message, 5)
        raw, start = frames.cstring(message, start)
        name, portal_name = wire_name(raw), wire_name(raw_portal)
        found = conversation.statements.candidates(name, conversation.segment)
        if not found:
            raise Refused(Refusal(errors.NO_SUCH_STATEMENT, f'prepared statement "{name}" does not exist'))
        request = found[0].request
        if any(named.in_sql for named in found):
            # the text that made it does not run, but a part of it: to the house this is what SQL calls it
            request = conversation.gate.understand(execution(name))
        elif len(found) > 1 and any(named.request.text != request.text for named in found):
            return self._undecided(name)
        judged = None if plain(request) else candidates(conversation, request)
        asked = Asked(
            request,
            judged or (),
            conversation.in_transaction,
            lambda: frames.parse_parameters(message, start)[1],
            message[start:],
            conversation.failed,
        )

        def go(ruling: Ruling) -> None:
            if ruling.refusal is not None:
                self._refuse(ruling.refusal)
                return
            run = Run(request, ruling)
            portal = Portal(raw_portal, run, judged)
            conversation.begin(run)  # first: it has been recorded, and wants an outcome also where the names run out
            entry = make(conversation.portals, portal_name, portal, conversation.segment)
            self._send(message, Awaited(BIND, run, portal=entry))

        ruling = conversation.gate.run(asked)
        if ruling is not None:
            go(ruling)
        else:
            frames.parse_parameters(message, start)  # somebody will be shown them
            self._parked = message, request, go
        return True

    def _execute(self, message: bytes) -> bool:
        conversation = self._conversation
        raw, end = frames.cstring(message, 5)
        if len(message) != end + 4:
            raise ProtocolError("Execute of a wrong length")
        portal = self._portal(raw)
        if isinstance(portal, bool):
            return portal
        run = portal.run
        if run.plan is UNREADABLE and run.error is not None:
            raise Refused(Refusal(errors.INSUFFICIENT_PRIVILEGE, f"lockgate: {CANT_MASK}"))
        awaited = Awaited(EXECUTE, run)
        if portal.judged is not None:
            meant = {(other.text, other.shape) for other in portal.judged}
            if any((other.text, other.shape) not in meant for other in candidates(conversation, run.request)):
                raise Refused(
                    Refusal(
                        errors.NO_SUCH_STATEMENT, "lockgate: what the statement uses has changed since it was bound"
                    )
                )
            awaited.makes = makes(conversation, run.request)
        if run.ruling.masking is not None and not portal.described:
            portal.described = True
            self._send(frames.describe_portal(raw), Awaited(DESCRIBE, run, ours=True))
        self._send(message, awaited)
        conversation.segment_ran = True
        if run.ruling.barrier and not run.settled:
            conversation.stop_behind(run)
            conversation.unreported = conversation.wary = True
            self._out.append(frames.FLUSH)
        if portal.judged is not None and copies(run.request, portal.judged):
            conversation.held = awaited
            self._out.append(frames.FLUSH)
        return True

    def _describe(self, message: bytes) -> bool:
        kind, (raw, end) = message[5:6], frames.cstring(message, 6)
        if end != len(message) or kind not in (b"S", b"P"):
            raise ProtocolError("Describe of neither a statement nor a portal")
        if kind == b"S":
            wire_name(raw)
            return self._send(message, Awaited(DESCRIBE))
        if self._is_cursor(wire_name(raw)):
            # names and types of columns: psycopg asks for them before it fetches
            return self._send(message, Awaited(DESCRIBE))
        portal = self._portal(raw)
        if isinstance(portal, bool):
            return portal
        portal.described = True
        return self._send(message, Awaited(DESCRIBE, portal.run))

    def _is_cursor(self, name: str) -> bool:
        """Whether `name` may stand for a cursor made in SQL, which shares its namespace with portals."""
        cursors = self._conversation.cursors
        return len(cursors) > 0 and bool(cursors.candidates(name, NO_SEGMENT))

    def _portal(self, raw: bytes) -> Portal | bool:
        """The one portal of that name, or what to do with the message meanwhile (False: wait). Raises Refused."""
        conversation, name = self._conversation, wire_name(raw)
        if self._is_cursor(name):
            raise Refused(
                Refusal(errors.NO_SUCH_PORTAL, f'lockgate: "{name}" is a cursor made in SQL', hint="Use FETCH.")
            )
        portals = conversation.portals.candidates(name, conversation.segment)
        if not portals:
            raise Refused(Refusal(errors.NO_SUCH_PORTAL, f'portal "{name}" does not exist'))
        return portals[0] if len(portals) == 1 else self._undecided(name)

    def _close(self, message: bytes) -> bool:
        conversation = self._conversation
        kind, (raw, end) = message[5:6], frames.cstring(message, 6)
        if end != len(message) or kind not in (b"S", b"P"):
            raise ProtocolError("Close of neither a statement nor a portal")
        awaited, name = Awaited(CLOSE), wire_name(raw)
        if kind == b"S":
            awaited.statement = make(conversation.statements, name, None, conversation.segment)
        else:
            awaited.portal = make(conversation.portals, name, None, conversation.segment)
        return self._send(message, awaited)

    def _sync(self, message: bytes) -> bool:
        if len(message) != _BARE_BYTES:
            raise ProtocolError("Sync of a wrong length")
        conversation = self._conversation
        if conversation.copying_in:
            return self._ignored(message)  # there it owes no answer
        conversation.pending.append(Awaited(SYNC))
        conversation.segment += 1
        conversation.segment_open = conversation.segment_ran = False
        conversation.discarding = False
        self._out.append(message)
        return True

    def _flush(self, message: bytes) -> bool:
        if len(message) != _BARE_BYTES:
            # the server would answer with an error that belongs to no message it owes an answer to
            raise ProtocolError("Flush of a wrong length")
        self._out.append(message)
        return True

    def _refuse(self, refusal: Refusal) -> None:
        """Let the server meet an error here: it then skips to Sync and keeps its own account of the transaction."""
        self._send(frames.execute(NOBODYS), Awaited(REFUSED, refusal=refusal))
        self._out.append(frames.FLUSH)
        self._conversation.discarding = True

    # copy in, and the end

    def _copy_data(self, message: bytes) -> bool:
        if not self._conversation.copying_in:
            return self._ignored(message)
        self._out.append(message)
        return True

    def _copy_end(self, message: bytes) -> bool:
        conversation = self._conversation
        if not conversation.copying_in:
            return self._ignored(message)
        self._out.append(message)
        conversation.copying_in = False
        if conversation.segment_open:
            # the one behind Execute was read as part of the copy, and ignored
            self._out.append(frames.FLUSH)
        return True

    def _terminate(self, message: bytes) -> bool:
        self._out.append(message)
        self.closed = True
        return True

    # what they share

    def _send(self, message: bytes, awaited: Awaited) -> bool:
        self._conversation.pending.append(awaited)
        self._conversation.segment_open = True
        self._out.append(message)
        return True

    def _undecided(self, name: str) -> bool:
        """What `name` stands for depends on answers that are on their way: wait for them, or refuse if none is."""
        if self._conversation.ready_awaited():
            return False
        raise Refused(
            Refusal(
                errors.NO_SUCH_STATEMENT,
                f'lockgate: which of its definitions "{name}" stands for can\'t be told',
                hint="Close it, or use another name.",
            )
        )


_ALONE: Final = frozenset(b"QF")
"""What is answered by itself, with a ReadyForQuery behind, and not with what stands before the next Sync."""

_HANDLERS: Final = {
    ord("Q"): Frontend._query,
    ord("P"): Frontend._parse,
    ord("B"): Frontend._bind,
    ord("D"): Frontend._describe,
    ord("E"): Frontend._execute,
    ord("C"): Frontend._close,
    ord("S"): Frontend._sync,
    ord("H"): Frontend._flush,
    ord("F"): Frontend._function_call,
    ord("d"): Frontend._copy_data,
    ord("c"): Frontend._copy_end,
    ord("f"): Frontend._copy_end,
    ord("X"): Frontend._terminate,
}
