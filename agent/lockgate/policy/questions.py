"""The questions as Cedar hears them, and its answers as we read them.

Names come from clients and from the catalogue: every one of them travels as data (structured uids, JSON strings),
never inside Cedar text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import cedarpy

from lockgate.policy.annotations import Policy
from lockgate.policy.bundle import Rules, column_id
from lockgate.policy.lint import WEEKDAYS
from lockgate.values.identity import Asker, Claims
from lockgate.values.statement import Effect, Place, Statement

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


def ask(rules: Rules, questions: Sequence[Question], entities: Iterable[Entity]) -> tuple[Answer, ...]:
    """Put the questions, in order, over one set of entities. Never raises for what names contain."""
    try:
        # not validated against the schema a second time (a third of the cost): everything here is built below, to the
        # schema that the policies were validated with, and a wrong type would be an evaluation error, so a refusal
        known = cedarpy.Entities.from_json_str(json.dumps(list(entities)))
        results = cedarpy.is_authorized_batch(list(questions), rules.policy_set, known)
    except ValueError as error:  # an unpaired surrogate has no UTF-8, and so is no name to Cedar
        return (Answer(False, (), f"not a question: {error}"),) * len(questions)
    return tuple(_read(rules, result) for result in results)


def _read(rules: Rules, result: cedarpy.AuthzResult) -> Answer:
    errors = result.diagnostics.errors
    if errors:
        return Answer(False, (), _POSITION.sub(lambda m: rules.policies[int(m[1])].id, errors[0]))
    positions = sorted(int(reason.removeprefix("policy")) for reason in result.diagnostics.reasons)
    return Answer(result.allowed, tuple(rules.policies[position] for position in positions))


def principal(claims: Claims) -> Entity:
    return {
        "uid": _uid("Principal", claims.principal),
        "attrs": {} if claims.person is None else {"person": claims.person},
        "parents": [_uid("Group", group) for group in claims.groups],
    }


def store(name: str) -> Entity:
    return {"uid": _uid("Datastore", name), "attrs": {}, "parents": []}


def touched(datastore: str, place: Place, patterns: Sequence[str]) -> Entity:
    """Whichever key (or channel) these patterns match. Policies can't name it, so what it is called is ours."""
    kind = place.capitalize()
    parents = [_uid("Datastore", datastore), *(_uid(f"{kind}s", f"{datastore}/{pattern}") for pattern in patterns)]
    return {"uid": _uid(kind, json.dumps((datastore, *patterns))), "attrs": {}, "parents": parents}


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


def detector(datastore: str, kind: str) -> Entity:
    """The same entity in every datastore, standing in the one that is asked about."""
    return {"uid": _uid("Detector", kind), "attrs": {}, "parents": [_uid("Datastore", datastore)]}


def when(minute: int) -> dict[str, object]:
    """The time that a question is asked at, in minutes since the epoch."""
    seconds = 60 * minute
    local = datetime.fromtimestamp(seconds).astimezone()
    utc = datetime.fromtimestamp(seconds, UTC)
    return {
        "now": {"__extn": {"fn": "datetime", "arg": f"{utc:%Y-%m-%dT%H:%M:%SZ}"}},
        "hour": local.hour,
        "weekday": WEEKDAYS[local.weekday()],
    }


def place(asker: Asker, protocol: str, minute: int) -> dict[str, object]:
    """The schema's `Place`."""
    return {"database": asker.database, "user": asker.user, "protocol": protocol, **when(minute)}


def statement_context(statement: Statement, rows: int | None, place: Mapping[str, object]) -> dict[str, object]:
    """The schema's `Statement`. No effects at all is something nobody could tell: unknown, not harmless."""
    return {
        **({} if rows is None else {"estimated_rows": rows}),
        "effects": sorted(statement.effects or (Effect.UNKNOWN,)),
        "objects": list(statement.objects),
        "columns": list(statement.columns),
        "functions": list(statement.functions),
        "definer_functions": list(statement.definer_functions),
        "settings": list(statement.settings),
        "kinds": list(statement.kinds),
        "categories": list(statement.categories),
        "has_where": statement.has_where,
        **place,
    }


def approval_context(requester: Claims, statements: Sequence[Statement], policy: str, minute: int) -> dict[str, object]:
    """What is being approved, all statements together: they run together or not at all."""
    return {
        "requester": requester.principal,
        **({} if requester.person is None else {"requester_person": requester.person}),
        "effects": sorted({effect for s in statements for effect in s.effects or (Effect.UNKNOWN,)}),
        "objects": sorted({name for s in statements for name in s.objects}),
        "kinds": sorted({kind for s in statements for kind in s.kinds}),
        "policy": policy,
        **when(minute),
    }


def _uid(kind: str, name: str) -> dict[str, str]:
    return {"type": kind, "id": name}
