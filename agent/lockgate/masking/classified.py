"""Which columns of a database hold values of classified ones, whatever they are called today.

A classification names columns; a server names them by table OID and attribute number, which a rename doesn't change.
What was once seen classified therefore stays it, by those numbers, for as long as its relation exists. Partitions and
inheritance children hold what their parents do (a parent's rows are theirs, and theirs are read through it), and a
generated column depends on what it is generated from.

A name is `schema.table.column` joined by dots, as the catalog has its parts. A part that itself holds a dot can make
two columns share a name: such a name means all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from lockgate.values.catalog import Catalog, Relation

_VALUES_OF_OTHERS: Final[Mapping[str, frozenset[str]]] = {
    "pg_statistic": frozenset(f"stavalues{n}" for n in range(1, 6)),
    "pg_stats": frozenset({"most_common_vals", "histogram_bounds", "most_common_elems", "range_bounds_histogram"}),
    "pg_statistic_ext_data": frozenset({"stxdmcv", "stxdexpr"}),
    "pg_stats_ext": frozenset({"most_common_vals"}),
    "pg_stats_ext_exprs": frozenset({"most_common_vals", "histogram_bounds", "most_common_elems"}),
    "pg_stat_activity": frozenset({"query"}),
    "pg_stat_statements": frozenset({"query"}),
    "pg_largeobject": frozenset({"data"}),
    "pg_prepared_statements": frozenset({"statement"}),
    "pg_cursors": frozenset({"statement"}),
    "pg_attribute": frozenset({"attmissingval"}),
}
"""Columns of PostgreSQL's own relations that hold values, or queries with values in them, of any table."""
_OF_EXTENSIONS: Final = frozenset({"pg_stat_statements"})
"""Those among them that may be in any schema."""

Place = tuple[int, int]
"""A column as RowDescription names it: table OID (`pg_class.oid`) and attribute number (`pg_attribute.attnum`)."""

_TABLES: Final = frozenset("rpf")
"""relkind of what holds rows itself: tables, partitioned tables and foreign tables; views and the like are queries."""
_SYSTEM_COLUMNS: Final = {-1: "ctid", -2: "xmin", -3: "cmin", -4: "xmax", -5: "cmax", -6: "tableoid"}


@dataclass(frozen=True, slots=True)
class Held:
    """Names of classified columns: those whose values a column holds as they are, and those it is computed from."""

    plain: frozenset[str] = frozenset()
    derived: frozenset[str] = frozenset()

    def __or__(self, other: Held) -> Held:
        return Held(self.plain | other.plain, self.derived | other.derived)

    @property
    def all(self) -> frozenset[str]:
        return self.plain | self.derived


NOTHING: Final = Held()


@dataclass(frozen=True, slots=True)
class Source:
    """The column a field of a result was read from.

    `name` is `schema.table.column` of today; `table` is False for a view or materialised view, whose columns come
    from elsewhere (its lineage tells); `held` is what is classified about it.
    """

    name: str
    table: bool
    held: Held = NOTHING


@dataclass(frozen=True, slots=True)
class Classified:
    """A classification resolved on one snapshot of a catalog. Made by `resolve`.

    `missing` are names of the classification that no column has, and never had while this agent looked: a spelling
    mistake, or a table not made yet. They protect nothing, which the operator must be told.
    """

    catalog: Catalog
    missing: tuple[str, ...]
    sticky: Mapping[Place, Held] = field(repr=False)
    """What the next snapshot starts from: `resolve(..., before=sticky)`."""
    _held: Mapping[Place, Held] = field(repr=False)

    def source(self, table_oid: int, column_number: int) -> Source | None:
        """None when the relation or the column is not in this snapshot: refresh it, or don't tell what it is."""
        relation = self.catalog.by_oid.get(table_oid)
        if relation is None:
            return None
        name = _SYSTEM_COLUMNS.get(column_number) or _column_name(relation, column_number)
        if name is None:
            return None
        held = self._held.get((table_oid, column_number), NOTHING)
        return Source(f"{relation.qualified}.{name}", relation.kind in _TABLES, held)

    def secrets(self) -> frozenset[str]:
        """`schema.table.column` of today of all that holds or is computed from a classified column, the system's own
        relations left out: whatever a column is called now, values compared with it are secret."""
        found = ((self.catalog.by_oid.get(oid), number) for oid, number in self._held)
        return frozenset(
            f"{relation.qualified}.{_column_name(relation, number)}"
            for relation, number in found
            if relation is not None and relation.schema != "pg_catalog"
        )

    def held(self, name: str) -> Held:
        """`schema.table.column` of today -> what is classified about it: for lineage, which speaks in names."""
        result = NOTHING
        for place in _places(self.catalog, name):
            result |= self._held.get(place, NOTHING)
        return result


