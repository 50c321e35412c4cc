"""From the server to the client: rows are counted, masked or dropped; everything else passes `answers`."""

from __future__ import annotations

import struct
from typing import Final

from lockgate.wire.gate import ProtocolError, Run
from lockgate.wire.postgresql import errors
from lockgate.wire.postgresql.answers import CANT_MASK, HANDLERS, Answers
from lockgate.wire.postgresql.conversation import EXECUTE, QUERY, UNREADABLE, Conversation
from lockgate.wire.postgresql.gate import CopyMask, RowKernel

DATA_ROW: Final = ord("D")
COPY_DATA: Final = ord("d")

_LENGTH: Final = struct.Struct("!I")
_LONGEST: Final = 0x7FFFFFFF


class Backend:
    """The server's half."""

    __slots__ = (
        "_answers", "_conversation", "_limit", "_out", "_remainder", "_rest", "_rows", "_wanted",
    )  # fmt: skip

    def __init__(self, conversation: Conversation, rows: RowKernel, limit: int, out: list[bytes]) -> None:
        """`out` collects what goes to the client.

        `limit` bounds, in bytes, a message that has to be held whole: everything but rows and copies unmasked.
        """
        self._answers = Answers(conversation)
        self._conversation = conversation
        self._rows = rows
        self._limit = limit
        self._rest = bytearray()
        self._wanted = 0
        """How many bytes `_rest` needs before looking at it again is worth while."""
        self._remainder = 0
        """Bytes still to come of a message that is passed on as it arrives."""
        self._out = out

    @property
    def between_messages(self) -> bool:
        """Whether what the client got ends with a whole message."""
        return not self._remainder

    def feed(self, data: bytes | memoryview) -> None:
        """Take bytes from the server; none of `data` is kept. Raises ProtocolError."""
        if self._rest:
            self._rest += data
            if len(self._rest) < self._wanted:
                return
            buf = bytes(self._rest)
            self._rest.clear()
        else:
            buf = bytes(data)  # one copy, which leaves whole unless something in it is replaced
        conversation = self._conversation
        end = len(buf)
        kept = pos = 0
        if self._remainder:
            pos = min(self._remainder, end)
            self._remainder -= pos
            if conversation.muted:
                kept = pos
        try:
            while end - pos >= 5:
                kind = buf[pos]
                if kind == DATA_ROW:
                    run = self._rows_of()
                    if run.plan is UNREADABLE and run.error is not None and not conversation.muted:
                        # of a portal that could not be described; this Execute was already on its way
                        self._emit(buf, kept, pos)
                        self._out.append(self._answers.withhold(conversation.pending[0], f"lockgate: {CANT_MASK}"))
                        kept = pos
                    if run.ruling.masking is None or conversation.muted or (run.planned and run.plan is None):
                        reached = self._pass_rows(run, buf, pos, end)
                        if conversation.muted:
                            self._emit(buf, kept, pos)
                            kept = reached
                        pos = reached
                        continue
                    reached = self._mask_rows(run, buf, kept, pos, end)
                    if reached == pos:
                        break
                    kept = pos = reached
                    continue
                if kind == COPY_DATA:
                    run = self._copied()
                    if run.copy is None or conversation.muted:
                        reached = self._pass_copied(run, buf, pos, end)
                        if conversation.muted:
                            self._emit(buf, kept, pos)
                            kept = reached
                        pos = reached
                        continue
                    reached = self._mask_copied(run, run.copy, buf, kept, pos, end)
                    if reached == pos and not conversation.muted:
                        break
                    kept = pos = reached
                    continue
                length: int = _LENGTH.unpack_from(buf, pos + 1)[0]
                total = length + 1
                if end - pos < total:
                    self._bounded(length, kind)
                    break
                handler = HANDLERS.get(kind)
                if handler is None or length < 4:
                    raise ProtocolError(f"the server sent a message of unknown type {chr(kind)!r}")
                muted = conversation.muted
                replacement = handler(self._answers, buf[pos + 5 : pos + total])
                if replacement is not None or muted:
                    self._emit(buf, kept, pos)
                    if replacement:
                        self._out.append(replacement)
                    kept = pos + total
                pos += total
        finally:
            # also when the next message is a broken one: what stood before it was in order
            self._emit(buf, kept, pos)
            if pos < end:
                self._rest += buf[pos:]
        if pos < end:
            self._wanted = 5 if end - pos < 5 else _LENGTH.unpack_from(buf, pos + 1)[0] + 1

    def take(self) -> bytes:
        """What has come and was not passed on, taken: nothing more is fed."""
        rest = bytes(self._rest)
        self._rest.clear()
        return rest

    def _emit(self, buf: bytes, start: int, end: int) -> None:
        if end > start:
            self._out.append(buf[start:end])

    def _bounded(self, length: int, kind: int) -> None:
        if not 4 <= length <= self._limit:
            raise ProtocolError(f"message {chr(kind)!r} of the server is larger than {self._limit} bytes")

    # rows

    def _rows_of(self) -> Run:
        """The run that rows now belong to."""
        pending = self._conversation.pending
        if pending:
            head = pending[0]
            if head.run is not None and (head.owed is QUERY or head.owed is EXECUTE):
                return head.run
        raise ProtocolError("the server sent rows nobody asked for")

    def _pass_rows(self, run: Run, buf: bytes, pos: int, end: int) -> int:
        """Count rows and leave them as they are; a row cut by the end of the buffer is passed on as it comes."""
        try:
            reached, rows = self._rows.skip_rows(buf, pos, end)
        except ValueError as error:
            raise ProtocolError(f"the server sent a row that can't be read: {error}") from None
        size = reached - pos
        if end - reached >= 5 and buf[reached] == DATA_ROW:
            total: int = _LENGTH.unpack_from(buf, reached + 1)[0] + 1
            rows += 1
            size += total
            self._remainder = total - (end - reached)
            reached = end
        if not self._conversation.muted:
            run.rows += rows
            run.bytes += size
        return reached

    def _mask_rows(self, run: Run, buf: bytes, kept: int, pos: int, end: int) -> int:
        """Rewrite the complete rows at `pos`, behind what goes as it is from `kept` on."""
        if not run.planned or run.plan is UNREADABLE:
            raise ProtocolError("rows came that were not described")
        try:
            out, reached, rows, cells, found = self._rows.mask_rows(buf, pos, end, run.plan)
        except ValueError as error:
            raise ProtocolError(f"a row does not match its description: {error}") from None
        if not rows:
            self._bounded(_LENGTH.unpack_from(buf, pos + 1)[0], DATA_ROW)
            return pos
        self._emit(buf, kept, pos)
        self._out.append(out)
        run.rows += rows
        run.bytes += reached - pos
        run.masked_cells += cells
        for kind, count in found.items():
            run.detected[kind] = run.detected.get(kind, 0) + count
        return reached

    # copied data

    def _copied(self) -> Run:
        """The run that copied data now belongs to."""
        conversation = self._conversation
        run = conversation.pending[0].run if conversation.pending else None
        if run is None or not conversation.copying_out:
            raise ProtocolError("the server sent copied data nobody asked for")
        return run

    def _pass_copied(self, run: Run, buf: bytes, pos: int, end: int) -> int:
        """Leave messages of copied data as they are; one cut by the end of the buffer is passed on as it comes."""
        reached = pos
        while end - reached >= 5 and buf[reached] == COPY_DATA:
            total: int = _LENGTH.unpack_from(buf, reached + 1)[0] + 1
            if not 5 <= total <= _LONGEST:
                raise ProtocolError("the server sent copied data of an impossible length")
            reached += total
        self._remainder = max(0, reached - end)
        run.bytes += reached - pos
        return min(reached, end)

    def _mask_copied(self, run: Run, mask: CopyMask, buf: bytes, kept: int, pos: int, end: int) -> int:
        """Rewrite the complete messages of copied data at `pos`, behind what goes as it is from `kept` on."""
        try:
            out, reached, cells = mask.feed(buf, pos, end)
        except ValueError as error:
            raise ProtocolError(f"the server sent what can't be masked: {error}") from None
        if reached > pos:
            self._emit(buf, kept, pos)
            kept = reached
            if out:
                self._out.append(out)
        run.bytes += reached - pos
        run.masked_cells += cells
        waiting = mask.held
        if end - reached >= 5 and buf[reached] == COPY_DATA:
            waiting += _LENGTH.unpack_from(buf, reached + 1)[0]
        if waiting > self._limit:
            # the rest is dropped as it comes, up to the end of the copy: the connection stays in sync
            self._emit(buf, kept, reached)
            run.error = errors.PROGRAM_LIMIT_EXCEEDED
            why = f"lockgate: a row to be masked is larger than {self._limit} bytes"
            self._out.append(self._answers.withhold(self._conversation.pending[0], why, run.error))
        return reached
