"""Statements that write: what they return, and which columns flow where."""

from __future__ import annotations

from dataclasses import dataclass

from lockgate.understand.postgresql.functions import function_name, spelt
from lockgate.understand.postgresql.origins import NOWHERE, Entry, Origin, Rows, Scope, union
from lockgate.understand.postgresql.queries import Queries
from lockgate.understand.postgresql.tree import Node, items, relation_name, walk
from lockgate.values.catalog import Catalog
from lockgate.values.use import Use


@dataclass(frozen=True, slots=True)
class Flow:
    """Values that a statement writes somewhere.

    `target` is `schema.table.column` (of the catalog, or as written for a relation that is being made),
    `schema.table.*` when the column can't be told, or `function:NAME` for a function that may keep its arguments.
    `sources` are base columns and columns of views; None when they can't be told.
    """

    target: str
    sources: frozenset[str] | None


class Modifications(Queries):
    """Queries, and the statements that write; `flows` collects target -> origin of what goes there.

    `checked` collects every column of the tables written to: constraints look at whole rows.
    """

    def __init__(self, catalog: Catalog) -> None:
        super().__init__(catalog)
        self.flows: dict[str, Origin] = {}
        self.checked: set[str] = set()

    def modification(self, node: Node, parent: Scope | None) -> Rows:
        match node.kind:
            case "InsertStmt":
                return self._insert(node, parent)
            case "UpdateStmt":
                return self._update(node, parent)
            case "DeleteStmt":
                return self._delete(node, parent)
            case "MergeStmt":
                return self._merge(node, parent)
            case _:
                return super().modification(node, parent)

    def sink(self, call: Node, origin: Origin) -> None:
        if origin != NOWHERE:
            self._flow(f"function:{spelt(call) or function_name(call)}", origin)

    def make(self, relation: Node, names: tuple[str, ...], rows: Rows) -> None:
        """The rows of a query become a relation of this name (CREATE TABLE AS, CREATE VIEW, SELECT INTO)."""
        name = relation_name(relation)
        rows = rows.renamed(names)
        if not rows.counted:
            self._flow(f"{name}.*", Origin(rows.whole.sources, rows.why or "its columns are not known"))
            return
        for column, origin in rows.columns:
            self._flow(f"{name}.{column}", origin)

    def _insert(self, node: Node, parent: Scope | None) -> Rows:
        scope = self.scope(node, parent)
        target = self._target(node)
        given = self.query(node.selectStmt, _queries_only(scope)) if node.selectStmt is not None else Rows()
        names = tuple(column.name for column in node.cols or ())
        if not names and target.rows.counted:
            names = tuple(name for name, _ in target.rows.columns)[: len(given.columns)] if given.counted else ()
        written: dict[str, Origin] = {}
        if given.counted and (names or not given.columns):
            written = {name: origin for name, (_, origin) in zip(names, given.columns, strict=False)}
            self._write(target, written)
        else:
            for name in names or ("*",):
                written[name] = given.whole
            self._write(target, written)
        self._cells(node.selectStmt, names, target, scope)
        conflict = node.onConflictClause
        if conflict is not None:
            inner = Scope(scope, [self._after(target, written)])
            inner.entries.append(Entry("excluded", self._after(target, written).rows))
            self.refer(conflict.infer, Scope(scope, [target]))
            self._arbiters(conflict.infer, target)
            self.condition(conflict.whereClause, inner)
            for name, origin in self._assignments(conflict.targetList, inner, target).items():
                written[name] = union([written.get(name, NOWHERE), origin])
            self._write(target, written)
        return self._returning(node, Scope(scope), target, written, [])

    def _arbiters(self, infer: Node | None, target: Entry) -> None:
        """Whether a row like it is there already can be seen from whether one was added."""
        names = [element.name for element in infer.indexElems or ()] if infer is not None else [""]
        for name in names:
            origin = (target.rows.column(name) if name else None) or target.rows.whole
            self._touch(origin)
            self.used(origin, Use.EQUAL)

    def _target(self, node: Node) -> Entry:
        """The table that is written to, its whole rows noted: those of the tables behind a view too."""
        target = self.table(node.relation, None)
        behind = {place.rpartition(".")[0] for _, origin in target.rows.columns for place in origin.all}
        for table in behind:
            for relation in self.catalog.by_name.get(table.rpartition(".")[2], ()):
                if relation.qualified == table:
                    self.checked |= {f"{table}.{column.name}" for column in relation.columns}
        return target

    def _cells(self, source: Node | None, names: tuple[str, ...], into: Entry, scope: Scope) -> None:
        """Tell `assigned` of the values of an INSERT, and of what its SELECT gives without looking at a column."""
        if source is None or source.larg is not None:
            return
        rows = [items(row) for row in source.valuesLists or ()]
        closed = [target.val for target in source.targetList or ()]
        if not rows and not any(node.kind in ("ColumnRef", "SubLink", "A_Star") for node in walk(tuple(closed))):
            rows = [tuple(closed)]
        for row in rows:
            for name, value in zip(names, row, strict=False):
                self.assigned(into.rows.column(name), value, _queries_only(scope))

    def _update(self, node: Node, parent: Scope | None) -> Rows:
        scope = self.scope(node, parent)
        target = self._target(node)
        scope.entries.append(target)
        others = [self.source(item, scope) for item in node.fromClause or ()]
        self.condition(node.whereClause, scope)
        written = self._assignments(node.targetList, scope, target)
        self._write(target, written)
        return self._returning(node, scope, target, written, others)

    def _delete(self, node: Node, parent: Scope | None) -> Rows:
        scope = self.scope(node, parent)
        target = self._target(node)
        scope.entries.append(target)
        others = [self.source(item, scope) for item in node.usingClause or ()]
        self.condition(node.whereClause, scope)
        return self._returning(node, scope, target, {}, others)

    def _merge(self, node: Node, parent: Scope | None) -> Rows:
        scope = self.scope(node, parent)
        target = self._target(node)
        scope.entries.append(target)
        source = self.source(node.sourceRelation, scope)
        self.condition(node.joinCondition, scope)
        written: dict[str, Origin] = {}
        for clause in node.mergeWhenClauses or ():
            self.condition(clause.condition, scope)
            if clause.commandType == "CMD_INSERT":
                values = [self.value(value, scope) for value in clause.values or ()]
                names = [column.name for column in clause.targetList or ()]
                names = names or [name for name, _ in target.rows.columns] or ["*"] * len(values)
                for name, value in zip(names, clause.values or (), strict=False):
                    self.assigned(target.rows.column(name), value, scope)
                assigned = dict(zip(names, values, strict=False))
            else:
                assigned = self._assignments(clause.targetList, scope, target)
            for name, origin in assigned.items():
                written[name] = union([written.get(name, NOWHERE), origin])
        self._write(target, written)
        # RETURNING * gives the source's columns before the target's
        return self._returning(node, scope, target, written, [source], target_last=True)

    def assigned(self, place: Origin | None, value: Node, scope: Scope) -> None:
        """An expression is written to a column, whose own origin is `place` (None when there is no such column)."""

    def _assignments(self, targets: tuple[Node, ...] | None, scope: Scope, into: Entry) -> dict[str, Origin]:
        written: dict[str, Origin] = {}
        for target in targets or ():
            value = target.val
            if value is not None and value.kind == "MultiAssignRef":
                # (a, b) = (SELECT ...): each may be any of them
                value = value.source
            origin = self.value(value, scope)
            self.assigned(into.rows.column(target.name), value, scope)
            self.refer(target.indirection, scope)
            written[target.name] = union([written[target.name], origin]) if target.name in written else origin
        return written

    def _returning(
        self,
        node: Node,
        scope: Scope,
        target: Entry,
        written: dict[str, Origin],
        others: list[Rows],
        target_last: bool = False,
    ) -> Rows:
        clause = node.returningClause
        if clause is None:
            return Rows()
        after = self._after(target, written)
        scope.entries = [after, *(entry for entry in scope.entries if entry is not target)]
        names = [option.value for option in clause.options or ()]
        for name in ("old", "new", *names):
            scope.entries.append(Entry(name, after.rows, stored=True, hidden=True))
        stars = [*others, after.rows] if target_last else [after.rows, *others]
        return self.targets(clause.exprs, scope, stars)

    def _after(self, target: Entry, written: dict[str, Origin]) -> Entry:
        """The target as it is afterwards: a written column holds what was written, or what was there."""
        if not written:
            return target
        any_column = written.get("*")
        columns = tuple(
            (name, _with(origin, [o for o in (written.get(name), any_column) if o is not None]))
            for name, origin in target.rows.columns
        )
        rows = Rows(columns, target.rows.why, target.rows.anything, target.rows.exact)
        return Entry(target.alias, rows, target.schema, target.stored, target.doubtful)

    def _write(self, target: Entry, written: dict[str, Origin]) -> None:
        """Note where values go: every base column that the target's column may be."""
        for name, origin in written.items():
            column = target.rows.column(name) if name != "*" else target.rows.whole
            names = column.all if column is not None else frozenset[str]()
            self.touched |= names
            if column is None or column.why is not None:
                self._flow(f"{target.alias}.{name}", origin)
            for place in names:
                self._flow(place, origin)

    def _flow(self, target: str, origin: Origin) -> None:
        known = self.flows.get(target)
        self.flows[target] = origin if known is None else union([known, origin])


def _queries_only(scope: Scope) -> Scope:
    return Scope(scope.parent, [], scope.ctes)


def _with(origin: Origin, others: list[Origin]) -> Origin:
    if not others:
        return origin
    mixed = union([origin, *others])
    return Origin(mixed.sources, mixed.why, origin.plain if mixed.sources == origin.sources else None, mixed.views)