def resolve(
    names: Iterable[str],
    catalog: Catalog,
    parents: Mapping[int, tuple[int, ...]],
    generated: Mapping[int, tuple[tuple[int, int], ...]],
    before: Mapping[Place, Held],
) -> Classified:
    """Find the classified columns of a catalog.

    `names` are `schema.table.column`; `parents` the relations each relation inherits from or is a partition of
    (pg_inherits); `generated` its pairs (generated column, column it is computed from); `before` the `sticky` of the
    snapshot before this one, empty for the first.
    """
    names = tuple(names)
    family = _Family(catalog, parents)
    sticky = {place: held for place, held in before.items() if place[0] in catalog.by_oid}
    known = {name for held in before.values() for name in held.all}
    missing = []
    for name in names:
        places = _places(catalog, name)
        if not places and name not in known:
            missing.append(name)
        for place in places:
            _add(sticky, place, Held(frozenset((name,))))
    for place, held in list(sticky.items()):
        for below in family.descendants(place):
            _add(sticky, below, held)
    read = dict(sticky)
    for place, held in sticky.items():
        for above in family.ancestors(place):
            _add(read, above, held)
    for oid, pairs in generated.items():
        for column, source in pairs:
            computed = Held(derived=read.get((oid, source), NOTHING).all)
            if computed != NOTHING:
                for place in ((oid, column), *family.ancestors((oid, column))):
                    _add(read, place, computed)
                # dropped as an expression it stays as a value
                _add(sticky, (oid, column), computed)
    anything = Held(derived=frozenset(names))
    for place in _values_of_others(catalog):
        _add(read, place, anything)
    return Classified(catalog, tuple(missing), sticky, read)


def _values_of_others(catalog: Catalog) -> Iterator[Place]:
    for name, columns in _VALUES_OF_OTHERS.items():
        for relation in catalog.by_name.get(name, ()):
            if relation.schema == "pg_catalog" or name in _OF_EXTENSIONS:
                yield from ((relation.oid, column.number) for column in relation.columns if column.name in columns)


class _Family:
    """Inheritance between relations, followed column by column: a child's columns are called as its parent's."""

    def __init__(self, catalog: Catalog, parents: Mapping[int, tuple[int, ...]]) -> None:
        self._catalog = catalog
        self._parents = parents
        self._children: dict[int, list[int]] = {}
        for child, above in parents.items():
            for parent in above:
                self._children.setdefault(parent, []).append(child)

    def ancestors(self, place: Place) -> Iterator[Place]:
        return self._follow(place, self._parents)

    def descendants(self, place: Place) -> Iterator[Place]:
        return self._follow(place, self._children)

    def _follow(self, place: Place, steps: Mapping[int, Iterable[int]]) -> Iterator[Place]:
        relation = self._catalog.by_oid.get(place[0])
        name = None if relation is None else _column_name(relation, place[1])
        seen = {place[0]}
        waiting = list(steps.get(place[0], ()))
        while waiting:
            oid = waiting.pop()
            other = self._catalog.by_oid.get(oid)
            if oid in seen or other is None:
                continue
            seen.add(oid)
            number = next((c.number for c in other.columns if c.name == name), None)
            if number is not None:
                yield oid, number
                waiting += steps.get(oid, ())


def _add(columns: dict[Place, Held], place: Place, held: Held) -> None:
    columns[place] = columns.get(place, NOTHING) | held


def _column_name(relation: Relation, number: int) -> str | None:
    return next((column.name for column in relation.columns if column.number == number), None)


def _places(catalog: Catalog, name: str) -> list[Place]:
    """Every column that `name` can mean: each way to cut it into schema, table and column is tried."""
    parts = name.split(".")
    found: list[Place] = []
    for first in range(1, len(parts) - 1):
        for second in range(first + 1, len(parts)):
            schema, table, column = (".".join(p) for p in (parts[:first], parts[first:second], parts[second:]))
            for relation in catalog.by_name.get(table, ()):
                if relation.schema == schema:
                    found += [(relation.oid, c.number) for c in relation.columns if c.name == column]
    return found
