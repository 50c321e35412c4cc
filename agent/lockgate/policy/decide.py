"""The decision: claims and a request in, a verdict out. Deny by default; whatever can't be evaluated is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lockgate.policy import questions, wording
from lockgate.policy.annotations import MASK_DEFAULT, STRICTEST_FIRST, Policy
from lockgate.policy.bundle import Bundle
from lockgate.policy.generations import Generations
from lockgate.policy.questions import Answer
from lockgate.policy.second_key import objection
from lockgate.values.identity import Asker, Claims
from lockgate.values.statement import Request, Statement
from lockgate.values.verdict import Decision, Mask, Verdict

VERDICTS = 16384
"""Cached verdicts; `limits.verdict_cache` in agent.yaml."""

CACHED_LENGTH = 8192
"""Characters of a client's making that a cached verdict may keep alive: what is longer is judged every time."""

DISTINCT_STATEMENTS = 256
"""Statements of one message that differ in what policy can see. Each costs two evaluations on the data path."""

NAMES = 8192
"""Objects, columns and functions of one message. PostgreSQL bounds a target list to 1664 entries."""

Reveal = Mask | str | bool
"""How a column may be seen: True for plain, a Mask, or the error that forbids telling."""


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

    Not locked: it belongs to one event loop. `cache` bounds the verdicts kept, and the reveals beside them.
    """

    def __init__(self, bundle: Bundle, *, cache: int = VERDICTS) -> None:
        self.bundle = bundle
        self.epoch = bundle.epoch
        self._shapes: Generations[tuple[object, ...], _Judged] = Generations(cache)
        self._verdicts: Generations[tuple[object, ...], Verdict] = Generations(cache)
        self._reveals: Generations[tuple[object, ...], Reveal] = Generations(cache)

    def decide(self, asker: Asker, request: Request, columns: Sequence[str]) -> Verdict:
        """The verdict on a request. Never raises for what a client sent.

        `columns` are the classified columns (`schema.table.column`) that the request may touch. A verdict depends on
        the statements, and is cached under them and under everything else it was taken on. The shape is a quick way
        to the same verdict and no more: an EXECUTE has one shape whatever it executes, so what was judged under a
        shape is compared with what is asked.
        """
        columns = tuple(columns)
        who = (asker.key, columns)
        judged = self._shapes.get((who, request.shape))
        if judged is not None:
            statements = judged.statements
            if statements is request.statements or statements == request.statements:
                return judged.verdict
        if _length(request, asker) > CACHED_LENGTH:
            return self._judge(asker, request, columns)
        verdict = self._verdicts.get((who, request.statements))
        if verdict is None:
            verdict = self._judge(asker, request, columns)
            self._verdicts.put((who, request.statements), verdict)
        self._shapes.put((who, request.shape), _Judged(request.statements, verdict))
        return verdict

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
        context = questions.approval_context(requester, request.statements, verdict.policy)
        resource = questions.store(datastore)
        ask = questions.question(approver, "approve", resource, context)
        (answer,) = questions.ask(self.bundle, (ask,), (questions.principal(approver), resource))
        who = wording.shown(approver.principal)
        if answer.error is not None:
            return Approval(False, answer.error, "lockgate:evaluation-error")
        if not answer.policies:
            return Approval(False, f"no policy permits {who} to approve in {datastore}", "default-deny")
        policy = answer.policies[0]
        if not answer.permitted:
            return Approval(False, policy.reason or f"a policy forbids {who} to approve this", policy.id)
        return Approval(True, policy.reason or f"{who} may approve this", policy.id)

    def _judge(self, asker: Asker, request: Request, columns: tuple[str, ...]) -> Verdict:
        claims, datastore = asker.claims, asker.datastore
        if request.refusal is not None:
            return self._deny("lockgate:refusal", wording.shown(request.refusal, 300))
        protocol = self.bundle.datastores.get(datastore)
        if protocol is None:
            return self._deny("lockgate:unknown-datastore", f"no datastore is called {wording.shown(datastore)}")
        if not request.statements:
            return Verdict(Decision.ALLOW, "lockgate:nothing", "there is nothing to judge", self.epoch)
        # a batch of ten thousand equal INSERTs is one question
        statements = tuple(dict.fromkeys(request.statements))
        if len(statements) > DISTINCT_STATEMENTS:
            return self._deny("lockgate:bound", f"more than {DISTINCT_STATEMENTS} different statements in one message")
        if sum(len(s.objects) + len(s.columns) + len(s.functions) for s in statements) > NAMES:
            return self._deny("lockgate:bound", f"more than {NAMES} names in one message")

        place = {"database": asker.database, "user": asker.user, "protocol": protocol}
        resource = questions.store(datastore)
        asked = [
            questions.question(claims, action, resource, questions.statement_context(statement, place))
            for action in ("execute", "execute_alone")
            for statement in statements
        ]
        answers = questions.ask(self.bundle, asked, (questions.principal(claims), resource))
        executed, alone = answers[: len(statements)], answers[len(statements) :]
        for statement, answer in zip(statements, executed, strict=True):
            if not answer.permitted:
                return self._refused(answer, claims, datastore, statement, alone=False)
        permit = executed[0].policies[0]
        verdict = Verdict(
            Decision.ALLOW,
            permit.id,
            permit.reason or f"a policy permits {wording.attempt(claims.principal, datastore, statements[0])}",
            self.epoch,
        )
        held: list[tuple[Policy, Statement]] = []
        for statement, answer in zip(statements, alone, strict=True):
            if answer.permitted:
                continue
            if not answer.policies or not all(p.approvers for p in answer.policies):
                return self._refused(answer, claims, datastore, statement, alone=True)
            held += [(policy, statement) for policy in answer.policies]
        if held:
            verdict = self._hold(held)
        if verdict.decision is Decision.DENY:
            return verdict
        masks = self._masks(asker, place, columns)
        if isinstance(masks, str):
            return self._deny("lockgate:evaluation-error", masks)
        return replace(verdict, masks=masks)

    def _deny(self, policy: str, reason: str) -> Verdict:
        return Verdict(Decision.DENY, policy, reason, self.epoch)

    def _refused(self, answer: Answer, claims: Claims, datastore: str, statement: Statement, *, alone: bool) -> Verdict:
        if answer.error is not None:
            return self._deny("lockgate:evaluation-error", f"a policy could not be evaluated: {answer.error}")
        # of several forbids the one that no approval could lift is the one to name
        policy = next((p for p in answer.policies if not p.approvers), None)
        if policy is None:
            attempt = wording.attempt(claims.principal, datastore, statement)
            return self._deny("default-deny", f"no policy permits {attempt}{' alone' if alone else ''}")
        return self._deny(policy.id, wording.forbidden(policy, claims.principal, datastore, statement))

    def _hold(self, held: Sequence[tuple[Policy, Statement]]) -> Verdict:
        """One hold for all of them: a group that every policy names, and the shortest of their times and grants."""
        policies = tuple(dict.fromkeys(policy for policy, _ in held))
        first, statement = held[0]
        common = tuple(g for g in first.approvers if all(g in policy.approvers for policy in policies))
        if not common:
            names = " and ".join(wording.listed((policy.id,)) for policy in policies)
            return self._deny(first.id, f"no group may approve under all of {names}")
        timeout = min(policy.timeout for policy in policies)
        reason = wording.held(first, common, timeout, statement)
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

    def _masks(self, asker: Asker, place: dict[str, str], columns: tuple[str, ...]) -> tuple[Mask, ...] | str:
        """A Mask for every column that is not revealed, or the error. What a statement is doesn't enter into it."""
        wanted = tuple(dict.fromkeys(columns))
        known = {name: reveal for name in wanted if (reveal := self._reveals.get((asker.key, name))) is not None}
        missing = [name for name in wanted if name not in known]
        if missing:
            known |= zip(missing, self._ask_reveals(asker.claims, asker.datastore, place, missing), strict=True)
            if len(asker.database) + len(asker.user) <= CACHED_LENGTH:
                for name in missing:
                    self._reveals.put((asker.key, name), known[name])
        reveals = [known[name] for name in wanted]
        error = next((reveal for reveal in reveals if isinstance(reveal, str)), None)
        return error or tuple(reveal for reveal in reveals if isinstance(reveal, Mask))

    def _ask_reveals(self, claims: Claims, datastore: str, place: dict[str, str], names: Sequence[str]) -> list[Reveal]:
        tags = self.bundle.classification.get(datastore, {})
        entities = [questions.column(datastore, name, tags.get(name, ())) for name in names]
        asked = [questions.question(claims, "reveal", entity, place) for entity in entities]
        answers = questions.ask(
            self.bundle, asked, (questions.principal(claims), questions.store(datastore), *entities)
        )
        return [_reveal(name, tags.get(name), answer) for name, answer in zip(names, answers, strict=True)]


def _length(request: Request, asker: Asker) -> int:
    """Characters that caching a verdict on this request keeps alive, all of them chosen by the client."""
    names = (name for s in request.statements for name in (*s.objects, *s.columns, *s.functions, s.refusal or ""))
    return len(request.shape) + len(asker.database) + len(asker.user) + sum(map(len, names))


def _reveal(name: str, tags: tuple[str, ...] | None, answer: Answer) -> Reveal:
    if answer.error is not None:
        return answer.error
    if tags is None:
        # classified when the caller looked, not in this bundle: no policy on a tag can speak of it, so hide it
        return Mask(name, MASK_DEFAULT, "lockgate:unclassified")
    if answer.permitted:
        return True
    if not answer.policies:
        return Mask(name, MASK_DEFAULT, "default-deny", tags)
    policy = min(answer.policies, key=lambda policy: STRICTEST_FIRST.index(policy.mask or MASK_DEFAULT))
    return Mask(name, policy.mask or MASK_DEFAULT, policy.id, tags)
