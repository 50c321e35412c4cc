"""Whether a query is limited by a predicate that looks at its rows."""

from __future__ import annotations

from lockgate.understand.postgresql.tree import Node, walk

_SAME = frozenset({"=", "<=", ">="})


def limited(statement: Node) -> bool:
    """False for an UPDATE, DELETE or SELECT over a relation whose predicate is missing or always true.

    Constants are never looked at, so that the answer is the same for every statement of a shape: `WHERE 1 = 1` and
    `WHERE id = 5 OR true` count as no predicate, and so does `WHERE id = id`. A predicate of a sub-query or of a WITH
    query that is selected from counts.
    """
    if statement.kind in ("UpdateStmt", "DeleteStmt"):
        return _selective(statement.whereClause)
    return statement.kind != "SelectStmt" or not _reads_whole_relation(statement)


def _arms(select: Node) -> list[Node]:
    arms, stack = [], [select]
    while stack:
        node = stack.pop()
        if node.larg is not None and node.rarg is not None:
            stack += [node.rarg, node.larg]
        else:
            arms.append(node)
    return arms


def _reads_whole_relation(query: Node) -> bool:
    selects, ctes, seen = [query], dict[str, Node](), set[str]()
    while selects:
        select = selects.pop()
        if select.kind != "SelectStmt":
            continue
        if select.withClause:
            ctes |= {cte.ctename: cte.ctequery for cte in select.withClause.ctes}
        for arm in _arms(select):
            if _selective(arm.whereClause):
                continue
            stack = list(arm.fromClause or ())
            while stack:
                item = stack.pop()
                if item.kind == "JoinExpr":
                    stack += [item.larg, item.rarg]
                elif item.kind == "RangeTableSample":
                    stack.append(item.relation)
                elif item.kind == "RangeSubselect":
                    selects.append(item.subquery)
                elif item.kind == "RangeVar":
                    if item.schemaname or item.relname not in ctes:
                        return True
                    if item.relname not in seen:
                        seen.add(item.relname)
                        selects.append(ctes[item.relname])
    return False


def _selective(condition: Node | None) -> bool:
    """Whether a condition can be false for some row, as far as its form tells."""
    if condition is None:
        return False
    if condition.kind == "CurrentOfExpr":
        return True
    if condition.kind == "BoolExpr":
        arms = condition.args or ()
        if condition.boolop == "OR_EXPR":
            return all(_selective(arm) for arm in arms)
        if condition.boolop == "AND_EXPR":
            return any(_selective(arm) for arm in arms)
    if condition.kind == "A_Expr" and condition.variant == "AEXPR_OP" and condition.name[-1].sval in _SAME:
        left, right = condition.lexpr, condition.rexpr
        if left is not None and right is not None and _spelling(left) == _spelling(right):
            return False
    return any(node.kind in ("ColumnRef", "SubLink") for node in walk(condition))


def _spelling(node: Node) -> list[tuple[str, object]]:
    return [(part.kind, part.raw.get("sval")) for part in walk(node) if part.kind not in ("A_Const", "ParamRef")]
