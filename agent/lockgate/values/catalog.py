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

    `fires` says that a write to it may run code of the database's own: triggers, rules, and functions that are not
    PostgreSQL's in defaults, checks, indexes and policies. What the write goes on to counts: partitions and children of
    a table, tables under a view, tables that a foreign key cascades to. `screens` says that reading it may:
    by a policy for its rows (row security) that calls what is not PostgreSQL's, its own or that of a table under it.
    `extension` says that it belongs to one.
    """

    oid: int
    schema: str
    name: str
    kind: str
    columns: tuple[Column, ...]
    definition: str | None = None
    fires: bool = False
    screens: bool = False
    extension: bool = False

    @property
    def qualified(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class Routine:
    """One function, aggregate or procedure that is not PostgreSQL's own.

    An operator counts as one that calls the function behind it. `volatility` is `pg_proc.provolatile` (`i`, `s`, `v`),
    `definer` whether it runs with its owner's rights, `language` the name in pg_language, `extension` whether it
    belongs to one. `body` is its text in SQL or PL/pgSQL, None when that isn't known or can't be relied on (another
    language, too long, kept parsed, run under settings of its own), `defaults` the expressions of its arguments'
    defaults, separated by commas. `calls` are functions (`schema.name`) that it is made of rather than written with:
    those of an aggregate or operator. `unary` says that it can be called with one argument, and so as `(value).name`,
    `of_row` that this may be a row, so that `t.name` can be a call.
    """

    schema: str
    name: str
    volatility: str
    definer: bool
    language: str
    extension: bool = False
    body: str | None = None
    defaults: str | None = None
    calls: tuple[str, ...] = ()
    unary: bool = False
    of_row: bool = False


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
    types: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Unqualified name of a type -> the functions (`schema.name`) that are not PostgreSQL's own and make or check its
    values: those of a domain's checks, also in what the type is made of, and of casts to it. Extensions' left out."""
