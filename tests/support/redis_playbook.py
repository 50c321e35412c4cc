"""Transcripts of a Redis session: what the client sends, what the server gets, what it answers, what the client gets.

    play.client("GET k").to_server("GET k")
    play.server(bulk("v")).to_client(bulk("v"))

A command is a text of words, or bytes as they are sent; replies are bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from lockgate.values.secret import Secret
from lockgate.values.statement import Effect, Request, Statement
from lockgate.wire.gate import MaskingError, Refusal, Ruling, Run, Why
from lockgate.wire.redis.gate import NOT_YET, Ear, Execution, Login, NotYet, ReplyMask
from lockgate.wire.redis.requests import encode_command
from lockgate.wire.redis.session import Session

# what a client says


def command(words: str | bytes | Sequence[bytes]) -> bytes:
    """A text of words, or the arguments, as a client sends it; bytes as they are."""
    if isinstance(words, bytes):
        return words
    args = words.encode().split(b" ") if isinstance(words, str) else words
    return encode_command(tuple(args))


# what a server says


def status(text: str) -> bytes:
    return f"+{text}\r\n".encode()


def error(text: str) -> bytes:
    return f"-{text}\r\n".encode()


def number(value: int) -> bytes:
    return b":%d\r\n" % value


def bulk(data: str | bytes | None) -> bytes:
    if data is None:
        return b"$-1\r\n"
    raw = data.encode() if isinstance(data, str) else data
    return b"$%d\r\n%b\r\n" % (len(raw), raw)


def array(*items: bytes) -> bytes:
    return b"*%d\r\n" % len(items) + b"".join(items)


def push(*items: bytes) -> bytes:
    return b">%d\r\n" % len(items) + b"".join(items)


OK, QUEUED, RESET, PONG = status("OK"), status("QUEUED"), status("RESET"), status("PONG")
NOTHING = array()[:1] + b"-1\r\n"
HELLO_2 = array(bulk("proto"), number(2))
HELLO_3 = b"%1\r\n" + bulk("proto") + number(3)
ABORTED = error("EXECABORT Transaction discarded because of previous errors.")


def confirmed(word: str, name: str | None, count: int, of: Callable[..., bytes] = array) -> bytes:
    return of(bulk(word), bulk(name), number(count))


def message(channel: str, text: str, of: Callable[..., bytes] = array, word: str = "message") -> bytes:
    return of(bulk(word), bulk(channel), bulk(text))


# the house

MASK = bulk("***")


class Masked(ReplyMask):
    """Masks every reply whole. `seen` has those that it was shown; `fails` makes it say that it can't be told."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails
        self.seen: list[bytes] = []

    def mask(self, reply: bytes, *, resp3: bool) -> tuple[bytes, int, dict[str, int]]:
        self.seen.append(reply)
        if self.fails:
            raise MaskingError("what it holds can't be told")
        return MASK, 1, {"email": 1}


class MaskedMessages(Masked):
    """Likewise whatever comes without being asked for."""

    def mask(self, reply: bytes, *, resp3: bool) -> tuple[bytes, int, dict[str, int]]:
        shown, cells, found = super().mask(reply, resp3=resp3)
        return reply[:1] + b"1\r\n" + shown, cells, found


ALLOW = Ruling()
DENIED = Refusal(Why.DENIED, "lockgate: not you", "policy p1")
DENIED_REPLY = error("NOPERM lockgate: not you (policy p1)")
LOGIN = Login("agent", Secret("s3cret words"))


