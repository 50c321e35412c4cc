"""Text -> Request, from a cache where it can: by the exact text, else by the shape."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from hashlib import blake2b

from lockgate.understand.postgresql.effects import read_statement, refused
from lockgate.understand.postgresql.functions import ambiguous
from lockgate.understand.postgresql.parsing import MAX_BYTES, Unreadable, parse
from lockgate.understand.postgresql.relations import find, is_query
from lockgate.understand.postgresql.routines import Routines, suffixes
from lockgate.understand.postgresql.shapes import constants_are_free, shape_of
from lockgate.understand.postgresql.tree import Node
from lockgate.values.catalog import Catalog
from lockgate.values.statement import Request, Statement

LANGUAGE = "postgresql"

_SHAPED = "~"
_REFUSED = "!"
_OVERLOADED = "&"
"""In front of `Request.shape`, so that no four keep the same key: a readable text begins with neither, and is its own
shape where constants could matter. (`date'x'` has the shape `date$1`, which is also the text of a column's name.)"""

CACHED_CHARACTERS = 8192
"""Longer texts are judged each time: with 4096 entries the caches stay under some 64 MiB."""


def reread(request: Request, catalog: Catalog, *, current: bool = True) -> Request:
    """The request as it reads in a database with this catalog's functions and operators.

    A call by a name that PostgreSQL knows may be a call of one of them, and of what PostgreSQL doesn't know the catalog
    tells what it does. Not `current`: it may do something else by now. What reads differently has a shape of its own.
    """
    if request.refusal is not None or not (ambiguous(catalog.functions) or _calls(request, catalog)):
        return request
    lookup = Routines(catalog, current=current)
    statements = tuple(read_statement(tree.stmt, catalog.functions, lookup) for tree in parse(request.text))
    if statements == request.statements:
        return request
    return replace(request, shape=f"{_OVERLOADED}{_digest(statements)}{request.shape}", statements=statements)


def _calls(request: Request, catalog: Catalog) -> bool:
    """Whether a name in it could be that of one of the catalog's functions, or of what calls one: a view, a type, a
    column."""
    if catalog.types:
        return True  # the names of types are not kept
    routines = catalog.routines
    for statement in request.statements:
        for name in statement.functions:
            bare = name.removeprefix("operator(").removesuffix(")") if name.startswith("operator(") else name
            if any(meant in routines for meant in suffixes(bare)):
                return True
        if any(is_query(r) for name in statement.objects for bare in suffixes(name) for r in find(catalog, None, bare)):
            return True
        if any(name in routines for name in statement.columns):
            return True
    return False


def _digest(statements: tuple[Statement, ...]) -> str:
    """Sets one reading of a text apart from all others: the same text calls other functions tomorrow."""
    told = repr([(sorted(s.effects), s.objects, s.functions, s.definer_functions) for s in statements])
    return blake2b(told.encode(), digest_size=16).hexdigest()


def normalised(request: Request) -> str | None:
    """Its text with `$1`, `$2`, ... for constants, where every such text has the same statements; None where not."""
    return request.shape[len(_SHAPED) :] if request.shape.startswith(_SHAPED) else None


class Understanding:
    """Reads PostgreSQL's SQL. Not for several threads at once.

    `limit` bounds each of the two caches (least recently used goes first), `max_bytes` the UTF-8 length of a text.
    `functions` are the names of functions outside pg_catalog (`Catalog.functions`): a call by such a name without its
    schema may be a call of any of them, so it is not known harmless.
    """

    def __init__(self, limit: int = 4096, max_bytes: int = MAX_BYTES, functions: frozenset[str] = frozenset()) -> None:
        self._limit = limit
        self._max_bytes = max_bytes
        self._functions = functions
        self._texts: OrderedDict[str, Request] = OrderedDict()
        self._shapes: OrderedDict[str, tuple[Statement, ...]] = OrderedDict()

    def request(self, text: str) -> Request:
        """All statements of `text`. Never raises: what can't be read is one statement with a `refusal`."""
        found = self._texts.get(text)
        if found is not None:
            self._texts.move_to_end(text)
            return found
        shape = shape_of(text)
        if shape is not None:
            shape = _SHAPED + shape
            known = self._shapes.get(shape)
            if known is not None:
                self._shapes.move_to_end(shape)
                return self._remember(Request(LANGUAGE, text, shape, known))
        try:
            trees = parse(text, self._max_bytes)
        except Unreadable as reason:
            return self._remember(Request(LANGUAGE, text, _REFUSED + text, (refused(str(reason)),)))
        return self._remember(self._judged(text, shape, tuple(tree.stmt for tree in trees)))

    def _judged(self, text: str, shape: str | None, trees: tuple[Node, ...]) -> Request:
        statements = tuple(read_statement(tree, self._functions) for tree in trees)
        if shape is None or not all(constants_are_free(tree, self._functions) for tree in trees):
            return Request(LANGUAGE, text, text, statements)
        self._shapes[shape] = statements
        if len(self._shapes) > self._limit:
            self._shapes.popitem(last=False)
        return Request(LANGUAGE, text, shape, statements)

    def _remember(self, request: Request) -> Request:
        if len(request.text) <= CACHED_CHARACTERS:
            self._texts[request.text] = request
            if len(self._texts) > self._limit:
                self._texts.popitem(last=False)
        return request
