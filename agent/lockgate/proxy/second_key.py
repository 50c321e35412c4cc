"""The second key: a statement waits for another person, or goes on a grant, and is judged once more before it goes."""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from lockgate.approval.client import ApprovalError, Resolution
from lockgate.approval.digest import digest
from lockgate.approval.hold import TEXT_CHARACTERS, Hold
from lockgate.proxy import observing
from lockgate.proxy.approving import Coverage
from lockgate.proxy.holds import TooManyHeld, no, unapproved
from lockgate.proxy.judgement import EvidenceError, Judgement
from lockgate.proxy.lookout import Lookout
from lockgate.proxy.recorder import Begun
from lockgate.values.verdict import Decision
from lockgate.wire.gate import Asked, Refusal, Ruling, Why

if TYPE_CHECKING:
    from lockgate.proxy.gate import ConnectionGate

    Gate = ConnectionGate[Any, Any, Any]

TOO_LONG: Final = Refusal(Why.TOO_LARGE, "lockgate: the statement is too long to be shown to an approver")

NOTICE_SECONDS: Final = 0.5
"""How long a statement that a grant may cover waits before its client is told that it waits."""


@dataclass(frozen=True, slots=True)
class _Released:
    """An approved statement, judged again as of now."""

    judgement: Judgement
    evidence: Any


async def hold(gate: Gate, asked: Asked, judgement: Judgement, evidence: Any) -> Ruling:
    """Wait for the second key. The bytes that go forward are those that were asked about: the session has them."""
    if (futile := gate.futile(asked)) is not None:
        return Ruling(gate.refuse(asked, judgement, futile, evidence))
    text = gate.recordable(asked.request, judgement, evidence)
    values = gate.shown(asked, judgement, evidence)
    if len(text) + len(values) > TEXT_CHARACTERS:
        # nobody can approve what they can't read to its end
        return Ruling(gate.refuse(asked, judgement, TOO_LONG, evidence))
    covered = await gate.coverage(asked, judgement)
    waiting = _hold(gate, asked, judgement, text + values, covered)
    begun = gate.recorder.next()
    fields = {**judgement.facts, "verdict": "hold", "approval": waiting.id}
    unrecorded = gate.recorder.begin("statement", begun, text, fields)
    if unrecorded is not None:
        return Ruling(unrecorded)
    gate.services.metrics.statement(gate.store.name, "hold")
    observing.count(gate.services.metrics, gate.store.name, fields)
    return await _wait(gate, asked, begun, waiting)


def _hold(gate: Gate, asked: Asked, judgement: Judgement, text: str, covered: Coverage) -> Hold:
    requester, verdict, now = gate.claims, judgement.verdict, time.time()
    return Hold(
        id=uuid.uuid4().hex,
        host=gate.services.host,
        digest=_digest(gate, asked),
        principal=requester.principal,
        person=requester.person,
        groups=requester.groups,
        datastore=gate.store.name,
        database=gate.database,
        user=gate.user,
        statement=text,
        effects=tuple(judgement.facts["effects"]),
        objects=tuple(judgement.facts["objects"]),
        policy=verdict.policy,
        reason=verdict.reason,
        approvers=verdict.approvers,
        created=now,
        expires=now + (verdict.timeout_in_transaction if asked.in_transaction else verdict.timeout),
        in_transaction_since=now - gate.transaction_age() if asked.in_transaction else None,
        workload=gate.workload_summary(),
        fingerprint=covered.fingerprint,
        grant=verdict.grant if covered.fingerprint is not None else 0.0,
        covers=covered.words,
    )