class ScriptedGate:
    """A gate that answers by what a command is, and remembers what it was asked.

    `rulings`: the text of a command, or its name -> a Ruling, a Refusal, None to wait, anything else is allowed.
    `unqueued` are the names of commands that may not be queued, `later` of those about which to say takes time.
    `covered` are the addresses that are intercepted. `messages`: a channel, or the first word of what has something
    come -> what masks it, or a Refusal; anything else passes. `heard_` has what was asked about, `standing`
    what of its ruling came back with it.
    """

    def __init__(self, rulings: Mapping[str, Ruling | Refusal | None] | None = None) -> None:
        self.rulings = dict(rulings or {})
        self.unqueued: set[str] = set()
        self.later: set[str] = set()
        self.covered: set[tuple[str, int]] = set()
        self.messages: dict[str, ReplyMask | Refusal] = {}
        self.heard_: list[tuple[str, str | None]] = []
        self.standing: list[object] = []
        self.closed: Refusal | None = None
        self.overtakes: dict[str, Ruling | None] = {}
        """What becomes of answers that are owed when the mode turns, by the text of the command."""
        self.asked: list[tuple[str, bool]] = []
        self.queued: list[str] = []
        self.runs: list[Run] = []
        self.settled: list[tuple[str, str]] = []
        self.became_: list[tuple[str | None, int | None]] = []

    def open(self, parameters: dict[str, str]) -> Refusal | None:
        assert parameters == {"user": "default", "database": "0"}
        return self.closed

    def understand(self, args: tuple[bytes, ...]) -> Request:
        text = b" ".join(args).decode("latin-1")
        return Request("redis", text, text, (Statement(args[0].upper().decode("latin-1"), frozenset((Effect.READ,))),))

    def queue(self, request: Request) -> Refusal | NotYet | None:
        self.queued.append(request.text)
        if request.statements[0].kind in self.later:
            return NOT_YET
        return DENIED if request.statements[0].kind in self.unqueued else None

    def whole(self, execution: Execution) -> Request:
        text = f"EXEC({'; '.join(request.text for request in execution.requests)})"
        statements = tuple(statement for request in execution.requests for statement in request.statements)
        return Request("redis", text, text, statements or (Statement("EXEC", frozenset()),))

    def run(self, request: Request, *, in_transaction: bool) -> Ruling | None:
        self.asked.append((request.text, in_transaction))
        names = (request.text, request.text.split(" ")[0].split("(")[0].upper())
        found = next((self.rulings[name] for name in names if name in self.rulings), ALLOW)
        return Ruling(found) if isinstance(found, Refusal) else found

    def overtaken(self, run: Run) -> Ruling | None:
        return self.overtakes.get(run.request.text, ALLOW)

    def heard(self, ear: Ear, channel: bytes | None) -> ReplyMask | Refusal | None:
        named = None if channel is None else channel.decode("latin-1")
        self.heard_.append((b" ".join(ear.args).decode("latin-1"), named))
        self.standing.append(ear.standing)
        return self.messages.get(named if named is not None else ear.args[0].decode("latin-1"))

    def settle(self, run: Run) -> None:
        assert run.settled
        self.runs.append(run)
        self.settled.append((run.request.text, run.outcome))

    def became(self, *, user: str | None = None, database: int | None = None) -> None:
        self.became_.append((user, database))

    def intercepted(self, host: str, port: int) -> bool:
        return (host, port) in self.covered


Split = Callable[[bytes], Sequence[bytes]]


def whole(data: bytes) -> Sequence[bytes]:
    return [data]


def bytewise(data: bytes) -> Sequence[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def lines(data: bytes) -> list[bytes]:
    return data.splitlines(keepends=True)


class Playbook:
    """A session and its four ends.

    `to_server` and `to_client` must say everything that came since they were last asked. `split` cuts what is fed.
    """

    session: Session

    def __init__(
        self,
        gate: ScriptedGate | None = None,
        *,
        split: Split = whole,
        message_bytes: int = 65_536,
        row_bytes: int = 65_536,
        tls: bool = False,
    ) -> None:
        self.gate = gate or ScriptedGate()
        self.split = split
        self.session = self.made(message_bytes=message_bytes, row_bytes=row_bytes, tls=tls)

    def made(self, **options: Any) -> Session:
        return Session(self.gate, **options)

    def client(self, *said: str | bytes) -> Self:
        for part in self.split(b"".join(map(command, said))):
            self.session.client_data(memoryview(part))
        return self

    def server(self, *data: bytes) -> Self:
        for part in self.split(b"".join(data)):
            self.session.server_data(memoryview(part))
        return self

    def to_server(self, *expected: str | bytes) -> Self:
        assert lines(self.session.drain_server()) == lines(b"".join(map(command, expected)))
        return self

    def to_client(self, *expected: bytes) -> Self:
        assert lines(self.session.drain_client()) == lines(b"".join(expected))
        return self

    def asks(self, said: str | bytes, answer: bytes, shown: bytes | None = None) -> Self:
        """A command goes to the server as it is, and the answer to the client."""
        self.client(said).to_server(said)
        return self.server(answer).to_client(answer if shown is None else shown)

    def begun(self, login: Login | None = None) -> Self:
        """Past the first command."""
        self.client("PING")
        assert self.session.wants_upstream
        self.session.connected(None, login)
        if login is not None:
            self.server(OK)
        self.server(PONG)
        self.session.drain_client()
        self.session.drain_server()
        self.gate.asked.clear()
        self.gate.settled.clear()
        self.gate.runs.clear()
        return self

    def speaks_3(self) -> Self:
        return self.asks("HELLO 3", HELLO_3)

    def resume(self, ruling: Ruling | Refusal = ALLOW) -> Self:
        self.session.resume(Ruling(ruling) if isinstance(ruling, Refusal) else ruling)
        return self

    def outcomes(self, *expected: tuple[str, str]) -> Self:
        """What has been settled since this was last asked."""
        assert self.gate.settled == list(expected)
        self.gate.settled.clear()
        return self

    def broken(self, *why: str) -> None:
        """The connection has ended because somebody didn't keep to the protocol."""
        assert self.session.closing
        said = self.session.drain_client()
        for part in why:
            assert part.encode() in said
