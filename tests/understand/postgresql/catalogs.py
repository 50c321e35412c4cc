"""Catalogs for tests: written down, or read from a scratch server."""

from __future__ import annotations

from typing import Any

from lockgate.values.catalog import Catalog, Column, Relation


def relation(name: str, columns: str, definition: str | None = None, kind: str = "") -> Relation:
    """`schema.name` (public where it has none) with text columns; the OID is made from the name."""
    schema, _, bare = name.rpartition(".")
    parts = tuple(Column(column, number + 1, 25) for number, column in enumerate(columns.split()))
    kind = kind or ("v" if definition else "r")
    return Relation(hash(name) & 0xFFFFFF, schema or "public", bare, kind, parts, definition)


def catalog(*relations: Relation, functions: frozenset[str] = frozenset()) -> Catalog:
    by_name: dict[str, tuple[Relation, ...]] = {}
    for entry in relations:
        by_name[entry.name] = (*by_name.get(entry.name, ()), entry)
    return Catalog("db", {entry.oid: entry for entry in relations}, by_name, functions)


def read(cursor: Any) -> Catalog:
    """The catalog of the database of a psycopg cursor, as the agent's own reader takes it."""
    cursor.execute("set search_path = pg_catalog")
    cursor.execute(
        """select c.oid, nspname, relname, relkind::text, array_agg(attname::text order by attnum),
                  case when relkind in ('v', 'm') then pg_get_viewdef(c.oid) end
             from pg_class c join pg_namespace n on n.oid = relnamespace join pg_attribute a on attrelid = c.oid
            where relkind in ('r', 'v', 'm', 'p', 'f') and attnum > 0 and not attisdropped group by 1, 2, 3, 4"""
    )
    relations = [
        Relation(oid, schema, name, kind, tuple(Column(c, i + 1, 25) for i, c in enumerate(columns)), definition)
        for oid, schema, name, kind, columns, definition in cursor.fetchall()
    ]
    cursor.execute("select proname::text from pg_proc where pronamespace <> 'pg_catalog'::regnamespace")
    functions = frozenset(name for (name,) in cursor.fetchall() if not name.startswith("_pg_"))
    cursor.execute("reset search_path")
    return catalog(*relations, functions=functions)
