"""A snapshot of one database's catalog, as lineage and masking need it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    number: int
    """`pg_attribute.attnum`, as in RowDescription; dropped columns are left out."""
    type_oid: int


@dataclass(frozen=True, slots=True)
class Relation:
    """`kind` is `pg_class.relkind`; `definition` the query of a view or materialised view, None otherwise."""

    oid: int
    schema: str
    name: str
    kind: str
    columns: tuple[Column, ...]
    definition: str | None = None

    @property
    def qualified(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class Catalog:
    """`functions` holds the names of every function and operator-implementing function outside pg_catalog."""

    database: str
    by_oid: Mapping[int, Relation]
    by_name: Mapping[str, tuple[Relation, ...]]
    """Unqualified relation name -> every relation of that name, whatever its schema."""
    functions: frozenset[str] = frozenset()
