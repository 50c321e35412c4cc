"""The columns of what stands in FROM and is no table: functions, XMLTABLE, JSON_TABLE."""

from __future__ import annotations

from collections.abc import Callable

from lockgate.understand.postgresql.functions import function_name
from lockgate.understand.postgresql.origins import Origin, Rows, union
from lockgate.understand.postgresql.tree import Node, items, strings

_ONE_COLUMN = frozenset(
    {"generate_series", "generate_subscripts", "regexp_split_to_table", "regexp_matches", "string_to_table",
     "json_object_keys", "jsonb_object_keys", "jsonb_path_query"}
)  # fmt: skip
_NAMED_BY_ALIAS = _ONE_COLUMN | {"unnest"}
_SCALARS = frozenset(
    {"bool", "bpchar", "bytea", "date", "float4", "float8", "inet", "int2", "int4", "int8", "interval", "json", "jsonb",
     "name", "numeric", "oid", "text", "time", "timestamp", "timestamptz", "uuid", "varchar", "xml"}
)  # fmt: skip
SETS = _ONE_COLUMN | frozenset(
    {"unnest", "json_each", "jsonb_each", "json_each_text", "jsonb_each_text", "json_array_elements",
     "jsonb_array_elements", "json_array_elements_text", "jsonb_array_elements_text", "jsonb_path_query_tz",
     "json_to_recordset", "jsonb_to_recordset", "json_populate_recordset", "jsonb_populate_recordset", "ts_parse",
     "ts_debug", "ts_token_type", "ts_stat", "aclexplode", "pg_options_to_table", "pg_mcv_list_items"}
)  # fmt: skip
"""PostgreSQL's functions that return as many rows as their arguments say."""
_COLUMNS = {
    "json_each": ("key", "value"),
    "jsonb_each": ("key", "value"),
    "json_each_text": ("key", "value"),
    "jsonb_each_text": ("key", "value"),
    "json_array_elements": ("value",),
    "jsonb_array_elements": ("value",),
    "json_array_elements_text": ("value",),
    "jsonb_array_elements_text": ("value",),
}


def function_columns(item: Node, value: Callable[[Node], Origin]) -> Rows:
    """A RangeFunction: every column of a function depends on all its arguments, whatever it is called."""
    columns: list[tuple[str, Origin]] = []
    open_ended: list[Origin] = []
    for function in item.functions:
        parts = items(function)
        origin = value(parts[0])
        definitions = [d for d in (*parts[1:], *(item.coldeflist or ())) for d in items(d) if d.kind == "ColumnDef"]
        names = tuple(definition.colname for definition in definitions) or _names(parts[0])
        if len(names) == 1 and item.alias and not item.is_rowsfrom and function_name(parts[0]) in _NAMED_BY_ALIAS:
            names = (item.alias.aliasname,)
        columns += [(name, origin) for name in names]
        if not names:
            open_ended.append(origin)
    if item.ordinality:
        columns.append(("ordinality", Origin()))
    return Rows(tuple(columns), anything=union(open_ended) if open_ended else None)


def xml_table_columns(item: Node, refer: Callable[[Node], Origin]) -> Rows:
    """A RangeTableFunc (XMLTABLE): all columns come from the document and the expressions that pick from it."""
    inputs = [item.docexpr, item.rowexpr, *(item.namespaces or ())]
    for column in item.columns or ():
        inputs += [column.colexpr, column.coldefexpr]
    origin = union([Origin(), *(refer(node) for node in inputs if node is not None)])
    return Rows(tuple((column.colname, origin) for column in item.columns or ()))


def json_table_columns(item: Node, refer: Callable[[Node], Origin]) -> Rows:
    """A JsonTable: likewise; the columns of NESTED PATHs stand where they are written."""
    origin = union(
        [Origin(), *(refer(node) for node in (item.context_item, item.pathspec, *(item.passing or ())) if node)]
    )
    names: list[str] = []
    stack = list(reversed(item.columns or ()))
    while stack:
        column = stack.pop()
        for default in (column.on_empty, column.on_error):
            if default is not None:
                origin = union([origin, refer(default)])
        if column.name:
            names.append(column.name)
        stack += reversed(column.columns or ())
    return Rows(tuple((name, origin) for name in names))


def _names(call: Node) -> tuple[str, ...]:
    """The columns of a function without an alias, none when they aren't known."""
    if call.kind != "FuncCall":
        return ()
    name = function_name(call)
    if name in _COLUMNS:
        return _COLUMNS[name]
    if name == "unnest" and (len(call.args or ()) > 1 or _of_scalars(call.args[0])):
        return ("unnest",) * len(call.args)
    return strings(call.funcname)[-1:] if name in _ONE_COLUMN else ()


def _of_scalars(array: Node) -> bool:
    """Whether the elements of an array are plainly no rows, each of which would be several columns."""
    if array.kind == "A_ArrayExpr":
        elements = array.elements or ()
        # a string could be a row in text, next to a row
        return any(_scalar(element) for element in elements) or all(element.kind == "A_Const" for element in elements)
    return array.kind == "TypeCast" and _scalar(array) and bool(array.typeName.arrayBounds)


def _scalar(node: Node) -> bool:
    if node.kind == "A_Const":
        return node.ival is not None or node.fval is not None
    return node.kind == "TypeCast" and strings(node.typeName.names)[-1] in _SCALARS
