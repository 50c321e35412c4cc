"""Judging a statement without a datastore: what `policy test` and `policy explain` do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from lockgate.policy import wording
from lockgate.policy.bundle import Bundle
from lockgate.policy.decide import Engine
from lockgate.values.identity import Asker, Claims
from lockgate.values.statement import Request
from lockgate.values.verdict import Decision, Verdict


class Understanding(Protocol):
    """What reads a language, as `lockgate.understand` has it."""

    def request(self, text: str) -> Request: ...


@dataclass(frozen=True, slots=True)
class Trial:
    asker: Asker
    request: Request
    verdict: Verdict


def stand_in(principal: str, person: str | None, groups: Iterable[str]) -> Claims:
    """Claims that no token backs: they decide nothing but a trial."""
    return Claims("trial", principal, person, tuple(groups), "trial", 0, 0)


def run(engine: Engine, language: Understanding, asker: Asker, text: str) -> Trial:
    """Understand and judge `text`. Without a catalogue, the classified columns of every relation it names count."""
    request = language.request(text)
    columns = named_columns(request, engine.bundle.classification.get(asker.datastore, {}))
    return Trial(asker, request, engine.decide(asker, request, columns))


def named_columns(request: Request, classified: Iterable[str]) -> tuple[str, ...]:
    """Those of `classified` (`schema.table.column`) whose relation the request names.

    A name without a schema stands for the relation in every schema, a name with a database before it for the same
    one: what a search path would make of it is not known here.
    """
    named = {name for statement in request.statements for name in statement.objects}
    last_two = {".".join(name.rsplit(".", 2)[-2:]) for name in named}

    def touched(column: str) -> bool:
        relation = column.rpartition(".")[0]
        return relation in last_two or relation.partition(".")[2] in named

    return tuple(column for column in classified if touched(column))


def sentence(bundle: Bundle, trial: Trial) -> str:
    """What would happen and which policy says so, as a person would put it."""
    verdict, who = trial.verdict, wording.shown(trial.asker.claims.principal)
    datastore = trial.asker.datastore
    by = place(bundle, verdict.policy)
    match verdict.decision:
        case Decision.DENY:
            return f"{who} may not run this on {datastore}: {verdict.reason}. Decided by {by}."
        case Decision.HOLD:
            said = (
                f"{who} has to wait for a second person on {datastore}: someone in "
                f"{' or '.join(verdict.approvers)}, within {wording.duration(verdict.timeout)}. Held by {by}."
            )
        case Decision.ALLOW:
            said = f"{who} may run this on {datastore}. Permitted by {by}."
    for mask in verdict.masks:
        said += f" {mask.column} is masked ({mask.masker}) by {place(bundle, mask.policy)}."
    return said


def place(bundle: Bundle, policy: str) -> str:
    """A policy's id with its file and line; what the built-in ones mean, in words."""
    found = bundle.policy(policy)
    if found is not None:
        return f"{policy} ({found.where})"
    return "default-deny (no policy permits it)" if policy == "default-deny" else f"{policy} (built in)"
