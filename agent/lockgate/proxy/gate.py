"""The house, as one connection sees it: identity, judgement, record and hold, in that order, whatever the protocol."""

from __future__ import annotations

import asyncio
import logging
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, Final, Generic, TypeVar

from lockgate.approval.hold import Locks
from lockgate.identity.cache import Identified
from lockgate.identity.workload import IdentityError
from lockgate.proxy import observing, outcome
from lockgate.proxy.approving import Bound, Coverage
from lockgate.proxy.judgement import Judgement
from lockgate.proxy.outlook import REFUSED
from lockgate.proxy.recorder import Begun, Recorder
from lockgate.proxy.roles import UpstreamRole
from lockgate.proxy.services import Services
from lockgate.proxy.store import Store
from lockgate.values.identity import Asker, Claims, Endpoint
from lockgate.values.statement import Request
from lockgate.values.verdict import Decision
from lockgate.wire.gate import Asked, Refusal, Ruling, Run, Why

log = logging.getLogger(__name__)

NOT_INTERCEPTED: Final = "lockgate: this connection was not intercepted: connect to the datastore itself"
FAILED: Final = Refusal(Why.FAILED, "lockgate: judging this statement failed; it was not sent")
STOPPED: Final = Refusal(Why.STOPPING, "lockgate: the wait was ended; the statement was not sent")

J = TypeVar("J", bound=Judgement)
S = TypeVar("S", bound=Store)
E = TypeVar("E")


