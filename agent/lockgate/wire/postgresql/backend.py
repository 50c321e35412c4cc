"""From the server to the client: every message is matched with what it answers, and rows are masked."""

from __future__ import annotations

from typing import Final

from lockgate.wire.gate import Masking, MaskingError, ProtocolError, Refusal, RowKernel, Run
from lockgate.wire.postgresql import errors, frames
from lockgate.wire.postgresql.conversation import IDLE, Awaited, Conversation, Owed
from lockgate.wire.postgresql.frames import parse_error, parse_fields

DATA_ROW: Final = ord("D")
COPY_DATA: Final = ord("d")


class Backend:
    """The server's half. `out` collects what goes to the client."""

    __slots__ = ("_conversation", "_limit", "_remainder", "_rest", "_rows", "out")

    def __init__(self, conversation: Conversation, rows: RowKernel, limit: int) -> None:
        """`limit` bounds, in bytes, a message that has to be held whole: everything but rows and copies unmasked."""
        self._conversation = conversation
        self._rows = rows
        self._limit = limit
        self._rest = b""
        self._remainder = 0
        """Bytes still to come of a row that is passed on as it arrives."""
        self.out: list[bytes] = []

    def feed(self, data: bytes | memoryview) -> None:
        """Take bytes from the server. Raises ProtocolError."""
        buf: bytes | memoryview = b"".join((self._rest, data)) if self._rest else data
        end = len(buf)
        kept = pos = 0
        if self._remainder:
            pos = min(self._remainder, end)
            self._remainder -= pos
            if self._conversation.muted:
                kept = pos
        while end - pos >= 5:
            kind = buf[pos]
            if kind == DATA_ROW:
                run = self._rows_of()
                masking = run.ruling.masking
                if masking is None or (run.planned and run.plan is None):
                    reached = self._pass_rows(run, buf, pos, end)
                    if self._conversation.muted:
                        self._emit(buf, kept, pos)
                        kept = reached
                    pos = reached
                    continue
                if not run.planned:
                    raise ProtocolError("rows came that were not described")
                try:
                    out, reached, rows, cells = self._rows.mask_rows(buf, pos, end, run.plan)
                except ValueError as error:
                    raise ProtocolError(f"a row does not match its description: {error}") from None
                self._emit(buf, kept, pos)
                run.rows += rows
                run.bytes += reached - pos
                run.masked_cells += cells
                if rows and not self._conversation.muted:
                    self.out.append(out)
                kept = reached
                if reached == pos:
                    if self._length(buf, pos) > self._limit:
                        raise ProtocolError(f"a row with masked columns is larger than {self._limit} bytes")
                    break
                pos = reached
                continue
            length = self._length(buf, pos)
            total = length + 1
            if end - pos < total:
                if kind == COPY_DATA and not self._conversation.muted:
                    self._copied(total)
                    self._remainder = total - (end - pos)
                    pos = end
                elif length > self._limit:
                    raise ProtocolError(f"message {chr(kind)!r} of the server is larger than {self._limit} bytes")
                break
            if kind == COPY_DATA:
                self._copied(total)
                replacement = None
            else:
                replacement = self._message(kind, bytes(buf[pos + 5 : pos + total]))
            if replacement is not None or self._conversation.muted:
                # ReadyForQuery ends the muting before it gets here, so it passes
                self._emit(buf, kept, pos)
                if replacement:
                    self.out.append(replacement)
                kept = pos + total
            pos += total
        self._emit(buf, kept, pos)
        self._rest = bytes(buf[pos:]) if pos < end else b""

    def _emit(self, buf: bytes | memoryview, start: int, end: int) -> None:
        if end > start:
            self.out.append(bytes(buf[start:end]))

    @staticmethod
    def _length(buf: bytes | memoryview, pos: int) -> int:
        length = int.from_bytes(buf[pos + 1 : pos + 5], "big")
        if not 4 <= length <= 0x7FFFFFFF:
            raise ProtocolError("the server sent a message without a sensible length")
        return length

    def _rows_of(self) -> Run:
        """The run that rows now belong to."""
        head = self._head()
        if head is None or head.run is None or head.owed not in (Owed.QUERY, Owed.EXECUTE):
            raise ProtocolError("the server sent rows nobody asked for")
        return head.run

    def _head(self) -> Awaited | None:
        pending = self._conversation.pending
        return pending[0] if pending else None

    def _pass_rows(self, run: Run, buf: bytes | memoryview, pos: int, end: int) -> int:
        """Count rows and leave them as they are; a row cut by the end of the buffer is passed on as it comes."""
        try:
            reached, rows = self._rows.skip_rows(buf, pos, end)
        except ValueError as error:
            raise ProtocolError(f"the server sent a row that can't be read: {error}") from None
        run.rows += rows
        run.bytes += reached - pos
        view = memoryview(buf)
        if end - reached >= 5 and view[reached] == DATA_ROW:
            total = self._length(view, reached) + 1
            run.rows += 1
            run.bytes += total
            self._remainder = total - (end - reached)
            reached = end
        return reached

    def _copied(self, size: int) -> None:
        head = self._head()
        if head is None or head.run is None:
            raise ProtocolError("the server sent copied data nobody asked for")
        head.run.bytes += size

    def _message(self, kind: int, payload: bytes) -> bytes | None:
        """Handle one whole message. None passes it on unchanged, bytes (also none) go in its place."""
        handler = _HANDLERS.get(kind)
        if handler is None:
            raise ProtocolError(f"the server sent a message of unknown type {chr(kind)!r}")
        return handler(self, payload)

    def _expect(self, *owed: Owed) -> Awaited:
        head = self._head()
        if head is None or head.owed not in owed:
            raise ProtocolError(f"the server answered {owed[0].name.lower()} where nothing of the kind was asked")
        return head

    def _parse_complete(self, _: bytes) -> bytes | None:
        awaited = self._expect(Owed.PARSE)
        self._conversation.pending.popleft()
        if awaited.statement is not None:
            self._conversation.statements.confirm(awaited.statement)
        return None

    def _bind_complete(self, _: bytes) -> bytes | None:
        awaited = self._expect(Owed.BIND)
        self._conversation.pending.popleft()
        if awaited.portal is not None:
            self._conversation.portals.confirm(awaited.portal)
        return None

    def _close_complete(self, _: bytes) -> bytes | None:
        awaited = self._expect(Owed.CLOSE)
        self._conversation.pending.popleft()
        if awaited.statement is not None:
            self._conversation.statements.confirm(awaited.statement)
        if awaited.portal is not None:
            self._conversation.portals.confirm(awaited.portal)
        return None

    def _parameter_description(self, _: bytes) -> bytes | None:
        self._expect(Owed.DESCRIBE)
        return None

    def _row_description(self, payload: bytes) -> bytes | None:
        head = self._expect(Owed.DESCRIBE, Owed.QUERY)
        if head.owed is Owed.DESCRIBE:
            self._conversation.pending.popleft()
        run = head.run
        if run is not None and run.ruling.masking is not None:
            replacement = self._plan(run, run.ruling.masking, payload)
            if replacement is not None:
                return replacement
        return b"" if head.ours else None

    def _plan(self, run: Run, masking: Masking, payload: bytes) -> bytes | None:
        """Make the row plan for the result that is coming; an error in its place when it can't be made."""
        try:
            run.plan = masking.plan(run.statement, parse_fields(payload))
        except MaskingError as error:
            run.plan, run.error = None, errors.INSUFFICIENT_PRIVILEGE
            self._conversation.muted = True
            return errors.error_response(Refusal(errors.INSUFFICIENT_PRIVILEGE, str(error)))
        finally:
            run.planned = True
        return None

    def _no_data(self, _: bytes) -> bytes | None:
        awaited = self._expect(Owed.DESCRIBE)
        self._conversation.pending.popleft()
        if awaited.run is not None:
            awaited.run.plan, awaited.run.planned = None, True
        return b"" if awaited.ours else None

    def _command_complete(self, payload: bytes) -> bytes | None:
        head = self._expect(Owed.EXECUTE, Owed.QUERY)
        run = head.run
        if run is None:
            raise ProtocolError("the server completed what was not run")
        self._conversation.copying_in = False
        run.tag = payload.rstrip(b"\0").decode("utf-8", "replace")
        if run.tag.startswith("COPY "):
            run.rows = int(run.tag[5:])
        run.statement += 1
        if head.owed is Owed.EXECUTE:
            self._conversation.pending.popleft()
            self._conversation.made(head)
            self._conversation.settle(run, "error" if run.error else "completed")
        else:
            run.planned = False
        return None

    def _empty_query(self, _: bytes) -> bytes | None:
        head = self._expect(Owed.EXECUTE, Owed.QUERY)
        if head.owed is Owed.EXECUTE:
            self._conversation.pending.popleft()
            if head.run is not None:
                self._conversation.settle(head.run, "completed")
        return None

    def _portal_suspended(self, _: bytes) -> bytes | None:
        awaited = self._expect(Owed.EXECUTE)
        self._conversation.pending.popleft()
        if awaited.run is not None:
            self._conversation.lift(awaited.run)
        return None

    def _error(self, payload: bytes) -> bytes | None:
        fields = parse_error(payload)
        head = self._head()
        conversation = self._conversation
        if head is None or fields.get("V", fields.get("S")) in ("FATAL", "PANIC"):
            return None
        conversation.copying_in = False
        code = fields.get("C")
        run = head.run
        replacement: bytes | None = None
        if head.refusal is not None:
            replacement = errors.error_response(head.refusal)
        elif run is not None and run.ruling.masking is not None:
            replacement = errors.without_values(b"E", payload)
        if head.owed in (Owed.QUERY, Owed.REFUSED_QUERY):
            if run is not None:
                run.error = code
        elif head.owed is not Owed.SYNC:
            conversation.skip_to_sync(code)
        return replacement

    def _ready(self, payload: bytes) -> bytes | None:
        conversation = self._conversation
        if len(payload) != 1:
            raise ProtocolError("ReadyForQuery of a wrong length")
        if not conversation.ready:
            conversation.ready = True
        else:
            head = self._expect(Owed.SYNC, Owed.QUERY, Owed.REFUSED_QUERY)
            conversation.pending.popleft()
            if head.run is not None:
                if head.run.error is None:
                    self._conversation.made(head)
                elif len(head.run.request.statements) == 1:
                    conversation.withdraw(head)
                conversation.settle(head.run, "error" if head.run.error else "completed")
        conversation.status = payload[0]
        conversation.muted = False
        conversation.copying_in = False
        if conversation.status == IDLE and not conversation.pending and not conversation.segment_open:
            # every portal ends with its transaction
            conversation.portals.clear()
            conversation.settle_all("closed")
        return None

    def _parameter_status(self, payload: bytes) -> bytes | None:
        name, _, value = payload.rstrip(b"\0").partition(b"\0")
        if name == b"standard_conforming_strings" and value != b"on":
            raise ProtocolError("standard_conforming_strings is off: statements would be read in two ways")
        if name == b"client_encoding":
            self._conversation.utf8 = value.upper() == b"UTF8"
        return self._frame(b"S", payload)

    def _notice(self, payload: bytes) -> bytes | None:
        head = self._head()
        if head is not None and head.run is not None and head.run.ruling.masking is not None:
            return errors.without_values(b"N", payload)
        return None

    def _notification(self, payload: bytes) -> bytes | None:
        return self._frame(b"A", payload)

    def _frame(self, kind: bytes, payload: bytes) -> bytes | None:
        """Asynchronous messages pass even while the rest is muted."""
        return frames.frame(kind, payload) if self._conversation.muted else None

    def _authentication(self, payload: bytes) -> bytes | None:
        conversation = self._conversation
        if conversation.authenticated:
            raise ProtocolError("the server asked for authentication again")
        conversation.authenticated = payload == b"\0\0\0\0"
        return None

    def _key(self, payload: bytes) -> bytes | None:
        if self._conversation.ready or len(payload) < 8:
            raise ProtocolError("the server gave a cancellation key out of turn")
        self._conversation.gate.key(int.from_bytes(payload[:4], "big"), payload[4:])
        return None

    def _copy_in(self, _: bytes) -> bytes | None:
        head = self._expect(Owed.QUERY, Owed.EXECUTE)
        conversation = self._conversation
        while len(conversation.pending) > 1:
            # the server reads on to the end of the copy and ignores a Sync that stands before it
            if conversation.pending[1].owed is not Owed.SYNC or head.owed is Owed.QUERY:
                raise ProtocolError("messages stand between COPY FROM STDIN and its data")
            del conversation.pending[1]
            conversation.segment_open = True
        conversation.copying_in = True
        return None

    def _copy_out(self, _: bytes) -> bytes | None:
        head = self._expect(Owed.QUERY, Owed.EXECUTE)
        if head.run is None or head.run.ruling.masking is not None:
            raise ProtocolError("COPY of masked columns")
        return None

    def _copy_done(self, _: bytes) -> bytes | None:
        self._expect(Owed.QUERY, Owed.EXECUTE)
        return None


_HANDLERS = {
    ord("R"): Backend._authentication,
    ord("K"): Backend._key,
    ord("1"): Backend._parse_complete,
    ord("2"): Backend._bind_complete,
    ord("3"): Backend._close_complete,
    ord("t"): Backend._parameter_description,
    ord("T"): Backend._row_description,
    ord("n"): Backend._no_data,
    ord("C"): Backend._command_complete,
    ord("I"): Backend._empty_query,
    ord("s"): Backend._portal_suspended,
    ord("E"): Backend._error,
    ord("Z"): Backend._ready,
    ord("S"): Backend._parameter_status,
    ord("N"): Backend._notice,
    ord("A"): Backend._notification,
    ord("G"): Backend._copy_in,
    ord("H"): Backend._copy_out,
    ord("c"): Backend._copy_done,
}
