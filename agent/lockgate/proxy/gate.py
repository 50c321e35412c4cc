"""The house, as one connection sees it: identity, judgement, record and hold, in that order, for each statement."""

from __future__ import annotations

import asyncio
import logging
import re
import shlex
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from lockgate.approval.client import ApprovalError, Resolution
from lockgate.approval.digest import digest
from lockgate.approval.hold import TEXT_CHARACTERS, Hold
from lockgate.identity.cache import Identified
from lockgate.identity.workload import IdentityError
from lockgate.proxy.catalog import CatalogError, Snapshot
from lockgate.proxy.holds import Holding, TooManyHeld
from lockgate.proxy.judge import ROWLESS_EFFECTS, Judgement
from lockgate.proxy.recorder import Begun, Recorder
from lockgate.proxy.services import Services, Store
from lockgate.understand.postgresql import redacted
from lockgate.values.identity import Claims, Endpoint
from lockgate.values.statement import Effect, Request
from lockgate.values.verdict import Decision
from lockgate.wire.gate import Asked, ProtocolError, Refusal, Ruling, Run
from lockgate.wire.postgresql import errors

log = logging.getLogger(__name__)

NOT_INTERCEPTED: Final = "lockgate: this connection was not intercepted: connect to the datastore itself"


class StatementGate:
    """Implements `lockgate.wire.gate.Gate` for one PostgreSQL connection.

    `identified` is None for a connection that carries no origin: it is told so and closed.
    """

    def __init__(self, services: Services, store: Store, identified: Identified | None, endpoint: Endpoint) -> None:
        self.services = services
        self.store = store
        self.endpoint = endpoint
        self.recorder = Recorder(services.spool, services.metrics, uuid.uuid4().hex)
        self.database = ""
        self.user = ""
        self.resume: Callable[[Ruling], None] = _nobody
        self.notice: Callable[[str, str | None], None] = _nobody
        self.on_cancel: Callable[[int, bytes], None] = _nobody
        self.keys: list[tuple[int, bytes]] = []
        self._identified = identified
        self._waiting: asyncio.Task[None] | None = None
        self._holding: Holding | None = None
        self._altered = False
        """Whether this connection changed the catalog in a transaction that, for all we know, is still open."""

    # what the session asks (lockgate.wire.gate.Gate)

    def open(self, parameters: Mapping[str, str]) -> Refusal | None:
        if self._identified is None:
            self.services.metrics.refused("not-intercepted")
            return Refusal(errors.CANNOT_CONNECT, NOT_INTERCEPTED)
        self.user = parameters["user"]
        self.database = parameters.get("database", self.user)
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
        for text in _settings(parameters):
            asked = Asked(self.understand(text))
            ruling = self._go(asked, self._judge(asked, None))
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
        # without a catalog at hand only policy's own no counts: it is read before the statement runs
        decided = snapshot is not None or judgement.verdict.decision is Decision.DENY
        refusal = gone or (judgement.refusal if decided else None)
        if refusal is not None and self.store.enforced:
            return self._refuse(asked, judgement, refusal, "prepare")
        return self.recorder.begin("prepare", self.recorder.next(), self._facts(asked, judgement))

    def run(self, asked: Asked) -> Ruling | None:
        started = time.monotonic_ns()
        snapshot = None
        if self.store.catalogs is not None:
            if self._altered and not asked.in_transaction:
                self._altered = False
                self._expire()
            snapshot = self._cached()
            if snapshot is None:
                self._wait(self._run_slowly(asked))
                return None
        judgement = self._judge(asked, snapshot)
        if self.store.enforced and (judgement.unknown or judgement.verdict.decision is Decision.HOLD):
            self._wait(self._run_slowly(asked))
            return None
        ruling = self._go(asked, judgement)
        self.services.metrics.overhead(time.monotonic_ns() - started)
        return ruling

    def settle(self, run: Run) -> None:
        begun: Begun = run.ruling.handle
        if any(Effect.DDL in s.effects for s in run.request.statements):
            self._altered = True
            self._expire()
        fields: dict[str, Any] = {"rows": run.rows or _affected(run.tag), "bytes": run.bytes}
        if run.masked_cells:
            fields["masked_cells"] = run.masked_cells
        if run.tag is not None:
            fields["tag"] = run.tag
        if run.error is not None:
            fields["error"] = {"code": run.error}
        outcome = "cancelled" if run.error == errors.QUERY_CANCELED else run.outcome
        self.services.metrics.masked(self.store.name, run.masked_cells)
        self.recorder.end(begun, outcome, fields)

    def key(self, process: int, secret: bytes) -> None:
        self.keys.append((process, secret))
        self.services.keys[process, secret] = self

    def cancel(self, process: int, secret: bytes) -> None:
        self.on_cancel(process, secret)

    # what the connection tells

    @property
    def claims(self) -> Claims:
        """The claims now in force."""
        if self._identified is None:
            raise RuntimeError("nobody is behind this connection")
        return self._identified.claims

    def cancel_wait(self, refusal: Refusal) -> bool:
        """End a hold because its client asked to cancel it. False when nothing is held."""
        if self._holding is None or self._waiting is None:
            return False
        self._holding.refusal = refusal
        self._waiting.cancel()
        return True

    def close(self, outcome: str) -> None:
        """The connection is over."""
        for key in self.keys:
            self.services.keys.pop(key, None)
        if self._waiting is not None:
            self._waiting.cancel()
        self.recorder.close(outcome)

    # judgement

    def _cached(self) -> Snapshot | None:
        catalogs = self.store.catalogs
        return None if catalogs is None else catalogs.cached(self.endpoint, self.database)

    def _expire(self) -> None:
        if self.store.catalogs is not None:
            self.store.catalogs.expire(self.endpoint, self.database)

    def _judge(self, asked: Asked, snapshot: Snapshot | None) -> Judgement:
        return self.store.judge.judge(
            self.claims,
            self.database,
            self.user,
            asked.request,
            asked.candidates,
            snapshot,
            altered=self._altered,
            stale=self._expire,
        )

    def _refresh(self) -> Refusal | None:
        """Make sure the token is good. A refusal when it can't be renewed: the process behind it has gone."""
        if self._identified is None:
            return Refusal(errors.CANNOT_CONNECT, NOT_INTERCEPTED)
        try:
            self._identified = self.services.identities.fresh(self._identified)
            self.recorder.identify(self._identified)
        except IdentityError as error:
            self.services.metrics.refused("identity")
            return Refusal(errors.INSUFFICIENT_PRIVILEGE, f"lockgate: {error}")
        return None

    def _go(self, asked: Asked, judgement: Judgement) -> Ruling:
        """Forward or refuse, recorded either way."""
        refusal = self._refresh() or judgement.refusal
        if refusal is not None and self.store.enforced:
            return Ruling(self._refuse(asked, judgement, refusal, "statement"))
        begun = self.recorder.next()
        return self._forward(judgement, begun, self.recorder.begin("statement", begun, self._facts(asked, judgement)))

    def _forward(self, judgement: Judgement, begun: Begun, unrecorded: Refusal | None) -> Ruling:
        if unrecorded is not None:
            return Ruling(unrecorded)
        self.services.metrics.statement(self.store.name, "allow")
        masking = judgement.masking if self.store.enforced else None
        return Ruling(masking=masking, barrier=judgement.barrier, handle=begun)

    def _refuse(self, asked: Asked, judgement: Judgement, refusal: Refusal, kind: str) -> Refusal:
        self.services.metrics.statement(self.store.name, "deny")
        begun = self.recorder.next()
        fields = self._facts(asked, judgement) | {"verdict": "deny"}
        if judgement.verdict.decision is not Decision.DENY:
            # policy would have let it pass, but it could not be carried out
            fields |= {"policy": "lockgate:refused", "reason": refusal.message}
        unrecorded = self.recorder.begin(kind, begun, fields)
        self.recorder.end(begun, "denied", {"error": {"code": refusal.code}}, kind)
        return unrecorded or refusal

    # what takes time: reading the catalog, waiting for the second key

    def _wait(self, coroutine: Coroutine[Any, Any, Ruling]) -> None:
        self._waiting = asyncio.get_running_loop().create_task(self._answer(coroutine))
        self._waiting.add_done_callback(_report)

    async def _answer(self, coroutine: Coroutine[Any, Any, Ruling]) -> None:
        """Whatever goes wrong in between, the client gets an answer and the statement doesn't go forward."""
        ruling = Ruling(Refusal(errors.INTERNAL_ERROR, "lockgate: judging this statement failed; it was not sent"))
        try:
            ruling = await coroutine
        finally:
            self._waiting = None
            self.resume(ruling)

    async def _run_slowly(self, asked: Asked) -> Ruling:
        snapshot = None
        catalogs = self.store.catalogs
        if catalogs is not None:
            try:
                snapshot = await catalogs.get(self.endpoint, self.database)
                judgement = self._judge(asked, snapshot)
                if (
                    judgement.unknown
                    and self.store.enforced
                    and self.store.first_try(self.database, asked.request.shape)
                ):
                    snapshot = await catalogs.refresh(self.endpoint, self.database)
            except CatalogError as error:
                return self._without_catalog(asked, error)
        judgement = self._judge(asked, snapshot)
        held = self.store.enforced and judgement.refusal is None and judgement.verdict.decision is Decision.HOLD
        gone = self._refresh() if held else None
        if not held or gone is not None:
            return self._go(asked, judgement)
        return await self._hold(asked, judgement, snapshot)

    def _without_catalog(self, asked: Asked, error: CatalogError) -> Ruling:
        """Nothing that touches rows can be let through: what is classified in it can't be told."""
        judgement = self._judge(asked, None)
        if asked.request.effects <= ROWLESS_EFFECTS:
            return self._go(asked, judgement)
        refusal = Refusal(errors.INSUFFICIENT_PRIVILEGE, f"lockgate: the catalog can't be read: {error}")
        return Ruling(self._refuse(asked, judgement, refusal, "statement"))

    async def _hold(self, asked: Asked, judgement: Judgement, snapshot: Snapshot | None) -> Ruling:
        """Wait for the second key. The bytes that go forward are those that were asked about: the session has them."""
        begun = self.recorder.next()
        requester = self.claims
        bound = digest(asked.request.text, asked.parameters(), _formats(asked.formats), requester, self.recorder.id,
                       self.store.name, self.database, self.user)  # fmt: skip
        fields = self._facts(asked, judgement)
        verdict = judgement.verdict
        now = time.time()
        text = str(fields["statement"])
        hold = Hold(
            id=uuid.uuid4().hex,
            host=self.services.host,
            digest=bound,
            principal=requester.principal,
            person=requester.person,
            groups=requester.groups,
            datastore=self.store.name,
            database=self.database,
            user=self.user,
            statement=text[:TEXT_CHARACTERS],
            truncated=len(text) > TEXT_CHARACTERS,
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
        if hold.truncated:
            # nobody can approve what they can't read to its end
            refusal = Refusal(
                errors.PROGRAM_LIMIT_EXCEEDED, "lockgate: the statement is too long to be shown to an approver"
            )
            return Ruling(self._refuse(asked, judgement, refusal, "statement"))
        fields |= {"verdict": "hold", "approval": hold.id}
        unrecorded = self.recorder.begin("statement", begun, fields)
        if unrecorded is not None:
            return Ruling(unrecorded)
        self.notice(
            f"lockgate: held for approval by {' or '.join(verdict.approvers)} (policy {verdict.policy}), "
            f"request {hold.id[:8]}",
            f"It waits up to {verdict.timeout:g} s for somebody else to run: lockgate approvals approve {hold.id[:8]}",
        )
        return await self._second_key(asked, judgement, begun, hold, snapshot)

    async def _second_key(
        self, asked: Asked, judgement: Judgement, begun: Begun, hold: Hold, snapshot: Snapshot | None
    ) -> Ruling:
        started = time.monotonic_ns()
        self._holding = holding = Holding()
        resolution: Resolution | None = None
        refusal: Refusal | None
        try:
            async with self.services.holds.place():
                resolution = await self.services.holds.wait(hold)
        except TooManyHeld as error:
            outcome, refusal = "cancelled", Refusal(errors.PROGRAM_LIMIT_EXCEEDED, f"lockgate: {error}")
        except ApprovalError as error:
            outcome, refusal = "denied", Refusal(errors.INSUFFICIENT_PRIVILEGE, f"lockgate: {error}")
        except asyncio.CancelledError:
            self.services.holds.withdraw(hold.id)
            self._held(begun, hold, "cancelled", started, None)
            self.recorder.end(begun, "cancelled" if holding.refusal else "disconnected", {})
            if holding.refusal is None:
                raise
            return Ruling(holding.refusal)
        else:
            outcome, refusal = resolution.outcome, self._objection(asked, hold, resolution, snapshot)
            if refusal is not None and outcome == "approved":
                outcome = "denied"
        finally:
            self._holding = None
        refusal = self._held(begun, hold, outcome, started, resolution) or refusal
        if refusal is not None:
            self.services.metrics.statement(self.store.name, "deny")
            self.recorder.end(begun, "timeout" if outcome == "expired" else "denied", {})
            return Ruling(refusal)
        return self._forward(judgement, begun, None)

    def _held(
        self, begun: Begun, hold: Hold, outcome: str, started: int, resolution: Resolution | None
    ) -> Refusal | None:
        waited = time.monotonic_ns() - started
        self.services.metrics.held(self.store.name, outcome, waited)
        return self.recorder.decided(begun, hold, outcome, waited, resolution)

    def _objection(self, asked: Asked, hold: Hold, resolution: Resolution, snapshot: Snapshot | None) -> Refusal | None:
        """Why the statement may not go although, or because, the hold has ended. None: it may."""

        def no(why: str) -> Refusal:
            return Refusal(errors.INSUFFICIENT_PRIVILEGE, f"lockgate: {why}")

        if resolution.outcome == "expired":
            return no(f"nobody of {' or '.join(hold.approvers)} approved within {hold.expires - hold.created:g} s")
        approver = resolution.approver
        if resolution.outcome != "approved" or approver is None:
            who = f" by {approver.person}" if approver is not None else ""
            comment = f": {resolution.comment}" if resolution.comment else ""
            return no(f"{resolution.outcome}{who}{comment}")
        gone = self._refresh()
        if gone is not None:
            return gone
        # policies may have changed while it waited: what would be denied now is not let through on an old promise
        now = self._judge(asked, snapshot)
        if now.refusal is not None:
            return now.refusal
        engine = self.services.policies.engine
        verdict = now.verdict
        if verdict.decision is Decision.HOLD:
            answer = engine.may_approve(approver, self.claims, verdict, self.store.name, asked.request)
            if not answer.granted:
                return no(f"the approval by {approver.person} doesn't count: {answer.reason}")
        return None

    def _facts(self, asked: Asked, judgement: Judgement) -> dict[str, Any]:
        """What a record says of a statement that was judged."""
        verdict, request = judgement.verdict, asked.request
        text = request.text
        if judgement.secrets is not None:
            snapshot = self._cached()
            text = redacted(request, judgement.secrets, None if snapshot is None else snapshot.catalog)
        fields: dict[str, Any] = {
            "statement": text,
            "verdict": "allow",
            "policy": verdict.policy,
            "reason": verdict.reason,
            "mode": "enforce",
            "epoch": verdict.epoch,
            **judgement.facts,
        }
        if verdict.masks:
            fields["masks"] = [[mask.column, mask.masker] for mask in verdict.masks]
        if not self.store.enforced:
            fields |= {"mode": "observe", "would": "deny" if judgement.refusal is not None else str(verdict.decision)}
        return fields

    def _workload_summary(self) -> dict[str, str | int | None]:
        identified = self._identified
        if identified is None:
            return {}
        workload = identified.workload
        return {"pid": workload.pid, "exe": workload.exe, "user": workload.user, "unit": workload.unit,
                "container": workload.container}  # fmt: skip


_BENIGN: Final = frozenset(
    ("user", "database", "application_name", "client_encoding", "options", "replication", "DateStyle", "TimeZone",
     "IntervalStyle", "extra_float_digits", "fallback_application_name", "geqo")
)  # fmt: skip
"""Start-up parameters that change how values look at most. Any other is judged as the SET that it is."""


def _affected(tag: str | None) -> int:
    """The rows a command tag counts (`DELETE 364`): of a statement that returns none, those it changed."""
    count = (tag or "").rpartition(" ")[2]
    return int(count) if count.isdecimal() else 0


def _report(task: asyncio.Task[None]) -> None:
    """A judgement that fails is a bug: the client was refused, and here is why."""
    if not task.cancelled() and task.exception() is not None:
        log.error("judging a statement failed", exc_info=task.exception())


def _settings(parameters: Mapping[str, str]) -> list[str]:
    """The SET statements that a start-up packet stands for. Raises ProtocolError for options nobody can read."""
    encoding = parameters.get("client_encoding", "UTF8").upper().replace("-", "").replace("'", "")
    if encoding not in ("UTF8", "UNICODE", "AUTO"):
        raise ProtocolError(f"client_encoding {encoding} is not supported: UTF8 is")
    found = {name: value for name, value in parameters.items() if name not in _BENIGN}
    words = iter(shlex.split(parameters.get("options", "")))
    for word in words:
        setting = next(words, "") if word == "-c" else word.removeprefix("-c").removeprefix("--")
        name, equals, value = setting.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", name) or word[:2] not in ("-c", "--"):
            raise ProtocolError(f"start-up option {word!r} is not a setting")
        name = name.replace("-", "_")
        if name.lower() == "client_encoding" and value.upper().replace("-", "") not in ("UTF8", "UNICODE"):
            raise ProtocolError(f"client_encoding {value} is not supported: UTF8 is")
        found[name] = value
    quoted = ((name.replace('"', '""'), value.replace("'", "''")) for name, value in found.items())
    return [f"""SET {".".join(f'"{part}"' for part in name.split("."))} TO '{value}'""" for name, value in quoted]


def _formats(codes: bytes) -> list[int]:
    """Bind's parameter format codes, two bytes each behind their count."""
    count = int.from_bytes(codes[:2], "big") if codes else 0
    return [int.from_bytes(codes[2 + 2 * i : 4 + 2 * i], "big") for i in range(count)]


def _nobody(*_: object) -> None:
    """Where nobody listens: before the connection is wired, and after it has ended."""
