"""The house, as one connection sees it: identity, judgement, record and hold, in that order, for each statement."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any, Final

from lockgate.approval.hold import Locks
from lockgate.identity.cache import Identified
from lockgate.identity.workload import IdentityError
from lockgate.proxy import locks, observing, outcome, second_key, startup
from lockgate.proxy.catalog import Snapshot
from lockgate.proxy.catalog_reader import CatalogError
from lockgate.proxy.holds import no
from lockgate.proxy.judge import ROWLESS_EFFECTS, Judgement
from lockgate.proxy.outlook import REFUSED, Outlook
from lockgate.proxy.patience import TOO_SLOW, WAIT_SECONDS
from lockgate.proxy.recorder import Begun, Recorder
from lockgate.proxy.result_masking import ResultMasking
from lockgate.proxy.roles import UpstreamRole
from lockgate.proxy.services import Services, Store
from lockgate.proxy.watching import Watch
from lockgate.values.identity import Asker, Claims, Endpoint
from lockgate.values.statement import Request
from lockgate.values.verdict import Decision
from lockgate.wire.gate import Asked, Refusal, Ruling, Run
from lockgate.wire.postgresql import errors

log = logging.getLogger(__name__)

NOT_INTERCEPTED: Final = "lockgate: this connection was not intercepted: connect to the datastore itself"
FAILED: Final = Refusal(errors.INTERNAL_ERROR, "lockgate: judging this statement failed; it was not sent")
STOPPED: Final = Refusal(errors.ADMIN_SHUTDOWN, "lockgate: the wait was ended; the statement was not sent")
ESTIMATED: Final = frozenset(("SELECT", "INSERT", "UPDATE", "DELETE", "MERGE"))
"""Kinds of statements that have a plan, so that their rows can be estimated."""


class StatementGate:
    """Implements `lockgate.wire.gate.Gate` for one PostgreSQL connection, and `ObservingGate`.

    `identified` is None for a connection that is not let in, and `refusal` says why once the client has introduced
    itself: before that many clients can't show it. One that is only observed is let in nevertheless, and not read:
    `blind` says why. `lingers` once something that enforcing would not let happen lasts as long as it does. `spawn`
    starts what takes time, and the agent waits for it.
    """

    def __init__(
        self,
        services: Services,
        store: Store,
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
        self.on_cancel: Callable[[int, bytes], bool] = _nothing
        self.busy: Callable[[], bool] = bool
        """Whether the datastore runs something of this connection."""
        self._identified = identified
        self._known: Asker | None = None
        self._refusal = refusal
        self.role = UpstreamRole(store.roles, services.metrics.refused)
        self._key: tuple[int, bytes] | None = None
        self.upstream_key: tuple[int, bytes] = (0, b"")
        """What a CancelRequest to the datastore has to say, once `key` was called."""
        self._waiting: asyncio.Task[Ruling] | None = None
        self._cancelled: Refusal | None = None
        """What the client is told when it has asked to cancel the statement that waits."""
        self._closed = False
        self._altering = 0
        """Statements on their way that may change the catalog."""
        self._altered = False
        """Whether this connection changed the catalog in a transaction that, for all we know, is still open."""
        self._outside = time.monotonic_ns()
        """When a statement was last asked about outside a transaction: a transaction that is open began there."""
        self._asked: Asked | None = None
        """The request that waits."""
        self._estimated: tuple[Asked, int | None] | None = None
        """It and the rows that it is estimated to read or change."""

    # what the session asks (lockgate.wire.gate.Gate)

    def open(self, parameters: Mapping[str, str]) -> Refusal | None:
        if self._refusal is None and self.store.observed:
            observing.admit(self, self._identified, parameters)
            return None
        refusal = self._refusal or self.refresh()
        if refusal is not None or self._identified is None:
            return refusal
        claimed = parameters["user"]
        self.database = parameters.get("database") or claimed
        unmapped = self.role.find(self.claims.groups)
        self.user = self.role.user or claimed
        unrecorded = self.open_record(
            None, user=self.user, claimed_user=claimed, application=parameters.get("application_name", "")
        )
        refusal = unrecorded or unmapped
        if refusal is not None:
            return refusal
        for text in startup.settings(parameters):
            asked = Asked(self.understand(text))
            judgement = self.judge(asked, None)
            if judgement.refusal is None and judgement.verdict.decision is Decision.HOLD:
                refusal = Refusal(
                    errors.INSUFFICIENT_PRIVILEGE,
                    f"lockgate: a setting of the start-up packet can't wait for approval: SET it later "
                    f"(policy {judgement.verdict.policy})",
                )
                return self.refuse(asked, judgement, refusal, None)
            ruling = self.let_pass(asked, judgement, None, None)
            if ruling.refusal is not None:
                return ruling.refusal
            self.recorder.end(ruling.handle, "completed", {})
        return None

    def understand(self, text: str) -> Request:
        return self.services.understanding.request(text)

    def prepare(self, request: Request, name: str) -> Refusal | None:
        asked = Asked(request)
        gone = self.refresh()
        snapshot = self._cached()
        judgement = self.judge(asked, snapshot)
        # without a catalog that knows what it names only policy's own no counts: it is read before the statement runs
        decided = judgement.verdict.decision is Decision.DENY or (snapshot is not None and not judgement.unknown)
        # and what EXECUTE runs, and how many rows it may be about, is known when it is bound
        decided = decided and all(s.uses is None for s in request.statements) and not self._estimable(request)
        refusal = gone or (judgement.refusal if decided else None)
        if refusal is not None and self.store.enforced:
            return self.refuse(asked, judgement, refusal, snapshot, "prepare")
        text = self.recordable(asked.request, judgement, snapshot)
        told, must = judgement.facts, self.store.enforced
        if not must:
            told = observing.facts(judgement, gone) if decided or gone is not None else observing.undecided(told)
        return self.recorder.begin("prepare", self.recorder.next(), text, told, must=must)

    def run(self, asked: Asked) -> Ruling | None:
        started = time.monotonic_ns()
        if not asked.in_transaction:
            self._outside = started
        gone = self.refresh()
        store = self.store
        snapshot = None
        # what is only observed doesn't wait for what was waited for in vain
        lost = None if store.enforced else store.patience.lost(self.database)
        if store.catalogs is not None:
            if self._altered and not asked.in_transaction and not self._altering:
                self._altered = False
                self._expire()
            snapshot = self._cached(asked)
            if snapshot is None and lost == TOO_SLOW:
                snapshot = store.catalogs.last(self.endpoint, self.database)
            if snapshot is None and lost is None and _has_rows(asked):
                self._wait(asked, renew=False)
                return None
        if gone is None and lost is None and self._estimable(asked.request):
            self._wait(asked, renew=False)
            return None
        judgement = self.judge(asked, snapshot)
        if lost is not None and snapshot is None:
            judgement = self._without_catalog(asked, judgement, lost)
        elif gone is None:
            renew = judgement.unknown and _has_rows(asked) and not self.altered_in(asked)
            renew = renew and lost is None and store.first_try(self.database, asked.request.shape)
            if renew or self._held(judgement):
                self._wait(asked, renew=renew)
                return None
        ruling = self.let_pass(asked, judgement, snapshot, gone)
        self.services.metrics.overhead(time.monotonic_ns() - started)
        return ruling

    def moot(self, *, skipped: bool) -> None:
        if self._asked is not None and self.store.enforced and (skipped or second_key.lost(self._asked)):
            self.cancel_wait(second_key.TRANSACTION_FAILED)

    def settle(self, run: Run) -> None:
        begun: Begun = run.ruling.handle
        if begun.alters:
            self._altering -= 1
            self._altered = True
        if self._altered:
            # also when it ends: what others read meanwhile may be from before its transaction's end
            self._expire()
        if run.masked_cells:
            self.services.metrics.masked(self.store.name, run.masked_cells)
        if run.detected:
            self.services.metrics.detected(run.detected)
        self.services.metrics.upstream(self.recorder.end(begun, *outcome.told(run)))

    def key(self, process: int, secret: bytes) -> bytes:
        """Two servers may hand out the same key, so the client's has a secret of ours: nobody else is given it."""
        self._forget_key()
        self.upstream_key = (process, secret)
        while (minted := (process, secrets.token_bytes(len(secret)))) in self.services.keys:
            pass
        self._key = minted
        self.services.keys[minted] = self
        if self.store.observed and self.store.catalogs is not None and self.blind is None:
            # the datastore has let the client in: what it is going to ask is not to wait for this
            self.store.catalogs.ask(self.endpoint, self.database)
        return minted[1]

    def cancel(self, process: int, secret: bytes) -> bool:
        return (self._identified is not None or self.blind is not None) and self.on_cancel(process, secret)

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
    def claims(self) -> Claims:
        """The claims now in force."""
        if self._identified is None:
            raise RuntimeError("nobody is behind this connection")
        return self._identified.claims

    def _asker(self) -> Asker:
        """Made anew only when the claims are: every statement is judged by it."""
        claims = self.claims
        asker = self._known
        if asker is None or asker.claims is not claims:
            asker = self._known = Asker(claims, self.store.name, self.database, self.user)
        return asker

    @property
    def ending(self) -> str:
        """How what waits ends when it does so without an answer, as records say it."""
        return "cancelled" if self._cancelled is not None else "disconnected" if self._closed else "broken"

    def transaction_age(self) -> float:
        """Seconds since the open transaction began, or a little more."""
        return (time.monotonic_ns() - self._outside) / 1e9

    def altered_in(self, asked: Asked) -> bool:
        """Whether names may stand for other things in the transaction of `asked` than for anybody else."""
        return self._altering > 0 or (self._altered and asked.in_transaction)

    def workload_summary(self) -> dict[str, str | int | None]:
        """Enough of the process for an approver to recognise it by."""
        if self._identified is None:
            return {}
        workload = self._identified.workload
        return {"pid": workload.pid, "exe": workload.exe, "user": workload.user, "unit": workload.unit,
                "container": workload.container}  # fmt: skip

    async def locks(self) -> Locks:
        """What this connection keeps locked at the datastore."""
        catalogs = self.store.reader
        reader = None if catalogs is None else catalogs.reader
        process = self.upstream_key[0] or None
        return await locks.read(reader, self.endpoint, (self.database, self.user), process)

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
        self._forget_key()
        if self._waiting is not None:
            self._waiting.cancel()
        if self._altered or self._altering:
            self._expire()
        self.recorder.close(how)

    def _forget_key(self) -> None:
        keys = self.services.keys
        if self._key is not None and keys.get(self._key) is self:
            del keys[self._key]

    # judgement

    def _cached(self, asked: Asked | None = None) -> Snapshot | None:
        """A snapshot that need not be waited for.

        In a transaction that has changed the catalog, nobody else sees the change: reading again would show nothing.
        What is asked there is judged without trust in names, by a snapshot from before it.
        """
        catalogs = self.store.catalogs
        if catalogs is None:
            return None
        own = self if asked is not None and self._altered and asked.in_transaction else None
        return catalogs.cached(self.endpoint, self.database, own=own)

    def _expire(self) -> None:
        if self.store.reader is not None:
            self.store.reader.expire(self.endpoint, self.database, by=self)

    def judge(self, asked: Asked, snapshot: Snapshot | None) -> Judgement:
        return self.store.judge.judge(
            self._asker(),
            asked.request,
            asked.candidates,
            snapshot,
            altered=self._altered or self._altering > 0,
            rows=None if self._estimated is None or self._estimated[0] is not asked else self._estimated[1],
        )

    def _estimable(self, request: Request) -> bool:
        """Whether the rows of `request` are to be estimated before it is judged."""
        return (
            self.services.estimates
            and self.store.estimates is not None
            and len(request.statements) == 1
            and request.statements[0].kind in ESTIMATED
        )

    async def _estimate(self, asked: Asked) -> None:
        """Have its rows estimated, once. What can't be estimated is judged without."""
        if self._estimated is None or self._estimated[0] is not asked:
            # in a transaction that changed the catalog names mean what only its own connection knows
            own = self._altered or self._altering > 0
            rows = None if own else await self.store.estimate(self.endpoint, self.database, asked.request)
            self._estimated = asked, rows

    def refresh(self) -> Refusal | None:
        """Make sure the token is good, before anything is judged by its claims.

        A refusal when it can't be renewed: the process behind it has gone.
        """
        if self._identified is None:
            return Refusal(errors.CANNOT_CONNECT, NOT_INTERCEPTED)
        try:
            identified = self.services.identities.fresh(self._identified)
        except IdentityError as error:
            if self.store.enforced:
                self.services.metrics.refused("identity")
            return Refusal(errors.INSUFFICIENT_PRIVILEGE, f"lockgate: {error}")
        if identified is not self._identified:
            if (moved := self.role.moved(identified.claims.groups)) is not None:
                return moved
            self._identified = identified
            self.recorder.identify(identified)
        return None

    def let_pass(self, asked: Asked, judgement: Judgement, snapshot: Snapshot | None, gone: Refusal | None) -> Ruling:
        """Forward or refuse, recorded either way."""
        refusal = gone or judgement.refusal
        if refusal is not None and self.store.enforced:
            return Ruling(self.refuse(asked, judgement, refusal, snapshot))
        begun, metrics, enforced = self.recorder.next(), self.services.metrics, self.store.enforced
        text = self.recordable(asked.request, judgement, snapshot)
        told = judgement.facts if enforced else observing.facts(judgement, gone)
        unrecorded = self.recorder.begin("statement", begun, text, told, must=enforced)
        if unrecorded is not None:
            return Ruling(unrecorded)
        metrics.statement(self.store.name, "allow")
        observing.count(metrics, self.store.name, told)
        self.lingers = self.lingers or (not enforced and observing.lingers(judgement, told))
        return self.forward(judgement, begun, snapshot)

    def forward(self, judgement: Judgement, begun: Begun, snapshot: Snapshot | None) -> Ruling:
        """What was recorded may go."""
        if judgement.alters:
            begun.alters = True
            self._altering += 1
        enforced, verdict = self.store.enforced, judgement.verdict
        masking = None
        if enforced or judgement.refusal is None:
            masking = ResultMasking.of(
                verdict, judgement.lineage, judgement.copied, snapshot, self._expire, self.store.keys, judgement.plans
            )
        if not enforced:
            return Ruling(barrier=judgement.barrier, handle=begun, rehearsal=masking)
        watch = None
        if judgement.watched is not None and snapshot is not None:
            watch = Watch(judgement.watched, judgement.described, snapshot, self._expire)
        return Ruling(masking=masking, barrier=judgement.barrier, handle=begun, watch=watch, deaf=judgement.deaf)

    def refuse(
        self,
        asked: Asked,
        judgement: Judgement,
        refusal: Refusal,
        snapshot: Snapshot | None,
        kind: str = "statement",
    ) -> Refusal:
        self.services.metrics.statement(self.store.name, "deny")
        begun = self.recorder.next()
        fields = {**judgement.facts, "verdict": "deny"}
        if judgement.verdict.decision is not Decision.DENY:
            # policy would have let it pass, but it could not be carried out
            fields |= {"policy": REFUSED, "reason": refusal.message}
        observing.count(self.services.metrics, self.store.name, fields)
        unrecorded = self.recorder.begin(kind, begun, self.recordable(asked.request, judgement, snapshot), fields)
        self.recorder.end(begun, "denied", {"error": {"code": refusal.code}}, kind)
        return unrecorded or refusal

    # what takes time: reading the catalog, waiting for the second key

    def _wait(self, asked: Asked, *, renew: bool) -> None:
        self._asked = asked
        self._waiting = self.spawn(self._run_slowly(asked, renew=renew))
        self._waiting.add_done_callback(self._answer)

    def _answer(self, task: asyncio.Task[Ruling]) -> None:
        """However the wait ended, the client gets an answer; without a ruling the statement doesn't go forward."""
        cancelled, waiting = self._cancelled, self._asked
        self._cancelled, self._waiting, self._asked = None, None, None
        self._estimated = None
        if task.cancelled():
            ruling = Ruling(cancelled or STOPPED)
        elif task.exception() is not None:  # logged by whoever spawned it
            failed = waiting is not None and self.store.observed
            ruling = observing.unjudged(self, waiting) if waiting is not None and failed else Ruling(FAILED)
        else:
            ruling = task.result()
        self.resume(ruling)

    async def _run_slowly(self, asked: Asked, *, renew: bool) -> Ruling:
        store, observed = self.store, self.store.observed
        unread: str | None = None
        snapshot = None
        try:
            async with asyncio.timeout(None if store.enforced else WAIT_SECONDS):
                snapshot = await self.read_catalog(renew=renew)
        except CatalogError as error:
            unread = str(error)
        except TimeoutError:
            # by the one before: enforcing would wait for the new one, which mostly says the same
            store.patience.lose(self.database, TOO_SLOW)
            snapshot = None if store.catalogs is None else store.catalogs.last(self.endpoint, self.database)
            unread = TOO_SLOW if snapshot is None else None
        if unread is None and self._estimable(asked.request):
            try:
                async with asyncio.timeout(None if store.enforced else WAIT_SECONDS):
                    await self._estimate(asked)
            except TimeoutError:
                store.patience.lose(self.database, TOO_SLOW)
        if observed and store.enforced:
            # since a moment ago: then it is worth waiting for
            return await self._run_slowly(asked, renew=renew)
        if unread is not None and observed:
            store.patience.lose(self.database, unread)
        gone = self.refresh()
        judgement = self.judge(asked, snapshot)
        if unread is not None:
            judgement = self._without_catalog(asked, judgement, unread)
        elif judgement.unknown and not renew and store.first_try(self.database, asked.request.shape):
            return await self._run_slowly(asked, renew=True)
        if gone is not None or not self._held(judgement):
            return self.let_pass(asked, judgement, snapshot, gone)
        return await second_key.hold(self, asked, judgement, snapshot)

    async def read_catalog(self, *, renew: bool) -> Snapshot | None:
        """The catalog of the client's database; None when it isn't needed. Raises CatalogError."""
        catalogs = self.store.catalogs
        if catalogs is None:
            return None
        return await (catalogs.refresh if renew else catalogs.get)(self.endpoint, self.database)

    def _held(self, judgement: Judgement) -> bool:
        return self.store.enforced and judgement.refusal is None and judgement.verdict.decision is Decision.HOLD

    def _without_catalog(self, asked: Asked, judgement: Judgement, why: str) -> Judgement:
        """Nothing that touches rows can be let through: what is classified in it can't be told."""
        if asked.request.effects <= ROWLESS_EFFECTS or judgement.verdict.decision is Decision.DENY:
            return judgement
        refusal = no(why)
        facts = judgement.facts if self.store.enforced else observing.facts(judgement, refusal)
        return replace(judgement, refusal=refusal, outlook=Outlook.refused(refusal.message), facts=facts)

    def recordable(self, request: Request, judgement: Judgement, snapshot: Snapshot | None) -> str:
        """The text as it may be recorded."""
        if judgement.redaction is None:
            return request.text
        # in a transaction that changed the catalog names tell nothing: every literal goes
        told = None if snapshot is None or self._altered or self._altering else snapshot.catalog
        return judgement.redaction.of(request, told)


def _has_rows(asked: Asked) -> bool:
    """Whether rows may come back, or be copied."""
    return bool(asked.candidates) or not asked.request.effects <= ROWLESS_EFFECTS


def _nobody(*_: object) -> None:
    """Where nobody listens: before the connection is wired."""


def _nothing(process: int, secret: bytes) -> bool:
    """Where nobody can cancel: before the connection is wired."""
    return False


def _cannot(work: Coroutine[Any, Any, Ruling]) -> asyncio.Task[Ruling]:
    work.close()
    raise RuntimeError("the connection is not wired")
