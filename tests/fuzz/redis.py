"""A Redis session between a hostile client and a hostile server: what is sent was judged, what is masked stays so."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from random import Random
from typing import Final

from lockgate.values.secret import Secret
from lockgate.values.statement import Request, Statement
from lockgate.wire.gate import Refusal, Ruling, Run
from lockgate.wire.redis import _resp, replies, requests
from lockgate.wire.redis.gate import Ear, Execution, Login, ReplyMask
from lockgate.wire.redis.session import Session
from tests.fuzz.script import Mutate, Step, decode, encode
from tests.fuzz.target import Target
from tests.support.redis_playbook import (
    ABORTED,
    DENIED,
    HELLO_2,
    HELLO_3,
    OK,
    PONG,
    QUEUED,
    RESET,
    array,
    bulk,
    command,
    confirmed,
    error,
    message,
    number,
    push,
    status,
)

CLIENT, SERVER, RESUME, SECURED = range(4)
"""Steps of a session: bytes of the client, bytes of the server, the awaited ruling, TLS being there."""

MARKER: Final = b"s3cret"
"""What every value holds, and nothing that the client may see: all replies are masked."""

ROOMY: Final = 1 << 20
CRAMPED: Final = 256
_LOGIN: Final = Login("agent", Secret("pw"))
_OURS: Final = frozenset(((b"DISCARD",), (b"AUTH", b"agent", b"pw")))
_NAMED: Final = (b">2\r\n$10\r\ninvalidate", b">1\r\n")


class Everything(ReplyMask):
    """Masks whatever there is."""

    def mask(self, reply: bytes, *, resp3: bool) -> tuple[bytes, int, dict[str, int]]:
        return bulk("***"), 1, {}


class Unasked(ReplyMask):
    """Masks whatever comes without being asked for."""

    def mask(self, reply: bytes, *, resp3: bool) -> tuple[bytes, int, dict[str, int]]:
        return (status("***") if reply[:1] == b"+" else reply[:1] + b"1\r\n" + bulk("***")), 1, {}


class Judge:
    """Lets everything run but what has `forbidden` in it, and takes its time over `wait`. Remembers what it let."""

    def __init__(self) -> None:
        self.let: list[tuple[bytes, ...]] = []
        self.listened: set[tuple[bytes, ...]] = set()
        """What may bring messages: each name that it was let subscribe to."""
        self.ran = 0
        self.settled: list[Run] = []
        self.waiting: Request | None = None

    def open(self, parameters: dict[str, str]) -> Refusal | None:
        return None

    def understand(self, args: tuple[bytes, ...]) -> Request:
        text = b" ".join(args).decode("latin-1")
        return Request("redis", text, text, (Statement(args[0].decode("latin-1"), frozenset()),), args)

    def queue(self, request: Request) -> Refusal | None:
        if "forbidden" in request.text:
            return DENIED
        self._sent(request)
        return None

    def whole(self, execution: Execution) -> Request:
        text = "exec " + " ".join(request.text for request in execution.requests)
        return Request("redis", text, text, (), (b"EXEC",))

    def run(self, request: Request, *, in_transaction: bool) -> Ruling | None:
        assert self.waiting is None, "one command was asked for behind another that waits"
        if "wait" in request.text:
            self.waiting = request
            return None
        return self._ruling(request, refuse="forbidden" in request.text)

    def _ruling(self, request: Request, *, refuse: bool) -> Ruling:
        if refuse:
            return Ruling(DENIED)
        self._sent(request)
        self.ran += 1
        return Ruling(masking=Everything(), barrier="barrier" in request.text)

    def _sent(self, request: Request) -> None:
        assert isinstance(request.detail, tuple)
        self.let.append(request.detail)
        word, *names = request.detail
        self.listened |= {(word.upper(), name) for name in names}

    def decide(self, refuse: bool) -> Ruling:
        """On what waits."""
        request, self.waiting = self.waiting, None
        assert request is not None
        return self._ruling(request, refuse=refuse)

    def overtaken(self, run: Run) -> Ruling | None:
        return None if "forbidden" in run.request.text else run.ruling

    def heard(self, ear: Ear, channel: bytes | None) -> ReplyMask | Refusal | None:
        assert ear.args in self.listened or ear.args[0].upper() in (b"MONITOR", b"CLIENT")
        return DENIED if channel is not None and b"closed" in channel else Unasked()

    def settle(self, run: Run) -> None:
        self.settled.append(run)

    def became(self, *, user: str | None = None, database: int | None = None) -> None:
        assert database is None or database >= 0

    def intercepted(self, host: str, port: int) -> bool:
        return host != "elsewhere"


class World:
    """One session, fed with steps. `piece` is how many bytes it is fed at once, 0 for all of a step."""

    def __init__(self, steps: Sequence[Step], piece: int = 0) -> None:
        mode = steps[0][0] if steps else 0
        self.limit = CRAMPED if mode & 1 else ROOMY
        self.login = _LOGIN if mode & 2 else None
        self.piece = piece
        self.gate = Judge()
        self.session = Session(self.gate, message_bytes=self.limit, row_bytes=self.limit, tls=bool(mode & 4))
        self.to_client = bytearray()
        self.to_server = bytearray()
        self._connected = False
        for step, data in steps[1:]:
            self._step(step % 4, data)
        if self.session.parked:
            self.session.resume(self.gate.decide(refuse=False))
        self.session.client_gone()
        self._take()

    def _step(self, step: int, data: bytes) -> None:
        session = self.session
        if step in (CLIENT, SERVER):
            if (step == SERVER and not self._connected) or (step == CLIENT and session.wants_tls is not None):
                return
            for part in _pieces(data, self.piece):
                (session.client_data if step == CLIENT else session.server_data)(memoryview(part))
                self._bounded(len(part))
                if session.wants_tls is not None:
                    break  # what is left is TLS's
                if session.wants_upstream and not self._connected and not session.closing:
                    self._connected = True
                    session.connected(None, self.login)
        elif step == SECURED and session.wants_tls is not None:
            session.secured()
        elif step == RESUME and session.parked:
            session.resume(self.gate.decide(refuse=bool(data)))
        self._take()

    def _take(self) -> None:
        self.to_client += self.session.drain_client()
        self.to_server += self.session.drain_server()

    def _bounded(self, fed: int) -> None:
        """Nothing is held beyond the bounds, whatever a peer announces."""
        if not self.session.closing:
            assert self.session._answers.held <= self.limit, "more of a reply than it may have"
            # an inline command has a bound of Redis's own
            assert self.session._commands.held <= max(self.limit, 65_536) + fed, "more of a command than it may have"

    @property
    def broken(self) -> bool:
        """Whether one side did not keep to the protocol."""
        return b"-ERR Protocol error" in self.to_client or "broken" in {run.outcome for run in self.gate.settled}


def _pieces(data: bytes, size: int) -> Iterator[bytes]:
    size = size or len(data) or 1
    return (data[at : at + size] for at in range(0, len(data), size))


def check_forwarded(world: World) -> None:
    """Everything that reached the server is a whole command that the gate let pass, in its order."""
    reader = requests.CommandReader(ROOMY)
    sent = reader.feed(bytes(world.to_server))
    assert reader.error is None, reader.error
    assert not reader.held, "half a command was sent"
    let, at = world.gate.let, 0
    for args in sent:
        assert b"forbidden" not in args, "what was refused was sent"
        assert b"\0" not in args[0], "a name with NUL was sent"
        execution = args[0].upper() == b"EXEC" and len(args) == 1
        if at < len(let) and (let[at] == args or (execution and let[at] == (b"EXEC",))):
            at += 1
        else:
            assert args in _OURS, f"{args!r} was sent unjudged"


def check_shown(world: World) -> None:
    """Everything that reached the client is whole replies, up to where it was broken off, and shows no value.

    Errors that the server has for commands without a value are shown, names that are invalidated, and what HELLO tells.
    """
    data = bytes(world.to_client)
    scanner = replies.ReplyScanner()
    begun = 0
    said = bytes(world.to_server).upper()
    for stop in scanner.scan(data, 0, len(data)):
        reply, begun = data[begun : stop >> 8], stop >> 8
        free = reply[:1] in (b"-", b"!") or reply.startswith(_NAMED) or b"HELLO" in said
        assert free or MARKER not in reply or MARKER in world.to_server, "a masked value reached the client"
    assert scanner.broken is None, scanner.broken


def check_session(data: bytes) -> None:
    steps = decode(data)
    world = World(steps)
    check_forwarded(world)
    check_shown(world)
    gate = world.gate
    assert len({id(run) for run in gate.settled}) == len(gate.settled), "a run was settled twice"
    assert len(gate.settled) == gate.ran, "what was let run has no outcome"
    if world.limit == ROOMY:
        again = World(steps, 1 + zlib.crc32(data) % 7)
        check_forwarded(again)
        check_shown(again)
        # where the protocol is broken, what stood before it in the same piece may be lost
        if not (again.broken or world.broken):
            assert again.to_server == world.to_server, "what reaches the server hangs on how bytes are cut"
            assert again.to_client == world.to_client, "what reaches the client hangs on how bytes are cut"


def check_frames(data: bytes) -> None:
    """The compiled reader and scanner do what the references do, however it is cut."""
    size = 1 + zlib.crc32(data) % 7
    read = [(reader(CRAMPED), cut) for reader in (_resp.CommandReader, requests.CommandReader) for cut in (0, size)]
    found = [
        ([args for part in _pieces(data, cut) for args in reader.feed(part)], reader.error) for reader, cut in read
    ]
    assert all(one == found[0] for one in found), "commands are read in two ways"
    encoded = b"".join(map(_resp.encode_command, found[0][0]))
    assert requests.CommandReader(ROOMY).feed(encoded) == found[0][0], "what is sent reads in another way"
    compiled, reference = _resp.ReplyScanner(), replies.ReplyScanner()
    cuts = [*range(0, len(data), size), len(data)]
    stops = [stop for at, end in pairwise(cuts) for stop in compiled.scan(data, at, end)]
    assert stops == reference.scan(data, 0, len(data)), "replies end in two places"
    assert (compiled.broken, compiled.between) == (reference.broken, reference.between)


VALUE: Final = bulk(MARKER)
_MOVED: Final = error("MOVED 1 elsewhere:6379")

_BY_PATTERN: Final[list[bytes]] = [
    of(bulk("pmessage"), bulk("p*"), bulk(channel), VALUE)
    for of, channel in ((array, "pa"), (push, "pa"), (array, "p-closed"))
]

POOL: Final[list[Step]] = [
    *((CLIENT, command(words)) for words in (
        "GET k", "GET forbidden", "GET wait", "DEL barrier", "MULTI", "EXEC", "EXEC x", "DISCARD", "WATCH k", "UNWATCH",
        "SUBSCRIBE a b", "UNSUBSCRIBE", "PSUBSCRIBE p*", "PUNSUBSCRIBE p*", "SSUBSCRIBE s", "SUNSUBSCRIBE", "MONITOR",
        "RESET", "HELLO 3", "HELLO 2 AUTH u pw SETNAME x", "AUTH pw", "SELECT 1", "CLIENT REPLY SKIP", "PING",
        "CLIENT TRACKING ON", "QUIT", "PSYNC ? -1", b"PING\r\n", b"*0\r\n", b'GET "a b"\r\n', b"*1\r\n$9\r\nMULTI",
        [b"MULTI\0x"], [b"SET", b"k", b"x" * 300], b"\x16\x03\x01",
    )),
    *((SERVER, data) for data in (
        OK, PONG, QUEUED, RESET, VALUE, array(VALUE, VALUE), array(), b"*-1\r\n", b"_\r\n", HELLO_2, HELLO_3, ABORTED,
        _MOVED, number(1), error("ERR s3cret"), b"|1\r\n+a\r\n+b\r\n" + VALUE, b"$?\r\n;6\r\ns3cret\r\n;0\r\n",
        b"*?\r\n" + VALUE + b".\r\n", b"%1\r\n+k\r\n" + VALUE, b"~1\r\n" + VALUE, b"$9\r\ns3cre",
        confirmed("subscribe", "a", 1), confirmed("subscribe", "b", 2), confirmed("unsubscribe", "a", 0),
        confirmed("unsubscribe", None, 0), confirmed("psubscribe", "p*", 1), confirmed("sunsubscribe", "s", 0),
        confirmed("ssubscribe", "s", 1), confirmed("subscribe", "a", 1, push), confirmed("subscribe", "b", 2, push),
        confirmed("unsubscribe", "a", 0, push), message("a", "s3cret"), message("a", "s3cret", push),
        message("s", "s3cret", word="smessage"),
        *_BY_PATTERN, push(bulk("invalidate"), array(bulk("k"))), array(bulk("pong"), VALUE),
        status('1700000000.1 [0 x] "GET" "s3cret"'), b"*1\r\n" * 200, b">3\r\n$7\r\nmess",
    )),
    (RESUME, b""), (RESUME, b"no"), (SECURED, b""),
]  # fmt: skip


def _said(*steps: str | bytes | tuple[int, bytes]) -> bytes:
    """A transcript: texts are the client's, bytes the server's."""
    found = [
        (CLIENT, command(step)) if isinstance(step, str) else (SERVER, step) if isinstance(step, bytes) else step
        for step in steps
    ]
    return encode(found)


SESSIONS: Final = [
    mode + _said(*steps)
    for mode in (encode([(0, b"")]), encode([(1, b"")]))
    for steps in (
        ("GET k", VALUE, "GET forbidden", "GET k", VALUE),
        ("MULTI", OK, "GET k", QUEUED, "GET forbidden", "EXEC", OK, "GET k", VALUE),
        ("WATCH k", OK, "MULTI", OK, "GET wait", QUEUED, "EXEC", (RESUME, b""), array(VALUE)),
        ("MULTI", OK, "GET wait", QUEUED, "EXEC", (RESUME, b"no"), OK, "PING", PONG),
        ("SUBSCRIBE a b", confirmed("subscribe", "a", 1), message("a", "s3cret"), confirmed("subscribe", "b", 2),
         "GET k", "UNSUBSCRIBE", confirmed("unsubscribe", "b", 1), confirmed("unsubscribe", "a", 0), "GET k", VALUE),
        ("HELLO 3", HELLO_3, "SUBSCRIBE a", confirmed("subscribe", "a", 1, push), message("a", "s3cret", push), "GET k",
         VALUE, "HELLO 2", HELLO_2, "GET k", "RESET", RESET, "GET k", VALUE),
        ("SSUBSCRIBE s", confirmed("ssubscribe", "s", 1), "SUNSUBSCRIBE", confirmed("sunsubscribe", "s", 0), "GET k",
         confirmed("sunsubscribe", "s", 0), VALUE),
        ("PSUBSCRIBE p*", confirmed("psubscribe", "p*", 1), _BY_PATTERN[0], _BY_PATTERN[2], "GET k"),
        ("MONITOR", OK, status('1700000000.1 [0 x] "GET" "s3cret"'), "GET k", "RESET", RESET, "QUIT"),
        ("DEL barrier", "GET k", number(1), VALUE, _MOVED, error("ERR x")),
    )
]  # fmt: skip
STARTS: Final = [
    encode([(2, b"")])
    + _said("GET k", OK, VALUE, "AUTH x y", "HELLO 3 AUTH x y", HELLO_3, "RESET", RESET, OK, "GET k"),
    encode([(4, b""), (CLIENT, b"\x16\x03\x01\x00"), (SECURED, b"")]) + _said("GET k", VALUE),
    encode([(2, b"")]) + _said("GET k", error("WRONGPASS s3cret")),
    encode([(0, b"")]) + _said("GET k", error("ERR max number of clients reached")),
    encode([(0, b""), (CLIENT, b"POST / HTTP/1.1\r\nHost: x\r\n\r\n")]),
]


def _mutated(data: bytes, limit: int, random: Random, mutate: Mutate) -> bytes:
    """Another input: steps put in, left out, repeated, put together, or one of them changed."""
    steps = decode(data)
    place = random.randrange(len(steps) + 1)
    match random.randrange(7):
        case 0 | 1:
            steps.insert(place, random.choice(POOL))
        case 2:
            del steps[place : place + random.randint(1, 3)]
        case 3:
            steps[place:place] = steps[random.randrange(len(steps) + 1) :][: random.randint(1, 3)]
        case 4 if steps:
            step, said = steps[place - 1]
            steps[place - 1] = step, mutate(said, len(said) + 16)
        case 5 if steps:
            step, said = steps[place - 1]
            steps[place - 1] = step, said + random.choice(POOL)[1]
        case _:
            return mutate(data, limit)
    found = encode((step, said[:0xFFFF]) for step, said in steps)
    return found if len(found) <= limit else data[:limit]


CHECKS: Final = [
    Target("redis", check_session, SESSIONS, mutate=_mutated),
    Target("redis-start", check_session, STARTS, mutate=_mutated),
    Target("redis-frames", check_frames, [said for _, said in POOL]),
]
