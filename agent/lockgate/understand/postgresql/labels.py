"""The name PostgreSQL gives to an output column without an alias (FigureColnameInternal in parse_target.c)."""

from __future__ import annotations

from collections.abc import Callable

from lockgate.understand.postgresql.tree import Node, strings

_UNNAMED = "?column?"

_FIXED = {
    "GroupingFunc": "grouping",
    "MergeSupportFunc": "merge_action",
    "A_ArrayExpr": "array",
    "RowExpr": "row",
    "CoalesceExpr": "coalesce",
    "XmlSerialize": "xmlserialize",
    "JsonParseExpr": "json",
    "JsonScalarExpr": "json_scalar",
    "JsonSerializeExpr": "json_serialize",
    "JsonObjectConstructor": "json_object",
    "JsonArrayConstructor": "json_array",
    "JsonArrayQueryConstructor": "json_array",
    "JsonObjectAgg": "json_objectagg",
    "JsonArrayAgg": "json_arrayagg",
}
_XML = {
    "IS_XMLCONCAT": "xmlconcat",
    "IS_XMLELEMENT": "xmlelement",
    "IS_XMLFOREST": "xmlforest",
    "IS_XMLPARSE": "xmlparse",
    "IS_XMLPI": "xmlpi",
    "IS_XMLROOT": "xmlroot",
}
_JSON = {"JSON_EXISTS_OP": "json_exists", "JSON_QUERY_OP": "json_query", "JSON_VALUE_OP": "json_value"}


FirstColumn = Callable[[Node], str | None]
"""A query -> the name of its first column, None when that can't be told."""


def label(target: Node, first_column: FirstColumn) -> str | None:
    """The name of a ResTarget's column. `first_column` is asked where a `*` decides it, and None is its answer."""
    return str(target.name) if target.name else _figure(target.val, first_column)[0]


def _figure(node: Node | None, first_column: FirstColumn) -> tuple[str | None, int]:
    """(name, how sure: 0 not at all, 1 a type's or construct's name, 2 a real name)."""
    weak: str | None = None  # of the outermost cast or CASE, if nothing inside has a name
    while node is not None:
        name: str | None = None
        match node.kind:
            case "ColumnRef":
                names = strings(node.fields)
                if node.fields[-1].kind == "String":
                    return names[-1], 2
                break
            case "A_Indirection":
                fields = [part.sval for part in node.indirection if part.kind == "String"]
                if fields:
                    return fields[-1], 2
                node = node.arg
                continue
            case "FuncCall":
                return strings(node.funcname)[-1], 2
            case "A_Expr":
                name = "nullif" if node.variant == "AEXPR_NULLIF" else None
            case "TypeCast":
                weak = weak or strings(node.typeName.names)[-1]
                node = node.arg
                continue
            case "CollateClause":
                node = node.arg
                continue
            case "CaseExpr":
                weak = weak or "case"
                node = node.defresult
                continue
            case "SubLink":
                if node.subLinkType == "EXISTS_SUBLINK":
                    return "exists", 2
                if node.subLinkType == "ARRAY_SUBLINK":
                    return "array", 2
                if node.subLinkType == "EXPR_SUBLINK":
                    return _of_query(node.subselect, first_column), 2
            case "MinMaxExpr":
                name = "greatest" if node.op == "IS_GREATEST" else "least"
            case "SQLValueFunction":
                name = str(node.op).removeprefix("SVFOP_").removesuffix("_N").lower()
            case "XmlExpr":
                name = _XML.get(str(node.op))
            case "JsonFuncExpr":
                name = _JSON.get(str(node.op))
            case kind:
                name = _FIXED.get(kind)
        if name is not None:
            return name, 2
        break
    return (weak, 1) if weak else (_UNNAMED, 0)


def _of_query(query: Node, first_column: FirstColumn) -> str | None:
    """The name of a sub-query's first column: a set operation has its first arm's."""
    arm = query
    while arm.larg is not None:
        arm = arm.larg
    if arm.valuesLists:
        return "column1"
    if not arm.targetList:
        return _UNNAMED
    first = arm.targetList[0]
    value = first.val
    starred = (value.kind == "ColumnRef" and value.fields[-1].kind == "A_Star") or (
        value.kind == "A_Indirection" and value.indirection[-1].kind == "A_Star"
    )
    return first_column(query) if starred else label(first, first_column)
