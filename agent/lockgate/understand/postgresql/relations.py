"""A relation of the catalog -> the rows it holds: tables by name, views as the queries they are."""

from __future__ import annotations

from collections.abc import Iterable

from lockgate.understand.postgresql.origins import Origin, Rows, choice
from lockgate.values.catalog import Catalog, Relation

_TEXT_TYPES = frozenset({19, 25, 1042, 1043})
"""OIDs of name, text, character(n) and character varying (pg_type.dat); none has ever changed."""
_SYSTEM_SCHEMAS = frozenset({"pg_catalog", "information_schema"})


def find(catalog: Catalog, schema: str | None, name: str) -> tuple[Relation, ...]:
    """Every relation that `schema.name` or `name` can mean; pg_temp is one of all temporary schemas."""
    found = catalog.by_name.get(name, ())
    if schema is None:
        return found
    if schema == "pg_temp":
        return tuple(r for r in found if r.schema.startswith("pg_temp"))
    return tuple(r for r in found if r.schema == schema)


def hold_texts(catalog: Catalog, columns: Iterable[str]) -> bool:
    """Whether all these columns (`schema.table.column`) are of types that hold any text; False when it isn't known."""
    for name in columns:
        # a name that itself holds a dot isn't found
        schema, _, rest = name.partition(".")
        table, _, column = rest.partition(".")
        types = [c.type_oid for r in find(catalog, schema, table) for c in r.columns if c.name == column]
        if not types or not _TEXT_TYPES.issuperset(types):
            return False
    return True


def is_query(relation: Relation) -> bool:
    """Whether its rows come from a definition (a view of the system counts as a table)."""
    return relation.kind in "vm" and relation.schema not in _SYSTEM_SCHEMAS


def table_rows(relation: Relation) -> Rows:
    """The rows of a relation taken as a table."""
    names = [(column.name, f"{relation.qualified}.{column.name}") for column in relation.columns]
    return Rows(tuple((name, Origin(frozenset({whole}), plain=whole)) for name, whole in names))


def view_rows(relation: Relation, query: Rows) -> Rows:
    """The rows of a view whose definition returns `query`: its own columns are remembered, under its own names."""
    if not query.counted:
        return Rows(why=query.why or f"the columns of view {relation.qualified} are not known")
    if len(query.columns) != len(relation.columns):
        return Rows(why=f"the definition of view {relation.qualified} does not fit its columns")
    return Rows(
        tuple(
            (column.name, Origin(o.sources, o.why, o.plain, o.views | {f"{relation.qualified}.{column.name}"}))
            for column, (_, o) in zip(relation.columns, query.columns, strict=True)
        )
    )


def either(alternatives: list[Rows]) -> tuple[Rows, frozenset[str]]:
    """The rows of one of several relations, and the columns that not all of them have."""
    if len(alternatives) == 1:
        return alternatives[0], frozenset()
    lost = next((rows.why for rows in alternatives if rows.why is not None), None)
    if lost is not None:
        return Rows(why=lost), frozenset()
    lists = [[name for name, _ in rows.columns] for rows in alternatives]
    if all(names == lists[0] for names in lists):
        return Rows(
            tuple((name, choice([rows.columns[i][1] for rows in alternatives])) for i, name in enumerate(lists[0]))
        ), frozenset()
    names = list(dict.fromkeys(name for names in lists for name in names))
    columns = []
    for name in names:
        found = [origin for rows in alternatives if (origin := rows.column(name)) is not None]
        columns.append((name, choice(found)))
    some = frozenset(name for name in names if not all(name in names_of for names_of in lists))
    return Rows(tuple(columns), exact=False), some
