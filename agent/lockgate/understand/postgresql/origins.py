"""What a value of a query may come from, and the names under which a part of a query sees columns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from lockgate.understand.postgresql.tree import Node

SYSTEM_COLUMNS = frozenset({"ctid", "xmin", "cmin", "xmax", "cmax", "tableoid"})
"""They say where and when a row was stored (heap.c), never what is in it."""

ANYTHING = "*"
"""Stands among the columns that a statement refers to for all there may be: an unknown function reads what it likes."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The base columns (`schema.table.column`) a value may depend on; `why` is set when there may be others.

    `plain` is the one base column whose value it is, unchanged. `views` are columns of views it came through: they may
    be classified themselves.
    """

    sources: frozenset[str] = frozenset()
    why: str | None = None
    plain: str | None = None
    views: frozenset[str] = frozenset()

    @property
    def all(self) -> frozenset[str]:
        return self.sources | self.views


NOWHERE = Origin()
"""Constants, parameters, the clock."""


def unknown(why: str) -> Origin:
    return Origin(why=why)


def union(origins: Iterable[Origin]) -> Origin:
    """What depends on all of these. The same plain column everywhere stays plain only if nothing else is mixed in."""
    found = list(dict.fromkeys(origins))
    if len(found) == 1:
        return Origin(found[0].sources, found[0].why, None, found[0].views)
    return Origin(
        frozenset[str]().union(*(o.sources for o in found)),
        next((o.why for o in found if o.why), None),
        None,
        frozenset[str]().union(*(o.views for o in found)),
    )


def choice(origins: list[Origin]) -> Origin:
    """What is one of these, unchanged (a set operation, one of several tables of a name)."""
    if len(origins) == 1 or (all(o == origins[0] for o in origins) and not origins[0].views):
        return origins[0]
    return union(origins)


@dataclass(frozen=True, slots=True)
class Rows:
    """The columns of a table or query in order.

    `why` is set when they aren't known: then any column of it is unknown. `anything` is set when their number and names
    aren't known but every one of them has this origin. `exact` is False when there may be fewer, or in another order.
    """

    columns: tuple[tuple[str, Origin], ...] = ()
    why: str | None = None
    anything: Origin | None = None
    exact: bool = True

    @property
    def counted(self) -> bool:
        return self.exact and self.why is None and self.anything is None

    @property
    def whole(self) -> Origin:
        """A row of it as one value."""
        if self.why is not None:
            return unknown(self.why)
        return union([NOWHERE, *(o for _, o in self.columns), *([self.anything] if self.anything else [])])

    def column(self, name: str) -> Origin | None:
        """The column of this name, None when there is none; several of one name could be any of them."""
        found = [origin for other, origin in self.columns if other == name]
        if found:
            return found[0] if len(found) == 1 else union(found)
        if self.why is not None:
            return unknown(self.why)
        return self.anything

    def renamed(self, names: tuple[str, ...]) -> Rows:
        """As an alias with column names leaves it: the first columns get these names."""
        if not names or self.why is not None:
            return self
        if not self.exact:
            return Rows(tuple((name, self.whole) for name in names), anything=self.whole)
        if self.anything is not None:
            return Rows(tuple((name, self.anything) for name in names), anything=self.anything)
        return Rows(
            tuple((names[i] if i < len(names) else name, origin) for i, (name, origin) in enumerate(self.columns))
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """One name of a FROM list. `schema` is set for a table under its own name, `stored` for what has system columns.

    `doubtful` are columns that only some of the tables of this name have. A `hidden` entry (OLD and NEW in RETURNING)
    is only seen by its name.
    """

    alias: str
    rows: Rows
    schema: str | None = None
    stored: bool = False
    doubtful: frozenset[str] = frozenset()
    hidden: bool = False


@dataclass(slots=True)
class Cte:
    """A WITH query: `rows` None until it was looked at; `busy` while it is (then `rows` is what is known so far)."""

    node: Node
    scope: Scope
    rows: Rows | None = None
    busy: bool = False


@dataclass(slots=True)
class Scope:
    """What an expression sees: the FROM list so far, WITH queries and windows of its query, and the query around it."""

    parent: Scope | None = None
    entries: list[Entry] = field(default_factory=list)
    ctes: dict[str, Cte] = field(default_factory=dict)
    windows: tuple[Node, ...] = ()

    def cte(self, name: str) -> Cte | None:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.ctes:
                return scope.ctes[name]
            scope = scope.parent
        return None
