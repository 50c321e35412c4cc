"""Transcripts of a wire session: what the client sends, what the server gets, what it answers, what the client gets."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lockgate.masking import rows
from lockgate.masking.cells import Action, Cell
from lockgate.values.statement import Effect, Request, Statement
from lockgate.wire.gate import Asked, MaskingError, Refusal, Ruling, Run
from lockgate.wire.postgresql.frames import Field, frame, startup
from lockgate.wire.postgresql.gate import CopyMask, Masking, RowKernel
from lockgate.wire.postgresql.session import Session

# what a client says


def query(text: str) -> bytes:
    return frame(b"Q", text.encode() + b"\0")


def parse(name: str, text: str) -> bytes:
    return frame(b"P", f"{name}\0{text}\0".encode() + b"\0\0")


def bind(portal: str, statement: str, *values: bytes | None) -> bytes:
    body = b"".join(struct.pack("!i", -1) if v is None else struct.pack("!i", len(v)) + v for v in values)
    return frame(b"B", f"{portal}\0{statement}\0".encode() + b"\0\0" + struct.pack("!h", len(values)) + body + b"\0\0")


def describe(kind: str, name: str) -> bytes:
    return frame(b"D", kind.encode() + name.encode() + b"\0")


def execute(portal: str, limit: int = 0) -> bytes:
    return frame(b"E", portal.encode() + b"\0" + struct.pack("!i", limit))


def close(kind: str, name: str) -> bytes:
    return frame(b"C", kind.encode() + name.encode() + b"\0")


SYNC, FLUSH, TERMINATE = frame(b"S"), frame(b"H"), frame(b"X")
COPY_DONE = frame(b"c")


def copy_data(data: bytes) -> bytes:
    return frame(b"d", data)


def copy_fail(why: str) -> bytes:
    return frame(b"f", why.encode() + b"\0")


def password(secret: bytes) -> bytes:
    return frame(b"p", secret)


# what a server says


def authentication(kind: int, data: bytes = b"") -> bytes:
    return frame(b"R", struct.pack("!i", kind) + data)


def parameter(name: str, value: str) -> bytes:
    return frame(b"S", f"{name}\0{value}\0".encode())


def fields(*names: str, table: int = 0) -> bytes:
    """A RowDescription of text columns; `table` is the OID they all come from."""
    columns = (
        name.encode() + b"\0" + struct.pack("!IhIhih", table, n + 1 if table else 0, 25, -1, -1, 0)
        for n, name in enumerate(names)
    )
    return frame(b"T", struct.pack("!h", len(names)) + b"".join(columns))


def row(*values: bytes | None) -> bytes:
    body = b"".join(struct.pack("!i", -1) if v is None else struct.pack("!i", len(v)) + v for v in values)
    return frame(b"D", struct.pack("!h", len(values)) + body)


def complete(tag: str) -> bytes:
    return frame(b"C", tag.encode() + b"\0")


def ready(status: str = "I") -> bytes:
    return frame(b"Z", status.encode())


def error(code: str, message: str = "it failed", severity: str = "ERROR", **more: str) -> bytes:
    """An ErrorResponse; `more` are further fields by their letter."""
    parts = {"S": severity, "V": severity, "C": code, "M": message, **more}
    return frame(b"E", b"".join(f"{k}{v}\0".encode() for k, v in parts.items()) + b"\0")


def notice(message: str, **more: str) -> bytes:
    parts = {"S": "NOTICE", "V": "NOTICE", "C": "00000", "M": message, **more}
    return frame(b"N", b"".join(f"{k}{v}\0".encode() for k, v in parts.items()) + b"\0")


PARSED, BOUND, CLOSED, NO_DATA, SUSPENDED = (frame(k) for k in (b"1", b"2", b"3", b"n", b"s"))
EMPTY_QUERY = frame(b"I")
COPY_IN, COPY_OUT = frame(b"G", b"\0\0\1\0\0"), frame(b"H", b"\0\0\1\0\0")
PARAMETERS = frame(b"t", b"\0\0")


def messages(data: bytes, *, typed: bool = True) -> list[str]:
    """Bytes as a list a person can compare: a letter and a payload a message."""
    found, pos = [], 0
    while typed and len(data) - pos >= 5:
        end = pos + 1 + int.from_bytes(data[pos + 1 : pos + 5], "big")
        if end > len(data) or end < pos + 5:
            break
        found.append(f"{data[pos : pos + 1].decode('latin-1')} {data[pos + 5 : end]!r}")
        pos = end
    return found + ([f"... {data[pos:]!r}"] if pos < len(data) else [])


# the house


def understand(text: str) -> Request:
    """A toy understanding: statements end with `;`, and names are the words behind PREPARE, EXECUTE, DECLARE, FETCH."""
    statements = []
    for part in filter(None, (p.strip() for p in text.split(";"))):
        words = part.split()
        kind = words[0].upper()
        makes = {"PREPARE": "prepared", "DECLARE": "cursor"}.get(kind)
        uses = {"EXECUTE": "prepared", "FETCH": "cursor"}.get(kind)
        statements.append(
            Statement(
                kind,
                frozenset((Effect.READ,)),
                makes=(makes, words[1].strip('"')) if makes else None,
                uses=(uses, words[-1].strip('"')) if uses else None,
                refusal="it can't be read" if kind == "NONSENSE" else None,
            )
        )
    return Request("sql", text, text, tuple(statements))


class Masked(Masking):
    """Masks every column: `planned` collects what it was asked. `fails` makes it say that it can't be told."""

    def __init__(self, *, fails: bool = False, nothing: bool = False) -> None:
        self.fails = fails
        self.nothing = nothing
        self.planned: list[tuple[int, list[str]]] = []

    def plan(self, statement: int, fields: Sequence[Field], *, utf8: bool) -> tuple[Cell, ...] | None:
        self.planned.append((statement, [f.name for f in fields]))
        if self.fails:
            raise MaskingError("what the column holds can't be told")
        return None if self.nothing else (Cell(Action.REDACT),) * len(fields)

    def copy(self, statement: int, columns: int, found: dict[str, int], *, binary: bool) -> CopyMask | None:
        self.planned.append((statement, ["copy"] * columns))
        if self.fails:
            raise MaskingError("what the column holds can't be told")
        return None if self.nothing else Stars()


