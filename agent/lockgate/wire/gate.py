"""What a wire session asks of the rest of the house, and what it is answered.

A session is sans-IO: it is fed bytes and it leaves bytes to send in `to_client` and `to_server`. Everything it cannot
decide itself it asks of a `Gate`, synchronously; an answer that takes time is None now and `Session.resume` later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from lockgate.values.statement import Request


class ProtocolError(Exception):
    """Theirs: hostile or broken bytes. The connection ends with a native error that carries this message."""


class Why(StrEnum):
    """What a refusal is about, in every protocol: each says it in a code of its own."""

    DENIED = "denied"
    """By policy, by an approver, or because it can't be carried out."""
    NO_ROLE = "no-role"
    """Who asks is nobody in this datastore."""
    UNREACHABLE = "unreachable"
    """There is no way to the datastore, or none for this connection."""
    TOO_MANY = "too-many"
    """Connections."""
    TOO_LARGE = "too-large"
    UNRECORDED = "unrecorded"
    """It can't be recorded."""
    CANCELLED = "cancelled"
    STOPPING = "stopping"
    """The agent ends what was going on."""
    FAILED = "failed"
    """A mistake of the agent's own."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A native error in the making. `code` is a `Why`, or a code of the protocol's own (a SQLSTATE); `message` one line
    that a client may show."""

    code: str
    message: str
    detail: str | None = None
    hint: str | None = None


class Masking(Protocol):
    """How the result of one request is to be masked."""

    def plan(self, statement: int, fields: Sequence[Any], *, utf8: bool) -> Any:
        """A row plan for the result of the request's `statement`-th statement; None when nothing needs masking.

        `utf8` says that text is known to come in that encoding.
        Raises MaskingError when it can't be told what a column holds.
        """

    def copy(self, statement: int, columns: int, found: dict[str, int], *, binary: bool) -> CopyMask | None:
        """Masks what the request's `statement`-th statement copies out, in `columns`; None when nothing needs masking.

        Adds to `found` how much of each kind is masked in values that nobody classified. Raises MaskingError as `plan`
        does.
        """

    def said(self, text: str) -> str | None:
        """A text that the server says of the request, in an error or a notice, as it may be shown.

        None, whatever the text, when it could quote what is masked: it is then withheld whole.
        """
        return None


class CopyMask(Protocol):
    """Masks the messages of one COPY TO STDOUT on their way."""

    @property
    def held(self) -> int:
        """Bytes taken of a row that isn't whole yet."""

    def feed(self, buffer: Any, start: int, end: int) -> tuple[bytes, int, int]:
        """Take the complete messages of copied data from `start` on.

        Returns what goes in their place, the offset of the first byte that is not part of one, and the cells masked.
        Raises ValueError for what no server sends.
        """

    def finish(self) -> tuple[bytes, int]:
        """All was sent: what is left, and the cells masked in it. Raises ValueError when it is cut."""


class MaskingError(Exception):
    """What a result column holds could not be told: the rows must not leave."""


class Watch(Protocol):
    """A look at each result: is it of the columns that the request was judged by?"""

    def check(self, description: bytes) -> None:
        """Raises MaskingError when a result with this RowDescription (its payload) has what wasn't judged."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """Go on, or don't.

    `refusal` None lets the request pass, with `watch` and then `masking` on what comes back.
    `barrier` keeps every later text waiting until this request has been answered, because it may change how a text is
    read. `handle` is the gate's own. `deaf`, of a request with a barrier: the payloads of notifications from now on are
    not for this client. `rehearsal`, of a request that is only observed, is what its `masking` would be: it is asked,
    and whether it fails is all that counts.
    """

    refusal: Refusal | None = None
    masking: Any = None
    barrier: bool = False
    handle: Any = None
    watch: Watch | None = None
    deaf: bool = False
    rehearsal: Any = None


@dataclass(slots=True)
class Run:
    """One execution of a request, from the forward to its end. Counters are filled in by the session."""

    request: Request
    ruling: Ruling
    rows: int = 0
    bytes: int = 0
    masked_cells: int = 0
    detected: dict[str, int] = field(default_factory=dict)
    """How much of each kind was found, and masked, in values that nobody classified."""
    tag: str | None = None
    error: str | None = None
    """The native error code the upstream answered with."""
    withheld: str | None = None
    """Why its result would have been withheld, were it not only observed."""
    outcome: str = "running"
    statement: int = 0
    """How many of the request's statements have completed."""
    plan: Any = None
    planned: bool = False
    """Whether `plan` is the answer of `ruling.masking` for the result now coming back (None: nothing to mask)."""
    copy: CopyMask | None = None
    """What masks the data of the COPY now coming back (None: it passes)."""
    settled: bool = False


