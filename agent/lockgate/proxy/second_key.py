"""The second key: a statement waits for another person, or goes on a grant, and is judged once more before it goes."""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from lockgate.approval.client import ApprovalError, Resolution
from lockgate.approval.digest import digest
from lockgate.approval.hold import TEXT_CHARACTERS, Hold
from lockgate.proxy import locks, observing
from lockgate.proxy.catalog import Snapshot
from lockgate.proxy.catalog_reader import CatalogError
from lockgate.proxy.grants import Coverage, coverage
from lockgate.proxy.holds import TooManyHeld, no, unapproved
from lockgate.proxy.judge import Judgement
from lockgate.proxy.parameters import formats, shown
from lockgate.proxy.recorder import Begun
from lockgate.understand.postgresql import Redaction
from lockgate.values.statement import Effect
from lockgate.values.verdict import Decision
from lockgate.wire.gate import Asked, Refusal, Ruling
from lockgate.wire.postgresql import errors

if TYPE_CHECKING:
    from lockgate.proxy.gate import StatementGate

TOO_LONG: Final = Refusal(
    errors.PROGRAM_LIMIT_EXCEEDED, "lockgate: the statement is too long to be shown to an approver"
)
TRANSACTION_FAILED: Final = Refusal(
    errors.IN_FAILED_TRANSACTION,
    "current transaction is aborted, commands ignored until end of transaction block",
)
"""PostgreSQL's own words: nobody is asked about what the server would refuse."""

NOTICE_SECONDS: Final = 0.5
"""How long a statement that a grant may cover waits before its client is told that it waits."""


@dataclass(frozen=True, slots=True)
class _Released:
    """An approved statement, judged again as of now."""

    judgement: Judgement
    snapshot: Snapshot | None


def lost(asked: Asked) -> bool:
    """Whether a server whose transaction has failed would refuse it: all but what could end the transaction."""
    return all(Effect.TRANSACTION not in s.effects for r in (asked.request, *asked.candidates) for s in r.statements)


async def hold(gate: StatementGate, asked: Asked, judgement: Judgement, snapshot: Snapshot | None) -> Ruling:
    """Wait for the second key. The bytes that go forward are those that were asked about: the session has them."""
    if asked.failed and lost(asked):
        return Ruling(gate.refuse(asked, judgement, TRANSACTION_FAILED, snapshot))
    text = gate.recordable(asked.request, judgement, snapshot)
    values = shown(asked.parameters(), formats(asked.formats), secret=judgement.secrets is not None)
    values += _going_on(gate, asked, judgement, snapshot)
    if len(text) + len(values) > TEXT_CHARACTERS:
        # nobody can approve what they can't read to its end
        return Ruling(gate.refuse(asked, judgement, TOO_LONG, snapshot))
    covered = await _coverage(gate, asked, judgement)
    waiting = _hold(gate, asked, judgement, text + values, covered)
    begun = gate.recorder.next()
    fields = {**judgement.facts, "verdict": "hold", "approval": waiting.id}
    unrecorded = gate.recorder.begin("statement", begun, text, fields)
    if unrecorded is not None:
        return Ruling(unrecorded)
    gate.services.metrics.statement(gate.store.name, "hold")
    observing.count(gate.services.metrics, gate.store.name, fields)
    return await _wait(gate, asked, begun, waiting)


def _going_on(gate: StatementGate, asked: Asked, judgement: Judgement, snapshot: Snapshot | None) -> str:
    """The texts behind the names that it uses, for the approver: `EXECUTE p` alone says nothing."""
    found = ""
    for other in dict.fromkeys(asked.candidates):
        if other.text == asked.request.text:
            continue
        # a redaction is of one shape
        redaction = None if judgement.secrets is None else Redaction(judgement.secrets)
        found += f"\n-- goes on with:\n{gate.recordable(other, replace(judgement, redaction=redaction), snapshot)}"
    return found


def _hold(gate: StatementGate, asked: Asked, judgement: Judgement, text: str, covered: Coverage) -> Hold:
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


