"""A session between a hostile client and a hostile server: what is forwarded was judged, what is masked stays so."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any, Final

from lockgate.masking import CopyStream, Plan, Program, mask_rows, skip_rows
from lockgate.masking.cells import Action, Cell
from lockgate.masking.copy_rows import MASKED, Layout
from lockgate.understand.postgresql import Understanding
from lockgate.values.copying import CopyKind
from lockgate.values.statement import Request
from lockgate.wire.gate import Asked, MaskingError, ProtocolError, Refusal, Ruling, Run
from lockgate.wire.names import Names
from lockgate.wire.postgresql import frames
from lockgate.wire.postgresql.frames import startup
from lockgate.wire.postgresql.gate import CopyMask, Masking
from lockgate.wire.postgresql.references import NOBODYS, execution
from lockgate.wire.postgresql.session import Session
from tests.fuzz.corpus import CLIENT, MARKER, POOL, SECURED, SERVER, SESSIONS, STARTS
from tests.fuzz.script import Mutate, Step, decode, mutated
from tests.fuzz.target import Target
from tests.support.playbook import DENIED, bind, error, fields

ROOMY: Final = 1 << 20
CRAMPED: Final = 128
_UNDERSTANDING: Final = Understanding(limit=256)
_TO_CLIENT: Final = frozenset(b"RKv123tTnCIsEZSNAGHcDd")
_UNASKED: Final = frozenset(b"ANS")
_TO_SERVER: Final = frozenset(b"QPBDECSHdcfXp")
_LAYOUTS: Final = {
    CopyKind.TEXT: partial(Layout, CopyKind.TEXT, b"\t", rb"\N", b'"', b'"'),
    CopyKind.CSV: partial(Layout, CopyKind.CSV, b",", b"", b'"', b'"'),
    CopyKind.BINARY: partial(Layout, CopyKind.BINARY, b"\t", rb"\N", b'"', b'"'),
}


class Kernel:
    """The agent's own."""

    skip_rows = staticmethod(skip_rows)
    mask_rows = staticmethod(mask_rows)


class Everything(Masking):
    """Every column of every result is masked, in the way of the house."""

    def __init__(self, text: str) -> None:
        self._csv = "csv" in text

    def plan(self, statement: int, fields: Sequence[Any], *, utf8: bool) -> Plan:
        cells = (Cell(Action.REDACT),) * len(fields)
        return Plan(cells, Program(cells))

    def copy(self, statement: int, columns: int, found: dict[str, int], *, binary: bool) -> CopyMask:
        if not columns:
            raise MaskingError("there is nothing to mask")
        layout = _LAYOUTS[CopyKind.BINARY if binary else CopyKind.CSV if self._csv else CopyKind.TEXT]
        cells = (Cell(Action.REDACT),) * columns
        program = Plan(cells, Program(cells))

        def mask(rows: bytes) -> tuple[bytes, int]:
            masked, _, _, hidden, _ = mask_rows(rows, 0, len(rows), program)
            return masked, hidden

        return CopyStream(layout(bytes((MASKED,)) * columns, True), mask, header=False)


