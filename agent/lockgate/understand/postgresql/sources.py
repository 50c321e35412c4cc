"""What stands in FROM: tables and views of the catalog, WITH queries, sub-queries, functions, joins."""

from __future__ import annotations

from abc import abstractmethod

from lockgate.understand.postgresql import relations
from lockgate.understand.postgresql.expressions import Expressions
from lockgate.understand.postgresql.origins import Cte, Entry, Rows, Scope, union, unknown
from lockgate.understand.postgresql.parsing import Unreadable, parse
from lockgate.understand.postgresql.tables import function_columns, json_table_columns, xml_table_columns
from lockgate.understand.postgresql.tree import Node, items, strings
from lockgate.values.catalog import Catalog, Relation
from lockgate.values.use import Use


class Sources(Expressions):
    """Expressions, and the tables they are over."""

    def __init__(self, catalog: Catalog) -> None:
        super().__init__(catalog)
        self._views: dict[int, Rows] = {}

    @abstractmethod
    def cte_rows(self, cte: Cte) -> Rows:
        """The rows of a WITH query."""

    def source(self, item: Node, scope: Scope) -> Rows:
        """Enter an item of FROM into the scope; gives what `*` takes from it."""
        self._step()
        match item.kind:
            case "RangeVar":
                entry = self.table(item, scope)
                scope.entries.append(entry)
                return entry.rows
            case "RangeTableSample":
                self.refer((*(item.args or ()), *((item.repeatable,) if item.repeatable else ())), scope, Use.PREDICATE)
                return self.source(item.relation, scope)
            case "RangeSubselect":
                # without LATERAL it doesn't see its neighbours
                rows = self.query(item.subquery, scope if item.lateral else _without_entries(scope))
            case "RangeFunction":
                rows = function_columns(item, lambda call: self.refer(call, scope, Use.PREDICATE))
            case "RangeTableFunc":
                rows = xml_table_columns(item, lambda node: self.refer(node, scope, Use.PREDICATE))
            case "JsonTable":
                rows = json_table_columns(item, lambda node: self.refer(node, scope, Use.PREDICATE))
            case "JoinExpr":
                return self._join(item, scope)
            case kind:
                rows = Rows(why=f"{kind} in FROM is not understood")
        alias = item.alias
        rows = rows.renamed(strings(alias.colnames)) if alias else rows
        scope.entries.append(Entry(alias.aliasname if alias else _function_alias(item), rows))
        return rows

    def not_found(self, what: str) -> Rows:
        self.lost = f"{what} is not in the catalog"
        return Rows(why=self.lost)

    def table(self, item: Node, scope: Scope | None) -> Entry:
        """The entry of a RangeVar: a WITH query or every relation of that name. `scope` None: never a WITH query."""
        alias = item.alias
        names = strings(alias.colnames) if alias else ()
        cte = scope.cte(item.relname) if scope is not None and not item.schemaname else None
        if cte is not None:
            return Entry(alias.aliasname if alias else item.relname, self.cte_rows(cte).renamed(names))
        found = relations.find(self.catalog, item.schemaname, item.relname)
        name = f"{item.schemaname}.{item.relname}" if item.schemaname else item.relname
        if found:
            rows, doubtful = relations.either([self.relation(relation) for relation in found])
        else:
            rows, doubtful = self.not_found(f"relation {name}"), frozenset[str]()
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
        rows = self.source(spine[-1].larg, scope)
        for node in reversed(spine):
            right = self.source(node.rarg, scope)
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
        elif join.isNatural:
            self.used(union([left.whole, right.whole]), Use.JOIN)
        merged = []
        for name in shared:
            # equal by the join's condition: one tells the other
            origin = union([rows.column(name) or unknown(f"column {name} is not known") for rows in (left, right)])
            self._touch(origin)
            self.used(origin, Use.JOIN)
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


def _without_entries(scope: Scope) -> Scope:
    return Scope(scope.parent, [], scope.ctes)


def _function_alias(item: Node) -> str:
    if item.kind == "RangeFunction":
        call = items(item.functions[0])[0]
        return strings(call.funcname)[-1] if call.kind == "FuncCall" else ""
    return {"RangeTableFunc": "xmltable", "JsonTable": "json_table"}.get(item.kind, "")