@dataclass(slots=True)  # not frozen: one is made for each statement, and that would take three times as long
class Asked:
    """A request that is about to run. Nobody changes it.

    `candidates` are further requests that it may turn out to run (SQL `EXECUTE name`, `FETCH cursor`): all must pass.
    The request itself is among them when its text both makes and uses a name. Which statement of a candidate is meant
    is told by that statement's `makes`; a candidate without one was named by the protocol and has a single statement.
    `parameters` gives the bound values (None for NULL) and is only worth calling when somebody has to approve them; it
    raises ProtocolError for a message nobody can read, in which case the session ends of itself. `formats` are their
    format codes as Bind has them: a count and the codes, two bytes each, and whatever stands behind.
    `in_transaction` says that a transaction may be open in which something has run already, `failed` that the server
    said so of one that has failed: it refuses all but its end.
    """

    request: Request
    candidates: tuple[Request, ...] = ()
    in_transaction: bool = False
    parameters: Callable[[], Sequence[bytes | None]] = field(default=lambda: ())
    formats: bytes = b""
    failed: bool = False


class RowKernel(Protocol):
    """Walks rows in bytes. `start` is a message boundary; both stop at the first byte that is not a complete row."""

    def skip_rows(self, buf: Any, start: int, end: int) -> tuple[int, int]:
        """The offset reached and the rows passed. Raises ValueError on lengths that make no sense."""

    def mask_rows(self, buf: Any, start: int, end: int, plan: Any) -> tuple[bytes, int, int, int, Mapping[str, int]]:
        """The rewritten rows, the offset reached, the rows, the cells masked, and how much of each kind was found in
        values that nobody classified. Raises ValueError likewise.
        """


class Gate(Protocol):
    """The house, as one connection sees it."""

    def open(self, parameters: Mapping[str, str]) -> Refusal | None:
        """The client introduced itself (user, database, application_name ...). None lets it go on to the upstream."""

    def understand(self, text: str) -> Request:
        """What the text would do. Never raises for any text: what can't be judged is a request with a refusal."""

    def prepare(self, request: Request, name: str) -> Refusal | None:
        """The request is about to be sent to be parsed, not run. Records it."""

    def run(self, asked: Asked) -> Ruling | None:
        """The request is about to run. None: wait for `Session.resume`. A ruling without refusal has been recorded."""

    def moot(self, *, skipped: bool) -> None:
        """While a ruling is waited for, the server met an error before the request. With `skipped` it would skip it;
        otherwise the transaction has failed, and it would refuse anything but its end. `Session.resume` is still due,
        and soon: the client waits for it. May be said more than once."""

    def settle(self, run: Run) -> None:
        """The run has ended, told once a run. `outcome` is one of

        completed; error (`run.error` has the code, also when the result could not be masked); skipped (the server met
        an error before it, so it did not run); closed (bound but never run, or not to its end); disconnected (a side
        went away first); broken (the protocol was); unread (sent, but the connection, which is only observed, is not
        read any more).
        """

    def key(self, process: int, secret: bytes) -> bytes:
        """The upstream gave this connection its cancellation key. The secret that the client is given in its place.

        It has the length of `secret`: the client may only know keys of that.
        """

    def cancel(self, process: int, secret: bytes) -> bool:
        """This connection is nothing but a request to cancel what the connection with that key runs.

        True: it is on its way, and `Session.cancelled` will tell when it was taken. The client waits for the end of the
        connection: what it runs next must not be cancelled.
        """
