"""A PostgreSQL in miniature: its rules for names, transactions, skipping to Sync and copies, in a toy language.

Statements are `SELECT n` (rows `plain-n`), `SECRET n` and `UNPLANNABLE n` (rows `secret-n`), `FORBIDDEN n` (none may
ever run), `FAIL`, `DEFER` (the transaction fails when it commits), `SYNTAX`, BEGIN, COMMIT, ROLLBACK, `PREPARE a AS
...`, `EXECUTE a`, `DEALLOCATE a`, `DECLARE c CURSOR FOR ...`, `FETCH c`, `CLOSE c` and `COPY in|fails|late|out`.

Source: PostgreSQL's postgres.c (PostgresMain, exec_*_message), prepare.c, portalcmds.c, copyfromparse.c.
"""

from __future__ import annotations

from dataclasses import dataclass

from lockgate.wire.postgresql.frames import frame
from tests.support.playbook import (
    BOUND,
    CLOSED,
    COPY_IN,
    COPY_OUT,
    EMPTY_QUERY,
    NO_DATA,
    PARAMETERS,
    PARSED,
    SUSPENDED,
    authentication,
    complete,
    copy_data,
    error,
    fields,
    parameter,
    ready,
    row,
)

ROWS = 2
_QUERIES = frozenset(("SELECT", "SECRET", "UNPLANNABLE"))


class _Error(Exception):
    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(slots=True)
class _Portal:
    text: str
    returns: bool
    """Whether it will send rows, found when it is bound: rows of one that was not known to are thrown away."""
    rows: list[bytes] | None = None
    done: bool = False
    label: str = ""
    """What a client would call what it runs."""


