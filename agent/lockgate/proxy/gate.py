"""The house, as one connection sees it: identity, judgement, record and hold, in that order, for each statement."""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any, Final

from lockgate.approval.client import ApprovalError, Resolution
from lockgate.approval.digest import digest
from lockgate.approval.hold import TEXT_CHARACTERS, Hold
from lockgate.identity.cache import Identified
from lockgate.identity.workload import IdentityError
from lockgate.proxy import startup
from lockgate.proxy.catalog import CatalogError, Snapshot
from lockgate.proxy.holds import TooManyHeld, no, unapproved
from lockgate.proxy.judge import ROWLESS_EFFECTS, Judgement
from lockgate.proxy.parameters import formats, shown
from lockgate.proxy.recorder import Begun, Recorder
from lockgate.proxy.result_masking import ResultMasking
from lockgate.proxy.services import Services, Store
from lockgate.understand.postgresql import redacted
from lockgate.values.identity import Asker, Claims, Endpoint
from lockgate.values.statement import Request
from lockgate.values.verdict import Decision
from lockgate.wire.gate import Asked, Refusal, Ruling, Run
from lockgate.wire.postgresql import errors

NOT_INTERCEPTED: Final = "lockgate: this connection was not intercepted: connect to the datastore itself"
FAILED: Final = Refusal(errors.INTERNAL_ERROR, "lockgate: judging this statement failed; it was not sent")
STOPPED: Final = Refusal(errors.ADMIN_SHUTDOWN, "lockgate: the wait was ended; the statement was not sent")
TAG_DIGITS: Final = 18
"""Digits of a count in a command tag that fit into 64 bits, whatever the server says."""


