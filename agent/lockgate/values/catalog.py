"""A snapshot of one database's catalog, as lineage and masking need it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    number: int
    """`pg_attribute.attnum`, as in RowDescription; dropped columns are left out."""
    type_oid: int
    generated: bool = False
    """Computed from others: `COPY table TO` leaves it out."""


@dataclass(frozen=True, slots=True)
class Relation:
    """`kind` is `pg_class.relkind`; `definition` the query of a view or materialised view, None otherwise.

    `fires` says that a write to it runs code of the database's own: triggers (foreign keys aside), rules, or column
    defaults and generated columns that call functions which are not PostgreSQL's; a write to a relation it inherits
    from, or is a partition of, runs its triggers too, and counts.
    """

    oid: int
    schema: str
    name: str
    kind: str
    columns: tuple[Column, ...]
    definition: str | None = None
    fires: bool = False

    @property
    def qualified(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class Routine:
    """One function, aggregate or procedure that is not PostgreSQL's own.

    `volatility` is `pg_proc.provolatile` (`i`, `s`, `v`), `definer` whether it runs with its owner's rights,
    `language` the name in pg_language. `extension` says that it belongs to one. `bodies` are the texts of SQL that a
    call runs, those of default arguments included, and None when they aren't known (not in SQL or PL/pgSQL, too long,
    run under settings of its own); `calls` are the functions it calls without naming them in a body (an aggregate's).
    """

    schema: str
    name: str
    volatility: str
    definer: bool
    language: str
    extension: bool = False
    bodies: tuple[str, ...] | None = None
    calls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Catalog:
    """`functions` are the names of all functions and operators that could be meant instead of one of pg_catalog's:
    those of the database's own, extensions left out."""

    database: str
    by_oid: Mapping[int, Relation]
    by_name: Mapping[str, tuple[Relation, ...]]
    """Unqualified relation name -> every relation of that name, whatever its schema."""
    functions: frozenset[str] = frozenset()
    routines: Mapping[str, tuple[Routine, ...]] = field(default_factory=dict)
    """Unqualified name -> every function of that name that is not PostgreSQL's own, extensions' included."""