class ModelServer:
    """Feed it with `take`, let it work with `step`; `sent` has what it has flushed."""

    def __init__(self) -> None:
        self.statements: dict[str, str] = {}
        self.portals: dict[str, _Portal] = {}
        self.block = "I"
        self.ran: list[str] = []
        """Every statement that ran, the innermost of EXECUTE and FETCH."""
        self.completed: list[str] = []
        """Every text, of a query or a portal, that came to its end."""
        self.dead = False
        self.sent = bytearray(
            authentication(0) + parameter("client_encoding", "UTF8") + parameter("server_version", "15.0") + ready()
        )
        self._in_sql: set[str] = set()
        self._in = bytearray()
        self._held = bytearray()
        self._skipping = False
        self._deferred = False
        self._copy: tuple[str, str, str] | None = None
        self._started = False
        self._rest: list[str] = []

    def take(self, data: bytes) -> None:
        self._in += data

    def step(self, count: int = 1_000_000) -> None:
        """Handle up to `count` messages."""
        if not self._started and len(self._in) >= 4:
            size = int.from_bytes(self._in[:4], "big")
            if len(self._in) >= size:
                del self._in[:size]
                self._started = True
        while count and self._started and not self.dead and len(self._in) >= 5:
            size = 1 + int.from_bytes(self._in[1:5], "big")
            if len(self._in) < size:
                return
            kind, payload = chr(self._in[0]), bytes(self._in[5:size])
            del self._in[:size]
            self._message(kind, payload)
            count -= 1

    def flush(self) -> None:
        self.sent += self._held
        self._held.clear()

    # messages

    def _message(self, kind: str, payload: bytes) -> None:
        if kind == "X":
            self.dead = True
        elif self._copy is not None:
            self._copying(kind)
        elif kind == "S":
            self._skipping = False
            try:
                self._finish()
            except _Error as failed:
                self._fail(failed.code)
            self._ready()
        elif self._skipping:
            pass
        elif kind == "Q":
            self._query(payload[:-1].decode())
        elif kind in "dcf":
            pass
        elif kind == "H":
            self.flush()
        else:
            try:
                self._extended(kind, payload)
            except _Error as failed:
                self._fail(failed.code)
                self._skipping = True

    def _query(self, text: str) -> None:
        self.statements.pop("", None)
        self.portals.pop("", None)
        self._rest = [p.strip() for p in text.split(";") if p.strip()]
        try:
            if "SYNTAX" in text or "refused by lockgate" in text:
                raise _Error("42601")
            if not self._rest:
                self._held += EMPTY_QUERY
            self._simple(text)
        except _Error as failed:
            self._fail(failed.code)
            self._ready()

    def _simple(self, text: str) -> None:
        while self._rest:
            statement = self._rest.pop(0)
            self._allowed(statement)
            if statement.startswith("COPY"):
                if self._copies(statement, "simple", text):
                    return
            else:
                rows = self._run(statement)
                if rows is not None:
                    self._held += fields("?") + b"".join(row(r) for r in rows)
            if not self._rest:
                self._finish()
            self._held += complete(statement.split()[0])
        self.completed.append(text)
        self._ready()

    def _extended(self, kind: str, payload: bytes) -> None:
        parts = payload.split(b"\0")
        name = parts[0].decode()
        if kind == "P":
            text = parts[1].decode()
            if not name:
                self.statements.pop("", None)
            self._allowed(text)
            if "SYNTAX" in text or ";" in text:
                raise _Error("42601")
            if name and name in self.statements:
                raise _Error("42P05")
            self.statements[name] = text
            self._in_sql.discard(name)
            self._held += PARSED
        elif kind == "B":
            statement = self.statements.get(parts[1].decode())
            if statement is None:
                raise _Error("26000")
            self._allowed(statement)
            if name and name in self.portals:
                raise _Error("42P03")
            label = f'EXECUTE "{parts[1].decode()}"' if parts[1].decode() in self._in_sql else statement
            self.portals[name] = _Portal(statement, self._returns(statement), label=label)
            self._held += BOUND
        elif kind == "D":
            self._describe(name[:1], name[1:])
        elif kind == "E":
            self._execute(name, int.from_bytes(payload[-4:], "big"))
        elif kind == "C":
            (self.statements if name[:1] == "S" else self.portals).pop(name[1:], None)
            self._held += CLOSED
        else:
            raise AssertionError(f"the session let {kind!r} through")

    def _describe(self, kind: str, name: str) -> None:
        if kind == "S":
            if name not in self.statements:
                raise _Error("26000")
            self._held += PARAMETERS
            returns = self._returns(self.statements[name])
        else:
            if name not in self.portals:
                raise _Error("34000")
            returns = self.portals[name].returns
        self._held += fields("?") if returns else NO_DATA

    def _execute(self, name: str, limit: int) -> None:
        portal = self.portals.get(name)
        if portal is None:
            raise _Error("34000")
        self._allowed(portal.text)
        if portal.text.startswith("COPY"):
            if portal.done:
                raise _Error("55000")
            portal.done = True
            if self._copies(portal.text, "extended", portal.label):
                return
            self.completed.append(portal.label)
            self._held += complete("COPY")
            return
        first = portal.rows is None
        if portal.rows is None:
            if portal.done:
                raise _Error("55000")
            rows = self._run(portal.text)
            portal.rows = list(rows or ()) if portal.returns else []
            portal.done = not portal.returns
        count = len(portal.rows) if limit == 0 else min(limit, len(portal.rows))
        self._held += b"".join(row(r) for r in portal.rows[:count])
        del portal.rows[:count]
        if portal.rows or (limit and count == limit):
            self._held += SUSPENDED
            return
        if first or not portal.done:
            self.completed.append(portal.label)
        portal.done = True
        self._held += complete(portal.text.split()[0])

    # copies

    def _copies(self, statement: str, way: str, text: str) -> bool:
        """Whether the copy reads on from the client."""
        what = statement.split()[1]
        if what == "out":
            self._held += COPY_OUT + copy_data(b"x") + frame(b"c")
            return False
        self._held += COPY_IN
        self.flush()
        if what == "fails":
            raise _Error("42809")
        self._copy = (way, what, text)
        return True

    def _copying(self, kind: str) -> None:
        assert self._copy is not None
        way, what, text = self._copy
        if kind in "HS" or (kind == "d" and what != "late"):
            return
        self._copy = None
        if kind not in "dcf":
            self.dead = True
            self._held += error("08P01", severity="FATAL")
            self.flush()
        elif kind in "df":
            self._fail("22P04")
            if way == "extended":
                self._skipping = True
            else:
                self._ready()
        elif way == "extended":
            self.completed.append(text)
            self._held += complete("COPY 1")
        else:
            try:
                if not self._rest:
                    self._finish()
                self._held += complete("COPY 1")
                self._simple(text)
            except _Error as failed:
                self._fail(failed.code)
                self._ready()

    # statements

    def _allowed(self, statement: str) -> None:
        if self.block == "E" and statement not in ("COMMIT", "ROLLBACK"):
            raise _Error("25P02")

    def _returns(self, statement: str, depth: int = 0) -> bool:
        word, *more = statement.split()
        if word == "EXECUTE":
            inner = self.statements.get(more[-1])
            return inner is not None and depth < 5 and self._returns(inner, depth + 1)
        if word == "FETCH":
            portal = self.portals.get(more[-1])
            return portal is not None and depth < 5 and self._returns(portal.text, depth + 1)
        return word in _QUERIES

    def _run(self, statement: str, depth: int = 0) -> list[bytes] | None:
        """Its rows; None when it returns none."""
        word, *more = statement.split()
        if depth > 5 or word in ("FAIL", "COPY") or (word == "DECLARE" and self.block != "T"):
            raise _Error("P0001")
        if word == "EXECUTE":
            if more[-1] not in self.statements:
                raise _Error("26000")
            return self._run(self.statements[more[-1]], depth + 1)
        if word == "FETCH":
            portal = self.portals.get(more[-1])
            if portal is None:
                raise _Error("34000")
            return self._run(portal.text, depth + 1)
        self.ran.append(statement)
        if word in _QUERIES:
            value = f"{'plain' if word == 'SELECT' else 'secret'}-{more[0]}".encode()
            return [value] * ROWS
        if word == "PREPARE":
            if more[0] in self.statements:
                raise _Error("42P05")
            self.statements[more[0]] = " ".join(more[2:])
            self._in_sql.add(more[0])
        elif word == "DECLARE":
            if more[0] in self.portals:
                raise _Error("42P03")
            self.portals[more[0]] = _Portal(" ".join(more[3:]), True)
        elif word == "DEALLOCATE" and self.statements.pop(more[0], None) is None:
            raise _Error("26000")
        elif word == "CLOSE" and self.portals.pop(more[0], None) is None:
            raise _Error("34000")
        elif word == "DEFER":
            self._deferred = True
        elif word == "BEGIN":
            self.block = "T"
        elif word in ("COMMIT", "ROLLBACK"):
            deferred, self._deferred = self._deferred, False
            failed = word == "COMMIT" and deferred and self.block == "T"
            self.block = "I"
            self.portals.clear()
            if failed:
                raise _Error("23505")
        return None

    def _finish(self) -> None:
        """Commit, unless in a transaction block."""
        if self.block == "I":
            self.portals.clear()
            deferred, self._deferred = self._deferred, False
            if deferred:
                raise _Error("23505")

    def _fail(self, code: str) -> None:
        self._held += error(code)
        self.flush()
        self._rest = []
        self._deferred = False
        self.portals.clear()
        if self.block == "T":
            self.block = "E"

    def _ready(self) -> None:
        self._held += ready(self.block)
        self.flush()
