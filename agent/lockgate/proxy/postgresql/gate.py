"""The house, as one PostgreSQL connection sees it: with a catalog, estimates, a transaction and a cancellation key."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from lockgate.approval.hold import Locks
from lockgate.identity.cache import Identified
from lockgate.proxy import observing, second_key
from lockgate.proxy.approving import Bound, Coverage
from lockgate.proxy.gate import ConnectionGate
from lockgate.proxy.holds import no
from lockgate.proxy.observing import WAIT_SECONDS
from lockgate.proxy.outlook import Outlook
from lockgate.proxy.postgresql import admission, locks, startup
from lockgate.proxy.postgresql.catalog import Snapshot
from lockgate.proxy.postgresql.catalog_reader import CatalogError
from lockgate.proxy.postgresql.grants import coverage
from lockgate.proxy.postgresql.judge import ROWLESS_EFFECTS, StatementJudgement
from lockgate.proxy.postgresql.parameters import formats, shown
from lockgate.proxy.postgresql.patience import TOO_SLOW
from lockgate.proxy.postgresql.result_masking import ResultMasking
from lockgate.proxy.postgresql.store import PostgresStore
from lockgate.proxy.postgresql.watching import Watch
from lockgate.proxy.recorder import Begun
from lockgate.proxy.services import Services
from lockgate.understand.postgresql import Redaction
from lockgate.values.identity import Endpoint
from lockgate.values.statement import Effect, Request
from lockgate.values.verdict import Decision
from lockgate.wire.gate import Asked, Refusal, Ruling, Run, Why
from lockgate.wire.postgresql import errors

ESTIMATED: Final = frozenset(("SELECT", "INSERT", "UPDATE", "DELETE", "MERGE"))
"""Kinds of statements that have a plan, so that their rows can be estimated."""

TRANSACTION_FAILED: Final = Refusal(
    errors.IN_FAILED_TRANSACTION,
    "current transaction is aborted, commands ignored until end of transaction block",
)
"""PostgreSQL's own words: nobody is asked about what the server would refuse."""


