"""Look through the rows of a result for what nobody classified: addresses, cards, keys in columns of free text.

A look for all hints at once goes over each buffer of rows, whatever is in it: 200 MB/s and more. Where one is found the
cells it touches are read, by the detectors whose hints were found, and only those are written anew.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

import re2

from lockgate.masking._rows import Program, mask_value, touched_cells
from lockgate.masking.cells import JSONB_VERSION, REDACTED_JSON, Action, Cell
from lockgate.masking.detectors import DETECTORS, KINDS, Span, TooManyCandidates, compiled, options
from lockgate.masking.keys import Keys
from lockgate.masking.partial import REDACTED
from lockgate.masking.rows import replace_cells
from lockgate.masking.spec import Name, parse_masker
from lockgate.masking.types import FIRST_OF_USERS, JSON, JSONB, RECORD, TEXT_ARRAYS, TEXT_TYPES, TSVECTOR, XML

_LENGTHS: Final = re.compile(rb"\0[\s\S]{3}")
"""Lengths and numbers of four bytes between the texts of an array or a record in binary: no text has a NUL."""
NOTHING: Final[Mapping[str, int]] = MappingProxyType({})


class Watch(IntEnum):
    """How the values of a column are looked at, and what is done where something is found.

    TEXT: the found part is replaced. JSON and JSONB: likewise, and the whole value when it would be JSON no more.
    WHOLE: it becomes NULL, since its parts have lengths that a client relies on (binary arrays, and types of users).
    """

    NOT = 0
    TEXT = 1
    JSON = 2
    JSONB = 3
    WHOLE = 4


def watch(type_oid: int, format_code: int, text_types: Collection[int]) -> Watch:
    """How a column of a type is looked at."""
    if type_oid in TEXT_TYPES or type_oid in text_types or type_oid == XML:
        return Watch.TEXT
    if type_oid == JSON or (type_oid == JSONB and format_code == 0):
        return Watch.JSON
    if type_oid == JSONB:
        return Watch.JSONB
    if type_oid in TEXT_ARRAYS or type_oid in (RECORD, TSVECTOR) or type_oid >= FIRST_OF_USERS:
        return Watch.WHOLE if format_code else Watch.TEXT
    return Watch.NOT


@dataclass(frozen=True, slots=True)
class Hints:
    """The hints of some detectors: `found_by` says which of them a buffer holds, by number in `kinds`."""

    kinds: tuple[str, ...]
    found_by: Any
    patterns: tuple[Any, ...]

    def kinds_in(self, data: bytes) -> list[int]:
        """The numbers of the kinds whose hints are in `data`."""
        return list(self.found_by.Match(data) or ())

    def spans(self, data: bytes, kinds: Sequence[int]) -> list[Span]:
        """Where those hints are, in order and apart from one another."""
        every = sorted(match.span() for number in kinds for match in self.patterns[number].finditer(data))
        return list(_merged(every))


def _merged(spans: Sequence[Span]) -> Iterator[Span]:
    begin, end = -1, -1
    for start, stop in spans:
        if start > end:
            if begin >= 0:
                yield begin, end
            begin, end = start, stop
        else:
            end = max(end, stop)
    if begin >= 0:
        yield begin, end


@lru_cache(maxsize=256)
def hints_of(kinds: tuple[str, ...]) -> Hints:
    """Those of these kinds: made once for each combination that policies ask for."""
    found_by = re2.Set.SearchSet(options())  # type: ignore[no-untyped-call]
    patterns = []
    for kind in kinds:
        hint = DETECTORS[kind].hint
        found_by.Add(hint.encode("latin-1"))
        patterns.append(compiled(hint))
    found_by.Compile()
    return Hints(kinds, found_by, tuple(patterns))


@dataclass(frozen=True, slots=True)
class Scan:
    """What is looked for, and where: `columns` has a `Watch` each; `program` has the masker of each
    kind of `hints`."""

    hints: Hints
    columns: bytes
    program: Program
    nulls: frozenset[str]
    """Kinds of which a value that holds one becomes NULL."""

    @classmethod
    def of(cls, detectors: Mapping[str, str], columns: bytes, keys: Keys, *, utf8: bool) -> Scan | None:
        """`detectors`: kind -> masker of what is found. None when no column is looked at.

        Raises ValueError for a kind or a masker that there is none of.
        """
        unknown = detectors.keys() - DETECTORS.keys()
        if unknown:
            raise ValueError(f"{min(unknown)!r} is not detected (there are {', '.join(KINDS)})")
        kinds = tuple(kind for kind in KINDS if kind in detectors)
        cells = [_cell(detectors[kind], keys, utf8) for kind in kinds]
        nulls = frozenset(kind for kind, cell in zip(kinds, cells, strict=True) if cell.action is Action.NULL)
        return cls(hints_of(kinds), columns, Program(cells), nulls) if any(columns) else None

    def rows(self, data: bytes) -> tuple[bytes, Mapping[str, int]]:
        """Complete DataRow messages and nothing else -> the same with what was found replaced, and how often by kind.

        The rows are as the kernel made them: their lengths are right.
        """
        kinds = self.hints.kinds_in(data)
        if not kinds:
            return data, NOTHING
        spans = self.hints.spans(data, kinds)
        found: Counter[str] = Counter()
        changed: list[tuple[int, int, int, bytes | None]] = []
        for row, start, end, column in touched_cells(data, self.columns, spans):
            value = data[start:end]
            shown = self._value(value, Watch(self.columns[column]), kinds, found)
            if shown != value:
                changed.append((row, start, end, shown))
        return (replace_cells(data, changed) if changed else data), found

    def text(self, value: bytes) -> bytes:
        """One text, such as an error message, with what was found replaced."""
        kinds = self.hints.kinds_in(value)
        if not kinds:
            return value
        shown = self._value(value, Watch.TEXT, kinds, Counter())
        return REDACTED if shown is None else shown

    def string(self, value: bytes, kinds: Sequence[int], found: Counter[str]) -> bytes | None:
        """One string with what was found of `kinds` replaced and counted, None for null. What is JSON stays JSON."""
        looks_like_json = value[:1] in (b"{", b"[", b'"') and _is_json(value)
        return self._value(value, Watch.JSON if looks_like_json else Watch.TEXT, kinds, found)

    def _value(self, value: bytes, how: Watch, kinds: Sequence[int], found: Counter[str]) -> bytes | None:
        if how is Watch.JSONB:
            shown = self._value(value[1:], Watch.JSON, kinds, found)
            return None if shown is None else JSONB_VERSION + shown
        try:
            parts = self._parts(value, kinds)
            if not parts and how is Watch.WHOLE:
                # a length whose last byte is a letter or digit would seem to belong to the text behind it
                parts = self._parts(_LENGTHS.sub(b"\0\0\0\0", value), kinds)
        except TooManyCandidates:
            found.update(self.hints.kinds[number] for number in kinds)
            return REDACTED_JSON if how is Watch.JSON else REDACTED if how is Watch.TEXT else None
        if not parts:
            return value
        names = [self.hints.kinds[number] for _, number in parts]
        found.update(names)
        if how is Watch.WHOLE or not self.nulls.isdisjoint(names):
            return None
        shown = self._replaced(value, parts)
        return REDACTED_JSON if how is Watch.JSON and not _is_json(shown) else shown

    def _parts(self, value: bytes, kinds: Sequence[int]) -> list[tuple[Span, int]]:
        return sorted((span, number) for number in kinds for span in DETECTORS[self.hints.kinds[number]].find(value))

    def _replaced(self, value: bytes, parts: Sequence[tuple[Span, int]]) -> bytes:
        result: list[bytes] = []
        at = 0
        for (begin, end), number in _apart(parts):
            shown = REDACTED if number is None else mask_value(self.program, number, value[begin:end])
            # never longer than it was: the column's declared width holds it still
            result += value[at:begin], shown if shown is not None and len(shown) <= end - begin else REDACTED
            at = end
        return b"".join((*result, value[at:]))


def _apart(parts: Sequence[tuple[Span, int]]) -> Iterator[tuple[Span, int | None]]:
    """What was found, with what overlaps made one; None then stands for which it is."""
    kind: int | None
    (begin, end), kind = parts[0]
    for (start, stop), number in parts[1:]:
        if start < end:
            end, kind = max(end, stop), None
        else:
            yield (begin, end), kind
            begin, end, kind = start, stop, number
    yield (begin, end), kind


def _cell(text: str, keys: Keys, utf8: bool) -> Cell:
    masker = parse_masker(text)
    if masker.name is Name.NULL:
        return Cell(Action.NULL)
    if not utf8:
        return Cell(Action.REDACT)
    match masker.name:
        case Name.PARTIAL:
            return Cell(Action.PARTIAL)
        case Name.HASH:
            return Cell(Action.HASH, key=keys.hash)
        case Name.TOKENISE:
            return Cell(Action.TOKEN_TEXT, key=keys.tokenise)
        case Name.TRUNCATE if masker.number:
            return Cell(Action.TRUNCATE, number=masker.number)
        case _:
            return Cell(Action.REDACT)


def _is_json(value: bytes) -> bool:
    try:
        json.loads(value)
    except (ValueError, RecursionError):
        return False
    return True
