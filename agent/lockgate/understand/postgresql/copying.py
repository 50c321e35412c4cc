"""COPY ... TO: which columns it sends, where they come from, and how its rows are written.

The options follow ProcessCopyOptions in PostgreSQL's src/backend/commands/copy.c, the columns CopyGetAttnums there:
those of a table in the order of their numbers, generated ones left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lockgate.understand.postgresql import relations
from lockgate.understand.postgresql.lineage import Reading, output_of, tree_of
from lockgate.understand.postgresql.modifications import Modifications
from lockgate.understand.postgresql.origins import Origin, Rows
from lockgate.understand.postgresql.parsing import parse
from lockgate.understand.postgresql.tree import Node, items, strings
from lockgate.values.catalog import Catalog, Relation
from lockgate.values.copying import CopyFormat, CopyKind
from lockgate.values.output import Output
from lockgate.values.statement import Request

_KINDS: Final = {"text": CopyKind.TEXT, "csv": CopyKind.CSV, "binary": CopyKind.BINARY}
_ON: Final = frozenset({"true", "on", "1"})
_OFF: Final = frozenset({"false", "off", "0"})
_SILENT: Final = frozenset(
    {"freeze", "on_error", "log_verbosity", "reject_limit", "force_not_null", "force_null", "default"}
)
"""Options that change nothing in what is sent: the server takes them, or refuses them in COPY TO."""
_READ: Final = frozenset({"format", "header", "delimiter", "null", "quote", "escape", "force_quote", "encoding"})
_UTF8: Final = frozenset({"utf8", "unicode"})
_LINE: Final = frozenset("\r\n")


class Uncopyable(Exception):
    """How the rows of a COPY are written, or where its columns come from, can't be told. One line, no value."""


@dataclass(frozen=True, slots=True)
class CopyOut:
    """A COPY TO: `outputs` are its columns in order. `to_client` is False where it writes a file or feeds a program.

    What can't be told of it is None, and `why` then says why.
    """

    to_client: bool
    outputs: tuple[Output, ...] | None
    format: CopyFormat | None
    why: str | None = None


def copied_out(request: Request, catalog: Catalog | None, statement: int) -> CopyOut | None:
    """What a statement copies out, None when it is no COPY TO. Without a catalog its `outputs` are None."""
    if not request.statements[statement].kind.startswith("COPY"):
        return None
    tree = tree_of(request, statement)
    if tree is None or tree.kind != "CopyStmt" or tree.is_from:
        return None
    outputs, written, why = None, None, None if catalog is not None else "there is no catalog"
    try:
        written = format_of(tree)
    except Uncopyable as error:
        why = str(error)
    try:
        outputs = None if catalog is None else _outputs(tree, catalog)
    except Uncopyable as error:
        why = str(error)
    return CopyOut(tree.filename is None and not tree.is_program, outputs, written, why)


def _outputs(statement: Node, catalog: Catalog) -> tuple[Output, ...]:
    rows = _query(statement.query, catalog) if statement.query is not None else _table(statement, catalog)
    if not rows.counted:
        raise Uncopyable(rows.why or "its columns are not known")
    return tuple(output_of(name, origin) for name, origin in rows.columns)


def _query(query: Node, catalog: Catalog) -> Rows:
    rows = Reading(Modifications(catalog)).rows(query)
    return Rows(why="it returns nothing") if rows is None else rows


def _table(statement: Node, catalog: Catalog) -> Rows:
    relation = statement.relation
    found = relations.find(catalog, relation.schemaname, relation.relname)
    if not found:
        raise Uncopyable(f"relation {relation.relname} is not in the catalog")
    chosen = strings(statement.attlist)
    alternatives = []
    for one in found:
        rows = _rows(one, catalog)
        generated = {column.name for column in one.columns if column.generated}
        if chosen:
            alternatives.append(Rows(tuple((name, _named(rows, name)) for name in chosen)))
        elif rows.counted:
            alternatives.append(Rows(tuple(column for column in rows.columns if column[0] not in generated)))
        else:
            alternatives.append(rows)
    rows, _ = relations.either(alternatives)
    if not rows.exact:
        raise Uncopyable(f"several tables are called {relation.relname}: name its schema")
    return rows


