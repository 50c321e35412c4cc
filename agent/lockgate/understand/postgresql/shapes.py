"""Which statements mean the same whatever their constants are, so that one judgement serves every text of a shape.

A shape is libpg_query's normalised text: constants become `$1`, `$2`, ..., everything else stays as it was written.
Two readings could hide behind one shape where a text has a `$` of its own (`date'x'` and the name `date$1` look alike
then), so such texts have none.
"""

from __future__ import annotations

from pglast import parser

from lockgate.understand.postgresql.functions import HARMLESS, effects_of_call, unknown_operator
from lockgate.understand.postgresql.parsing import slow_to_scan
from lockgate.understand.postgresql.tree import Node, items, strings, walk

SHAPE_CHARACTERS = 8192
"""Longer texts have no shape: normalising takes 30 us and 8 KiB for every item of a SELECT list."""
SHAPE_ITEMS = 500
"""Likewise for texts with more commas or semicolons than this."""

_QUERIES = frozenset({"SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})


def shape_of(text: str) -> str | None:
    """The normalised text, None when the text has no shape of its own or can't be parsed."""
    if "$" in text or "\0" in text or len(text) > SHAPE_CHARACTERS:
        return None
    if text.count(",") > SHAPE_ITEMS or text.count(";") > SHAPE_ITEMS:
        return None
    if slow_to_scan(text):
        return None
    try:
        shape: str = parser.normalize(text)
    except (parser.ParseError, UnicodeError):
        return None  # the parser says what is wrong with it
    return shape


def constants_are_free(statement: Node, shadowed: frozenset[str]) -> bool:
    """Whether no constant of this statement can change what it does, touches or returns, other than by its value."""
    if statement.kind not in _QUERIES:
        return False
    for node in walk(statement):
        match node.kind:
            case "IntoClause":
                return False
            case "FuncCall":
                if effects_of_call(node, shadowed) != HARMLESS:
                    return False  # set_config('role', ...), nextval('orders_id_seq')
            case "A_Expr":
                if unknown_operator(strings(node.name), shadowed) is not None:
                    return False
            case "SortBy":
                if node.node.kind == "A_Const" or node.useOp:
                    return False  # ORDER BY 1 is a column
            case "SelectStmt":
                if any(part.kind == "A_Const" for part in _positions(node)):
                    return False
            case "TypeCast":
                if strings(node.typeName.names)[-1].startswith("reg"):
                    return False  # 'orders'::regclass names an object
    return True


def _positions(select: Node) -> list[Node]:
    """The expressions of DISTINCT ON and GROUP BY, where a number is the place of a column."""
    found = []
    stack = [*(select.distinctClause or ()), *(select.groupClause or ())]
    while stack:
        node = stack.pop()
        if node.kind == "GroupingSet":
            stack += node.content or ()
        elif node.kind in ("List", "RowExpr"):
            stack += items(node) if node.kind == "List" else node.args or ()
        else:
            found.append(node)
    return found
