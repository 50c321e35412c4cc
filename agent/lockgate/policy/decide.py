"""The decision: claims and a request in, a verdict out. Deny by default; whatever can't be evaluated is refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from lockgate.policy import inference, questions, wording
from lockgate.policy.annotations import Policy
from lockgate.policy.bundle import Bundle
from lockgate.policy.generations import Generations
from lockgate.policy.parts import Case, parts, unpermitted
from lockgate.policy.questions import Answer
from lockgate.policy.second_key import objection
from lockgate.policy.sight import Sight
from lockgate.policy.touches import Found, Patterns, resolved, unresolved
from lockgate.policy.wording import Touched
from lockgate.values.command import Call
from lockgate.values.identity import Asker, Claims
from lockgate.values.protocol import by_pattern
from lockgate.values.statement import Request, Statement
from lockgate.values.verdict import Decision, Mask, Verdict

VERDICTS = 16384
"""Cached verdicts; `limits.verdict_cache` in agent.yaml."""

CACHED_LENGTH = 8192
"""Characters of a client's making that a cached verdict may keep alive: what is longer is judged every time."""

TOUCH_LENGTH = 64
"""What something that a statement touches counts for among them."""

DISTINCT_STATEMENTS = 256
"""Statements of one message that differ in what policy can see, and what they touch. Each costs two evaluations on the
data path; what could be any key costs two for each of `Bundle.whole`'s worlds."""

NAMES = 8192
"""Objects, columns, functions and touches of one message, of equal statements once. PostgreSQL bounds a target list to
1664 entries."""

NOTHING = Answer(False, ())
"""No policy says anything."""


@dataclass(frozen=True, slots=True)
class Approval:
    """Whether this approver may turn the second key. `policy` decided; `reason` is a sentence for the approver."""

    granted: bool
    reason: str
    policy: str


@dataclass(frozen=True, slots=True)
class _Judged:
    statements: tuple[Statement, ...]
    verdict: Verdict