class ConnectionGate(ABC, Generic[S, J, E]):
    """Implements `lockgate.wire.gate.Gate`, and what an observing session asks, but for what a protocol has of its own.

    S is the store, J the judgement, and E the evidence that a judgement is taken on beside the request (a catalog).

    `identified` is None for a connection that is not let in, and `refusal` says why once the client has introduced
    itself: before that many clients can't show it. One that is only observed is let in nevertheless, and not read:
    `blind` says why. `lingers` once something that enforcing would not let happen lasts as long as it does. `spawn`
    starts what takes time, and the agent waits for it.
    """

    def __init__(
        self,
        services: Services,
        store: S,
        identified: Identified | None,
        endpoint: Endpoint,
        refusal: Refusal | None = None,
        blind: str | None = None,
    ) -> None:
        self.blind = blind
        self.lingers = False
        self.services = services
        self.store = store
        self.endpoint = endpoint
        self.recorder = Recorder(services.ledger, uuid.uuid4().hex)
        self.database = ""
        self.user = ""
        self.spawn: Callable[[Coroutine[Any, Any, Ruling]], asyncio.Task[Ruling]] = _cannot
        self.resume: Callable[[Ruling], None] = _nobody
        self.notice: Callable[[str, str | None], None] = _nobody
        self.busy: Callable[[], bool] = bool
        """Whether the datastore runs something of this connection."""
        self._identified = identified
        self._known: Asker | None = None
        self._refusal = refusal
        self.role = UpstreamRole(store.roles, services.metrics.refused)
        self._waiting: asyncio.Task[Ruling] | None = None
        self._cancelled: Refusal | None = None
        """What the client is told when it has asked to cancel the statement that waits."""
        self._closed = False
        self._asked: Asked | None = None
        """The request that waits."""

    # what the protocol has of its own

    @abstractmethod
    def judge(self, asked: Asked, evidence: E) -> J:
        """What becomes of it."""

    @abstractmethod
    async def evidence(self) -> E:
        """What requests are judged on as of now. Raises EvidenceError."""

    @abstractmethod
    def forward(self, judgement: J, begun: Begun, evidence: E) -> Ruling:
        """What was recorded may go."""

    @abstractmethod
    def recordable(self, request: Request, judgement: J, evidence: E) -> str:
        """The text as it may be recorded."""

    @abstractmethod
    def bound(self, asked: Asked) -> Bound:
        """What an approval of it is bound to."""

    def shown(self, asked: Asked, judgement: J, evidence: E) -> str:
        """What an approver is shown behind the text."""
        return ""

    def futile(self, asked: Asked) -> Refusal | None:
        """Why nobody need be asked about it, in the datastore's own words: it would refuse it. None where not."""
        return None

    async def coverage(self, asked: Asked, judgement: J) -> Coverage:
        """What a grant on it would cover, as names and policies are now."""
        return Coverage(None, f"no grant: {self.store.protocol} has none, so every one is approved by itself")

    def keeps_locks(self, asked: Asked) -> bool:
        """Whether the datastore may keep something locked for this connection while it waits."""
        return False

    async def locks(self) -> Locks:
        """What this connection keeps locked at the datastore. Asked only where it `keeps_locks`."""
        raise NotImplementedError

    def transaction_age(self) -> float:
        """Seconds since the open transaction began, or a little more."""
        return 0.0

    # what the session asks (lockgate.wire.gate.Gate)

    def settle(self, run: Run) -> None:
        begun: Begun = run.ruling.handle
        if run.masked_cells:
            self.services.metrics.masked(self.store.name, run.masked_cells)
        if run.detected:
            self.services.metrics.detected(run.detected)
        told = outcome.told(run, self.store.native(Why.CANCELLED))
        self.services.metrics.upstream(self.recorder.end(begun, *told))

    def moot(self, *, skipped: bool) -> None:
        """See `lockgate.wire.gate.Gate`."""

    def unread(self, why: str) -> None:
        log.debug("a connection goes on unread: %s", why, extra={"datastore": self.store.name, "id": self.recorder.id})
        self.services.metrics.unread(self.store.name)
        if self.recorder.opened:
            self.recorder.unread(why)
        else:
            self.open_record(why, user="", application="")

    def open_record(self, unread: str | None, **place: str) -> Refusal | None:
        """The first record of the connection. A refusal where it has to be written and can't be."""
        return self.recorder.open(
            self._identified, self.endpoint, unread, self.store.enforced, datastore=self.store.name,
            protocol=self.store.protocol, database=self.database, **place,
        )  # fmt: skip

    # what the connection tells

    @property
    def known(self) -> bool:
        """Whether it is known who is behind this connection."""
        return self._identified is not None

    @property
    def claims(self) -> Claims:
        """The claims now in force."""
        if self._identified is None:
            raise RuntimeError("nobody is behind this connection")
        return self._identified.claims

    @property
    def asker(self) -> Asker:
        """Made anew only when the claims, or where it asks, are others: every statement is judged by it."""
        claims = self.claims
        asker = self._known
        if asker is None or asker.claims is not claims or asker.database != self.database or asker.user != self.user:
            asker = self._known = Asker(claims, self.store.name, self.database, self.user)
        return asker

    @property
    def ending(self) -> str:
        """How what waits ends when it does so without an answer, as records say it."""
        return "cancelled" if self._cancelled is not None else "disconnected" if self._closed else "broken"

    def workload_summary(self) -> dict[str, str | int | None]:
        """Enough of the process for an approver to recognise it by."""
        if self._identified is None:
            return {}
        workload = self._identified.workload
        return {"pid": workload.pid, "exe": workload.exe, "user": workload.user, "unit": workload.unit,
                "container": workload.container}  # fmt: skip

    def cancel_wait(self, refusal: Refusal) -> bool:
        """End the wait of a statement because its client asked to cancel it. False when none waits."""
        if self._waiting is None or self._waiting.done():
            return False
        self._cancelled = refusal
        self._waiting.cancel()
        return True

    def close(self, how: str) -> None:
        """The connection is over."""
        self._closed = True
        if self._waiting is not None:
            self._waiting.cancel()
        self.recorder.close(how)

    # judgement

    def held(self, judgement: J) -> bool:
        """Whether it has to wait for another person."""
        return self.store.enforced and judgement.refusal is None and judgement.verdict.decision is Decision.HOLD

    def refresh(self) -> Refusal | None:
        """Make sure the token is good, before anything is judged by its claims.

        A refusal when it can't be renewed: the process behind it has gone.
        """
        if self._identified is None:
            return Refusal(Why.UNREACHABLE, NOT_INTERCEPTED)
        if self.services.identities.holds(self._identified):
            return None
        try:
            identified = self.services.identities.fresh(self._identified)
        except IdentityError as error:
            if self.store.enforced:
                self.services.metrics.refused("identity")
            return Refusal(Why.DENIED, f"lockgate: {error}")
        if identified is not self._identified:
            if (moved := self.role.moved(identified.claims.groups)) is not None:
                return moved
            # what was judged by the claims of before is recorded with them
            self.stage()
            self._identified = identified
            self.recorder.identify(identified)
        return None

    def let_pass(self, asked: Asked, judgement: J, evidence: E, gone: Refusal | None) -> Ruling:
        """Forward or refuse, recorded either way. `gone` is why it is refused whatever policy says."""
        refusal = gone or judgement.refusal
        if refusal is not None and self.store.enforced:
            return Ruling(self.refuse(asked, judgement, refusal, evidence))
        begun, metrics, enforced = self.recorder.next(), self.services.metrics, self.store.enforced
        text = self.recordable(asked.request, judgement, evidence)
        told = judgement.facts if enforced else observing.facts(judgement, gone)
        unrecorded = self.recorder.begin("statement", begun, text, told, must=enforced)
        if unrecorded is not None:
            return Ruling(unrecorded)
        metrics.statement(self.store.name, "allow")
        observing.count(metrics, self.store.name, told)
        self.lingers = self.lingers or (not enforced and observing.lingers(judgement, told))
        return self.forward(judgement, begun, evidence)

    def prepared(
        self, asked: Asked, judgement: J, evidence: E, *, gone: Refusal | None, decided: bool
    ) -> Refusal | None:
        """It is sent to be run later. Recorded; a refusal where it is `decided` already, or `gone` says why."""
        refusal = gone or (judgement.refusal if decided else None)
        if refusal is not None and self.store.enforced:
            return self.refuse(asked, judgement, refusal, evidence, "prepare")
        text = self.recordable(asked.request, judgement, evidence)
        told, must = judgement.facts, self.store.enforced
        if not must:
            told = observing.facts(judgement, gone) if decided or gone is not None else observing.undecided(told)
        return self.recorder.begin("prepare", self.recorder.next(), text, told, must=must)

    def refuse(self, asked: Asked, judgement: J, refusal: Refusal, evidence: E, kind: str = "statement") -> Refusal:
        """Record that it was refused. What the client is told."""
        self.services.metrics.statement(self.store.name, "deny")
        begun = self.recorder.next()
        fields = {**judgement.facts, "verdict": "deny"}
        if judgement.verdict.decision is not Decision.DENY:
            # policy would have let it pass, but it could not be carried out
            fields |= {"policy": REFUSED, "reason": refusal.message}
        observing.count(self.services.metrics, self.store.name, fields)
        unrecorded = self.recorder.begin(kind, begun, self.recordable(asked.request, judgement, evidence), fields)
        self.recorder.end(begun, "denied", {"error": {"code": self.store.native(refusal.code)}}, kind)
        return unrecorded or refusal

    @property
    def staging(self) -> bool:
        """See `lockgate.proxy.connection.Recording`."""
        return False

    def stage(self) -> None:
        """See `lockgate.proxy.connection.Recording`."""

    def unrecorded(self) -> Refusal | None:
        """Why what was let pass must not be sent: it isn't recorded. What was staged is written here."""
        return self.recorder.written()

    # what takes time

    def wait(self, asked: Asked, work: Coroutine[Any, Any, Ruling]) -> None:
        """`work` comes to a ruling; the session waits for it."""
        self._asked = asked
        self._waiting = self.spawn(work)
        self._waiting.add_done_callback(self._answer)

    def _answer(self, task: asyncio.Task[Ruling]) -> None:
        """However the wait ended, the client gets an answer; without a ruling the statement doesn't go forward."""
        cancelled, waiting = self._cancelled, self._asked
        self._cancelled, self._waiting, self._asked = None, None, None
        if task.cancelled():
            ruling = Ruling(cancelled or STOPPED)
        elif task.exception() is not None:  # logged by whoever spawned it
            ruling = (
                observing.unjudged(self, waiting) if waiting is not None and self.store.observed else Ruling(FAILED)
            )
        else:
            ruling = task.result()
        self.resume(ruling)


def _nobody(*_: object) -> None:
    """Where nobody listens: before the connection is wired."""


def _cannot(work: Coroutine[Any, Any, Ruling]) -> asyncio.Task[Ruling]:
    work.close()
    raise RuntimeError("the connection is not wired")
