"""Conditions, taken apart: which operands meet, and what the comparison tells of a column on one side.

A statement can learn of a column that it never shows. How it may do so has names (`lockgate.values.use`), which
policies forbid one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lockgate.understand.postgresql.tree import Node, items, strings
from lockgate.values.use import Use

_OPERATORS = {
    **dict.fromkeys(("=", "<>", "!="), Use.EQUAL),
    **dict.fromkeys(("<", "<=", ">", ">=", "~<~", "~<=~", "~>~", "~>=~"), Use.RANGE),
    **dict.fromkeys(
        ("~~", "!~~", "~~*", "!~~*", "~", "~*", "!~", "!~*", "^@", "@@", "@@@", "%", "<%", "%>", "<<%", "%>>"),
        Use.PATTERN,
    ),
}
"""Of pg_operator, with pg_trgm's similarity (whose `%` is also the remainder of a division)."""

_VARIANTS = {
    "AEXPR_DISTINCT": Use.EQUAL,
    "AEXPR_NOT_DISTINCT": Use.EQUAL,
    "AEXPR_NULLIF": Use.EQUAL,
    "AEXPR_LIKE": Use.PATTERN,
    "AEXPR_ILIKE": Use.PATTERN,
    "AEXPR_SIMILAR": Use.PATTERN,
    "AEXPR_BETWEEN": Use.RANGE,
    "AEXPR_NOT_BETWEEN": Use.RANGE,
    "AEXPR_BETWEEN_SYM": Use.RANGE,
    "AEXPR_NOT_BETWEEN_SYM": Use.RANGE,
}

_WHOLE_TEXT = frozenset({("text",), ("varchar",), ("pg_catalog", "varchar"), ("pg_catalog", "text")})


@dataclass(frozen=True, slots=True)
class Comparison:
    """What meets: `left` with each of `right`. `use` is what a plain column on one side is used for."""

    use: Use
    left: Node
    right: tuple[Node, ...]


def comparisons(node: Node) -> tuple[Comparison, ...]:
    """The comparisons that an expression is, one for each column of rows; none when it is no comparison."""
    if node.kind == "NullTest" or node.kind == "BooleanTest":
        return (Comparison(Use.EQUAL, node.arg, ()),)
    if node.kind != "A_Expr" or node.lexpr is None:
        return ()
    use = _VARIANTS.get(node.variant) or operator_use(strings(node.name))
    if use is None:
        return ()
    right = node.rexpr
    if node.variant in ("AEXPR_OP_ANY", "AEXPR_OP_ALL"):
        # the elements of an array that is written out; else the array
        others = right.elements or () if right.kind == "A_ArrayExpr" else (right,)
    else:
        others = items(right)
    return tuple(_by_column(use, node.lexpr, others))


def operator_use(names: tuple[str, ...]) -> Use | None:
    """What comparing by an operator tells; None when it is not a comparison."""
    return _OPERATORS.get(names[-1]) if names else None


def _by_column(use: Use, left: Node, right: tuple[Node, ...]) -> Iterator[Comparison]:
    width = len(left.args or ()) if left.kind == "RowExpr" else 0
    if width and right and all(row.kind == "RowExpr" and len(row.args or ()) == width for row in right):
        for place, column in enumerate(left.args):
            yield from _by_column(use, column, tuple(row.args[place] for row in right))
    else:
        yield Comparison(use, left, right)


def unchanged(node: Node) -> Node:
    """The expression below casts that leave any text as it is, and below COLLATE."""
    while (node.kind == "TypeCast" and _keeps_text(node.typeName)) or node.kind == "CollateClause":
        node = node.arg
    return node


def _keeps_text(type_name: Node) -> bool:
    """`varchar(1)` and `"char"` cut off what `text` keeps."""
    return strings(type_name.names) in _WHOLE_TEXT and not type_name.typmods and not type_name.arrayBounds
