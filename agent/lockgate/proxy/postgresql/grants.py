"""What a reusable grant would cover: the shape of a statement, and what the names in it stand for.

A shape leaves constants open, which is the point of a grant. Names it keeps, but what a name means is the database's
choice: another search_path, a temporary table of the same name, a view that was replaced. So a grant takes names that
can stand for one relation only, and binds them to that relation as it is; whatever changes ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from lockgate.approval.digest import fingerprint
from lockgate.proxy.approving import Coverage
from lockgate.values.catalog import Catalog, Relation
from lockgate.values.identity import Claims
from lockgate.values.statement import Effect, Request
from lockgate.values.verdict import Verdict

RELATIONS: Final = 200
"""Relations that one grant may depend on, views and what they read counted: nobody oversees more."""

Read = Callable[[str], Request]
"""The understanding: text -> what it would do."""


class NotGrantable(Exception):
    """Nothing can be granted with this statement; the message says why, to the approver."""


def coverage(
    requests: tuple[Request, ...],
    effects: Iterable[str],
    verdict: Verdict,
    catalog: Catalog,
    claims: Claims,
    place: tuple[str, str, str],
    read: Read,
) -> Coverage:
    """What a grant on a held statement would cover.

    `requests` are the statement and everything that it may go on with, `effects` what policy saw of all of them,
    `place` the datastore, the database and the user of the connection.
    """
    try:
        bound = meaning(requests, effects, catalog, read)
    except NotGrantable as error:
        return Coverage(None, f"no grant: {error}")
    shapes = [request.shape for request in requests]
    free = all(request.shape != request.text for request in requests)
    words = "other constants and bound values too" if free else "this very text, with other bound values too"
    return Coverage(fingerprint(shapes, bound, claims, *place, verdict.policy), words)


def meaning(requests: Iterable[Request], effects: Iterable[str], catalog: Catalog, read: Read) -> tuple[str, ...]:
    """What the names in `requests` stand for, one line a relation. Raises NotGrantable."""
    if Effect.UNKNOWN in effects:
        raise NotGrantable("it can't be told what the statement does")
    found: dict[int, str] = {}
    todo = list(requests)
    while todo:
        for statement in todo.pop().statements:
            called = [f for f in statement.functions if f in catalog.functions or f in catalog.routines]
            if called or statement.refusal is not None:
                raise NotGrantable(f"what it does depends on {called[0] if called else 'what is not known'}")
            for name in statement.objects:
                relation = _only(name, catalog)
                if relation is None or relation.oid in found:
                    continue
                found[relation.oid] = _facts(relation)
                if relation.definition is not None:
                    todo.append(read(relation.definition))
        if len(found) > RELATIONS:
            raise NotGrantable(f"it depends on more than {RELATIONS} relations")
    return tuple(found[oid] for oid in sorted(found))


def _only(name: str, catalog: Catalog) -> Relation | None:
    """The one relation that `name` can stand for; None for what is no relation (`role:bob`). Raises NotGrantable."""
    # a quoted name may hold a dot, or a colon: whatever it could be read as counts
    bare = catalog.by_name.get(name, ())
    schema, _, last = name.rpartition(".")
    qualified = [r for r in catalog.by_name.get(last, ()) if schema and r.schema == schema]
    found = [*bare, *qualified]
    if not found and ":" in name:
        return None
    if len(found) != 1:
        raise NotGrantable(f"{name} can stand for {'several relations' if found else 'a relation that is not known'}")
    return found[0]


def _facts(relation: Relation) -> str:
    columns = ", ".join(f"{c.number} {c.name!r} {c.type_oid}" for c in relation.columns)
    return f"{relation.oid} {relation.kind} {relation.qualified!r} ({columns}) {relation.definition or ''}"
