"""What the functions that are not PostgreSQL's own do, as far as the catalog and their own texts tell.

PostgreSQL runs a STABLE or IMMUTABLE function's statements read-only, yet such a function may call a volatile one, and
most functions in SQL that only read were never declared anything. So what a function says of itself is not enough:

- in SQL, its text is read like any other statement;
- in PL/pgSQL it has to be STABLE or IMMUTABLE, to build no statement from text, and to name nothing but what is
  harmless;
- in C it has to be IMMUTABLE, and part of an extension: whoever installs one lets its code into the server anyway.

Everything else may do anything, and so may what runs with the rights of its owner (SECURITY DEFINER). Lineage asks none
of this: what such a function returns stays unknown.

A function is also called by whoever reads a view that calls it, or makes a value of a type that a function makes or
checks. What belongs to an extension is left to who installed it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from pglast import parser

from lockgate.understand.postgresql.effects import read_statement
from lockgate.understand.postgresql.functions import ANYTHING, HARMLESS, Facts, built_in, effects_of_name
from lockgate.understand.postgresql.parsing import Unreadable, parse, slow_to_scan
from lockgate.understand.postgresql.relations import find, is_query
from lockgate.values.catalog import Catalog, Routine
from lockgate.values.statement import Effect

ROUTINES_READ: Final = 100
"""Names of functions that are followed for one request; what calls further ones counts as unknown."""
CALLS_DEEP: Final = 20
"""Likewise functions that call functions: each takes some ten frames of the interpreter's thousand."""

_READ: Final = frozenset({Effect.READ})
_UNKNOWN: Final = Facts(ANYTHING)
_NO_KEYWORD: Final = "NO_KEYWORD"
_OPERATOR: Final = "Op"
_CONSTANTS: Final = frozenset({"SCONST", "USCONST", "BCONST", "XCONST", "ICONST", "FCONST", "PARAM"})