async def _wait(gate: Gate, asked: Asked, begun: Begun, hold: Hold) -> Ruling:
    started = begun.sent
    outcome = "cancelled"
    resolution: Resolution | None = None
    refusal: Refusal | None = None
    released: _Released | None = None
    answered = False
    try:
        resolution = await _decision(gate, asked, hold)
        outcome = resolution.outcome
        refusal = unapproved(hold, resolution)
        if refusal is None:
            refusal, released = await _second_look(gate, asked, hold, resolution)
            if refusal is not None:
                outcome = "denied"
        answered = True
    except TooManyHeld as error:
        refusal, answered = Refusal(Why.TOO_LARGE, f"lockgate: {error}"), True
    except (ApprovalError, EvidenceError) as error:
        outcome, answered = "denied", True
        refusal = Refusal(Why.DENIED, f"lockgate: {error}")
    finally:
        if not answered:
            # the client went, or cancelled, or we failed: nobody waits for the decision any more
            gate.services.holds.withdraw(hold.id)
            _held(gate, begun, hold, "cancelled", started, resolution)
            gate.recorder.end(begun, gate.ending, {})
            if resolution is not None and resolution.outcome == "approved":
                gate.services.holds.became(hold.id, f"the client was gone, or had cancelled: {gate.ending}")
    refusal = _held(gate, begun, hold, outcome, started, resolution) or refusal
    if resolution is not None and resolution.outcome == "approved":
        gate.services.holds.became(hold.id, None if refusal is None else refusal.message)
    if refusal is not None or released is None:
        refusal = refusal or no("it was not approved")
        fields = {"error": {"code": gate.store.native(refusal.code)}}
        gate.recorder.end(begun, "timeout" if outcome == "expired" else "denied", fields)
        return Ruling(refusal)
    begun.sent = time.monotonic_ns()
    return gate.forward(released.judgement, begun, released.evidence)


async def _decision(gate: Gate, asked: Asked, hold: Hold) -> Resolution:
    """Wait for it: the client is told, and so is, of the locks that it keeps, whoever looks. Raises TooManyHeld,
    ApprovalError."""
    holds = gate.services.holds
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(holds.place())
        tell = asyncio.get_running_loop().call_later(
            NOTICE_SECONDS if hold.fingerprint is not None else 0.0, _tell, gate, asked, hold
        )
        stack.callback(tell.cancel)
        if not gate.keeps_locks(asked):
            return await holds.wait(hold, lambda: None)
        lookout = Lookout(gate.locks, lambda found: holds.tell_locks(hold.id, found), holds.looks)
        await stack.enter_async_context(lookout)
        return await holds.wait(hold, lookout.asked)


def _tell(gate: Gate, asked: Asked, hold: Hold) -> None:
    seconds = hold.expires - hold.created
    meanwhile = " (a transaction is open, and keeps its locks meanwhile)" if asked.in_transaction else ""
    gate.notice(
        f"lockgate: held for approval by {' or '.join(hold.approvers)} (policy {hold.policy}), request {hold.id[:8]}",
        f"It waits up to {seconds:g} s{meanwhile} for somebody else to run: lockgate approvals approve {hold.id[:8]}",
    )


async def _second_look(
    gate: Gate, asked: Asked, hold: Hold, resolution: Resolution
) -> tuple[Refusal | None, _Released]:
    """Judge an approved statement as of now: who asks, the policies and the evidence may be others than before.

    What would be denied now is not let through on an old promise, and what has come to be masked is. Raises
    EvidenceError.
    """
    evidence = await gate.evidence()
    gone = gate.refresh()
    judgement = gate.judge(asked, evidence)
    refusal = gone or judgement.refusal
    if refusal is None and _digest(gate, asked) != hold.digest:
        refusal = no("who asked has become somebody else while the statement waited")
    verdict, approver = judgement.verdict, resolution.approver
    if refusal is None and verdict.decision is Decision.HOLD and approver is not None:
        engine = gate.services.policies.engine
        answer = engine.may_approve(approver, gate.claims, verdict, gate.store.name, asked.request)
        if not answer.granted:
            refusal = no(f"the approval by {approver.person} doesn't count: {answer.reason}")
        elif resolution.by_grant is not None:
            covered = await gate.coverage(asked, judgement)
            if covered.fingerprint != hold.fingerprint or verdict.grant < approver.expires_at - approver.issued_at:
                refusal = no(f"the grant by {approver.person} doesn't count any more: {covered.words}")
    return refusal, _Released(judgement, evidence)


def _held(
    gate: Gate, begun: Begun, hold: Hold, outcome: str, started: int, resolution: Resolution | None
) -> Refusal | None:
    waited = time.monotonic_ns() - started
    gate.services.metrics.held(gate.store.name, outcome, waited)
    return gate.recorder.decided(begun, hold, outcome, waited, resolution)


def _digest(gate: Gate, asked: Asked) -> str:
    bound = gate.bound(asked)
    return digest(bound.text, bound.parameters, bound.formats, gate.claims, gate.recorder.id,
                  gate.store.name, gate.database, gate.user)  # fmt: skip