class Engine:
    """Decides with one bundle for as long as it lives; a reload makes a new engine.

    Not locked: it belongs to one event loop. `cache` bounds the verdicts kept, and the reveals beside them. `clock`
    gives seconds since the epoch. `infers` says whether there is anything to ask `inferred` about, `estimates` whether
    a verdict may depend on how many rows are estimated.
    """

    def __init__(self, bundle: Bundle, *, cache: int = VERDICTS, clock: Callable[[], float] = time.time) -> None:
        self.bundle = bundle
        self.epoch = bundle.epoch
        self.infers = bundle.forbids("infer", "infer_equal")
        self.estimates = bundle.mentions("estimated_rows")
        self.timed = bundle.mentions("now", "hour", "weekday")
        self.placed = bundle.mentions("database")
        """Whether a verdict may depend on the database that is asked in."""
        self._clock = clock
        self._sight = Sight(bundle, cache)
        self._patterns = {
            name: Patterns.of(bundle, name) for name, protocol in bundle.datastores.items() if by_pattern(protocol)
        }
        self._shapes: Generations[tuple[object, ...], _Judged] = Generations(cache)
        self._verdicts: Generations[tuple[object, ...], Verdict] = Generations(cache)

    @property
    def minute(self) -> int:
        """Minutes since the epoch, 0 where no policy looks at the time: a part of what a verdict is taken on."""
        return int(self._clock() // 60) if self.timed else 0

    def resolved(self, datastore: str, request: Request) -> Request:
        """The request as `decide` takes it: with what its commands touch, told by the patterns of this bundle.

        Another engine's may not do: it knows other patterns.
        """
        patterns = self._patterns.get(datastore)
        return request if patterns is None else resolved(request, patterns)

    def touched(self, datastore: str, call: Call) -> Found | None:
        """What tells `resolved` requests of one shape apart; None for what touches nothing."""
        patterns = self._patterns.get(datastore)
        return None if patterns is None else patterns.touched(call)

    def decide(self, asker: Asker, request: Request, columns: Sequence[str], *, rows: int | None = None) -> Verdict:
        """The verdict on a request. Never raises for what a client sent.

        `columns` are the classified columns (`schema.table.column`) that the request may touch, `rows` the datastore's
        estimate for a request of one statement, None when there is none. A verdict depends on
        the statements, and is cached under them and under everything else it was taken on. The shape is a quick way
        to the same verdict and no more: an EXECUTE has one shape whatever it executes, so what was judged under a
        shape is compared with what is asked.
        """
        columns = tuple(columns)
        minute = self.minute
        who = (asker.key, columns, minute, rows)
        judged = self._shapes.get((who, request.shape))
        if judged is not None:
            statements = judged.statements
            if statements is request.statements or statements == request.statements:
                return judged.verdict
        if _length(request, asker) > CACHED_LENGTH:
            return self._judge(asker, request, columns, minute, rows)
        verdict = self._verdicts.get((who, request.statements))
        if verdict is None:
            verdict = self._judge(asker, request, columns, minute, rows)
            self._verdicts.put((who, request.statements), verdict)
        self._shapes.put((who, request.shape), _Judged(request.statements, verdict))
        return verdict

    def inferred(self, asker: Asker, masks: Sequence[Mask], uses: inference.Uses | None) -> Verdict | None:
        """A denial when policy forbids to use masked columns so, None when it doesn't.

        `masks` are those of the verdict, `uses` how the request uses the columns: None when that can't be told, and
        then a forbid of any use counts.
        """
        place = questions.place(asker, self.bundle.datastores[asker.datastore], self.minute)
        found = inference.objection(self.bundle, asker, place, masks, uses)
        return None if found is None else self._deny(found.policy, found.reason)

    def may_approve(
        self, approver: Claims, requester: Claims, verdict: Verdict, datastore: str, request: Request
    ) -> Approval:
        """Whether `approver` may let the held `request` go: law 3, then the held verdict's groups, then policy.

        The caller has verified both sets of claims. A verdict from an older bundle keeps its groups, and the policies
        of this one have to permit as well: both agree or nobody approves.
        """
        if verdict.decision is not Decision.HOLD:
            return Approval(False, "there is nothing to approve: the statement is not held", "lockgate:not-held")
        against = objection(approver, requester, verdict.approvers)
        if against is not None:
            return Approval(False, against, "lockgate:second-key")
        context = questions.approval_context(requester, request.statements, verdict.policy, self.minute)
        resource = questions.store(datastore)
        ask = questions.question(approver, "approve", resource, context)
        (answer,) = questions.ask(self.bundle.rules, (ask,), (questions.principal(approver), resource))
        who = wording.shown(approver.principal)
        if answer.error is not None:
            return Approval(False, answer.error, "lockgate:evaluation-error")
        if not answer.policies:
            return Approval(False, f"no policy permits {who} to approve in {datastore}", "default-deny")
        policy = answer.policies[0]
        if not answer.permitted:
            return Approval(False, policy.reason or f"a policy forbids {who} to approve this", policy.id)
        return Approval(True, policy.reason or f"{who} may approve this", policy.id)

    def _judge(
        self, asker: Asker, request: Request, columns: tuple[str, ...], minute: int, rows: int | None
    ) -> Verdict:
        claims, datastore = asker.claims, asker.datastore
        if request.refusal is not None:
            return self._deny("lockgate:refusal", wording.shown(request.refusal, 300))
        protocol = self.bundle.datastores.get(datastore)
        if protocol is None:
            return self._deny("lockgate:unknown-datastore", f"no datastore is called {wording.shown(datastore)}")
        if not request.statements:
            return Verdict(Decision.ALLOW, "lockgate:nothing", "there is nothing to judge", self.epoch)
        if unresolved(request):
            return self._deny("lockgate:unresolved", "what this command touches was not looked up")
        # a batch of ten thousand equal INSERTs is one question; the very same are told without looking into them
        distinct = tuple(dict.fromkeys({id(s): s for s in request.statements}.values()))
        if sum(len(s.objects) + len(s.columns) + len(s.functions) + len(s.touches) for s in distinct) > NAMES:
            return self._deny("lockgate:bound", f"more than {NAMES} different names at once")
        split = parts(distinct)
        if len(split) > DISTINCT_STATEMENTS:
            return self._deny("lockgate:bound", f"more than {DISTINCT_STATEMENTS} different statements at once")
        cases = tuple(case for part in split for case in part.cases(self.bundle, datastore))
        place = questions.place(asker, protocol, minute)
        verdict = self._may_run(claims, datastore, cases, rows if len(request.statements) == 1 else None, place)
        if verdict.decision is Decision.DENY:
            return verdict
        masks = self._sight.masks(asker, place, minute, columns)
        if isinstance(masks, str):
            return self._deny("lockgate:evaluation-error", masks)
        detects = self._sight.detects(asker, place, minute)
        if isinstance(detects, str):
            return self._deny("lockgate:evaluation-error", detects)
        return replace(verdict, masks=masks, detects=detects)

    def _may_run(
        self, claims: Claims, datastore: str, cases: Sequence[Case], rows: int | None, place: Mapping[str, object]
    ) -> Verdict:
        """Whether all of a request may run, and alone. What may be seen of its result is not asked here."""
        asked = [
            questions.question(
                claims, action, case.resource, questions.statement_context(case.part.statement, rows, place)
            )
            for action in ("execute", "execute_alone")
            for case in cases
        ]
        resources = {tuple(case.resource["uid"].values()): case.resource for case in cases if case.world is not None}
        entities = (questions.principal(claims), questions.store(datastore), *resources.values())
        answers = questions.ask(self.bundle.rules, asked, entities)
        executed, alone = answers[: len(cases)], list(answers[len(cases) :])
        for case, answer in zip(cases, executed, strict=True):
            if not answer.permitted:
                return self._refused(answer, claims, datastore, case, alone=False)
        if (without := unpermitted(zip(cases, executed, strict=True), self.bundle, datastore)) is not None:
            return self._refused(NOTHING, claims, datastore, without, alone=False)
        permit = executed[0].policies[0]
        verdict = Verdict(
            Decision.ALLOW,
            permit.id,
            permit.reason or f"a policy permits {wording.attempt(claims.principal, datastore, *_said(cases[0]))}",
            self.epoch,
        )
        held: list[tuple[Policy, Case]] = []
        waiting: list[int] = []
        for n, (case, answer) in enumerate(zip(cases, alone, strict=True)):
            if answer.permitted:
                continue
            if not answer.policies or not all(p.approvers for p in answer.policies):
                return self._refused(answer, claims, datastore, case, alone=True)
            waiting.append(n)
            held += [(policy, case) for policy in answer.policies]
        if held:
            # a forbid that holds must not let pass what the same policies without it deny
            again = questions.ask(self.bundle.permits, [asked[len(cases) + n] for n in waiting], entities)
            for n, answer in zip(waiting, again, strict=True):
                if not answer.permitted:
                    return self._refused(answer, claims, datastore, cases[n], alone=True)
                alone[n] = answer
            verdict = self._hold(datastore, held)
        if (without := unpermitted(zip(cases, alone, strict=True), self.bundle, datastore)) is not None:
            return self._refused(NOTHING, claims, datastore, without, alone=True)
        return verdict

    def _deny(self, policy: str, reason: str) -> Verdict:
        return Verdict(Decision.DENY, policy, reason, self.epoch)

    def _refused(self, answer: Answer, claims: Claims, datastore: str, case: Case, *, alone: bool) -> Verdict:
        if answer.error is not None:
            return self._deny("lockgate:evaluation-error", f"a policy could not be evaluated: {answer.error}")
        # of several forbids the one that no approval could lift is the one to name
        policy = next((p for p in answer.policies if not p.approvers), None)
        if policy is None:
            attempt = wording.attempt(claims.principal, datastore, *_said(case))
            return self._deny("default-deny", f"no policy permits {attempt}{' alone' if alone else ''}")
        return self._deny(
            policy.id, wording.forbidden(policy, claims.principal, datastore, *self._blamed(policy, datastore, case))
        )

    def _blamed(self, policy: Policy, datastore: str, case: Case) -> tuple[Statement, Touched | None]:
        """A case as a sentence about a policy has it: of the patterns that match, those that the policy names."""
        statement, touched = _said(case)
        named = {one.pattern for one in self.bundle.named[policy.id] if one.datastore == datastore}
        if touched is None or case.world is None or not (shown := tuple(p for p in case.world if p in named)):
            return statement, touched
        return statement, replace(touched, patterns=shown)

    def _hold(self, datastore: str, held: Sequence[tuple[Policy, Case]]) -> Verdict:
        """One hold for all of them: a group that every policy names, and the shortest of their times and grants."""
        policies = tuple(dict.fromkeys(policy for policy, _ in held))
        first, case = held[0]
        common = tuple(g for g in first.approvers if all(g in policy.approvers for policy in policies))
        if not common:
            names = " and ".join(wording.listed((policy.id,)) for policy in policies)
            return self._deny(first.id, f"no group may approve under all of {names}")
        timeout = min(policy.timeout for policy in policies)
        reason = wording.held(first, common, timeout, datastore, *self._blamed(first, datastore, case))
        return Verdict(
            Decision.HOLD,
            first.id,
            reason,
            self.epoch,
            approvers=common,
            timeout=timeout,
            timeout_in_transaction=min(policy.timeout_in_transaction for policy in policies),
            grant=min(policy.grant for policy in policies),
        )


def _said(case: Case) -> tuple[Statement, Touched | None]:
    part = case.part
    return part.statement, None if part.place is None else Touched(part.place, part.patterns)


def _length(request: Request, asker: Asker) -> int:
    """Characters that caching a verdict on this request keeps alive, all of them chosen by the client."""
    names = (name for s in request.statements for name in (*s.objects, *s.columns, *s.functions, s.refusal or ""))
    touched = sum(TOUCH_LENGTH + len(t.patterns or ()) for s in request.statements for t in s.touches)
    return len(request.shape) + len(asker.database) + len(asker.user) + touched + sum(map(len, names))
