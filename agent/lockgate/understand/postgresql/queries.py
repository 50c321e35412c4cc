"""Where the columns of a query come from: PostgreSQL's name resolution (parse_relation.c), over origins.

Sound before precise: where a name could mean several columns it counts as all of them, and what isn't recognised is
unknown, never free of sources.
"""

from __future__ import annotations

from lockgate.understand.postgresql import relations
from lockgate.understand.postgresql.functions import (
    HARMLESS,
    effects_of_call,
    function_name,
    tells_only_arguments,
    unknown_operator,
)
from lockgate.understand.postgresql.labels import label
from lockgate.understand.postgresql.origins import (
    ANYTHING,
    NOWHERE,
    SYSTEM_COLUMNS,
    Cte,
    Entry,
    Origin,
    Rows,
    Scope,
    choice,
    union,
    unknown,
)
from lockgate.understand.postgresql.parsing import Unreadable, parse
from lockgate.understand.postgresql.tables import function_columns, json_table_columns, xml_table_columns
from lockgate.understand.postgresql.tree import Node, children, constant, items, strings
from lockgate.values.catalog import Catalog, Relation

BUDGET = 20_000
"""Names, tables and queries looked at for one statement, views included: a second or so."""
DEPTH = 60
"""Queries within queries, views included (each takes some five of the interpreter's 1000 frames)."""


class TooComplex(Exception):
    """The lineage of a statement takes more than BUDGET or DEPTH."""


_NOT_FOR_EXISTS = frozenset({"targetList", "distinctClause", "sortClause"})
_BOOLEAN_SUBLINKS = frozenset({"EXISTS_SUBLINK", "ANY_SUBLINK", "ALL_SUBLINK"})