async def _coverage(gate: StatementGate, asked: Asked, judgement: Judgement) -> Coverage:
    """What a grant on this statement would cover, as names and policies are now."""
    verdict = judgement.verdict
    if verdict.decision is not Decision.HOLD or verdict.grant <= 0:
        return Coverage(None, "no grant: the policy has every one approved by itself")
    reader = gate.store.reader
    if reader is None:
        return Coverage(None, f"no grant: {locks.NO_READER}, so what names stand for can't be told")
    try:
        # not the one that it was judged by: where nothing is classified that is none
        catalog = (await reader.get(gate.endpoint, gate.database)).catalog
    except CatalogError as error:
        return Coverage(None, f"no grant: {error}")
    if gate.altered_in(asked):
        return Coverage(None, "no grant: the open transaction has changed what names stand for")
    place = (gate.store.name, gate.database, gate.user)
    requests = (asked.request, *asked.candidates)
    effects = judgement.facts["effects"]
    return coverage(requests, effects, verdict, catalog, gate.claims, place, gate.understand)


async def _wait(gate: StatementGate, asked: Asked, begun: Begun, hold: Hold) -> Ruling:
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
        refusal, answered = Refusal(errors.PROGRAM_LIMIT_EXCEEDED, f"lockgate: {error}"), True
    except (ApprovalError, CatalogError) as error:
        outcome, answered = "denied", True
        refusal = Refusal(errors.INSUFFICIENT_PRIVILEGE, f"lockgate: {error}")
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
        fields = {"error": {"code": refusal.code}}
        gate.recorder.end(begun, "timeout" if outcome == "expired" else "denied", fields)
        return Ruling(refusal)
    begun.sent = time.monotonic_ns()
    return gate.forward(released.judgement, begun, released.snapshot)


async def _decision(gate: StatementGate, asked: Asked, hold: Hold) -> Resolution:
    """Wait for it: the client is told, and so is, of the locks that it keeps, whoever looks. Raises TooManyHeld,
    ApprovalError."""
    holds = gate.services.holds
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(holds.place())
        tell = asyncio.get_running_loop().call_later(
            NOTICE_SECONDS if hold.fingerprint is not None else 0.0, _tell, gate, asked, hold
        )
        stack.callback(tell.cancel)
        if not asked.in_transaction and not asked.formats:
            return await holds.wait(hold, lambda: None)
        # also outside a transaction: to parse a statement locks what it names, to the next Sync
        lookout = locks.Lookout(gate.locks, lambda found: holds.tell_locks(hold.id, found), holds.looks)
        await stack.enter_async_context(lookout)
        return await holds.wait(hold, lookout.asked)


def _tell(gate: StatementGate, asked: Asked, hold: Hold) -> None:
    seconds = hold.expires - hold.created
    meanwhile = " (a transaction is open, and keeps its locks meanwhile)" if asked.in_transaction else ""
    gate.notice(
        f"lockgate: held for approval by {' or '.join(hold.approvers)} (policy {hold.policy}), request {hold.id[:8]}",
        f"It waits up to {seconds:g} s{meanwhile} for somebody else to run: lockgate approvals approve {hold.id[:8]}",
    )


async def _second_look(
    gate: StatementGate, asked: Asked, hold: Hold, resolution: Resolution
) -> tuple[Refusal | None, _Released]:
    """Judge an approved statement as of now: who asks, the policies and the catalog may be others than before.

    What would be denied now is not let through on an old promise, and what has come to be masked is. Raises
    CatalogError.
    """
    snapshot = await gate.read_catalog(renew=False)
    gone = gate.refresh()
    judgement = gate.judge(asked, snapshot)
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
            covered = await _coverage(gate, asked, judgement)
            if covered.fingerprint != hold.fingerprint or verdict.grant < approver.expires_at - approver.issued_at:
                refusal = no(f"the grant by {approver.person} doesn't count any more: {covered.words}")
    return refusal, _Released(judgement, snapshot)


def _held(
    gate: StatementGate, begun: Begun, hold: Hold, outcome: str, started: int, resolution: Resolution | None
) -> Refusal | None:
    waited = time.monotonic_ns() - started
    gate.services.metrics.held(gate.store.name, outcome, waited)
    return gate.recorder.decided(begun, hold, outcome, waited, resolution)


def _digest(gate: StatementGate, asked: Asked) -> str:
    # none of them holds a NUL, so no two lists are told alike
    texts = "\0".join((asked.request.text, *(other.text for other in asked.candidates)))
    return digest(texts, asked.parameters(), formats(asked.formats), gate.claims, gate.recorder.id,
                  gate.store.name, gate.database, gate.user)  # fmt: skip