class StatementGate(ConnectionGate[PostgresStore, StatementJudgement, Snapshot | None]):
    """Implements `lockgate.wire.postgresql.gate.StatementGate` for one connection, and `ObservingGate`."""

    def __init__(
        self,
        services: Services,
        store: PostgresStore,
        identified: Identified | None,
        endpoint: Endpoint,
        refusal: Refusal | None = None,
        blind: str | None = None,
    ) -> None:
        super().__init__(services, store, identified, endpoint, refusal, blind)
        self.on_cancel: Callable[[int, bytes], bool] = _nothing
        self._key: tuple[int, bytes] | None = None
        self.upstream_key: tuple[int, bytes] = (0, b"")
        """What a CancelRequest to the datastore has to say, once `key` was called."""
        self._altering = 0
        """Statements on their way that may change the catalog."""
        self._altered = False
        """Whether this connection changed the catalog in a transaction that, for all we know, is still open."""
        self._outside = time.monotonic_ns()
        """When a statement was last asked about outside a transaction: a transaction that is open began there."""
        self._estimated: tuple[Asked, int | None] | None = None
        """The request that waits, and the rows that it is estimated to read or change."""

    # what the session asks (lockgate.wire.postgresql.gate.StatementGate)

    def open(self, parameters: Mapping[str, str]) -> Refusal | None:
        if self._refusal is None and self.store.observed:
            admission.admit(self, self._identified, parameters)
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
                    Why.DENIED,
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
        return self.store.understanding.request(text)

    def prepare(self, request: Request, name: str) -> Refusal | None:
        asked = Asked(request)
        gone = self.refresh()
        snapshot = self._cached()
        judgement = self.judge(asked, snapshot)
        # without a catalog that knows what it names only policy's own no counts: it is read before the statement runs
        decided = judgement.verdict.decision is Decision.DENY or (snapshot is not None and not judgement.unknown)
        # and what EXECUTE runs, and how many rows it may be about, is known when it is bound
        decided = decided and all(s.uses is None for s in request.statements) and not self._estimable(request)
        return self.prepared(asked, judgement, snapshot, gone=gone, decided=decided)

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
                self._look(asked, renew=False)
                return None
        if gone is None and lost is None and self._estimable(asked.request):
            self._look(asked, renew=False)
            return None
        judgement = self.judge(asked, snapshot)
        if lost is not None and snapshot is None:
            judgement = self._without_catalog(asked, judgement, lost)
        elif gone is None:
            renew = judgement.unknown and _has_rows(asked) and not self.altered_in(asked)
            renew = renew and lost is None and store.first_try(self.database, asked.request.shape)
            if renew or self.held(judgement):
                self._look(asked, renew=renew)
                return None
        ruling = self.let_pass(asked, judgement, snapshot, gone)
        self.services.metrics.overhead(time.monotonic_ns() - started)
        return ruling

    def moot(self, *, skipped: bool) -> None:
        if self._asked is not None and self.store.enforced and (skipped or lost(self._asked)):
            self.cancel_wait(TRANSACTION_FAILED)

    def settle(self, run: Run) -> None:
        begun: Begun = run.ruling.handle
        if begun.alters:
            self._altering -= 1
            self._altered = True
        if self._altered:
            # also when it ends: what others read meanwhile may be from before its transaction's end
            self._expire()
        super().settle(run)

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

    # what the connection tells

    def transaction_age(self) -> float:
        """See `ConnectionGate`."""
        return (time.monotonic_ns() - self._outside) / 1e9

    def altered_in(self, asked: Asked) -> bool:
        """Whether names may stand for other things in the transaction of `asked` than for anybody else."""
        return self._altering > 0 or (self._altered and asked.in_transaction)

    def keeps_locks(self, asked: Asked) -> bool:
        """Also outside a transaction: to parse a statement locks what it names, to the next Sync."""
        return asked.in_transaction or bool(asked.formats)

    async def locks(self) -> Locks:
        """See `ConnectionGate`."""
        catalogs = self.store.reader
        reader = None if catalogs is None else catalogs.reader
        process = self.upstream_key[0] or None
        return await locks.read(reader, self.endpoint, (self.database, self.user), process)

    def close(self, how: str) -> None:
        """See `ConnectionGate`."""
        self._forget_key()
        if self._altered or self._altering:
            self._expire()
        super().close(how)

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

    def judge(self, asked: Asked, evidence: Snapshot | None) -> StatementJudgement:
        """See `ConnectionGate`."""
        return self.store.judge.judge(
            self.asker,
            asked.request,
            asked.candidates,
            evidence,
            altered=self._altered or self._altering > 0,
            rows=None if self._estimated is None or self._estimated[0] is not asked else self._estimated[1],
        )

    async def evidence(self) -> Snapshot | None:
        """See `ConnectionGate`: the catalog of the client's database."""
        return await self.read_catalog(renew=False)

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

    def forward(self, judgement: StatementJudgement, begun: Begun, evidence: Snapshot | None) -> Ruling:
        """See `ConnectionGate`."""
        if judgement.alters:
            begun.alters = True
            self._altering += 1
        enforced, verdict = self.store.enforced, judgement.verdict
        masking = None
        if enforced or judgement.refusal is None:
            masking = ResultMasking.of(
                verdict, judgement.lineage, judgement.copied, evidence, self._expire, self.store.keys, judgement.plans
            )
        if not enforced:
            return Ruling(barrier=judgement.barrier, handle=begun, rehearsal=masking)
        watch = None
        if judgement.watched is not None and evidence is not None:
            watch = Watch(judgement.watched, judgement.described, evidence, self._expire)
        return Ruling(masking=masking, barrier=judgement.barrier, handle=begun, watch=watch, deaf=judgement.deaf)

    # what a hold asks

    def bound(self, asked: Asked) -> Bound:
        """See `ConnectionGate`."""
        # none of them holds a NUL, so no two lists are told alike
        texts = "\0".join((asked.request.text, *(other.text for other in asked.candidates)))
        return Bound(texts, asked.parameters(), formats(asked.formats))

    def shown(self, asked: Asked, judgement: StatementJudgement, evidence: Snapshot | None) -> str:
        """The bound values, and the texts behind the names that it uses: `EXECUTE p` alone says nothing."""
        found = shown(asked.parameters(), formats(asked.formats), secret=judgement.secrets is not None)
        for other in dict.fromkeys(asked.candidates):
            if other.text == asked.request.text:
                continue
            # a redaction is of one shape
            redaction = None if judgement.secrets is None else Redaction(judgement.secrets)
            found += f"\n-- goes on with:\n{self.recordable(other, replace(judgement, redaction=redaction), evidence)}"
        return found

    def futile(self, asked: Asked) -> Refusal | None:
        """See `ConnectionGate`."""
        return TRANSACTION_FAILED if asked.failed and lost(asked) else None

    async def coverage(self, asked: Asked, judgement: StatementJudgement) -> Coverage:
        """See `ConnectionGate`."""
        verdict = judgement.verdict
        if verdict.decision is not Decision.HOLD or verdict.grant <= 0:
            return Coverage(None, "no grant: the policy has every one approved by itself")
        reader = self.store.reader
        if reader is None:
            return Coverage(None, f"no grant: {locks.NO_READER}, so what names stand for can't be told")
        try:
            # not the one that it was judged by: where nothing is classified that is none
            catalog = (await reader.get(self.endpoint, self.database)).catalog
        except CatalogError as error:
            return Coverage(None, f"no grant: {error}")
        if self.altered_in(asked):
            return Coverage(None, "no grant: the open transaction has changed what names stand for")
        place = (self.store.name, self.database, self.user)
        requests = (asked.request, *asked.candidates)
        effects = judgement.facts["effects"]
        return coverage(requests, effects, verdict, catalog, self.claims, place, self.understand)

    # what takes time: reading the catalog, waiting for the second key

    def _look(self, asked: Asked, *, renew: bool) -> None:
        self.wait(asked, self._looked(asked, renew=renew))

    async def _looked(self, asked: Asked, *, renew: bool) -> Ruling:
        try:
            return await self._run_slowly(asked, renew=renew)
        finally:
            self._estimated = None

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
        if gone is not None or not self.held(judgement):
            return self.let_pass(asked, judgement, snapshot, gone)
        return await second_key.hold(self, asked, judgement, snapshot)

    async def read_catalog(self, *, renew: bool) -> Snapshot | None:
        """The catalog of the client's database; None when it isn't needed. Raises CatalogError."""
        catalogs = self.store.catalogs
        if catalogs is None:
            return None
        return await (catalogs.refresh if renew else catalogs.get)(self.endpoint, self.database)

    def _without_catalog(self, asked: Asked, judgement: StatementJudgement, why: str) -> StatementJudgement:
        """Nothing that touches rows can be let through: what is classified in it can't be told."""
        if asked.request.effects <= ROWLESS_EFFECTS or judgement.verdict.decision is Decision.DENY:
            return judgement
        refusal = no(why)
        facts = judgement.facts if self.store.enforced else observing.facts(judgement, refusal)
        return replace(judgement, refusal=refusal, outlook=Outlook.refused(refusal.message), facts=facts)

    def recordable(self, request: Request, judgement: StatementJudgement, evidence: Snapshot | None) -> str:
        """The text as it may be recorded."""
        if judgement.redaction is None:
            return request.text
        # in a transaction that changed the catalog names tell nothing: every literal goes
        told = None if evidence is None or self._altered or self._altering else evidence.catalog
        return judgement.redaction.of(request, told)


def lost(asked: Asked) -> bool:
    """Whether a server whose transaction has failed would refuse it: all but what could end the transaction."""
    return all(Effect.TRANSACTION not in s.effects for r in (asked.request, *asked.candidates) for s in r.statements)


def _has_rows(asked: Asked) -> bool:
    """Whether rows may come back, or be copied."""
    return bool(asked.candidates) or not asked.request.effects <= ROWLESS_EFFECTS


def _nothing(process: int, secret: bytes) -> bool:
    """Where nobody can cancel: before the connection is wired."""
    return False
