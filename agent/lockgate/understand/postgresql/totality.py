"""Whether evaluating an expression can fail, whatever its columns hold.

An error is an answer: `1 / (ascii(email) - 97)` tells who begins with an a, although the result would be masked. What
is listed here gives a value for every value of its arguments; all else counts as what may fail. Left out on purpose are
what grows without bound (`repeat`, `lpad`), what brings characters in (`translate`: the client's encoding may not have
them), patterns (LIKE fails at a trailing backslash, if a value leads it there) and rows (compared column by column,
until two of other types meet).
"""

from __future__ import annotations

from lockgate.understand.postgresql.functions import built_in, function_name, known, unknown_operator
from lockgate.understand.postgresql.tree import Node, children, items, strings, walk


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_FUNCTIONS = _words("""
ascii bit_length btrim char_length character_length concat concat_ws initcap left length lower ltrim md5 octet_length
position quote_ident quote_literal quote_nullable reverse right rtrim starts_with strpos upper
row_to_json to_json json_typeof jsonb_typeof num_nonnulls num_nulls pg_typeof
any_value bool_and bool_or count every max min mode percentile_disc string_agg
cume_dist dense_rank first_value lag last_value lead percent_rank rank row_number
""")
_OF_TEXTS = frozenset({"array_agg"})
_WITH_NUMBERS = frozenset({"substr", "substring"})
"""They fail at a negative length, and take a pattern where a number may stand."""

_PARTS = frozenset(
    {"A_Const", "ColumnRef", "ParamRef", "SQLValueFunction", "GroupingFunc", "NullTest", "BooleanTest", "BoolExpr",
     "CoalesceExpr", "MinMaxExpr", "CollateClause", "NamedArgExpr", "List", "String", "SortBy", "WindowDef",
     "InferClause", "IndexElem", "A_Indices"}
)  # fmt: skip
_LAZY = frozenset({"CoalesceExpr", "BoolExpr"})
"""Of their parts some are left alone, as the values of the others are: an error in one then tells of these."""
_CONSTANTS = frozenset({"A_Const", "ParamRef"})

_COMPARED = frozenset({"=", "<>", "!=", "<", "<=", ">", ">="})
_TAKEN_OUT = frozenset({"->", "->>", "#>", "#>>"})
_COMPARING = frozenset(
    {"AEXPR_DISTINCT", "AEXPR_NOT_DISTINCT", "AEXPR_NULLIF", "AEXPR_IN", "AEXPR_BETWEEN", "AEXPR_NOT_BETWEEN",
     "AEXPR_BETWEEN_SYM", "AEXPR_NOT_BETWEEN_SYM"}
)  # fmt: skip
_TEXTS = frozenset({"text", "varchar", "bpchar", "name"})
"""Types that every value can be written as."""


def may_fail(expression: Node, shadowed: frozenset[str], *, texts: bool) -> bool:
    """Whether some values of the columns in `expression` could make it fail, or not fail.

    Columns that only sub-queries in it read aren't meant. `shadowed` are names that a database has functions and
    operators of its own for. `texts` says that every column in it holds text: an array or JSON may not fit another one.
    """
    lazy = any(node.kind in _LAZY for node in walk(expression))
    stack = [expression]
    while stack:
        node = stack.pop()
        if node.kind == "SubLink":
            if lazy:
                return True
            stack += () if node.testexpr is None else (node.testexpr,)
        elif node.kind == "CaseExpr":
            # what a condition looks at is noted where conditions are
            stack += [part for when in node.args for part in ((when.expr, when.result) if lazy else (when.result,))]
            stack += [part for part in (node.arg if lazy else None, node.defresult) if part is not None]
        elif node.kind == "FuncCall":
            if not _total_call(node, shadowed, texts=texts):
                return True
            stack += node.args or ()
        elif node.kind in _PARTS:
            stack += children(node)
        elif _total(node, shadowed, texts=texts):
            stack += [part for part in children(node) if part.kind != "TypeName"]
        else:
            return True
    return False


def _total_call(call: Node, shadowed: frozenset[str], *, texts: bool) -> bool:
    name = function_name(call)
    if not known(call, shadowed):
        return False
    if name in _WITH_NUMBERS:
        return all(part.kind == "A_Const" and part.sval is None for part in (call.args or ())[1:])
    return name in _FUNCTIONS or (texts and name in _OF_TEXTS)


def _total(node: Node, shadowed: frozenset[str], *, texts: bool) -> bool:
    match node.kind:
        case "A_Expr":
            return _total_operator(node, shadowed, texts=texts)
        case "TypeCast":
            names = strings(node.typeName.names)
            plain = not node.typeName.arrayBounds and names[-1:] and names[-1] in _TEXTS
            return node.arg.kind == "A_Const" or bool(plain and names[:-1] in ((), ("pg_catalog",)))
        case "A_ArrayExpr":
            return texts
        case "A_Indirection":
            return all(map(_total_step, node.indirection))
        case _:
            return False


def _total_step(part: Node) -> bool:
    if part.kind == "String":
        # of a value that is no row, what looks like a field is a call
        return not built_in(part.sval) or part.sval in _FUNCTIONS
    # a number of eight bytes may not be one of a place
    return part.kind == "A_Star" or all(end is None or end.kind == "A_Const" for end in (part.lidx, part.uidx))


def _total_operator(node: Node, shadowed: frozenset[str], *, texts: bool) -> bool:
    if unknown_operator(strings(node.name), shadowed) is not None or node.lexpr is None:
        return False
    if node.variant in _COMPARING:
        return all(other.kind in _CONSTANTS for other in items(node.rexpr))
    if node.variant != "AEXPR_OP":
        return False
    name = strings(node.name)[-1]
    if name == "||":
        return texts
    if name in _TAKEN_OUT:
        return node.rexpr.kind in _CONSTANTS
    return name in _COMPARED and any(side.kind in _CONSTANTS for side in (node.lexpr, node.rexpr))