class LookedAt(Masked):
    """Masks no column, but looks at every text for what the digits of SSN are."""

    def said(self, text: str) -> str:
        return text.replace("123-45-6789", "***")


class Stars:
    """Masks what is copied: the letters of each line, which may come in pieces, are MASK."""

    def __init__(self) -> None:
        self._rest = b""

    @property
    def held(self) -> int:
        return len(self._rest)

    def feed(self, buffer: bytes, start: int, end: int) -> tuple[bytes, int, int]:
        out, cells = b"", 0
        while end - start >= 5 and buffer[start : start + 1] == b"d":
            stop = start + 1 + int.from_bytes(buffer[start + 1 : start + 5], "big")
            if stop > end:
                break
            *lines, self._rest = (self._rest + buffer[start + 5 : stop]).split(b"\n")
            if b"?" in lines:
                raise ValueError("a line that no server sends")
            out += b"".join(copy_data(MASK + b"\n") for _ in lines)
            cells += len(lines)
            start = stop
        return out, start, cells

    def finish(self) -> tuple[bytes, int]:
        if self._rest == b"?":
            raise ValueError("it is cut")
        return (copy_data(MASK + b"\n"), 1) if self._rest else (b"", 0)


MASK = b"***"
"""What `Masked` leaves of a text: Action.REDACT."""

ALLOW = Ruling()
DENIED = Refusal("42501", "not you", "policy p1")


