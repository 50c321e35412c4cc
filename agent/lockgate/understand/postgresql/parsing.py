"""Text -> parse tree through PostgreSQL's own grammar, or `Unreadable` with the reason."""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec
from pglast import parser

from lockgate.understand.postgresql.tree import Node, statements

MAX_BYTES = 1_000_000
"""UTF-8 bytes of one text: SQLite's SQLITE_MAX_SQL_LENGTH is 1,000,000 too. Nesting is bounded by PostgreSQL's parser
stack (10,000 tokens), libpg_query's stack check and the interpreter's recursion limit on decoding (about 900 levels of
the tree: 150 sub-queries, 450 operators in a chain)."""
TREE_BYTES = 8_000_000
"""Bytes of the tree as JSON: an INSERT of 100,000 constants, a second to read. More is refused before it costs more."""
STATEMENTS = 10_000
"""Statements of one text: a large migration script has hundreds."""
RECENT_CHARACTERS = 16_384
"""Texts up to this length keep their tree for a moment, since lineage and redaction follow right after judging."""

OPERATOR_RUN = 200
"""Characters of operators in a row. PostgreSQL's names end at 63, but its scanner takes quadratic time on a run of `+`
or of `/*`: 10 s for 30 kB."""

_LITERAL = re.compile(r"""(?: at or near)? "(?=.*['$\d]).*\"""", re.DOTALL)
"""What a message of the parser quotes, where it may be a literal or part of one."""
_RUN = re.compile(rf"[-+*/<>=~!@#%^&|`?]{{{OPERATOR_RUN},}}")


class Unreadable(Exception):
    """A text that can't be judged; the message is one line."""


def parse(text: str, max_bytes: int = MAX_BYTES) -> tuple[Node, ...]:
    """The RawStmt nodes of `text`; none for an empty text. Raises Unreadable, and nothing else, whatever the text."""
    if len(text) <= RECENT_CHARACTERS and max_bytes >= 4 * RECENT_CHARACTERS:
        return _recent(text)
    return _parse(text, max_bytes)


def slow_to_scan(text: str) -> bool:
    """Whether PostgreSQL's scanner would take more than linear time on `text`."""
    if text.count("+") < 16 and text.count("/*") < 16:
        return False
    return any(run[0].count("+") >= 16 or run[0].count("/*") >= 16 for run in _RUN.finditer(text))


def _parse(text: str, max_bytes: int) -> tuple[Node, ...]:
    if "\0" in text:
        raise Unreadable("the text holds a NUL character")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise Unreadable("the text is not valid Unicode") from None
    if size > max_bytes:
        raise Unreadable(f"the text is too long ({size} bytes; the limit is {max_bytes})")
    if slow_to_scan(text):
        raise Unreadable(f"the text holds more than {OPERATOR_RUN} characters of operators in a row")
    try:
        tree: str = parser.parse_sql_json(text)
        if len(tree) > TREE_BYTES:
            raise Unreadable("the text holds too many names and constants to be judged")
        found = statements(msgspec.json.decode(tree))
    except parser.ParseError as error:
        raise Unreadable(_reason(error)) from None
    except RecursionError:
        raise Unreadable("the statement nests too deep") from None
    except (UnicodeDecodeError, msgspec.DecodeError):
        # an escape made a string that isn't UTF-8; PostgreSQL refuses it as well
        raise Unreadable("a string of the statement is not valid Unicode") from None
    if len(found) > STATEMENTS:
        raise Unreadable(f"the text holds too many statements ({len(found)}; the limit is {STATEMENTS})")
    return found


_recent = lru_cache(maxsize=16)(lambda text: _parse(text, MAX_BYTES))


def _reason(error: parser.ParseError) -> str:
    message = str(error.args[0]) if error.args else "syntax error"
    if message.startswith(("memory exhausted", "stack depth limit exceeded")):
        return "the statement nests too deep"
    # it may be a password, and the reason is recorded: the client has the text, and the place in it
    message = _LITERAL.sub("", message)
    position = error.args[1] if len(error.args) > 1 else None
    return message if position is None else f"{message} (at character {int(position) + 1})"
