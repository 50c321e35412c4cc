"""The text of a request with what must not be recorded taken out: passwords, and values of secret columns.

A literal is kept only where it is known to be harmless. Places are found in the parse tree and cut out of the text by
the tokens of PostgreSQL's own scanner, so what a reader sees is otherwise the client's text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pglast import parser

from lockgate.understand.postgresql.functions import ANYTHING, effects_of_call, function_name
from lockgate.understand.postgresql.lineage import Reading
from lockgate.understand.postgresql.modifications import Modifications
from lockgate.understand.postgresql.origins import Origin, Scope
from lockgate.understand.postgresql.parsing import Unreadable, parse, slow_to_scan
from lockgate.understand.postgresql.tree import Node, children, walk, walk_branches
from lockgate.values.catalog import Catalog
from lockgate.values.statement import Request

GONE = "'***'"

_CONSTANTS = frozenset({"SCONST", "USCONST", "BCONST", "XCONST", "ICONST", "FCONST"})
_COMMENTS = frozenset({"SQL_COMMENT", "C_COMMENT"})

_WITH_OPTIONS = frozenset({
    "CreateUserMappingStmt", "AlterUserMappingStmt", "CreateForeignServerStmt", "AlterForeignServerStmt",
    "CreateFdwStmt", "AlterFdwStmt", "CreateSubscriptionStmt", "AlterSubscriptionStmt",
})  # fmt: skip
"""Statements whose options and connection strings hold passwords."""

_WITH_BODIES = frozenset({"DoStmt", "CreateFunctionStmt"})

_OPAQUE = frozenset({"ExecuteStmt", "RuleStmt", "CreateSchemaStmt", "CreateTrigStmt"})
"""Statements of which it isn't told which columns their literals meet."""

_KEYED_FUNCTION = re.compile(r"(.*\.)?(dblink.*|crypt|hmac|pgp_.*|encrypt(_iv)?|decrypt(_iv)?|digest)")
"""Functions of dblink and pgcrypto: they take passwords, keys and connection strings."""

_SECRET_SETTING = re.compile(r"passw|secret|token|key|conninfo|credential", re.IGNORECASE)
_SECRET_TEXT = re.compile(r"passw(or)?d\s*=|://[^/\s]*:[^/\s]*@|\bpassword\s+(E|U&)?'", re.IGNORECASE)

PASSWORD_HINT = re.compile(r"passw|://", re.IGNORECASE)
"""In every text with the word PASSWORD, and in all that `_SECRET_TEXT` finds."""

_UNREADABLE_STOP = re.compile(r"['\"$\\]|--|/\*")


def redacted(request: Request, secret_columns: frozenset[str], catalog: Catalog | None) -> str:
    """The request's text without literals that meet a secret column (`schema.table.column`), and without passwords.

    A column of the same name in any relation counts as secret too, so that partitions and copies of a table do. Without
    a catalog nothing can be told apart and every literal goes. Comments go as soon as anything does.
    """
    text = request.text
    try:
        trees = parse(text, max_bytes=max(4 * len(text), 1_000_000))
    except Unreadable:
        return _unreadable(text)
    tokens = parser.scan(text)
    return without(text, tokens, hidden(text, trees, tokens, secret_columns, catalog))


def hidden(
    text: str,
    trees: tuple[Node, ...],
    tokens: list[parser.Token],
    secret_columns: frozenset[str],
    catalog: Catalog | None,
) -> dict[int, str]:
    """Where in a text with these trees and tokens constants have to go for their place, and what stands there then.

    Passwords that are known by the text around or in them are `without`'s.
    """
    places = _Places(text)
    replaced: dict[int, str] = {}
    for tree in trees:
        start = places.character(tree.stmt_location or 0)
        end = places.character(tree.stmt_location or 0, tree.stmt_len) if tree.stmt_len else len(text)
        own = [token for token in tokens if token.name in _CONSTANTS and start <= token.start < end]
        for token in _hidden(tree.stmt, own, places, secret_columns, catalog):
            replaced[token.start] = GONE
        if tree.stmt.kind in _WITH_BODIES:
            for token in own:
                body = text[token.start : token.end + 1]
                if token.name == "SCONST" and (secret_columns or _SECRET_TEXT.search(body)):
                    replaced[token.start] = _body(body)
    return replaced


def without(text: str, tokens: list[parser.Token], replaced: dict[int, str]) -> str:
    """The text with what is `hidden` replaced, and with passwords that are known by the text around or in them."""
    if PASSWORD_HINT.search(text):
        replaced = dict.fromkeys(_with_passwords(text, tokens), GONE) | replaced
    return _cut(text, tokens, replaced) if replaced else text


def _hidden(
    statement: Node,
    tokens: list[parser.Token],
    places: _Places,
    secret_columns: frozenset[str],
    catalog: Catalog | None,
) -> list[parser.Token]:
    """Which of a statement's constants have to go."""
    if statement.kind in _WITH_OPTIONS:
        return tokens
    strings = {places.character(at) for at in _password_places(statement, bool(secret_columns))}
    kept = _kept(statement, secret_columns, catalog) if secret_columns else None
    if kept is None:
        return [token for token in tokens if token.start in strings]
    # a negative number is placed at its sign
    starts = {places.character(at) for at in kept}
    starts |= {start + 1 for start in starts}
    return [token for token in tokens if token.start in strings or token.start not in starts]


