"""Whether a query is limited by a predicate that looks at its rows."""

from __future__ import annotations

from lockgate.understand.postgresql.tree import Node, children, items, walk

_SAME = frozenset({"=", "<=", ">="})
_DIFFERENT = frozenset({"<>", "<", ">"})
_COMPARISONS = frozenset({"AEXPR_OP", "AEXPR_IN", "AEXPR_NOT_DISTINCT"})


def limited(statement: Node) -> bool:
    """False for what reads or changes a relation's rows with a predicate that is missing or looks at none of them.

    That is an UPDATE, DELETE, MERGE or SELECT, TRUNCATE, and COPY of a whole relation. Constants are never looked at,
    so that the answer is the same for every statement of a shape: `WHERE 1 = 1` and `WHERE id = 5 OR true` count as no
    predicate, and so does `WHERE id = id`. What only looks at other relations doesn't count for an UPDATE, DELETE or
    MERGE; for a SELECT the predicate of a sub-query or of a WITH query that is selected from counts.
    """
    match statement.kind:
        case "UpdateStmt" | "DeleteStmt":
            return _selective(statement.whereClause, _others(statement, statement.fromClause, statement.usingClause))
        case "MergeStmt":
            others = _others(statement, (statement.sourceRelation,))
            joined = _selective(statement.joinCondition, others)
            return all(
                joined or _selective(clause.condition, others)
                for clause in statement.mergeWhenClauses or ()
                if clause.commandType in ("CMD_UPDATE", "CMD_DELETE")
            )
        case "TruncateStmt":
            return False
        case "CopyStmt":
            return bool(statement.is_from or statement.query)
        case "SelectStmt":
            return not _reads_whole_relation(statement)
        case _:
            return True


def _others(statement: Node, *sources: tuple[Node, ...] | None) -> frozenset[str]:
    """The names of the relations beside the one whose rows are changed."""
    return _names([item for items in sources for item in items or ()]) - _names([statement.relation])


def _names(items: list[Node]) -> frozenset[str]:
    """What the columns of these items of a FROM may be qualified with."""
    found, stack = set[str](), list(items)
    while stack:
        item = stack.pop()
        if item.alias:
            found.add(item.alias.aliasname)
        elif item.kind == "RangeVar":
            found.add(item.relname)
        if item.kind == "JoinExpr":
            stack += [item.larg, item.rarg]
        elif item.kind == "RangeTableSample":
            stack.append(item.relation)
    return frozenset(found)


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
            # SELECT ARRAY(SELECT a FROM t)
            selects += [
                node.subselect for part in arm.targetList or () for node in walk(part) if node.kind == "SubLink"
            ]
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


def _selective(condition: Node | None, others: frozenset[str] = frozenset()) -> bool:
    """Whether a condition can be false for some row, as far as its form tells. `others`: relations not asked about."""
    if condition is None:
        return False
    if condition.kind == "CurrentOfExpr":
        return True
    if condition.kind == "BoolExpr":
        arms = condition.args or ()
        if condition.boolop == "OR_EXPR":
            return all(_selective(arm, others) for arm in arms) and not _either_null(arms)
        if condition.boolop == "AND_EXPR":
            return any(_selective(arm, others) for arm in arms)
        if _compares_with_itself(condition.args[0], _DIFFERENT):
            return False
    return not _compares_with_itself(condition, _SAME) and _looks(condition, others)


def _looks(condition: Node, others: frozenset[str]) -> bool:
    """Whether it names a column that may be one of a relation that is neither of `others` nor its own."""
    stack = [(condition, others)]
    while stack:
        node, hidden = stack.pop()
        if node.kind == "ColumnRef":
            qualified = node.fields[-2].sval if len(node.fields) > 1 else None
            if qualified not in hidden and (qualified or node.fields[-1].kind != "A_Star"):
                return True
        elif node.kind == "SelectStmt":
            hidden |= _names(list(node.fromClause or ()))
        stack += [(child, hidden) for child in children(node)]
    return False


def _either_null(arms: tuple[Node, ...]) -> bool:
    """`a IS NULL OR a IS NOT NULL`"""
    tests = [arm for arm in arms if arm.kind == "NullTest"]
    nulls = [_spelling(test.arg) for test in tests if test.nulltesttype == "IS_NULL"]
    return any(test.nulltesttype == "IS_NOT_NULL" and _spelling(test.arg) in nulls for test in tests)


def _compares_with_itself(node: Node, operators: frozenset[str]) -> bool:
    """`a = a` of one of `operators`; `a IN (a)` and `a IS NOT DISTINCT FROM a` are `=` as well."""
    if node.kind != "A_Expr" or node.lexpr is None or node.rexpr is None:
        return False
    if node.variant not in _COMPARISONS or node.name[-1].sval not in operators:
        return False
    left = _spelling(node.lexpr)
    return any(_spelling(right) == left for right in items(node.rexpr))


def _spelling(node: Node) -> list[tuple[str, object]]:
    return [(part.kind, part.raw.get("sval")) for part in walk(node) if part.kind not in ("A_Const", "ParamRef")]