class StatementGate:
    """Implements `lockgate.wire.gate.Gate` for one PostgreSQL connection.

    `identified` is None for a connection that is not let in, and `refusal` says why once the client has introduced
    itself: before that many clients can't show it. `spawn` starts what takes time, and the agent waits for it.
    """

    def __init__(
        self,
        services: Services,
        store: Store,
        identified: Identified | None,
        endpoint: Endpoint,
        refusal: Refusal | None = None,
    ) -> None:
        self.services = services
        self.store = store
        self.endpoint = endpoint
        self.recorder = Recorder(services.ledger, uuid.uuid4().hex)
        self.database = ""
        self.user = ""
        self.spawn: Callable[[Coroutine[Any, Any, Ruling]], asyncio.Task[Ruling]] = _cannot
        self.resume: Callable[[Ruling], None] = _nobody
        self.notice: Callable[[str, str | None], None] = _nobody
        self.on_cancel: Callable[[int, bytes], None] = _nobody
        self._identified = identified
        self._known: Asker | None = None
        self._refusal = refusal
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

    # what the session asks (lockgate.wire.gate.Gate)

    def open(self, parameters: Mapping[str, str]) -> Refusal | None:
        refusal = self._refusal or self._refresh()
        if refusal is not None or self._identified is None:
            return refusal
        self.user = parameters["user"]
        self.database = parameters.get("database") or self.user
        refusal = self.recorder.open(
            self._identified,
            self.endpoint,
            datastore=self.store.name,
            protocol=self.store.protocol,
            database=self.database,
            user=self.user,
            application=parameters.get("application_name", ""),
        )
        if refusal is not None:
            return refusal
        for text in startup.settings(parameters):
            asked = Asked(self.understand(text))
            judgement = self._judge(asked, None)
            if self.store.enforced and judgement.refusal is None and judgement.verdict.decision is Decision.HOLD:
                refusal = Refusal(
                    errors.INSUFFICIENT_PRIVILEGE,
                    f"lockgate: a setting of the start-up packet can't wait for approval: SET it later "
                    f"(policy {judgement.verdict.policy})",
                )
                return self._refuse(asked, judgement, refusal, None)
            ruling = self._go(asked, judgement, None, None)
            if ruling.refusal is not None:
                return ruling.refusal
            self.recorder.end(ruling.handle, "completed", {})
        return None

    def understand(self, text: str) -> Request:
        return self.services.understanding.request(text)

    def prepare(self, request: Request, name: str) -> Refusal | None:
        asked = Asked(request)
        gone = self._refresh()
        snapshot = self._cached()
        judgement = self._judge(asked, snapshot)
        # without a catalog that knows what it names only policy's own no counts: it is read before the statement runs
        decided = judgement.verdict.decision is Decision.DENY or (snapshot is not None and not judgement.unknown)
        # and what EXECUTE runs is known when it is bound
        decided = decided and all(s.uses is None for s in request.statements)
        refusal = gone or (judgement.refusal if decided else None)
        if refusal is not None and self.store.enforced:
            return self._refuse(asked, judgement, refusal, snapshot, "prepare")
        text = self._text(asked.request, judgement, snapshot)
        return self.recorder.begin("prepare", self.recorder.next(), text, judgement.facts)

    def run(self, asked: Asked) -> Ruling | None:
        started = time.monotonic_ns()
        gone = self._refresh()
        store = self.store
        snapshot = None
        if store.catalogs is not None:
            if self._altered and not asked.in_transaction and not self._altering:
                self._altered = False
                self._expire()
            snapshot = self._cached()
            if snapshot is None:
                self._wait(self._run_slowly(asked, renew=False))
                return None
        judgement = self._judge(asked, snapshot)
        if store.enforced and gone is None:
            renew = judgement.unknown and store.first_try(self.database, asked.request.shape)
            if renew or (judgement.refusal is None and judgement.verdict.decision is Decision.HOLD):
                self._wait(self._run_slowly(asked, renew=renew))
                return None
        ruling = self._go(asked, judgement, snapshot, gone)
        self.services.metrics.overhead(time.monotonic_ns() - started)
        return ruling

    def settle(self, run: Run) -> None:
        begun: Begun = run.ruling.handle
        if begun.alters:
            self._altering -= 1
            self._altered = True
        if self._altered:
            # also when it ends: what others read meanwhile may be from before its transaction's end
            self._expire()
        fields: dict[str, Any] = {"rows": run.rows or _affected(run.tag), "bytes": run.bytes}
        if run.masked_cells:
            fields["masked_cells"] = run.masked_cells
            self.services.metrics.masked(self.store.name, run.masked_cells)
        if run.tag is not None:
            fields["tag"] = run.tag
        if run.error is not None:
            fields["error"] = {"code": run.error}
        outcome = "cancelled" if run.error == errors.QUERY_CANCELED else run.outcome
        self.services.metrics.upstream(self.recorder.end(begun, outcome, fields))

    def key(self, process: int, secret: bytes) -> bytes:
        """Two servers may hand out the same key, so the client's has a secret of ours: nobody else is given it."""
        self._forget_key()
        self.upstream_key = (process, secret)
        while (minted := (process, secrets.token_bytes(len(secret)))) in self.services.keys:
            pass
        self._key = minted
        self.services.keys[minted] = self
        return minted[1]

    def cancel(self, process: int, secret: bytes) -> None:
        if self._identified is not None:
            self.on_cancel(process, secret)

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

    def cancel_wait(self, refusal: Refusal) -> bool:
        """End the wait of a statement because its client asked to cancel it. False when none waits."""
        if self._waiting is None or self._waiting.done():
            return False
        self._cancelled = refusal
        self._waiting.cancel()
        return True

    def close(self, outcome: str) -> None:
        """The connection is over."""
        self._closed = True
        self._forget_key()
        if self._waiting is not None:
            self._waiting.cancel()
        if self._altered or self._altering:
            self._expire()
        self.recorder.close(outcome)

    def _forget_key(self) -> None:
        keys = self.services.keys
        if self._key is not None and keys.get(self._key) is self:
            del keys[self._key]

    # judgement

    def _cached(self) -> Snapshot | None:
        catalogs = self.store.catalogs
        return None if catalogs is None else catalogs.cached(self.endpoint, self.database)

    def _expire(self) -> None:
        if self.store.catalogs is not None:
            self.store.catalogs.expire(self.endpoint, self.database)

    def _judge(self, asked: Asked, snapshot: Snapshot | None) -> Judgement:
        return self.store.judge.judge(
            self._asker(),
            asked.request,
            asked.candidates,
            snapshot,
            altered=self._altered or self._altering > 0,
        )

    def _refresh(self) -> Refusal | None:
        """Make sure the token is good, before anything is judged by its claims.

        A refusal when it can't be renewed: the process behind it has gone.
        """
        if self._identified is None:
            return Refusal(errors.CANNOT_CONNECT, NOT_INTERCEPTED)
        try:
            identified = self.services.identities.fresh(self._identified)
        except IdentityError as error:
            self.services.metrics.refused("identity")
            return Refusal(errors.INSUFFICIENT_PRIVILEGE, f"lockgate: {error}")
        if identified is not self._identified:
            self._identified = identified
            self.recorder.identify(identified)
        return None

    def _go(self, asked: Asked, judgement: Judgement, snapshot: Snapshot | None, gone: Refusal | None) -> Ruling:
        """Forward or refuse, recorded either way."""
        refusal = gone or judgement.refusal
        if refusal is not None and self.store.enforced:
            return Ruling(self._refuse(asked, judgement, refusal, snapshot))
        begun = self.recorder.next()
        text = self._text(asked.request, judgement, snapshot)
        unrecorded = self.recorder.begin("statement", begun, text, judgement.facts)
        if unrecorded is not None:
            return Ruling(unrecorded)
        self.services.metrics.statement(self.store.name, "allow")
        return self._forward(judgement, begun, snapshot)

    def _forward(self, judgement: Judgement, begun: Begun, snapshot: Snapshot | None) -> Ruling:
        """What was recorded may go."""
        if judgement.alters:
            begun.alters = True
            self._altering += 1
        masking = None
        if judgement.lineage is not None and snapshot is not None and self.store.enforced:
            masking = ResultMasking(judgement.verdict.masks, judgement.lineage, snapshot, self._expire)
        return Ruling(masking=masking, barrier=judgement.barrier, handle=begun)

    def _refuse(
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
            fields |= {"policy": "lockgate:refused", "reason": refusal.message}
        unrecorded = self.recorder.begin(kind, begun, self._text(asked.request, judgement, snapshot), fields)
        self.recorder.end(begun, "denied", {"error": {"code": refusal.code}}, kind)
        return unrecorded or refusal

    # what takes time: reading the catalog, waiting for the second key

    def _wait(self, work: Coroutine[Any, Any, Ruling]) -> None:
        self._waiting = self.spawn(work)
        self._waiting.add_done_callback(self._answer)

    def _answer(self, task: asyncio.Task[Ruling]) -> None:
        """However the wait ended, the client gets an answer; without a ruling the statement doesn't go forward."""
        cancelled, self._cancelled, self._waiting = self._cancelled, None, None
        if task.cancelled():
            ruling = Ruling(cancelled or STOPPED)
        elif task.exception() is not None:
            ruling = Ruling(FAILED)  # logged by whoever spawned it
        else:
            ruling = task.result()
        self.resume(ruling)

    async def _run_slowly(self, asked: Asked, *, renew: bool) -> Ruling:
        store = self.store
        unread: CatalogError | None = None
        snapshot = None
        try:
            snapshot = await self._snapshot(renew=renew)
        except CatalogError as error:
            unread = error
        gone = self._refresh()
        judgement = self._judge(asked, snapshot)
        if unread is not None:
            judgement = self._without_catalog(asked, judgement, unread)
        elif judgement.unknown and store.enforced and not renew and store.first_try(self.database, asked.request.shape):
            return await self._run_slowly(asked, renew=True)
        held = store.enforced and judgement.refusal is None and judgement.verdict.decision is Decision.HOLD
        if not held or gone is not None:
            return self._go(asked, judgement, snapshot, gone)
        return await self._hold(asked, judgement, snapshot)

    async def _snapshot(self, *, renew: bool) -> Snapshot | None:
        """The catalog of the client's database; None when it isn't needed. Raises CatalogError."""
        catalogs = self.store.catalogs
        if catalogs is None:
            return None
        return await (catalogs.refresh if renew else catalogs.get)(self.endpoint, self.database)

    def _without_catalog(self, asked: Asked, judgement: Judgement, error: CatalogError) -> Judgement:
        """Nothing that touches rows can be let through: what is classified in it can't be told."""
        if asked.request.effects <= ROWLESS_EFFECTS or judgement.verdict.decision is Decision.DENY:
            return judgement
        facts = judgement.facts if self.store.enforced else {**judgement.facts, "would": "deny"}
        return replace(judgement, refusal=no(str(error)), facts=facts)

    async def _hold(self, asked: Asked, judgement: Judgement, snapshot: Snapshot | None) -> Ruling:
        """Wait for the second key. The bytes that go forward are those that were asked about: the session has them."""
        requester = self.claims
        verdict = judgement.verdict
        now = time.time()
        text = self._text(asked.request, judgement, snapshot)
        values = shown(asked.parameters(), formats(asked.formats), secret=judgement.secrets is not None)
        if len(text) + len(values) > TEXT_CHARACTERS:
            # nobody can approve what they can't read to its end
            refusal = Refusal(
                errors.PROGRAM_LIMIT_EXCEEDED, "lockgate: the statement is too long to be shown to an approver"
            )
            return Ruling(self._refuse(asked, judgement, refusal, snapshot))
        hold = Hold(
            id=uuid.uuid4().hex,
            host=self.services.host,
            digest=self._digest(asked),
            principal=requester.principal,
            person=requester.person,
            groups=requester.groups,
            datastore=self.store.name,
            database=self.database,
            user=self.user,
            statement=text + values,
            effects=tuple(judgement.facts["effects"]),
            objects=tuple(judgement.facts["objects"]),
            policy=verdict.policy,
            reason=verdict.reason,
            approvers=verdict.approvers,
            created=now,
            expires=now + verdict.timeout,
            in_transaction_since=now if asked.in_transaction else None,
            workload=self._workload_summary(),
        )
        begun = self.recorder.next()
        fields = {**judgement.facts, "verdict": "hold", "approval": hold.id}
        unrecorded = self.recorder.begin("statement", begun, text, fields)
        if unrecorded is not None:
            return Ruling(unrecorded)
        self.services.metrics.statement(self.store.name, "hold")
        self.notice(
            f"lockgate: held for approval by {' or '.join(verdict.approvers)} (policy {verdict.policy}), "
            f"request {hold.id[:8]}",
            f"It waits up to {verdict.timeout:g} s for somebody else to run: lockgate approvals approve {hold.id[:8]}",
        )
        return await self._second_key(asked, begun, hold)

    async def _second_key(self, asked: Asked, begun: Begun, hold: Hold) -> Ruling:
        started = begun.sent
        outcome = "cancelled"
        resolution: Resolution | None = None
        refusal: Refusal | None = None
        answered = False
        try:
            async with self.services.holds.place():
                resolution = await self.services.holds.wait(hold)
            outcome = resolution.outcome
            refusal = unapproved(hold, resolution)
            if refusal is None:
                refusal, judgement, snapshot = await self._second_look(asked, hold, resolution)
                if refusal is not None:
                    outcome = "denied"
            answered = True
        except TooManyHeld as error:
            refusal, answered = Refusal(errors.PROGRAM_LIMIT_EXCEEDED, f"lockgate: {error}"), True
        except (ApprovalError, CatalogError) as error:
            outcome, answered = "denied", True
            refusal = Refusal(errors.INSUFFICIENT_PRIVILEGE, f"lockgate: {error}")
        finally:
            if not answered:
                # the client went, or cancelled, or we failed: nobody waits for the decision any more
                self.services.holds.withdraw(hold.id)
                self._held(begun, hold, "cancelled", started, None)
                ended = "cancelled" if self._cancelled is not None else "disconnected" if self._closed else "broken"
                self.recorder.end(begun, ended, {})
        refusal = self._held(begun, hold, outcome, started, resolution) or refusal
        if refusal is not None:
            fields = {"error": {"code": refusal.code}}
            self.recorder.end(begun, "timeout" if outcome == "expired" else "denied", fields)
            return Ruling(refusal)
        begun.sent = time.monotonic_ns()
        return self._forward(judgement, begun, snapshot)

    def _held(
        self, begun: Begun, hold: Hold, outcome: str, started: int, resolution: Resolution | None
    ) -> Refusal | None:
        waited = time.monotonic_ns() - started
        self.services.metrics.held(self.store.name, outcome, waited)
        return self.recorder.decided(begun, hold, outcome, waited, resolution)

    async def _second_look(
        self, asked: Asked, hold: Hold, resolution: Resolution
    ) -> tuple[Refusal | None, Judgement, Snapshot | None]:
        """Judge an approved statement as of now: who asks, the policies and the catalog may be others than before.

        What would be denied now is not let through on an old promise, and what has come to be masked is. Raises
        CatalogError.
        """
        snapshot = await self._snapshot(renew=False)
        gone = self._refresh()
        judgement = self._judge(asked, snapshot)
        refusal = gone or judgement.refusal
        if refusal is None and self._digest(asked) != hold.digest:
            refusal = no("who asked has become somebody else while the statement waited")
        verdict, approver = judgement.verdict, resolution.approver
        if refusal is None and verdict.decision is Decision.HOLD and approver is not None:
            engine = self.services.policies.engine
            answer = engine.may_approve(approver, self.claims, verdict, self.store.name, asked.request)
            if not answer.granted:
                refusal = no(f"the approval by {approver.person} doesn't count: {answer.reason}")
        return refusal, judgement, snapshot

    def _digest(self, asked: Asked) -> str:
        return digest(asked.request.text, asked.parameters(), formats(asked.formats), self.claims, self.recorder.id,
                      self.store.name, self.database, self.user)  # fmt: skip

    def _text(self, request: Request, judgement: Judgement, snapshot: Snapshot | None) -> str:
        """The text as it may be recorded."""
        if judgement.secrets is None:
            return request.text
        # in a transaction that changed the catalog names tell nothing: every literal goes
        told = None if snapshot is None or self._altered or self._altering else snapshot.catalog
        return redacted(request, judgement.secrets, told)

    def _workload_summary(self) -> dict[str, str | int | None]:
        identified = self._identified
        if identified is None:
            return {}
        workload = identified.workload
        return {"pid": workload.pid, "exe": workload.exe, "user": workload.user, "unit": workload.unit,
                "container": workload.container}  # fmt: skip


def _affected(tag: str | None) -> int:
    """The rows a command tag counts (`DELETE 364`): of a statement that returns none, those it changed."""
    count = (tag or "").rpartition(" ")[2]
    return int(count) if count.isdecimal() and len(count) <= TAG_DIGITS else 0


def _nobody(*_: object) -> None:
    """Where nobody listens: before the connection is wired."""


def _cannot(work: Coroutine[Any, Any, Ruling]) -> asyncio.Task[Ruling]:
    work.close()
    raise RuntimeError("the connection is not wired")