def _kept(statement: Node, secret_columns: frozenset[str], catalog: Catalog | None) -> set[int] | None:
    """Byte offsets of the constants that may stay; None when all may, since no secret column is involved."""
    names = frozenset(column.rpartition(".")[2] for column in secret_columns)
    if catalog is None or any(node.kind in _OPAQUE for node in walk_branches(statement)):
        return set()
    if statement.kind in _WITH_BODIES:
        return set() if statement.sql_body is not None else None  # a body in quotes is dealt with as a whole
    reader = _Literals(catalog, names)
    reading = Reading(reader)
    reading.rows(statement)
    if reading.too_complex:
        return set()
    involved = reading.lost is not None or any(_column(name) in names for name in reading.touched)
    for node in walk_branches(statement):
        if node.kind in ("AlterTableCmd", "ColumnDef") and (node.name or node.colname) in names:
            involved = True
        if node.kind == "PartitionBoundSpec":
            involved = True
    if not involved:
        return None
    if statement.kind == "SelectStmt" and statement.larg is None:
        for target in statement.targetList or ():  # constants that are outputs of their own meet no column
            if not any(node.kind in ("ColumnRef", "SubLink", "FuncCall", "A_Expr") for node in walk(target)):
                reader.mark(target, True)
    return reader.safe - reader.unsafe


def _column(name: str) -> str:
    return name.rpartition(".")[2]


class _Literals(Modifications):
    """Notes which constants are `safe`: those that only meet columns known not to be secret."""

    def __init__(self, catalog: Catalog, names: frozenset[str]) -> None:
        super().__init__(catalog)
        self._names = names
        self.safe: set[int] = set()
        self.unsafe: set[int] = set()

    def met(self, condition: Node, origin: Origin) -> None:
        self.mark(condition, bool(origin.all) and self._harmless(origin))

    def assigned(self, place: Origin | None, value: Node, scope: Scope) -> None:
        known = place is not None and bool(place.all) and self._harmless(place)
        self.mark(value, known and self._harmless(self.value(value, scope)))

    def bounds(self, select: Node) -> None:
        for node in (select.limitCount, select.limitOffset, *(sort.node for sort in select.sortClause or ())):
            if node is not None and node.kind == "A_Const":
                self.mark(node, True)

    def mark(self, node: Node, safe: bool) -> None:
        """Note the constants of an expression, but for those of sub-queries: they have conditions of their own."""
        if self.open_views:
            return  # places in another text
        stack = [node]
        while stack:
            part = stack.pop()
            if part.kind == "A_Const":
                (self.safe if safe else self.unsafe).add(part.location or 0)
            elif part.kind == "SubLink":
                stack += [part.testexpr] if part.testexpr is not None else []
            else:
                stack += children(part)

    def _harmless(self, origin: Origin) -> bool:
        return origin.why is None and not any(_column(name) in self._names for name in origin.all)


def _password_places(statement: Node, secrets: bool) -> Iterator[int]:
    """Byte offsets of constants that may be passwords or keys; with `secrets` also strings given to who knows what."""
    for node in walk_branches(statement):
        if node.kind == "FuncCall":
            name = function_name(node)
            keyed = _KEYED_FUNCTION.fullmatch(name) is not None
            if name == "set_config":
                keyed = any(
                    _SECRET_SETTING.search(c.sval.sval or "") for c in walk(node.args) if c.kind == "A_Const" and c.sval
                )
            if keyed or (secrets and effects_of_call(node) == ANYTHING):
                yield from (c.location or 0 for c in walk(node.args) if c.kind == "A_Const" and c.sval is not None)
        elif node.kind == "VariableSetStmt" and _SECRET_SETTING.search(node.name or ""):
            yield from (c.location or 0 for c in walk(node.args) if c.kind == "A_Const")


def _with_passwords(text: str, tokens: list[parser.Token]) -> set[int]:
    """The constants after the word PASSWORD, and those with a password inside."""
    hidden = set()
    before = ""
    for token in tokens:
        if token.name in _COMMENTS:
            continue
        word = text[token.start : token.end + 1]
        if token.name in _CONSTANTS and (before == "password" or _SECRET_TEXT.search(word)):
            hidden.add(token.start)
        before = word.strip('"').lower()
    return hidden


def _cut(text: str, tokens: list[parser.Token], replaced: dict[int, str]) -> str:
    """The text with tokens replaced by where they start, and without comments."""
    pieces, at = [], 0
    for token in tokens:
        if token.start in replaced:
            pieces += [text[at : token.start], replaced[token.start]]
        elif token.name in _COMMENTS:
            pieces += [text[at : token.start], " "]
        else:
            continue
        at = token.end + 1
    return "".join([*pieces, text[at:]])


def _body(quoted: str) -> str:
    """The body of a function without any constant: its language may not be SQL, so what can't be scanned goes."""
    delimiter = re.match(r"\$[^$]*\$", quoted)
    if delimiter is None:
        return GONE
    inner = quoted[delimiter.end() : -delimiter.end()]
    if slow_to_scan(inner):
        return GONE
    try:
        tokens = parser.scan(inner)
    except parser.ParseError:
        return f"{delimiter[0]}{_unreadable(inner)}{delimiter[0]}"
    constants = {token.start: GONE for token in tokens if token.name in _CONSTANTS}
    return f"{delimiter[0]}{_cut(inner, tokens, constants)}{delimiter[0]}"


def _unreadable(text: str) -> str:
    """A text that isn't SQL, without digits, up to its first quote or comment: where a literal ends can't be told."""
    stop = _UNREADABLE_STOP.search(text)
    shown = re.sub(r"\d+", "***", text[: stop.start()] if stop else text)
    return shown + GONE if stop else shown


class _Places:
    """Byte offsets in UTF-8, as the parser counts, to characters of the text."""

    def __init__(self, text: str) -> None:
        self._bytes = None if text.isascii() else text.encode()

    def character(self, offset: int, length: int = 0) -> int:
        if self._bytes is None:
            return offset + length
        return len(self._bytes[: offset + length].decode(errors="replace"))