def _rows(relation: Relation, catalog: Catalog) -> Rows:
    if not relations.is_query(relation):
        return relations.table_rows(relation)
    schema, name = (part.replace('"', '""') for part in (relation.schema, relation.name))
    return _query(parse(f'TABLE "{schema}"."{name}"')[0].stmt, catalog)


def _named(rows: Rows, name: str) -> Origin:
    found = rows.column(name)
    if found is None:
        raise Uncopyable(f"column {name} is not in the catalog")
    return found


def format_of(statement: Node) -> CopyFormat:
    """How a COPY TO writes its rows. Raises Uncopyable for what isn't known, and for what the server would refuse."""
    options: dict[str, Node | None] = {}
    for option in statement.options or ():
        if option.defname in options:
            raise Uncopyable(f"option {option.defname} is given twice")
        if option.defname not in _READ and option.defname not in _SILENT:
            raise Uncopyable(f"option {option.defname} is not known")
        options[option.defname] = option.arg
    kind = _KINDS.get(_word(options, "format", "text"))
    if kind is None:
        raise Uncopyable("its format is neither text, csv nor binary")
    encoding = "".join(filter(str.isalnum, _word(options, "encoding", "utf8"))).lower()
    if encoding not in _UTF8:
        raise Uncopyable(f"its encoding is {encoding}, not UTF8")
    if kind is CopyKind.BINARY:
        return CopyFormat(kind)
    csv = kind is CopyKind.CSV
    delimiter = _byte(options, "delimiter", "," if csv else "\t")
    quote = _byte(options, "quote", '"')
    escape = _byte(options, "escape", quote)
    null = _word(options, "null", "" if csv else r"\N")
    if _LINE & {delimiter, quote, escape, *null} or delimiter in null:
        raise Uncopyable("its delimiter, quote or NULL can't be told from the rest of a row")
    if csv and (quote == delimiter or quote in null):
        raise Uncopyable("its quote can't be told from the rest of a row")
    if not csv and ((delimiter.isalnum() or delimiter in "\\.") or ("\\" in null and null != r"\N")):
        raise Uncopyable("its delimiter or NULL can't be told from an escape")
    return CopyFormat(
        kind,
        delimiter.encode(),
        null.encode(),
        quote.encode(),
        escape.encode(),
        _header(options),
        _force_quote(options) if csv else frozenset(),
    )


def _word(options: dict[str, Node | None], name: str, default: str) -> str:
    """The text of an option, as defGetString gives it."""
    if name not in options:
        return default
    node = options[name]
    if node is not None and node.kind == "String":
        return node.sval or ""
    if node is not None and node.kind == "Integer":
        return str(node.ival or 0)
    if node is not None and node.kind == "Boolean":
        return "true" if node.boolval else "false"
    raise Uncopyable(f"the value of option {name} is not a text")


def _byte(options: dict[str, Node | None], name: str, default: str) -> str:
    value = _word(options, name, default)
    if len(value) != 1 or not value.isascii() or value == "\0":
        raise Uncopyable(f"option {name} is not a single one-byte character")
    return value


def _header(options: dict[str, Node | None]) -> bool:
    if "header" not in options:
        return False
    word = "true" if options["header"] is None else _word(options, "header", "").lower()
    if word not in _ON and word not in _OFF:
        raise Uncopyable("option header is neither on nor off")
    return word in _ON


def _force_quote(options: dict[str, Node | None]) -> frozenset[str] | None:
    node = options.get("force_quote")
    if node is None:
        return frozenset()
    return None if node.kind == "A_Star" else frozenset(strings(items(node)))