class ScriptedGate:
    """A gate that answers by text, and remembers what it was asked.

    `rulings`: text -> a Ruling, a Refusal, None to wait, or what to call with the Asked; anything else is allowed. A
    request that has a refusal, or goes on with one that has, or with a text that is refused, is refused.
    """

    def __init__(self, rulings: Mapping[str, object] | None = None) -> None:
        self.rulings = dict(rulings or {})
        self.unprepared: set[str] = set()
        self.refused_users: set[str] = set()
        self.asked: list[Asked] = []
        self.prepared: list[tuple[str, str]] = []
        self.settled: list[tuple[str, str]] = []
        self.runs: list[Run] = []
        self.mooted: list[bool] = []
        self.keys: list[tuple[int, bytes]] = []
        self.cancelled: list[tuple[int, bytes]] = []
        self.cancelling = False
        """Whether a cancel is on its way when the session asks for it."""
        self.secret: Callable[[bytes], bytes] = lambda theirs: theirs
        """What the client is given in place of the secret of the server's key."""

    def open(self, parameters: Mapping[str, str]) -> Refusal | None:
        return Refusal("28000", "not this user") if parameters["user"] in self.refused_users else None

    def understand(self, text: str) -> Request:
        return understand(text)

    def prepare(self, request: Request, name: str) -> Refusal | None:
        self.prepared.append((name, request.text))
        return DENIED if request.text in self.unprepared else None

    def run(self, asked: Asked) -> Ruling | None:
        self.asked.append(asked)
        for request in (asked.request, *asked.candidates):
            found = self.rulings.get(request.text, ALLOW)
            if isinstance(found, Refusal) or request.refusal is not None:
                return Ruling(found if isinstance(found, Refusal) else DENIED)
        found = self.rulings.get(asked.request.text, ALLOW)
        if callable(found):
            found = found(asked)
        assert found is None or isinstance(found, Ruling)
        return found

    def moot(self, *, skipped: bool) -> None:
        self.mooted.append(skipped)

    def settle(self, run: Run) -> None:
        self.runs.append(run)
        self.settled.append((run.request.text, run.outcome))

    def key(self, process: int, secret: bytes) -> bytes:
        self.keys.append((process, secret))
        return self.secret(secret)

    def cancel(self, process: int, secret: bytes) -> bool:
        self.cancelled.append((process, secret))
        return self.cancelling


class _Reference:
    """The row kernel's reference: what the agent runs is the compiled one, held against it elsewhere."""

    skip_rows = staticmethod(rows.skip_rows)

    @staticmethod
    def mask_rows(
        buf: bytes, start: int, end: int, plan: Sequence[Cell]
    ) -> tuple[bytes, int, int, int, Mapping[str, int]]:
        return (*rows.mask_rows(buf, start, end, plan), {})


KERNEL: RowKernel = _Reference()

Split = Callable[[bytes], Sequence[bytes]]


def whole(data: bytes) -> Sequence[bytes]:
    return [data]


def bytewise(data: bytes) -> Sequence[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


class Playbook:
    """A session and its four ends.

        play.client(query("SELECT 1")).to_server(query("SELECT 1"))
        play.server(fields("?"), row(b"1"), complete("SELECT 1"), ready()).to_client(...)

    `to_server` and `to_client` must say everything that came since they were last asked. `split` cuts what is fed.
    """

    def __init__(
        self,
        gate: ScriptedGate | None = None,
        *,
        split: Split = whole,
        message_bytes: int = 65_536,
        row_bytes: int = 65_536,
    ) -> None:
        self.gate = gate or ScriptedGate()
        self.split = split
        self.session = Session(self.gate, KERNEL, message_bytes=message_bytes, row_bytes=row_bytes)

    def client(self, *data: bytes) -> Playbook:
        for part in self.split(b"".join(data)):
            self.session.client_data(memoryview(part))
        return self

    def server(self, *data: bytes) -> Playbook:
        for part in self.split(b"".join(data)):
            self.session.server_data(memoryview(part))
        return self

    def to_server(self, *expected: bytes, typed: bool = True) -> Playbook:
        assert messages(self.session.drain_server(), typed=typed) == messages(b"".join(expected), typed=typed)
        return self

    def to_client(self, *expected: bytes, typed: bool = True) -> Playbook:
        assert messages(self.session.drain_client(), typed=typed) == messages(b"".join(expected), typed=typed)
        return self

    def client_errors(self) -> list[str]:
        """The codes and messages of the errors the client got; everything else it got is dropped."""
        found = []
        for message in messages(self.session.drain_client()):
            if message.startswith("E "):
                code, text = re.search(r"\\x00C([0-9A-Z]{5})", message), re.search(r"\\x00M(.*?)\\x00", message)
                assert code is not None
                assert text is not None
                found.append(f"{code[1]} {text[1]}")
        return found

    def begun(self, encoding: str = "UTF8") -> Playbook:
        """Past start-up and authentication."""
        self.client(startup({"user": "ann"}))
        assert self.session.wants_upstream
        self.session.connected()
        self.server(authentication(0), parameter("client_encoding", encoding), ready())
        self.session.drain_client()
        self.session.drain_server()
        return self

    def resume(self, ruling: Any = ALLOW) -> Playbook:
        self.session.resume(Ruling(ruling) if isinstance(ruling, Refusal) else ruling)
        return self
