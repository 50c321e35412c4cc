"""The four questions as Cedar hears them, and its answers as we read them.

Names come from clients and from the catalogue: every one of them travels as data (structured uids, JSON strings),
never inside Cedar text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cedarpy

from lockgate.policy.annotations import Policy
from lockgate.policy.bundle import Bundle, column_id
from lockgate.values.identity import Claims
from lockgate.values.statement import Effect, Statement

Question = dict[str, Any]
Entity = dict[str, Any]

_POSITION = re.compile(r"`policy(\d+)`")


@dataclass(frozen=True, slots=True)
class Answer:
    """Cedar's answer. `policies` are the deciding ones, permits or forbids, in the bundle's order.

    A deny without policies is the default. `error` is set when anything could not be evaluated: Cedar skips such a
    policy, and a skipped forbid is a permit, so an answer with an error permits nothing and names no policy.
    """

    permitted: bool
    policies: tuple[Policy, ...]
    error: str | None = None


def ask(bundle: Bundle, questions: Sequence[Question], entities: Iterable[Entity]) -> tuple[Answer, ...]:
    """Put the questions, in order, over one set of entities. Never raises for what names contain."""
    try:
        # not validated against the schema a second time (a third of the cost): everything here is built below, to the
        # schema that the policies were validated with, and a wrong type would be an evaluation error, so a refusal
        known = cedarpy.Entities.from_json_str(json.dumps(list(entities)))
        results = cedarpy.is_authorized_batch(list(questions), bundle.policy_set, known)
    except ValueError as error:  # an unpaired surrogate has no UTF-8, and so is no name to Cedar
        return (Answer(False, (), f"not a question: {error}"),) * len(questions)
    return tuple(_read(bundle, result) for result in results)


def _read(bundle: Bundle, result: cedarpy.AuthzResult) -> Answer:
    errors = result.diagnostics.errors
    if errors:
        return Answer(False, (), _POSITION.sub(lambda m: bundle.policies[int(m[1])].id, errors[0]))
    positions = sorted(int(reason.removeprefix("policy")) for reason in result.diagnostics.reasons)
    return Answer(result.allowed, tuple(bundle.policies[position] for position in positions))


def principal(claims: Claims) -> Entity:
    return {
        "uid": _uid("Principal", claims.principal),
        "attrs": {} if claims.person is None else {"person": claims.person},
        "parents": [_uid("Group", group) for group in claims.groups],
    }


def store(name: str) -> Entity:
    return {"uid": _uid("Datastore", name), "attrs": {}, "parents": []}


def column(datastore: str, name: str, tags: Iterable[str]) -> Entity:
    parents = [_uid("Datastore", datastore), *(_uid("Tag", tag) for tag in tags)]
    return {"uid": _uid("Column", column_id(datastore, name)), "attrs": {}, "parents": parents}


def question(claims: Claims, action: str, resource: Entity, context: Mapping[str, object]) -> Question:
    return {
        "principal": _uid("Principal", claims.principal),
        "action": _uid("Action", action),
        "resource": resource["uid"],
        "context": dict(context),
    }


def statement_context(statement: Statement, place: Mapping[str, str]) -> dict[str, object]:
    """The schema's `Statement`. No effects at all is something nobody could tell: unknown, not harmless."""
    return {
        "effects": sorted(statement.effects or (Effect.UNKNOWN,)),
        "objects": list(statement.objects),
        "columns": list(statement.columns),
        "functions": list(statement.functions),
        "kinds": list(statement.kinds),
        "has_where": statement.has_where,
        **place,
    }


def approval_context(requester: Claims, statements: Sequence[Statement], policy: str) -> dict[str, object]:
    """What is being approved, all statements together: they run together or not at all."""
    return {
        "requester": requester.principal,
        **({} if requester.person is None else {"requester_person": requester.person}),
        "effects": sorted({effect for s in statements for effect in s.effects or (Effect.UNKNOWN,)}),
        "objects": sorted({name for s in statements for name in s.objects}),
        "kinds": sorted({kind for s in statements for kind in s.kinds}),
        "policy": policy,
    }


def _uid(kind: str, name: str) -> dict[str, str]:
    return {"type": kind, "id": name}
