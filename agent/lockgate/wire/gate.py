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


class MaskingError(Exception):
    """What a result column holds could not be told: the rows must not leave."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """Go on, or don't.

    `refusal` None lets the request pass, with `watch` and then `masking` on what comes back.
    `barrier` keeps every later text waiting until this request has been answered, because it may change how a text is
    read. `handle` is the gate's own. `deaf`, of a request with a barrier: the payloads of notifications from now on are
    not for this client. `standing`, of a request because of which more comes than its answer, is the gate's own too: it
    is given back with whatever comes. `rehearsal`, of a request that is only observed, is what its `masking` would be:
    it is asked, and whether it fails is all that counts.
    """

    refusal: Refusal | None = None
    masking: Any = None
    barrier: bool = False
    handle: Any = None
    watch: Any = None
    deaf: bool = False
    rehearsal: Any = None
    standing: Any = None


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
    copy: Any = None
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


class Gate(Protocol):
    """The house, as one connection sees it. Each protocol has a gate of its own, with what it asks besides."""

    def open(self, parameters: Mapping[str, str]) -> Refusal | None:
        """The client introduced itself (user, database, application_name ...). None lets it go on to the upstream."""

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