class Judge:
    """Lets everything run but `forbidden`, masks all of it, and takes its time over `wait`. Remembers what it let."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.parsed: list[tuple[str, str]] = []
        self.settled: list[Run] = []
        self.waiting: str | None = None
        self.cancelling = False

    def open(self, parameters: Mapping[str, str]) -> Refusal | None:
        return DENIED if parameters["user"] == "nobody" else None

    def understand(self, text: str) -> Request:
        return _UNDERSTANDING.request(text)

    def prepare(self, request: Request, name: str) -> Refusal | None:
        if _forbidden(request):
            return DENIED
        self.parsed.append((name, request.text))
        return None

    def run(self, asked: Asked) -> Ruling | None:
        assert self.waiting is None, "one statement was asked for behind another that waits"
        if any(map(_forbidden, (asked.request, *asked.candidates))):
            return Ruling(DENIED)
        if "wait" in asked.request.text:
            asked.parameters()
            self.waiting = asked.request.text
            return None
        return self._let(asked.request.text)

    def _let(self, text: str) -> Ruling:
        self.ran.append(text)
        return Ruling(masking=Everything(text), barrier=text.startswith(("set", "begin")))

    def decide(self, refuse: bool) -> Ruling:
        """On what waits."""
        text, self.waiting = self.waiting, None
        assert text is not None
        return Ruling(DENIED) if refuse else self._let(text)

    def moot(self, *, skipped: bool) -> None:
        assert self.waiting is not None, "nothing waits"

    def settle(self, run: Run) -> None:
        self.settled.append(run)

    def key(self, process: int, secret: bytes) -> bytes:
        return bytes(len(secret))

    def cancel(self, process: int, secret: bytes) -> bool:
        assert 4 <= len(secret) <= 256
        self.cancelling = bool(process & 1)
        return self.cancelling


def _nothing(_: object) -> int:
    """What any value weighs, where names are bounded by their number."""
    return 0


def _forbidden(request: Request) -> bool:
    return request.refusal is not None or "forbidden" in request.text.lower()


class World:
    """One session, fed with steps. `piece` is how many bytes it is fed at once, 0 for all of a step."""

    def __init__(self, steps: Sequence[Step], piece: int = 0) -> None:
        mode = steps[0][0] if steps else 0
        self.limit = CRAMPED if mode & 1 else ROOMY
        self.tls = bool(mode & 2)
        self.piece = piece
        self.gate = Judge()
        self.session = Session(self.gate, Kernel, message_bytes=self.limit, row_bytes=self.limit, tls=self.tls)
        if self.limit == CRAMPED:
            conversation = self.session._conversation
            conversation.statements, conversation.cursors = Names(3, _nothing, 0), Names(3, _nothing, 0)
            conversation.portals = Names(3, _nothing, 0)
        self.to_client = bytearray()
        self.to_server = bytearray()
        for number, data in steps[1:]:
            self._step(number % 4, data)
            self._bounded()
        if self.session.parked:
            self.session.resume(self.gate.decide(refuse=False))
        self.session.client_gone()
        self._take()

    def _step(self, number: int, data: bytes) -> None:
        session = self.session
        if number in (CLIENT, SERVER):
            if (number == SERVER and not self._connected) or (number == CLIENT and session.wants_tls is not None):
                return
            for part in _pieces(data, self.piece):
                (session.client_data if number == CLIENT else session.server_data)(memoryview(part))
                if number == CLIENT and session.wants_tls is not None:
                    break  # what is left is TLS's, also what came with it
                self._connect()
        elif number == SECURED:
            if session.wants_tls is not None:
                session.secured()
            elif self.gate.cancelling:
                session.cancelled()
        elif session.parked:
            session.resume(self.gate.decide(refuse=bool(data)))
        self._take()

    @property
    def broken(self) -> bool:
        """Whether one side did not keep to the protocol."""
        return b"C08P01\0" in self.to_client or "broken" in {run.outcome for run in self.gate.settled}

    _connected = False

    def _connect(self) -> None:
        if self.session.wants_upstream and not self._connected and not self.session.closing:
            self._connected = True
            self.session.connected()

    def _take(self) -> None:
        self.to_client += self.session.drain_client()
        self.to_server += self.session.drain_server()

    def _bounded(self) -> None:
        """Nothing is held beyond the bounds, whatever a peer announces."""
        if not self.session.closing:
            assert len(self.session._backend._rest) <= self.limit + 5, "more of a server's message than it may have"


def _pieces(data: bytes, size: int) -> Iterator[bytes]:
    size = size or len(data) or 1
    return (data[at : at + size] for at in range(0, len(data), size))


def check_forwarded(world: World) -> None:
    """Everything that reached the server is whole, known, and what the gate let pass, in its order."""
    data, gate = bytes(world.to_server), world.gate
    if not data:
        return
    size = int.from_bytes(data[:4], "big")
    assert data[4:6] == b"\0\3", "the server was not greeted first"
    frames.parse_startup(data[8:size])
    ran, parsed = iter(gate.ran), iter(gate.parsed)
    texts: dict[bytes, set[str]] = {}
    portals: set[bytes] = {NOBODYS.encode()}
    at = size
    while at < len(data):
        kind, end = data[at : at + 1], at + 1 + int.from_bytes(data[at + 1 : at + 5], "big")
        body = data[at + 5 : end]
        assert at + 5 <= end <= len(data), "half a message was sent"
        assert kind[0] in _TO_SERVER, f"a message of type {kind!r} was sent"
        if kind == b"Q":
            text = body[:-1].decode()
            assert text == NOBODYS or text in ran, f"{text!r} ran unjudged"
        elif kind == b"P":
            name, text = body.split(b"\0")[0], body.split(b"\0")[1].decode()
            assert (name.decode(), text) in parsed, f"{text!r} was parsed unjudged"
            texts.setdefault(name, set()).add(text)
        elif kind == b"B":
            portal, name = body.split(b"\0")[:2]
            meant = texts.get(name, set()) | {execution(name.decode())}
            assert any(text in meant for text in ran), f"{name!r} was bound unjudged"
            portals.add(portal)
        elif kind == b"E":
            assert body[:-5] in portals, f"{body!r} was executed and never bound"
        at = end


def _to_client(data: bytes) -> Iterator[bytes]:
    """Its messages, one byte each what answers a request for encryption."""
    at = 0
    while data[at : at + 1] in (b"N", b"S") and data[at + 1 : at + 2] != b"\0":
        at += 1  # of a message, the length would follow
        yield data[at - 1 : at]
    while at < len(data):
        end = at + 1 + int.from_bytes(data[at + 1 : at + 5], "big")
        assert at + 5 <= end <= len(data), "half a message was sent to the client"
        yield data[at:end]
        at = end


def check_shown(world: World) -> None:
    """Everything that reached the client is whole and known, and no row of it holds what is masked."""
    for message in _to_client(bytes(world.to_client)):
        assert message[0] in _TO_CLIENT, f"the client got {message!r}"
        assert message[0] not in b"Dd" or MARKER not in message, "a masked value reached the client"


def shown(world: World) -> tuple[bytes, bytes]:
    """What answers the client, and what the server says of itself at any time (protocol, "Asynchronous Operations").

    Each in its order. An answer of the session's own comes when the statement is read, so where among it such a message
    stands is decided by who was faster.
    """
    messages = tuple(_to_client(bytes(world.to_client)))
    unasked = (message for message in messages if len(message) > 1 and message[0] in _UNASKED)
    answers = (message for message in messages if len(message) == 1 or message[0] not in _UNASKED)
    return b"".join(answers), b"".join(unasked)


def check_session(data: bytes) -> None:
    steps = decode(data)
    world = World(steps)
    check_forwarded(world)
    check_shown(world)
    gate = world.gate
    assert len({id(run) for run in gate.settled}) == len(gate.settled), "a run was settled twice"
    assert len(gate.settled) == len(gate.ran), "what was let run has no outcome"
    if world.limit == ROOMY:
        again = World(steps, 1 + zlib.crc32(data) % 7)
        check_forwarded(again)
        check_shown(again)
        # where the protocol is broken, what stood before it in the same piece may be lost
        if not (again.broken or world.broken):
            assert again.to_server == world.to_server, "what reaches the server hangs on how bytes are cut"
            assert shown(again) == shown(world), "what reaches the client hangs on how bytes are cut"


def check_frames(data: bytes) -> None:
    """The parsers of single messages: an error of theirs, or something that makes sense."""
    for parser in (frames.parse_fields, lambda body: frames.parse_parameters(body, 0)):
        try:
            parser(data)
        except ProtocolError:
            continue
    try:
        parameters = frames.parse_startup(data)
    except ProtocolError:
        pass
    else:
        assert frames.startup(parameters)[8:] == data, "a start-up packet reads in two ways"
    frames.parse_error(data)


def _mutated(data: bytes, limit: int, random: Random, mutate: Mutate) -> bytes:
    return mutated(data, limit, random, mutate, POOL)


_PARSED: Final = [
    fields("a", "b"), bind("", "", b"1", None)[2:], startup({"user": "ann", "database": "x"})[3:],
    error("22012", D="x", H="y"), bind("", "")[2:],
]  # fmt: skip

CHECKS: Final = [
    Target("session", check_session, SESSIONS, mutate=_mutated),
    Target("start", check_session, STARTS, mutate=_mutated),
    Target("frames", check_frames, [seed[5:] for seed in _PARSED]),
]
