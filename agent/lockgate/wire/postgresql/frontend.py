"""From the client to the server: every message is read, and what would run is judged, before a byte of it leaves."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from lockgate.values.statement import Effect, Request, Statement
from lockgate.wire.gate import Asked, ProtocolError, Refusal, Ruling, Run
from lockgate.wire.names import Entry, Names
from lockgate.wire.postgresql import errors, frames
from lockgate.wire.postgresql.conversation import Awaited, Conversation, Owed, Portal

TERMINATE: Final = ord("X")
SYNC: Final = ord("S")

_NO_SEGMENT: Final = -1
"""SQL text that makes or uses names runs in the middle of anything: nothing about its order is certain."""

_REFUSED_TEXT = "refused by lockgate"
"""Not SQL in any version, and no portal's name: the server's own error keeps its state what it would have been."""


V = TypeVar("V")


class Frontend:
    """The client's half. `out` collects what goes to the server, `back` errors answered on the spot."""

    __slots__ = ("_conversation", "_in", "_limit", "_parked", "back", "closed", "out")

    def __init__(self, conversation: Conversation, limit: int) -> None:
        """`limit` bounds one message of the client, in bytes."""
        self._conversation = conversation
        self._limit = limit
        self._in = bytearray()
        self._parked: Callable[[Ruling], None] | None = None
        self.out: list[bytes] = []
        self.back: list[bytes] = []
        self.closed = False
        """Whether the client said goodbye."""

    @property
    def parked(self) -> bool:
        """Whether a request waits for `resume`."""
        return self._parked is not None

    @property
    def waiting_bytes(self) -> int:
        return len(self._in)

    def feed(self, data: bytes | memoryview) -> None:
        """Take bytes from the client. Raises ProtocolError."""
        self._in += data
        self.pump()

    def resume(self, ruling: Ruling) -> None:
        """The ruling on the request that waits; what came behind it follows. Raises ProtocolError."""
        parked, self._parked = self._parked, None
        if parked is None:
            raise RuntimeError("nothing waits for a ruling")
        parked(ruling)
        self.pump()

    def pump(self) -> None:
        """Go on with what has arrived until something has to be waited for. Raises ProtocolError."""
        pos, buf = 0, self._in
        try:
            while self._parked is None and not self.closed and len(buf) - pos >= 5 and self._conversation.ready:
                length = int.from_bytes(buf[pos + 1 : pos + 5], "big")
                if length < 4 or length > self._limit:
                    raise ProtocolError(f"message of {length} bytes: the bound is {self._limit}")
                total = length + 1
                if len(buf) - pos < total:
                    break
                message = bytes(buf[pos : pos + total])
                if not self._message(message):
                    break
                pos += total
        finally:
            del buf[:pos]

    def _message(self, message: bytes) -> bool:
        """Handle one message. False leaves it where it is, to be tried again when the server has answered more."""
        kind = message[0]
        conversation = self._conversation
        if conversation.discarding and kind not in (SYNC, TERMINATE):
            return True
        if conversation.copying_in and kind not in _IN_COPY:
            raise ProtocolError(f"message {chr(kind)!r} in the middle of COPY FROM STDIN")
        handler = _HANDLERS.get(kind)
        if handler is None:
            raise ProtocolError(f"message of unknown type {chr(kind)!r}")
        return handler(self, message)

    # simple query

    def _query(self, message: bytes) -> bool:
        if self._behind_barrier():
            return False
        request = self._text(message, 5, len(message))
        if isinstance(request, Refusal):
            self._refuse_query(request)
        else:
            self._judge(self._asked(request), partial(self._run_query, message, request))
        return True

    def _run_query(self, message: bytes, request: Request, ruling: Ruling) -> None:
        if ruling.refusal is not None:
            self._refuse_query(ruling.refusal)
            return
        run = Run(request, ruling)
        self._conversation.begin(run)
        if ruling.barrier:
            self._conversation.barrier = run
        self._conversation.pending.append(Awaited(Owed.QUERY, run, makes=self._makes(request)))
        self.out.append(message)

    def _function_call(self, _: bytes) -> bool:
        self._refuse_query(
            Refusal(errors.FEATURE_NOT_SUPPORTED, "lockgate: the function call protocol is refused: call it in SQL")
        )
        return True

    def _refuse_query(self, refusal: Refusal) -> None:
        conversation = self._conversation
        if conversation.idle:
            self.back += (errors.error_response(refusal), frames.ready_for_query(conversation.status))
            return
        conversation.pending.append(Awaited(Owed.REFUSED_QUERY, refusal=refusal))
        self.out.append(frames.query(_REFUSED_TEXT))

    # extended query

    def _parse(self, message: bytes) -> bool:
        if self._behind_barrier():
            return False
        name, start = frames.cstring(message, 5)
        end = message.find(b"\0", start)
        request = self._text(message, start, end + 1)
        if isinstance(request, Refusal):
            return self._refuse(request)
        refusal = self._conversation.gate.prepare(request, _name(name))
        if refusal is not None:
            return self._refuse(refusal)
        entry = self._named(
            lambda: self._conversation.statements.make(_name(name), request, self._conversation.segment)
        )
        return self._send(message, Awaited(Owed.PARSE, statement=entry))

    def _bind(self, message: bytes) -> bool:
        conversation = self._conversation
        portal_name, start = frames.cstring(message, 5)
        statement_name, start = frames.cstring(message, start)
        candidates = conversation.statements.candidates(_name(statement_name), conversation.segment)
        if not candidates:
            return self._refuse(
                Refusal(errors.NO_SUCH_STATEMENT, f'prepared statement "{_name(statement_name)}" does not exist')
            )
        request = candidates[0]
        if any(other.text != request.text for other in candidates):
            return self._undecided(_name(statement_name))

        def go(ruling: Ruling) -> None:
            if ruling.refusal is not None:
                self._refuse(ruling.refusal)
                return
            run = Run(request, ruling)
            portal = Portal(portal_name, run)
            entry = self._named(lambda: conversation.portals.make(_name(portal_name), portal, conversation.segment))
            conversation.begin(run)
            self._send(message, Awaited(Owed.BIND, run, portal=entry))

        self._judge(
            self._asked(request, lambda: frames.parse_parameters(message, start)[1], message[start:]),
            go,
        )
        return True

    def _execute(self, message: bytes) -> bool:
        name, _ = frames.cstring(message, 5)
        portals = self._conversation.portals.candidates(_name(name), self._conversation.segment)
        if not portals:
            return self._refuse(Refusal(errors.NO_SUCH_PORTAL, f'portal "{_name(name)}" does not exist'))
        if len(portals) > 1:
            return self._undecided(_name(name))
        portal, run = portals[0], portals[0].run
        if run.ruling.masking is not None and not run.planned and not self._described(run):
            self._send(frames.describe_portal(portal.name), Awaited(Owed.DESCRIBE, run, ours=True))
        awaited = Awaited(Owed.EXECUTE, run, makes=self._makes(run.request))
        self._send(message, awaited)
        if run.ruling.barrier and not run.settled:
            self._conversation.barrier = run
            self.out.append(frames.FLUSH)
        return True

    def _describe(self, message: bytes) -> bool:
        kind, (name, _) = message[5:6], frames.cstring(message, 6)
        run: Run | None = None
        if kind == b"P":
            portals = self._conversation.portals.candidates(_name(name), self._conversation.segment)
            if len(portals) > 1:
                return self._undecided(_name(name))
            if portals:
                run = portals[0].run
        elif kind != b"S":
            raise ProtocolError("Describe of neither a statement nor a portal")
        return self._send(message, Awaited(Owed.DESCRIBE, run))

    def _close(self, message: bytes) -> bool:
        kind, (name, _) = message[5:6], frames.cstring(message, 6)
        conversation = self._conversation
        awaited = Awaited(Owed.CLOSE)
        if kind == b"S":
            awaited.statement = self._named(
                lambda: conversation.statements.make(_name(name), None, conversation.segment)
            )
        elif kind == b"P":
            awaited.portal = self._named(lambda: conversation.portals.make(_name(name), None, conversation.segment))
        else:
            raise ProtocolError("Close of neither a statement nor a portal")
        return self._send(message, awaited)

    def _sync(self, message: bytes) -> bool:
        conversation = self._conversation
        if conversation.copying_in:
            return True  # the server ignores it there, and so it owes no answer
        conversation.pending.append(Awaited(Owed.SYNC))
        conversation.segment += 1
        conversation.segment_open = False
        conversation.discarding = False
        self.out.append(message)
        return True

    def _flush(self, message: bytes) -> bool:
        self.out.append(message)
        return True

    def _refuse(self, refusal: Refusal) -> bool:
        """Let the server meet an error here: it then skips to Sync and keeps its own account of the transaction."""
        self._send(frames.execute(_REFUSED_TEXT), Awaited(Owed.REFUSED, refusal=refusal))
        self.out.append(frames.FLUSH)
        self._conversation.discarding = True
        return True

    # copy in, and the end

    def _copy_data(self, message: bytes) -> bool:
        if self._conversation.copying_in:
            self.out.append(message)
        return True  # outside a copy the server ignores it

    def _copy_end(self, message: bytes) -> bool:
        if self._conversation.copying_in:
            self.out.append(message)
            self._conversation.copying_in = False
        return True

    def _terminate(self, message: bytes) -> bool:
        self.out.append(message)
        self.closed = True
        return True

    # what they share

    def _send(self, message: bytes, awaited: Awaited) -> bool:
        self._conversation.pending.append(awaited)
        self._conversation.segment_open = True
        self.out.append(message)
        return True

    def _judge(self, asked: Asked, go: Callable[[Ruling], None]) -> None:
        ruling = self._conversation.gate.run(asked)
        if ruling is None:
            self._parked = go
        else:
            go(ruling)

    def _asked(
        self, request: Request, parameters: Callable[[], list[bytes | None]] = list, formats: bytes = b""
    ) -> Asked:
        conversation = self._conversation
        candidates: list[Request] = []
        for statement in request.statements:
            if statement.uses is not None:
                kind, name = statement.uses
                found = self._names(kind).candidates(name, _NO_SEGMENT)
                candidates += found or [_unknown(request, kind, name)]
        return Asked(
            request,
            tuple(candidates),
            in_transaction=conversation.status != ord("I") or conversation.segment_open,
            parameters=parameters,
            formats=formats,
        )

    def _makes(self, request: Request) -> tuple[tuple[Names[Request], Entry[Request]], ...]:
        """Enter the names that the text of `request` gives to statements of its own."""
        made = []
        for statement in request.statements:
            if statement.makes is not None:
                kind, name = statement.makes
                names = self._names(kind)
                made.append((names, self._named(lambda n=names, k=name: n.make(k, request, _NO_SEGMENT))))  # type: ignore[misc]
        return tuple(made)

    def _names(self, kind: str) -> Names[Request]:
        return self._conversation.statements if kind == "prepared" else self._conversation.cursors

    def _text(self, message: bytes, start: int, end: int) -> Request | Refusal:
        """The text between `start` and the NUL that has to stand at `end` - 1, understood."""
        raw = message[start : end - 1]
        if end <= start or message[end - 1] != 0 or b"\0" in raw:
            raise ProtocolError("statement text is not terminated, or holds a NUL")
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            return Refusal(errors.CHARACTER_NOT_IN_REPERTOIRE, "lockgate: the statement is not valid UTF-8")
        if not self._conversation.utf8 and not text.isascii():
            return Refusal(
                errors.CHARACTER_NOT_IN_REPERTOIRE,
                "lockgate: with a client_encoding other than UTF8 only ASCII statements can be judged",
                hint="SET client_encoding TO 'UTF8'",
            )
        return self._conversation.gate.understand(text)

    def _behind_barrier(self) -> bool:
        return self._conversation.barrier is not None

    def _undecided(self, name: str) -> bool:
        """What `name` stands for depends on answers that are on their way: wait for them, or refuse if none is."""
        if any(awaited.owed in (Owed.SYNC, Owed.QUERY) for awaited in self._conversation.pending):
            return False
        return self._refuse(
            Refusal(
                errors.NO_SUCH_STATEMENT,
                f'lockgate: which of its definitions "{name}" stands for can\'t be told',
                hint="Close it, or use another name.",
            )
        )

    @staticmethod
    def _named(make: Callable[[], Entry[V]]) -> Entry[V]:
        try:
            return make()
        except OverflowError as error:
            raise ProtocolError(str(error)) from None

    def _described(self, run: Run) -> bool:
        """Whether the answer to a Describe of this run's portal is already on its way."""
        return any(a.owed is Owed.DESCRIBE and a.run is run for a in self._conversation.pending)


def _name(raw: bytes) -> str:
    """A name as a key: latin-1 keeps every byte, so that two names are one only if their bytes are."""
    return raw.decode("latin-1")


def _unknown(request: Request, kind: str, name: str) -> Request:
    """What stands for a name that this connection never saw made."""
    why = f'the {"prepared statement" if kind == "prepared" else "cursor"} "{name}" was not made on this connection'
    return Request(
        request.language, request.text, f"{request.shape}\0{kind}\0{name}",
        (Statement("UNKNOWN", frozenset((Effect.UNKNOWN,)), refusal=why),),
    )  # fmt: skip


_IN_COPY: Final = frozenset(b"dcfHSX")

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
