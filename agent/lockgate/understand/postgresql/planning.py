"""Whether a statement can be planned by somebody else without running anything of the database's own.

PostgreSQL's planner calls functions that claim to be immutable, with the rights of whoever plans.
"""

from __future__ import annotations

from typing import Final

from lockgate.understand.postgresql.effects import read_statement
from lockgate.understand.postgresql.parsing import Unreadable, parse
from lockgate.understand.postgresql.relations import find, is_query
from lockgate.understand.postgresql.tree import Node, strings, walk
from lockgate.values.catalog import Catalog, Relation
from lockgate.values.statement import Effect, Request

KINDS: Final = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE"})
VIEWS: Final = 50
"""Views that are looked into for one statement."""

_ROWS: Final = frozenset({Effect.READ, Effect.WRITE})
_TYPE_NAMES: Final = """
bit bool boolean bpchar bytea char cidr date daterange float4 float8 inet int int2 int4 int8 int4range int8range integer
interval json jsonb macaddr money name numeric numrange oid point text time timestamp timestamptz timetz tsquery
tsrange tstzrange tsvector unknown uuid varbit varchar xml
"""
_TYPES: Final = frozenset(_TYPE_NAMES.split())
"""PostgreSQL's own types that data is of: a name of another type may stand for a function that makes one."""


def plannable(request: Request, catalog: Catalog) -> tuple[str, ...] | None:
    """The schemas to look for its tables in, None when the request must not be planned.

    It has to be one query or change of rows that calls nothing but PostgreSQL's own functions and names tables that
    there is one of each: which of several is meant hangs on the path of the session.
    """
    if request.refusal is not None or len(request.statements) != 1 or request.statements[0].kind not in KINDS:
        return None
    schemas: dict[str, None] = {}
    waiting, seen = [request.text], set[int]()
    while waiting:
        relations = _named(waiting.pop(), catalog)
        if relations is None:
            return None
        for relation in relations:
            schemas[relation.schema] = None
            if relation.oid in seen or not is_query(relation):
                continue
            seen.add(relation.oid)
            if relation.definition is None or len(seen) > VIEWS:
                return None
            waiting.append(relation.definition)
    return tuple(schemas)


def _named(text: str, catalog: Catalog) -> list[Relation] | None:
    """The relations of one statement, None when it is not plain."""
    try:
        (tree,) = parse(text)
    except (Unreadable, ValueError):
        return None
    statement = read_statement(tree.stmt, catalog.functions)
    if (
        statement.functions
        or not statement.effects <= _ROWS
        or not all(_plain(node, catalog) for node in walk(tree.stmt))
    ):
        return None
    found = []
    for name in statement.objects:
        schema, _, bare = name.rpartition(".")
        meant = find(catalog, schema or None, bare)
        if len(meant) != 1 or meant[0].fires or meant[0].schema.startswith("pg_temp"):
            return None
        found.append(meant[0])
    return found


def _plain(node: Node, catalog: Catalog) -> bool:
    if node.kind == "TypeName":
        names = strings(node.names)
        return names[-1] in _TYPES and (len(names) == 1 or names[0] == "pg_catalog")
    if node.kind == "ColumnRef":  # t.name and (value).name can be calls
        return len(node.fields) == 1 or node.fields[-1].sval not in catalog.routines
    return node.kind != "A_Indirection" or not any(part.kind == "String" for part in node.indirection or ())
