"""Queries: SELECT, set operations, WITH, and the clauses that decide which rows there are."""

from __future__ import annotations

from lockgate.understand.postgresql.expressions import TooComplex
from lockgate.understand.postgresql.labels import label
from lockgate.understand.postgresql.origins import NOWHERE, Cte, Entry, Origin, Rows, Scope, choice, union
from lockgate.understand.postgresql.sources import Sources
from lockgate.understand.postgresql.tree import Node, children, items, strings
from lockgate.values.catalog import Catalog
from lockgate.values.use import Use

DEPTH = 60
"""Queries within queries, views included (each takes some five of the interpreter's 1000 frames)."""


class Queries(Sources):
    """Reads queries against one catalog; what else returns rows is for a subclass."""

    def __init__(self, catalog: Catalog) -> None:
        super().__init__(catalog)
        self._depth = 0

    def query(self, node: Node, parent: Scope | None) -> Rows:
        """The rows of a SELECT, VALUES or data-modifying statement with RETURNING. Raises TooComplex."""
        self._step()
        self._depth += 1
        if self._depth > DEPTH:
            raise TooComplex
        try:
            if node.kind == "SelectStmt":
                return self._select(node, parent)
            return self.modification(node, parent)
        finally:
            self._depth -= 1

    def modification(self, node: Node, parent: Scope | None) -> Rows:
        """The rows that another statement than a SELECT returns inside a query."""
        return Rows(why=f"a {node.kind} inside a query is not understood")

    def sink(self, call: Node, origin: Origin) -> None:
        """A call whose arguments, of this origin, may go elsewhere than into its result."""

    def met(self, condition: Node, origin: Origin) -> None:
        """A condition without AND, OR, NOT at its top was read; `origin` is that of all in it."""

    def bounds(self, select: Node) -> None:
        """The LIMIT, OFFSET and positions in ORDER BY of a SELECT have been read."""

    def scope(self, node: Node, parent: Scope | None) -> Scope:
        """A new scope below `parent` with the WITH queries of `node`, all of them read."""
        scope = Scope(parent)
        if node.withClause is not None:
            before = Scope(parent)
            for cte in node.withClause.ctes:
                entry = Cte(cte, scope if node.withClause.recursive else before)
                scope.ctes[cte.ctename] = entry
                if not node.withClause.recursive:
                    before = Scope(before)
                    before.ctes[cte.ctename] = entry
            for name in list(scope.ctes):
                self.cte_rows(scope.ctes[name])
        return scope

    def _select(self, node: Node, parent: Scope | None) -> Rows:
        scope = self.scope(node, parent)
        if node.larg is not None:
            return self._set_operation(node, scope)
        if node.valuesLists:
            return self._values(node, scope)
        scope.windows = node.windowClause or ()
        stars = [rows for item in node.fromClause or () for rows in [self.source(item, scope)]]
        self.condition(node.whereClause, scope)
        self.condition(node.havingClause, scope)
        columns = self.targets(node.targetList or (), scope, stars)
        labels = {name for name, _ in columns.columns}
        # DISTINCT ON, ORDER BY and GROUP BY may name an output: the first two before a column, the last after it
        distinct = node.distinctClause or ()
        if distinct and not distinct[0].raw:
            self.used(columns.whole, Use.GROUP)
            distinct = ()
        parts: list[tuple[Node, tuple[Use, ...]]] = [(part, (Use.GROUP, Use.ORDER)) for part in distinct]
        parts += [(sort.node, (Use.ORDER,)) for sort in node.sortClause or ()]
        for part, uses in parts:
            self._output_used(part, columns, *uses)
            if _single_name(part) not in labels:
                self.refer(part, scope, *uses)
        for part in _grouping(node.groupClause):
            name = _single_name(part)
            self._output_used(part, columns, Use.GROUP)
            if name not in labels or self._column((name,), scope)[0] is not None:
                self.refer(part, scope, Use.GROUP)
        self.refer(node.windowClause, scope)  # what is over one of them uses it
        self._limits(node, scope)
        self.bounds(node)
        return columns

    def _limits(self, node: Node, scope: Scope) -> None:
        self.refer(node.limitCount, scope, Use.PREDICATE)
        self.refer(node.limitOffset, scope, Use.PREDICATE)

    def _output_used(self, part: Node, columns: Rows, *uses: Use) -> None:
        """An output is named, or its number given: what it is made of is used so."""
        place = part.ival.ival if part.kind == "A_Const" and part.ival else None
        name = _single_name(part)
        if place is None and name is None:
            return
        if not columns.counted:
            self.used(columns.whole, *uses)
        elif place is not None and 0 < place <= len(columns.columns):
            self.used(columns.columns[place - 1][1], *uses)
        elif name is not None:
            self.used(columns.column(name) or NOWHERE, *uses)

    def _values(self, node: Node, scope: Scope) -> Rows:
        lists = [[self.value(cell, scope) for cell in items(row)] for row in node.valuesLists]
        rows = Rows(tuple((f"column{i + 1}", choice(list(cells))) for i, cells in enumerate(zip(*lists, strict=False))))
        inner = Scope(scope.parent, [Entry("*VALUES*", rows)], scope.ctes)
        for sort in node.sortClause or ():
            self._output_used(sort.node, rows, Use.ORDER)
            self.refer(sort.node, inner, Use.ORDER)
        self._limits(node, scope)
        self.bounds(node)
        return rows

    def _set_operation(self, node: Node, scope: Scope) -> Rows:
        """A chain of UNIONs leans to the left and can be hundreds long: it is walked, not recursed into."""
        levels: list[Node] = []
        while not levels or (node.larg is not None and node.withClause is None):
            levels.append(node)
            node = node.larg
        first = self.query(node, scope)
        rows = [first, *(self.query(level.rarg, scope) for level in reversed(levels))]
        columns = _either(rows)
        for level in levels:
            if level.op != "SETOP_UNION" or not level.all:
                for one in rows:
                    self.used(one.whole, Use.GROUP, Use.EQUAL)
            for sort in level.sortClause or ():
                self._output_used(sort.node, columns, Use.ORDER)
            self._limits(level, scope)
            self.bounds(level)
        return columns

    def targets(self, targets: tuple[Node, ...], scope: Scope, stars: list[Rows]) -> Rows:
        """The columns of a select or RETURNING list; `stars` is what `*` stands for, one after the other."""
        columns: list[tuple[str, Origin]] = []
        why: str | None = None
        for target in targets:
            rows = self._star(target.val, scope, stars)
            if rows is None:
                name = label(target, lambda query: self._first_column(query, scope))
                if name is None:
                    why = "the name of a column is not known"
                columns.append((name or "", self.value(target.val, scope)))
            elif rows.counted:
                columns += rows.columns
                for _, origin in rows.columns:
                    self._touch(origin)
            else:
                whole = rows.whole
                self._touch(whole)
                why = whole.why or "what * stands for is not known"
        return Rows(tuple(columns)) if why is None else Rows(why=why)

    def _first_column(self, query: Node, scope: Scope) -> str | None:
        rows = self.query(query, scope)
        return rows.columns[0][0] if rows.counted and rows.columns else None

    def _star(self, node: Node, scope: Scope, stars: list[Rows]) -> Rows | None:
        """What `*`, `t.*` or `(t).*` stands for, None for anything else."""
        if node.kind == "ColumnRef" and node.fields[-1].kind == "A_Star":
            names = strings(node.fields)
            if not names:
                uncounted = next((rows for rows in stars if not rows.counted), None)
                return uncounted or Rows(tuple(column for rows in stars for column in rows.columns))
            return self._named(names, scope) or self.not_found(".".join(names))
        if node.kind == "A_Indirection" and node.indirection[-1].kind == "A_Star":
            arg = node.arg
            if len(node.indirection) == 1 and arg.kind == "ColumnRef" and arg.fields[-1].kind == "String":
                names = strings(arg.fields)
                if self._column(names, scope)[0] is None:
                    return self._named(names, scope) or self.not_found(".".join(names))
            self.refer(node, scope)
            return Rows(why="the columns of a composite value are not known")
        return None

    # WITH

    def cte_rows(self, cte: Cte) -> Rows:
        if cte.rows is not None:
            return cte.rows
        if cte.busy:
            return Rows(why=f"the recursion of {cte.node.ctename} is not understood")
        cte.busy = True
        query = cte.node.ctequery
        aliases = strings(cte.node.aliascolnames)
        if query.kind == "SelectStmt" and query.larg is not None and cte.node.ctename in _tables_of(query):
            # the fixpoint: what the first arm gives flows through the others until nothing is added
            inner = self.scope(query, cte.scope)
            rows = self.query(query.larg, inner).renamed(aliases)
            for _ in range(len(rows.columns) + 2):
                cte.rows = self._extended(cte.node, rows)
                again = self._set_operation(query, inner).renamed(aliases)
                if again == rows:
                    break
                rows = again
            else:
                rows = Rows(why=f"the recursion of {cte.node.ctename} is not understood")
        else:
            rows = self.query(query, cte.scope).renamed(aliases)
        cte.busy = False
        cte.rows = self._extended(cte.node, rows)
        return cte.rows

    def _extended(self, node: Node, rows: Rows) -> Rows:
        """With the columns that SEARCH and CYCLE add, which are made of others."""
        search, cycle = node.search_clause, node.cycle_clause
        added = []
        for clause, columns, names in (
            (search, search and search.search_col_list, (search and search.search_seq_column,)),
            (cycle, cycle and cycle.cycle_col_list,
             (cycle and cycle.cycle_mark_column, cycle and cycle.cycle_path_column)),
        ):  # fmt: skip
            if clause is not None:
                origin = union([rows.column(name) or rows.whole for name in strings(columns)])
                self.used(origin, Use.ORDER if clause is search else Use.GROUP)
                added += [(name, origin) for name in names]
        return Rows((*rows.columns, *added), rows.why, rows.anything, rows.exact) if added else rows