class Queries:
    """Reads queries against one catalog. `touched` collects every column that was referred to on the way;
    `lost` says what could not be found, None while everything was. `open_views` are the views being read now.
    """

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.touched: set[str] = set()
        self.lost: str | None = None
        self._views: dict[int, Rows] = {}
        self.open_views: set[int] = set()
        self._steps = 0
        self._depth = 0

    # queries

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

    def condition(self, node: Node | None, scope: Scope) -> None:
        """A predicate: WHERE, HAVING, ON."""
        self.refer(node, scope)

    def bounds(self, select: Node) -> None:
        """The LIMIT, OFFSET and positions in ORDER BY of a SELECT have been read."""

    def sink(self, call: Node, origin: Origin) -> None:
        """A call whose arguments, of this origin, may go elsewhere than into its result."""

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
                self._cte_rows(scope.ctes[name])
        return scope

    def _select(self, node: Node, parent: Scope | None) -> Rows:
        scope = self.scope(node, parent)
        if node.larg is not None:
            return self._set_operation(node, scope)
        if node.valuesLists:
            return self._values(node, scope)
        scope.windows = node.windowClause or ()
        stars = [rows for item in node.fromClause or () for rows in [self._from(item, scope)]]
        self.condition(node.whereClause, scope)
        self.condition(node.havingClause, scope)
        columns = self.targets(node.targetList or (), scope, stars)
        labels = {label(target) for target in node.targetList or ()}
        # DISTINCT ON, ORDER BY and GROUP BY may name an output: the first two before a column, the last after it
        for part in (*(node.distinctClause or ()), *(sort.node for sort in node.sortClause or ())):
            if _single_name(part) not in labels:
                self.refer(part, scope)
        for part in node.groupClause or ():
            name = _single_name(part)
            if name not in labels or self._column((name,), scope)[0] is not None:
                self.refer(part, scope)
        for clause in (node.windowClause, node.limitCount, node.limitOffset):
            self.refer(clause, scope)
        self.bounds(node)
        return columns

    def _values(self, node: Node, scope: Scope) -> Rows:
        lists = [[self.value(cell, scope) for cell in items(row)] for row in node.valuesLists]
        return Rows(tuple((f"column{i + 1}", choice(list(cells))) for i, cells in enumerate(zip(*lists, strict=False))))

    def _set_operation(self, node: Node, scope: Scope) -> Rows:
        """A chain of UNIONs leans to the left and can be hundreds long: it is walked, not recursed into."""
        arms: list[Node] = []
        while not arms or (node.larg is not None and node.withClause is None):
            arms.append(node.rarg)
            node = node.larg
        first = self.query(node, scope)
        rows = [first, *(self.query(arm, scope) for arm in reversed(arms))]
        lost = next((r for r in rows if not r.counted), None)
        if lost is not None:
            return lost if lost.why else Rows(why="the columns of a set operation are not known")
        if any(len(r.columns) != len(first.columns) for r in rows):
            return Rows(why="the sides of a set operation have different numbers of columns")
        return Rows(tuple((name, choice([r.columns[i][1] for r in rows])) for i, (name, _) in enumerate(first.columns)))

    def targets(self, targets: tuple[Node, ...], scope: Scope, stars: list[Rows]) -> Rows:
        """The columns of a select or RETURNING list; `stars` is what `*` stands for, one after the other."""
        columns: list[tuple[str, Origin]] = []
        why: str | None = None
        for target in targets:
            rows = self._star(target.val, scope, stars)
            if rows is None:
                columns.append((label(target), self.value(target.val, scope)))
            elif rows.counted:
                columns += rows.columns
                for _, origin in rows.columns:
                    self._touch(origin)
            else:
                whole = rows.whole
                self._touch(whole)
                why = whole.why or "what * stands for is not known"
        return Rows(tuple(columns)) if why is None else Rows(why=why)

    def _star(self, node: Node, scope: Scope, stars: list[Rows]) -> Rows | None:
        """What `*`, `t.*` or `(t).*` stands for, None for anything else."""
        if node.kind == "ColumnRef" and node.fields[-1].kind == "A_Star":
            names = strings(node.fields)
            if not names:
                uncounted = next((rows for rows in stars if not rows.counted), None)
                return uncounted or Rows(tuple(column for rows in stars for column in rows.columns))
            return self._named(names, scope) or self._not_found(".".join(names))
        if node.kind == "A_Indirection" and node.indirection[-1].kind == "A_Star":
            arg = node.arg
            if len(node.indirection) == 1 and arg.kind == "ColumnRef" and arg.fields[-1].kind == "String":
                names = strings(arg.fields)
                if self._column(names, scope)[0] is None:
                    return self._named(names, scope) or self._not_found(".".join(names))
            self.refer(node, scope)
            return Rows(why="the columns of a composite value are not known")
        return None

    def _not_found(self, what: str) -> Rows:
        self.lost = f"{what} is not in the catalog"
        return Rows(why=self.lost)

    # WITH

    def _cte_rows(self, cte: Cte) -> Rows:
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
                added += [(name, origin) for name in names]
        return Rows((*rows.columns, *added), rows.why, rows.anything, rows.exact) if added else rows

    # FROM

    def _from(self, item: Node, scope: Scope) -> Rows:
        """Enter an item of FROM into the scope; gives what `*` takes from it."""
        self._step()
        match item.kind:
            case "RangeVar":
                entry = self.table(item, scope)
                scope.entries.append(entry)
                return entry.rows
            case "RangeTableSample":
                self.refer(item.args, scope)
                return self._from(item.relation, scope)
            case "RangeSubselect":
                # without LATERAL it doesn't see its neighbours
                rows = self.query(item.subquery, scope if item.lateral else _without_entries(scope))
            case "RangeFunction":
                rows = function_columns(item, lambda call: self.value(call, scope))
            case "RangeTableFunc":
                rows = xml_table_columns(item, lambda node: self.refer(node, scope))
            case "JsonTable":
                rows = json_table_columns(item, lambda node: self.refer(node, scope))
            case "JoinExpr":
                return self._join(item, scope)
            case kind:
                rows = Rows(why=f"{kind} in FROM is not understood")
        alias = item.alias
        rows = rows.renamed(strings(alias.colnames)) if alias else rows
        scope.entries.append(Entry(alias.aliasname if alias else _function_alias(item), rows))
        return rows

    def table(self, item: Node, scope: Scope | None) -> Entry:
        """The entry of a RangeVar: a WITH query or every relation of that name. `scope` None: never a WITH query."""
        alias = item.alias
        names = strings(alias.colnames) if alias else ()
        cte = scope.cte(item.relname) if scope is not None and not item.schemaname else None
        if cte is not None:
            return Entry(alias.aliasname if alias else item.relname, self._cte_rows(cte).renamed(names))
        found = relations.find(self.catalog, item.schemaname, item.relname)
        name = f"{item.schemaname}.{item.relname}" if item.schemaname else item.relname
        if found:
            rows, doubtful = relations.either([self.relation(relation) for relation in found])
        else:
            rows, doubtful = self._not_found(f"relation {name}"), frozenset[str]()
        if alias:
            return Entry(alias.aliasname, rows.renamed(names), stored=True, doubtful=doubtful)
        return Entry(item.relname, rows, schema=item.schemaname or "", stored=True, doubtful=doubtful)

    def relation(self, relation: Relation) -> Rows:
        """The rows of one relation, views expanded."""
        self._step()
        if not relations.is_query(relation):
            return relations.table_rows(relation)
        known = self._views.get(relation.oid)
        if known is not None:
            return known
        if relation.oid in self.open_views or relation.definition is None:
            self.lost = f"the definition of view {relation.qualified} is not known"
            return Rows(why=self.lost)
        self.open_views.add(relation.oid)
        try:
            (statement,) = parse(relation.definition)
            rows = relations.view_rows(relation, self.query(statement.stmt, None))
        except (Unreadable, ValueError):
            self.lost = f"the definition of view {relation.qualified} can't be read"
            rows = Rows(why=self.lost)
        self.open_views.discard(relation.oid)
        self._views[relation.oid] = rows
        return rows

    def _join(self, join: Node, scope: Scope) -> Rows:
        """Joins lean to the left like UNIONs do, and are walked like them."""
        spine = [join]
        while spine[-1].larg.kind == "JoinExpr":
            spine.append(spine[-1].larg)
        first = len(scope.entries)
        rows = self._from(spine[-1].larg, scope)
        for node in reversed(spine):
            right = self._from(node.rarg, scope)
            rows = self._joined(node, rows, right, scope)
            self.condition(node.quals, scope)
            if node.alias is not None:  # it hides the names inside
                rows = rows.renamed(strings(node.alias.colnames))
                scope.entries[first:] = [Entry(node.alias.aliasname, rows)]
        return rows

    def _joined(self, join: Node, left: Rows, right: Rows, scope: Scope) -> Rows:
        shared = strings(join.usingClause)
        if join.isNatural and left.counted and right.counted:
            theirs = {name for name, _ in right.columns}
            shared = tuple(dict.fromkeys(name for name, _ in left.columns if name in theirs))
        merged = []
        for name in shared:
            # equal by the join's condition: one tells the other
            origin = union([rows.column(name) or unknown(f"column {name} is not known") for rows in (left, right)])
            self._touch(origin)
            merged.append((name, origin))
        if join.join_using_alias is not None:
            scope.entries.append(Entry(join.join_using_alias.aliasname, Rows(tuple(merged))))
        for rows in (left, right):
            if rows.why is not None:
                return rows
        if not (left.counted and right.counted):
            columns = (*merged, *left.columns, *right.columns)
            extra = [rows.anything for rows in (left, right) if rows.anything is not None]
            return Rows(columns, anything=union(extra) if extra else None, exact=False)
        rest = [column for rows in (left, right) for column in rows.columns if column[0] not in shared]
        return Rows((*merged, *rest))

    # values

    def value(self, node: Node | None, scope: Scope) -> Origin:
        """The origin of an expression's value."""
        if node is None:
            return NOWHERE
        if node.kind == "ColumnRef":
            origin = self._reference(node, scope)
            self._touch(origin)
            return origin
        return union([NOWHERE, *self._parts(node, scope)])

    def refer(self, node: Node | tuple[Node, ...] | None, scope: Scope) -> Origin:
        """The origin of all expressions in a clause together."""
        if node is None:
            return NOWHERE
        return union([NOWHERE, *(self.value(part, scope) for part in (node if isinstance(node, tuple) else (node,)))])

    def _parts(self, root: Node, scope: Scope) -> list[Origin]:
        found: list[Origin] = []
        stack = [root]
        while stack:
            node = stack.pop()
            match node.kind:
                case "ColumnRef":
                    origin = self._reference(node, scope)
                    self._touch(origin)
                    found.append(origin)
                    continue
                case "SubLink":
                    found.append(self._sublink(node, scope))
                    continue
                case "SelectStmt":
                    found.append(self.query(node, scope).whole)
                    continue
                case "A_Indirection":
                    part = self._field(node, scope)
                    if part is not None:
                        found.append(part)
                        continue
                case "TypeName":
                    continue  # geometry(Point): the modifier looks like a column
                case "FuncCall":
                    if node.over is not None:
                        stack += scope.windows
                    if effects_of_call(node, self.catalog.functions) != HARMLESS:
                        self.sink(node, self.refer(node.args, scope))
            why = self.other_data(node)
            if why is not None:
                found.append(unknown(why))
                if node.kind != "FuncCall" or function_name(node) != "current_setting":
                    self.touched.add(ANYTHING)
            stack += children(node)
        return found

    def other_data(self, node: Node) -> str | None:
        """Why a call or an operator may give other data than its arguments, None where it does not."""
        if node.kind == "A_Expr":
            operator = unknown_operator(strings(node.name), self.catalog.functions)
            return None if operator is None else f"{operator} is not known to be free of other data"
        if node.kind != "FuncCall":
            return None
        name = function_name(node)
        free = tells_only_arguments(node, self.catalog.functions)
        if name == "current_setting":
            # parameters with a dot in their name hold whatever someone put there
            setting = constant(node.args[0]) if node.args else None
            free = free and setting is not None and "." not in setting
        return None if free else f"function {name}() is not known to be free of other data"

    def _sublink(self, node: Node, scope: Scope) -> Origin:
        own = self.refer(node.testexpr, scope)
        operator = unknown_operator(strings(node.operName), self.catalog.functions) if node.operName else None
        if operator is not None:
            self.touched.add(ANYTHING)
            own = unknown(f"{operator} is not known to be free of other data")
        if node.subLinkType not in _BOOLEAN_SUBLINKS:
            return union([own, self.query(node.subselect, scope).whole])
        # true or false: whatever the sub-query looks at is in the answer
        before, lost, self.touched, self.lost = self.touched, self.lost, set(), None
        select = node.subselect
        if node.subLinkType == "EXISTS_SUBLINK" and select.larg is None:  # what it selects is never looked at
            select = Node("SelectStmt", {k: v for k, v in select.raw.items() if k not in _NOT_FOR_EXISTS})
        rows = self.query(select, scope)
        inside, missing = frozenset(self.touched), self.lost
        self.touched |= before
        self.lost = lost or missing
        if ANYTHING in inside:
            missing = missing or "a function inside is not known to be free of other data"
        return union([own, rows.whole, Origin(inside - {ANYTHING}, why=missing)])

    def _field(self, node: Node, scope: Scope) -> Origin | None:
        """`(t).column`: a column of a row; None for other indirections (then all of it counts)."""
        part, arg = node.indirection[0], node.arg
        if part.kind == "String" and part.sval in self.catalog.functions:
            self.touched.add(ANYTHING)
            return unknown(f"function {part.sval}() is not known to be free of other data")
        if part.kind == "String" and len(node.indirection) == 1 and arg.kind == "ColumnRef":
            names = strings(arg.fields)
            if len(names) == len(arg.fields) and self._column(names, scope)[0] is None:
                rows = self._named(names, scope)
                column = rows.column(part.sval) if rows is not None else None
                if column is not None:
                    self._touch(column)
                    return column
        return None

    # names

    def _reference(self, node: Node, scope: Scope) -> Origin:
        self._step()
        names = strings(node.fields)
        if node.fields[-1].kind == "A_Star":
            rows = self._named(names, scope) if names else None
            return rows.whole if rows is not None else unknown("what * stands for is not known")
        origin, certain = self._column(names, scope)
        rows = None if certain else self._named(names, scope)
        if rows is not None:
            return rows.whole if origin is None else union([origin, rows.whole])
        if origin is not None:
            return origin
        self.lost = f"column {'.'.join(names)} is not in the catalog"
        return unknown(self.lost)

    def _column(self, names: tuple[str, ...], scope: Scope | None) -> tuple[Origin | None, bool]:
        """The column that a dotted name means, None when it is none; and whether it can't be anything else."""
        name, qualifier = names[-1], names[:-1]
        found: list[Origin] = []
        while scope is not None:
            certain = False
            open_ends: list[Origin] = []
            for entry in scope.entries:
                if not _is(entry, qualifier) if qualifier else entry.hidden:
                    continue
                rows = entry.rows
                if any(other == name for other, _ in rows.columns):
                    found.append(rows.column(name) or NOWHERE)
                    certain = certain or name not in entry.doubtful
                elif rows.why is not None or rows.anything is not None:
                    open_ends.append(rows.column(name) or NOWHERE)
                elif entry.stored and name in SYSTEM_COLUMNS:
                    found.append(NOWHERE)
                    certain = True
                elif qualifier:
                    # no column: t.f is the call f(t)
                    why = f"column {'.'.join(names)} is not known"
                    found.append(union([rows.whole, unknown(why)]))
                    self.lost = self.lost or why
                    certain = True
            if certain:
                return choice(found), True
            found += open_ends
            if qualifier and open_ends:
                break
            scope = scope.parent
        return (choice(found), False) if found else (None, False)

    def _named(self, names: tuple[str, ...], scope: Scope | None) -> Rows | None:
        """The rows of the nearest FROM item of this name."""
        while scope is not None:
            found = [entry.rows for entry in scope.entries if _is(entry, names)]
            if found:
                return found[0] if len(found) == 1 else Rows(why=f"{'.'.join(names)} could be several tables")
            scope = scope.parent
        return None

    def _touch(self, origin: Origin) -> None:
        self.touched |= origin.sources
        self.touched |= origin.views

    def _step(self) -> None:
        self._steps += 1
        if self._steps > BUDGET:
            raise TooComplex


def _single_name(node: Node) -> str | None:
    """The name of a column reference without a table, None for any other expression."""
    names = strings(node.fields) if node.kind == "ColumnRef" else ()
    return names[0] if len(names) == 1 else None


def _is(entry: Entry, names: tuple[str, ...]) -> bool:
    if len(names) == 1:
        return entry.alias == names[0]
    # schema.table, database.schema.table: only a table that has no alias
    return entry.schema is not None and entry.alias == names[-1] and entry.schema in ("", names[-2])


def _without_entries(scope: Scope) -> Scope:
    return Scope(scope.parent, [], scope.ctes)


def _function_alias(item: Node) -> str:
    if item.kind == "RangeFunction":
        call = items(item.functions[0])[0]
        return strings(call.funcname)[-1] if call.kind == "FuncCall" else ""
    return {"RangeTableFunc": "xmltable", "JsonTable": "json_table"}.get(item.kind, "")


def _tables_of(query: Node) -> set[str]:
    found, stack = set(), [query]
    while stack:
        node = stack.pop()
        if node.kind == "RangeVar" and not node.schemaname:
            found.add(node.relname)
        stack += children(node)
    return found
