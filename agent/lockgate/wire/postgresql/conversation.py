"""What both halves of a PostgreSQL session share: what the server still owes an answer to, and what names mean."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum, auto

from lockgate.values.statement import Request
from lockgate.wire.gate import Gate, Refusal, Run
from lockgate.wire.names import Entry, Names

NAMES = 10_000
"""Prepared statements, and portals, of one connection. PostgreSQL has no bound; pgbouncer tracks 200 by default."""

IDLE, IN_TRANSACTION, FAILED = b"ITE"


class Owed(Enum):
    """Which message an answer is owed to."""

    QUERY = auto()
    PARSE = auto()
    BIND = auto()
    DESCRIBE = auto()
    EXECUTE = auto()
    CLOSE = auto()
    SYNC = auto()
    REFUSED_QUERY = auto()
    REFUSED = auto()


@dataclass(frozen=True, slots=True)
class Portal:
    """A bound statement: `name` as bytes for messages of our own, `run` its one execution."""

    name: bytes
    run: Run


@dataclass(slots=True)
class Awaited:
    """An answer the server owes. `ours` marks a message that the client never sent: its answer is kept from it."""

    owed: Owed
    run: Run | None = None
    statement: Entry[Request] | None = None
    portal: Entry[Portal] | None = None
    refusal: Refusal | None = None
    ours: bool = False
    makes: tuple[tuple[Names[Request], Entry[Request]], ...] = ()
    """Names that SQL text makes (PREPARE, DECLARE)."""


class Conversation:
    """Shared state. `status` is ReadyForQuery's, as the client last saw it."""

    __slots__ = (
        "authenticated",
        "barrier",
        "copying_in",
        "cursors",
        "discarding",
        "gate",
        "muted",
        "open_runs",
        "pending",
        "portals",
        "ready",
        "segment",
        "segment_open",
        "statements",
        "status",
        "utf8",
    )

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.pending: deque[Awaited] = deque()
        self.statements: Names[Request] = Names(NAMES)
        self.portals: Names[Portal] = Names(NAMES)
        self.cursors: Names[Request] = Names(NAMES)
        self.open_runs: list[Run] = []
        self.status = IDLE
        self.authenticated = False
        """Whether the server said AuthenticationOk: what the client sends from here on is read as statements."""
        self.ready = False
        """Whether the server has taken the client in (the first ReadyForQuery)."""
        self.segment = 0
        self.segment_open = False
        """Whether an extended-protocol message went out since the last Sync."""
        self.discarding = False
        """Whether client messages are dropped until Sync, as the server does after an error."""
        self.muted = False
        """Whether an error of ours stands for the server's messages until ReadyForQuery: they are kept from the client."""
        self.copying_in = False
        self.barrier: Run | None = None
        self.utf8 = True

    @property
    def idle(self) -> bool:
        """Whether an error can be answered without the server noticing anything."""
        return not self.pending and not self.segment_open and self.status != IN_TRANSACTION

    def begin(self, run: Run) -> None:
        """`run` is on its way to the server."""
        self.open_runs.append(run)

    def lift(self, run: Run) -> None:
        """`run` has been answered for now: texts behind it may be read."""
        if self.barrier is run:
            self.barrier = None

    def settle(self, run: Run, outcome: str) -> None:
        """`run` has ended; told to the gate once."""
        if run.settled:
            return
        run.settled = True
        run.outcome = outcome
        self.open_runs.remove(run)
        self.lift(run)
        self.gate.settle(run)

    def settle_all(self, outcome: str) -> None:
        """Every run that has not ended ends now."""
        for run in list(self.open_runs):
            self.settle(run, "completed" if run.tag is not None and outcome == "closed" else outcome)

    def skip_to_sync(self, error: str | None) -> None:
        """The server answered an extended-protocol message with an error and now reads on to the next Sync."""
        first = True
        while self.pending and self.pending[0].owed is not Owed.SYNC:
            awaited = self.pending.popleft()
            self.withdraw(awaited)
            if awaited.run is not None:
                if first:
                    awaited.run.error = error
                self.settle(awaited.run, "error" if first else "skipped")
            first = False
        if not self.pending:
            self.discarding = True

    def withdraw(self, awaited: Awaited) -> None:
        """What `awaited` would have named stays as it was."""
        if awaited.statement is not None:
            self.statements.withdraw(awaited.statement)
        if awaited.portal is not None:
            self.portals.withdraw(awaited.portal)
        for names, entry in awaited.makes:
            names.withdraw(entry)

    def made(self, awaited: Awaited) -> None:
        """The server ran `awaited` without an error. Of several statements in one text that is not known of each."""
        if awaited.run is not None and len(awaited.run.request.statements) == 1:
            for names, entry in awaited.makes:
                names.confirm(entry)
