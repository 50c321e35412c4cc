"""What both halves of a PostgreSQL session share: what the server still owes an answer to, and what names mean."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from lockgate.values.statement import Request
from lockgate.wire.gate import Refusal, Run
from lockgate.wire.names import Entry, Names
from lockgate.wire.postgresql.authentication import Authentication
from lockgate.wire.postgresql.gate import StatementGate
from lockgate.wire.postgresql.versions import Version

NAMES: Final = 10_000
"""Prepared statements, and portals, of one connection. PostgreSQL has no bound; pgbouncer tracks 200 by default."""

NAMED_CHARACTERS: Final = 64 * 1024 * 1024
"""Characters that the texts behind the names of one kind may have together: a statement alone may have a million."""

PENDING: Final = 10_000
"""Answers the server may owe at once; then the client waits. More than an unflushed server can keep to itself: its
send buffer (8 KiB, PQ_SEND_BUFFER_SIZE) holds 1638 answers of the least size."""

IDLE: Final = ord("I")
IN_TRANSACTION: Final = ord("T")
FAILED: Final = ord("E")


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


# bound once: looking a member up in its Enum costs more than the rest of a comparison
QUERY: Final = Owed.QUERY
PARSE: Final = Owed.PARSE
BIND: Final = Owed.BIND
DESCRIBE: Final = Owed.DESCRIBE
EXECUTE: Final = Owed.EXECUTE
CLOSE: Final = Owed.CLOSE
SYNC: Final = Owed.SYNC
REFUSED_QUERY: Final = Owed.REFUSED_QUERY
REFUSED: Final = Owed.REFUSED

UNREADABLE: Final = object()
"""The plan of a result whose rows must not leave: it could not be masked, or the server said that there is none."""


@dataclass(frozen=True, slots=True)
class Named:
    """What a statement's or a cursor's name stands for: a request, or with `in_sql` what its text says of that name."""

    request: Request
    in_sql: bool


@dataclass(slots=True, eq=False)
class Portal:
    """A bound statement: `name` as bytes for messages of our own, `run` its one execution.

    `judged` are the requests that a statement which uses a name (`EXECUTE a`) was judged with: the name may have been
    given to another one by the time the portal runs. None when it uses none.
    """

    name: bytes
    run: Run
    judged: tuple[Request, ...] | None = None
    described: bool = False
    """Whether a Describe of it was sent."""


@dataclass(slots=True, eq=False)
class Awaited:
    """An answer the server owes. `ours` marks a message that the client never sent: its answer is kept from it."""

    owed: Owed
    run: Run | None = None
    statement: Entry[Named] | None = None
    portal: Entry[Portal] | None = None
    refusal: Refusal | None = None
    ours: bool = False
    makes: tuple[tuple[Names[Named], Entry[Named]], ...] = ()
    """Names that SQL text makes (PREPARE, DECLARE)."""
    failed: bool = False
    """Whether the server answered it with an error."""


def _length(named: Named) -> int:
    return len(named.request.text)


def _portal_length(portal: Portal) -> int:
    return len(portal.run.request.text)


def veils(run: Run) -> bool:
    """Whether what the server says of `run` could quote what is masked, so that its texts are withheld whole."""
    masking = run.ruling.masking
    return masking is not None and masking.said("") is None


class Conversation:
    """Shared state. `status` is ReadyForQuery's, as the client last saw it."""

    __slots__ = ("authenticated", "authentication", "barrier", "binding_withheld", "copying_in", "copying_out",
                 "cursors", "deaf", "discarding", "encoding_moved", "gate", "held", "muted", "muted_to_sync",
                 "observed", "open_runs", "pending", "portals", "ready", "segment", "segment_open", "segment_ran",
                 "statements", "status", "to_server", "unreported", "utf8", "veiled", "version", "wary")  # fmt: skip

    def __init__(self, gate: StatementGate) -> None:
        self.gate = gate
        self.pending: deque[Awaited] = deque()
        self.statements: Names[Named] = Names(NAMES, _length, NAMED_CHARACTERS)
        self.portals: Names[Portal] = Names(NAMES, _portal_length, NAMED_CHARACTERS)
        self.cursors: Names[Named] = Names(NAMES, _length, NAMED_CHARACTERS)
        self.open_runs: dict[int, Run] = {}
        """By identity, in the order of their beginning."""
        self.observed = False
        """Whether the connection is only looked at. Once False it stays so."""
        self.status = IDLE
        self.version = Version()
        self.authentication: Authentication | None = None
        """With a credential of the agent's own; None where the client authenticates itself."""
        self.binding_withheld = False
        """Whether the server offered SCRAM bound to its TLS, and the client wasn't told."""
        self.authenticated = False
        """Whether the server said AuthenticationOk: what the client sends from here on is read as statements."""
        self.ready = False
        """Whether the server has taken the client in (the first ReadyForQuery)."""
        self.segment = 0
        self.segment_open = False
        """Whether an extended-protocol message went out since the last Sync."""
        self.segment_ran = False
        """Whether one of them was an Execute: what it did is not committed before Sync."""
        self.discarding = False
        """Whether client messages are dropped until Sync, as the server does after an error."""
        self.muted = False
        """Whether an error of ours stands for the server's messages until ReadyForQuery: kept from the client."""
        self.muted_to_sync = False
        """Whether that is Sync's, as after an error in the extended protocol, and not the next one."""
        self.to_server: list[bytes] = []
        """What goes to the server: the frontend's, and now and then a word of the answers' own."""
        self.copying_in = False
        self.copying_out = False
        self.held: Awaited | None = None
        """A COPY on its way. The server may turn to reading copied data and ignore a Sync, or fail and heed it: until
        it has said which, nothing may stand behind."""
        self.barrier: Run | None = None
        self.deaf = False
        """Whether payloads of notifications are kept from the client."""
        self.unreported = False
        """Whether a barrier ran since the last ReadyForQuery: PostgreSQL 14 and later report settings only then."""
        self.utf8 = False
        """Whether the server last reported client_encoding UTF8."""
        self.encoding_moved = False
        """Whether it ever reported another: then the end of a transaction may bring that back."""
        self.wary = True
        """Whether any of the three above makes texts that aren't plain ASCII doubtful."""
        self.veiled = False
        """Whether masked columns were read in the transaction: errors and notices may quote them."""

    @property
    def idle(self) -> bool:
        """Whether an error can be answered without the server noticing anything."""
        return not self.pending and not self.segment_open and self.status != IN_TRANSACTION

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction may be open in which something has run, as far as the client's next message goes."""
        return self.status != IDLE or self.segment_ran or bool(self.open_runs)

    @property
    def failed(self) -> bool:
        """Whether the server is in a transaction that has failed, and nothing is on its way that could end it."""
        return self.status == FAILED and not self.open_runs

    @property
    def awaits_run(self) -> bool:
        """Whether the server owes the outcome of something that runs."""
        return any(awaited.owed in (QUERY, EXECUTE) for awaited in self.pending)

    def begin(self, run: Run) -> None:
        """`run` is on its way to the server."""
        self.open_runs[id(run)] = run

    def answered(self) -> None:
        """The server has answered the first of what it owed."""
        if self.pending.popleft() is self.held:
            self.held = None

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
        del self.open_runs[id(run)]
        if self.barrier is run:
            self.barrier = None
        if veils(run):
            self.veiled = True
        self.gate.settle(run)

    def close(self, run: Run) -> None:
        """The portal of `run` is gone; it may not have come to its end."""
        self.settle(run, "completed" if run.tag is not None else "closed")

    def settle_all(self, outcome: str) -> None:
        """Every run that has not ended ends now."""
        for run in list(self.open_runs.values()):
            self.settle(run, outcome)

    def skip_to_sync(self, error: str | None) -> None:
        """The server answered an extended-protocol message with an error and now reads on to the next Sync."""
        first = True
        while self.pending and self.pending[0].owed is not SYNC:
            awaited = self.pending.popleft()
            if awaited is self.held:
                self.held = None
            if awaited.statement is not None:
                self.statements.withdraw(awaited.statement)
            if awaited.portal is not None:
                self.portals.withdraw(awaited.portal)
            for names, entry in awaited.makes:
                if first:
                    names.doubt(entry)
                else:
                    names.withdraw(entry)
            if awaited.run is not None and not awaited.run.settled:
                if first:
                    awaited.run.error = error
                self.settle(awaited.run, "error" if first else "skipped")
            first = False
        if not self.pending:
            self.discarding = True

    def stop_behind(self, run: Run) -> None:
        """No text goes on before `run` has been answered."""
        self.barrier = run
        self.deaf = self.deaf or run.ruling.deaf

    def sync_awaited(self) -> bool:
        """Whether a Sync is on its way: the server's skipping, or holding back of reports, ends there."""
        return any(awaited.owed is SYNC for awaited in self.pending)

    def ready_awaited(self) -> bool:
        """Whether a ReadyForQuery is on its way: what is uncertain now may be known then."""
        return any(awaited.owed in ENDED_BY_READY for awaited in self.pending)

    def weigh(self) -> None:
        """How texts are to be read may have changed."""
        self.wary = self.unreported or self.encoding_moved or not self.utf8


ENDED_BY_READY: Final = frozenset((QUERY, SYNC, REFUSED_QUERY))
