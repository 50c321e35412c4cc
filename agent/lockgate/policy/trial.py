"""Judging a statement without a datastore: what `policy test` and `policy explain` do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from lockgate.policy import wording
from lockgate.policy.bundle import Bundle
from lockgate.policy.decide import Engine
from lockgate.policy.touches import Names, calls_of, classified
from lockgate.understand.postgresql import ANYTHING, uses
from lockgate.values.catalog import Catalog, Column, Relation
from lockgate.values.identity import Asker, Claims
from lockgate.values.protocol import NATURES, by_pattern
from lockgate.values.statement import Request
from lockgate.values.use import Use
from lockgate.values.verdict import Decision, Verdict


class Understanding(Protocol):
    """What reads a language, as `lockgate.understand` and `lockgate.policy.commands` have it."""

    def request(self, text: str) -> Request: ...


@dataclass(frozen=True, slots=True)
class Trial:
    asker: Asker
    request: Request
    verdict: Verdict


def stand_in(principal: str, person: str | None, groups: Iterable[str]) -> Claims:
    """Claims that no token backs: they decide nothing but a trial."""
    return Claims("trial", principal, person, tuple(groups), "trial", 0, 0)


def moment(text: str) -> float:
    """Seconds since the epoch for `2026-01-03T22:30`, the host's local time unless it says otherwise.

    Raises ValueError for what is no time.
    """
    return datetime.fromisoformat(text).timestamp()


def at(engine: Engine, text: str | None) -> Engine:
    """The same policies at another time, see `moment`. None is now. Raises ValueError."""
    if text is None:
        return engine
    seconds = moment(text)
    return Engine(engine.bundle, clock=lambda: seconds)


def run(engine: Engine, language: Understanding, asker: Asker, text: str, *, rows: int | None = None) -> Trial:
    """Understand and judge `text`, of which the datastore would estimate `rows`.

    Without a catalogue, the classified columns of every relation it names count.
    """
    request = engine.resolved(asker.datastore, language.request(text))
    known = engine.bundle.classification.get(asker.datastore, {})
    if by_pattern(engine.bundle.datastores.get(asker.datastore)):
        return Trial(asker, request, engine.decide(asker, request, shown_names(request, known), rows=rows))
    columns = named_columns(request, known)
    verdict = engine.decide(asker, request, columns, rows=rows)
    if engine.infers and verdict.masks:
        verdict = engine.inferred(asker, verdict.masks, _used(request, known)) or verdict
    return Trial(asker, request, verdict)


def _used(request: Request, classified: Iterable[str]) -> Mapping[str, frozenset[Use]] | None:
    catalog = _stand_in(request, classified)
    found: dict[str, frozenset[Use]] = {}
    for index in range(len(request.statements)):
        told = uses(request, catalog, index)
        if told is None or ANYTHING in told:
            return None
        for name, how in told.items():
            found[name] = found.get(name, frozenset()) | how
    return found


def _stand_in(request: Request, classified: Iterable[str]) -> Catalog:
    """A catalogue of tables only: every relation that is named has every column that is referred to."""
    tables: dict[tuple[str, str], dict[str, None]] = {}
    for name in classified:
        *_, schema, table, column = ["public", *name.rsplit(".", 2)]
        tables.setdefault((schema, table), {})[column] = None
    for statement in request.statements:
        for schema, table in _relations(statement.objects, tables):
            tables.setdefault((schema, table), {}).update(dict.fromkeys(statement.columns))
    relations = [
        Relation(oid, schema, table, "r", tuple(Column(name, n, 25) for n, name in enumerate(columns, 1)))
        for oid, ((schema, table), columns) in enumerate(tables.items(), 1)
    ]
    by_name: dict[str, tuple[Relation, ...]] = {}
    for relation in relations:
        by_name[relation.name] = (*by_name.get(relation.name, ()), relation)
    return Catalog("trial", {relation.oid: relation for relation in relations}, by_name)


def _relations(objects: Iterable[str], known: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """What the names of a statement's objects stand for: without a schema, the relations of that name anywhere."""
    for name in objects:
        if ":" in name:
            continue  # a role, a setting
        *before, table = name.rsplit(".", 2)
        schemas = before[-1:] or [schema for schema, other in known if other == table] or ["public"]
        yield from ((schema, table) for schema in schemas)


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


def shown_names(request: Request, known: Iterable[str]) -> tuple[str, ...]:
    """Those of `known` (`secret:*`, `profile:*#email`) of which the commands of a request may show values."""
    names = Names(tuple(known))
    found = (name for call in calls_of(request) for name in classified(call, names).shown)
    return tuple(dict.fromkeys(found))


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
                f"{' or '.join(verdict.approvers)}, within {wording.duration(verdict.timeout)}"
                + _shorter(verdict)
                + f". Held by {by}."
            )
            if verdict.grant:
                said += f" They may let the like of it pass for up to {wording.duration(verdict.grant)}."
        case Decision.ALLOW:
            said = f"{who} may run this on {datastore}. Permitted by {by}."
    for mask in verdict.masks:
        said += f" {mask.column} is masked ({mask.masker}) by {place(bundle, mask.policy)}."
    for policy in dict.fromkeys(detect.policy for detect in verdict.detects):
        kinds = [detect.kind for detect in verdict.detects if detect.policy == policy]
        masker = next(detect.masker for detect in verdict.detects if detect.policy == policy)
        things = NATURES[bundle.datastores[datastore]].things
        said += f" {', '.join(kinds)} in other {things}: masked ({masker}) by {place(bundle, policy)}."
    return said


def _shorter(verdict: Verdict) -> str:
    if verdict.timeout_in_transaction >= verdict.timeout:
        return ""
    return f" ({wording.duration(verdict.timeout_in_transaction)} in an open transaction)"


def place(bundle: Bundle, policy: str) -> str:
    """A policy's id with its file and line; what the built-in ones mean, in words."""
    found = bundle.policy(policy)
    if found is not None:
        return f"{policy} ({found.where})"
    return "default-deny (no policy permits it)" if policy == "default-deny" else f"{policy} (built in)"
