"""What may be recorded of the texts of one shape, remembered: finding it out takes half a millisecond, and each of them
is recorded.

Texts of one shape (`shapes.py`) differ in constants only, and which of these go is a matter of their places. A shape
says `$1` for `NULL` and `true` as for `5`, and so leaves open which token of a text it stands for: a place is therefore
counted in tokens, and holds for texts whose tokens are of the same kinds.
"""

from __future__ import annotations

from typing import Final

from pglast import parser

from lockgate.understand.postgresql.literals import GONE, PASSWORD_HINT, hidden, redacted, without
from lockgate.understand.postgresql.parsing import Unreadable, parse
from lockgate.understand.postgresql.stencil import Stencil
from lockgate.understand.postgresql.understanding import normalised
from lockgate.values.catalog import Catalog
from lockgate.values.statement import Request

KINDS: Final = 2
"""Sequences of tokens' kinds that are remembered of one shape: an application that writes numbers and strings into its
texts has one, or another for NULL."""
TOKENS: Final = 128
"""The longest such sequence: with 16,384 judgements kept, each with its own, they stay under some 40 MB."""
CHARACTERS: Final = 2048
"""The longest text that is remembered beside what is shown of it: likewise under some 70 MB."""


class Redaction:
    """`redacted` of requests of one shape, for one set of secret columns."""

    __slots__ = ("_catalog", "_places", "_secret_columns", "_shown", "_stencil", "_text")

    def __init__(self, secret_columns: frozenset[str]) -> None:
        self._secret_columns = secret_columns
        self._catalog: Catalog | None = None
        self._places: dict[tuple[str, ...], tuple[int, ...]] = {}
        """The kinds of a text's tokens -> which of these go."""
        self._stencil: Stencil | None = None
        """Made of the second text with the same kinds: making it takes as long as scanning some."""
        self._text: str | None = None
        """The last one, as it is sent again and again where values are bound to it."""
        self._shown = ""

    def of(self, request: Request, catalog: Catalog | None) -> str:
        """What `redacted` gives. `request` has the shape of every other that this was asked about."""
        if catalog is not self._catalog:
            self._catalog, self._text, self._stencil = catalog, None, None
            self._places.clear()
        text = request.text
        if text == self._text:
            return self._shown
        shape = normalised(request)
        known = None if shape is None else self._cut(text) or self._of_shape(shape, text)
        shown = redacted(request, self._secret_columns, catalog) if known is None else known
        if len(text) <= CHARACTERS:
            self._text, self._shown = text, shown
        return shown

    def _cut(self, text: str) -> str | None:
        """None where the text has to be scanned."""
        return None if self._stencil is None or PASSWORD_HINT.search(text) else self._stencil.cut(text, GONE)

    def _of_shape(self, shape: str, text: str) -> str | None:
        """None where the text has no tree, as with an escape in a string that makes it no Unicode."""
        tokens = parser.scan(text)
        kinds = tuple([token.name for token in tokens])
        places = self._places.get(kinds)
        if places is None:
            try:
                trees = parse(text)
            except Unreadable:
                return None
            gone = hidden(text, trees, tokens, self._secret_columns, self._catalog)
            places = tuple(place for place, token in enumerate(tokens) if token.start in gone)
            if len(self._places) < KINDS and len(kinds) <= TOKENS:
                self._places[kinds] = places
        elif self._stencil is None:
            self._stencil = Stencil.of(shape, text, [tokens[place].start for place in places])
        return without(text, tokens, {tokens[place].start: GONE for place in places})