class Routines:
    """The functions and operators of one catalog (`functions.Lookup`). For one request: what it found, it keeps.

    Not `current`: every one of them may do something else by now.
    """

    def __init__(self, catalog: Catalog, *, current: bool = True) -> None:
        self._catalog = catalog
        self._current = current
        self._found: dict[str, Facts] = {}
        self._open: list[str] = []

    def call(self, name: str) -> Facts | None:
        """All functions of one name in whatever schema count as one: which is meant hangs on types and the path."""
        if name.startswith("pg_catalog.") or not self._current:
            return None  # it was looked for among PostgreSQL's own; what else is there is nobody's to vouch for
        found = [
            self._once(meant, (self._facts(routine) for routine in routines))
            for meant in suffixes(name)
            if (routines := self._catalog.routines.get(meant))
        ]
        return _together(found) if found else None

    def view(self, schema: str | None, name: str, *, refresh: bool = False) -> Facts | None:
        kind = "m" if refresh else "v"
        found = [
            self._once(f"view {r.oid}", map(self._sql, (r.definition,))) if r.definition is not None else _UNKNOWN
            for r in find(self._catalog, schema, name)
            if r.kind == kind and is_query(r) and not r.extension
        ]
        return _beyond_reading(replace(_together(found), objects=()))

    def beneath(self, schema: str | None, name: str) -> frozenset[str]:
        waiting, seen, names = list(find(self._catalog, schema, name)), set[int](), set[str]()
        while waiting and len(seen) < ROUTINES_READ:
            relation = waiting.pop()
            if relation.oid in seen or not is_query(relation) or relation.definition is None:
                continue
            seen.add(relation.oid)
            for below in self._sql(relation.definition).objects:
                names.add(below)
                waiting += (r for bare in suffixes(below) for r in find(self._catalog, None, bare))
        return frozenset(names)

    def type(self, name: str) -> Facts | None:
        calls = self._catalog.types.get(name)
        if calls is None:
            return None
        return _beyond_reading(_together(map(self._called, calls))) if self._current else _UNKNOWN

    def _once(self, key: str, parts: Iterable[Facts]) -> Facts:
        """`parts` together, looked at the first time only."""
        found = self._found.get(key)
        if found is not None:
            return found
        if self._open and self._open[-1] == key:
            return Facts(HARMLESS)  # itself: nothing that the rest of it doesn't do
        if key in self._open or len(self._open) >= CALLS_DEEP or len(self._found) >= ROUTINES_READ:
            return _UNKNOWN
        self._open.append(key)
        try:
            found = self._found[key] = _together(parts)
        finally:
            self._open.pop()
        return found

    def attribute(self, name: str, *, row: bool) -> Facts | None:
        named = self._catalog.routines.get(name, ())
        if not self._current or not any(routine.of_row if row else routine.unary for routine in named):
            return None
        return self.call(name)

    def _facts(self, routine: Routine) -> Facts:
        if routine.definer:
            return Facts(ANYTHING, definer=True)
        parts = [self._called(name) for name in routine.calls]
        if routine.defaults is not None:
            parts.append(self._sql(f"SELECT {routine.defaults}"))
        if not routine.calls:
            parts.append(self._itself(routine))
        return _together(parts)

    def _itself(self, routine: Routine) -> Facts:
        if routine.language == "c":
            return Facts(HARMLESS) if routine.extension and routine.volatility == "i" else _UNKNOWN
        if routine.body is None:
            return _UNKNOWN
        if routine.language == "sql":
            return self._sql(routine.body)
        if routine.language == "plpgsql" and routine.volatility != "v":
            return self._plpgsql(routine.body)
        return _UNKNOWN

    def _called(self, name: str) -> Facts:
        schema, _, bare = name.rpartition(".")
        if schema == "pg_catalog":
            return Facts(effects_of_name(bare)) if built_in(bare) else _UNKNOWN
        return self.call(name) or _UNKNOWN

    def _sql(self, text: str) -> Facts:
        try:
            trees = parse(text)
        except Unreadable:
            return _UNKNOWN
        read = [read_statement(tree.stmt, self._catalog.functions, self) for tree in trees]
        effects = frozenset[Effect]().union(*(statement.effects for statement in read))
        objects = tuple(name for statement in read for name in statement.objects)
        if any(statement.refusal for statement in read) or not effects <= _READ:
            effects |= ANYTHING
        return Facts(effects, objects, any(statement.definer_functions for statement in read))

    def _plpgsql(self, body: str) -> Facts:
        """By its words: a grammar of its own surrounds the statements in it."""
        if slow_to_scan(body):
            return _UNKNOWN
        try:
            tokens = parser.scan(body)
        except (parser.ParseError, UnicodeError):
            return _UNKNOWN
        facts = [Facts(_READ)]
        for place, token in enumerate(tokens):
            word = body[token.start : token.end + 1]
            called = place + 1 < len(tokens) and tokens[place + 1].name == "ASCII_40"
            if token.name in ("EXECUTE", "UIDENT"):
                return _UNKNOWN
            if token.name == "IDENT" or token.kind != _NO_KEYWORD:
                facts.append(self._named(_folded(word), called=called and token.name == "IDENT"))
            elif token.name not in _CONSTANTS:
                facts.append(self._named(word, called=token.name == _OPERATOR))
        return _together(facts)

    def _named(self, name: str, *, called: bool) -> Facts:
        """What the mention of a name may do: of a function as if it were called, of a view as if it were read."""
        own = self.call(name)
        for other in (self.view(None, name), self.type(name)):
            if other is not None:
                own = other if own is None else _together((own, other))
        if built_in(name):
            effects = effects_of_name(name)
            there = Facts(HARMLESS if effects <= _READ else effects | ANYTHING)
            return there if own is None else _together((there, own))
        if own is not None:
            return own
        return _UNKNOWN if called else Facts(HARMLESS)


def suffixes(name: str) -> tuple[str, ...]:
    """What a dotted name may be the name of: a name may itself hold a dot, so the schema may be missing."""
    return name, *(name[place + 1 :] for place, letter in enumerate(name) if letter == ".")


def _beyond_reading(found: Facts) -> Facts | None:
    return None if found.effects <= _READ and not found.definer else found


def _folded(word: str) -> str:
    return word[1:-1].replace('""', '"') if word.startswith('"') else word.lower()


def _together(parts: Iterable[Facts]) -> Facts:
    """What something does that may do each of these. Anything beyond reading is not spelled out: it may be anything."""
    found = tuple(parts)
    effects = frozenset[Effect]().union(*(part.effects for part in found))
    if not effects <= _READ:
        effects |= ANYTHING
    objects = dict.fromkeys(name for part in found for name in part.objects)
    return Facts(effects, tuple(objects), any(part.definer for part in found))