def _single_name(node: Node) -> str | None:
    """The name of a column reference without a table, None for any other expression."""
    names = strings(node.fields) if node.kind == "ColumnRef" else ()
    return names[0] if len(names) == 1 else None


def _tables_of(query: Node) -> set[str]:
    found, stack = set(), [query]
    while stack:
        node = stack.pop()
        if node.kind == "RangeVar" and not node.schemaname:
            found.add(node.relname)
        stack += children(node)
    return found


def _either(arms: list[Rows]) -> Rows:
    """The columns of a set operation."""
    first = arms[0]
    lost = next((rows for rows in arms if not rows.counted), None)
    if lost is not None:
        return lost if lost.why else Rows(why="the columns of a set operation are not known")
    if any(len(rows.columns) != len(first.columns) for rows in arms):
        return Rows(why="the sides of a set operation have different numbers of columns")
    return Rows(
        tuple((name, choice([rows.columns[i][1] for rows in arms])) for i, (name, _) in enumerate(first.columns))
    )


def _grouping(clause: tuple[Node, ...] | None) -> list[Node]:
    """The expressions of a GROUP BY, those of grouping sets and of rows in them taken apart."""
    found, stack = [], list(clause or ())
    while stack:
        part = stack.pop()
        if part.kind == "GroupingSet":
            stack += part.content or ()
        elif part.kind == "RowExpr":
            stack += part.args or ()
        else:
            found.append(part)
    return found
