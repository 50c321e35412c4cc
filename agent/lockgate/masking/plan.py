"""Which column of a result gets which mask: decided once for a RowDescription, applied to every row of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from types import MappingProxyType
from typing import Final, Protocol

from lockgate.masking._rows import Program
from lockgate.masking.cells import KEPT, NULLED, Action, Cell
from lockgate.masking.classified import Classified, Held
from lockgate.masking.dates import MONTH, YEAR
from lockgate.masking.keyed import HASH_BYTES, shift
from lockgate.masking.keys import Keys
from lockgate.masking.partial import REDACTED
from lockgate.masking.scan import Scan, Watch, watch
from lockgate.masking.spec import Masker, Name, parse_masker, stricter
from lockgate.masking.types import (
    BPCHAR,
    DATE,
    INT4,
    INT8,
    JSON,
    JSONB,
    NUMERIC,
    TEXT_TYPES,
    TIMESTAMP,
    TIMESTAMPTZ,
    UUID,
    VARCHAR,
    XML,
)  # fmt: skip
from lockgate.values.output import Output
from lockgate.values.verdict import Mask

_INTEGERS: Final = {INT4: 4, INT8: 8}
"""Bytes of the integers that get a token: int2 has too few values."""
_TIMES: Final = {
    DATE: Action.TRUNCATE_DATE,
    TIMESTAMP: Action.TRUNCATE_TIME,
    TIMESTAMPTZ: Action.TRUNCATE_TIME_WITH_ZONE,
}
_HASH_DIGITS: Final = 2 * HASH_BYTES
DERIVED: Final = "veil"
"""The mildest masker of what only depends on a masked column."""


class Field(Protocol):
    """One field of a RowDescription, as the wire room has it.

    `format` is that of the rows that will come (Bind's result formats): 0 text, 1 binary. A Describe of a statement
    says 0 for each, whatever is bound later.
    """

    @property
    def name(self) -> str: ...
    @property
    def table_oid(self) -> int: ...
    @property
    def column_number(self) -> int: ...
    @property
    def type_oid(self) -> int: ...
    @property
    def type_modifier(self) -> int: ...
    @property
    def format(self) -> int: ...


class Unmaskable(Exception):
    """It can't be told what a result would show of a masked column: the statement is refused. One line, no value."""


class StaleCatalog(Unmaskable):
    """The server reads from a relation or column that the catalog, as last read, doesn't have: read it again."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens to the columns of a result: `cells` has one each, and `program` is them as the kernel takes them.

    `scan` looks for what nobody classified in the columns that are kept; None when nothing is looked for.
    """

    cells: tuple[Cell, ...]
    program: Program
    scan: Scan | None = None

    @property
    def masks(self) -> bool:
        """False when every column is kept and none looked at: rows may then pass as they are (`skip_rows`)."""
        return self.scan is not None or self.program.masks

    @property
    def touched(self) -> tuple[bool, ...]:
        """Which columns are masked or looked at."""
        watched = self.scan.columns if self.scan is not None else bytes(len(self.cells))
        return tuple(
            cell.action is not Action.KEEP or bool(seen) for cell, seen in zip(self.cells, watched, strict=True)
        )


def build_plan(
    fields: Sequence[Field],
    maskers: Sequence[str | None],
    *,
    keys: Keys,
    utf8: bool = True,
    text_types: Collection[int] = (),
    detectors: Mapping[str, str] = MappingProxyType({}),
) -> Plan:
    """One masker, or None, a field -> the plan for its rows.

    The client never gets a value that its declared type can't have: where a masker has nothing that the type can hold,
    the value becomes NULL. `utf8` says that text comes in that encoding: in another, of which bytes are characters
    can't be told, text is redacted whatever the masker. `text_types` are further type OIDs that hold any text (citext:
    its OID differs from database to database). `detectors`: kind (of `detectors.KINDS`) -> masker of what is found.

    Raises ValueError when there are not as many maskers as fields, a masker is none or a format is not 0 or 1.
    """
    cells = tuple(_cell(f, masker, keys, utf8, text_types) for f, masker in zip(fields, maskers, strict=True))
    scan = None
    if detectors:
        watched = (
            Watch.NOT if masker is not None else watch(f.type_oid, f.format, text_types)
            for f, masker in zip(fields, maskers, strict=True)
        )
        scan = Scan.of(detectors, bytes(watched), keys, utf8=utf8)
    return Plan(cells, Program(cells), scan)


def _cell(field: Field, text: str | None, keys: Keys, utf8: bool, text_types: Collection[int]) -> Cell:
    if field.format not in (0, 1):
        raise ValueError(f"format {field.format} is neither text nor binary")
    if text is None:
        return KEPT
    masker = parse_masker(text)
    binary = field.format == 1
    veiled = masker.name is Name.VEIL
    if masker.name is Name.NULL:
        return NULLED
    if field.type_oid in (JSON, JSONB):
        jsonb = binary and field.type_oid == JSONB
        if masker.name is Name.HASH:
            return Cell(Action.HASH_JSONB if jsonb else Action.HASH_JSON, key=keys.hash)
        return Cell(Action.REDACT_JSONB if jsonb else Action.REDACT_JSON, null=veiled)
    if field.type_oid == XML:
        return Cell(Action.REDACT, null=veiled)
    if field.type_oid in TEXT_TYPES or field.type_oid in text_types:
        return _text(field, masker, keys, utf8)
    return _typed(field.type_oid, masker, keys, binary)


def _text(field: Field, masker: Masker, keys: Keys, utf8: bool) -> Cell:
    # atttypmod of these two is the declared width and the 4 bytes of a varlena header
    narrow = field.type_modifier - 4 if field.type_oid in (BPCHAR, VARCHAR) and field.type_modifier >= 4 else None
    if narrow is not None and narrow < len(REDACTED):
        return NULLED
    if masker.name is Name.VEIL:
        return Cell(Action.REDACT, null=True)
    if not utf8:
        return Cell(Action.REDACT)
    match masker.name:
        case Name.PARTIAL:
            return Cell(Action.PARTIAL)
        case Name.HASH:
            return NULLED if narrow is not None and narrow < _HASH_DIGITS else Cell(Action.HASH, key=keys.hash)
        case Name.TOKENISE:
            return Cell(Action.TOKEN_TEXT, key=keys.tokenise)
        case Name.TRUNCATE if masker.number:
            return Cell(Action.TRUNCATE, number=masker.number)
        case _:
            return Cell(Action.REDACT)


def _typed(type_oid: int, masker: Masker, keys: Keys, binary: bool) -> Cell:
    """Of a type that doesn't hold any text."""
    if masker.name is Name.TOKENISE:
        if type_oid in _INTEGERS:
            return Cell(Action.TOKEN_INTEGER, binary, _INTEGERS[type_oid], keys.tokenise)
        if type_oid == NUMERIC:
            return Cell(Action.TOKEN_NUMERIC, binary, key=keys.tokenise)
        if type_oid == UUID:
            return Cell(Action.TOKEN_UUID, binary, key=keys.tokenise)
    if masker.name is Name.DATE_SHIFT and type_oid in _TIMES:
        action = Action.SHIFT_DATE if type_oid == DATE else Action.SHIFT_TIME
        return Cell(action, binary, shift(keys.date_shift, masker.number))
    if masker.unit and type_oid in _TIMES:
        return Cell(_TIMES[type_oid], binary, MONTH if masker.unit == "month" else YEAR)
    return NULLED


def choose_maskers(
    fields: Sequence[Field], masks: Sequence[Mask], outputs: Sequence[Output] | None, columns: Classified
) -> tuple[str | None, ...]:
    """The masker of each field, from what the server says of it and what lineage does.

    `masks` are the verdict's, `outputs` the lineage of the result (None when it couldn't be told at all). A field gets
    the strictest masker of all that apply: the column's own where the output is that column unchanged, at least `veil`
    where it only depends on it, since whether an expression is NULL tells what somebody made it tell. A field that the
    server names as a table's own column is that column: the server knows which of several tables of one name it read.
    But when lineage does not count that column among the sources (a RowDescription from before a column was renamed),
    both apply.

    Raises Unmaskable when there are masks and a field is neither a table's own column nor explained by lineage, and
    StaleCatalog when it is of a column that the catalog doesn't have.
    """
    if not masks:
        return (None,) * len(fields)
    if outputs is not None and len(outputs) != len(fields):
        raise Unmaskable(
            f"the result has {len(fields)} columns where the statement was understood to have {len(outputs)}"
        )
    maskers: dict[str, str | None] = {}
    for mask in masks:
        maskers[mask.column] = stricter(maskers.get(mask.column), mask.masker)

    def masker_for(held: Held, unchanged: bool) -> str | None:
        plain = _strictest(maskers.get(name) for name in held.plain)
        derived = _strictest(maskers.get(name) for name in held.derived)
        if plain is not None and not unchanged:
            plain = stricter(plain, DERIVED)
        return stricter(plain, None if derived is None else stricter(derived, DERIVED))

    chosen: list[str | None] = []
    for place, field in enumerate(fields):
        # column 0 is the whole row as one value, of which lineage tells
        named = field.table_oid and field.column_number
        source = columns.source(field.table_oid, field.column_number) if named else None
        if source is None and named:
            # what lineage made of the names is then about other relations than the server's
            raise StaleCatalog(f"column {place + 1} of the result is of a relation that has changed: try again")
        output = None if outputs is None else outputs[place]
        if (
            source is not None
            and source.table
            and (output is None or output.sources is None or source.name in output.sources)
        ):
            chosen.append(masker_for(source.held, unchanged=True))
        elif output is not None and output.sources is not None:
            unchanged = output.plain and len(output.sources) == 1
            server = None if source is None else masker_for(source.held, unchanged)
            lineage = _strictest(masker_for(columns.held(name), unchanged) for name in output.sources)
            chosen.append(stricter(server, lineage))
        else:
            why = "its lineage is not known" if output is None else output.why
            raise Unmaskable(f"column {place + 1} of the result may depend on a masked column: {why}")
    return tuple(chosen)


def _strictest(names: Iterable[str | None]) -> str | None:
    return reduce(stricter, names, None)
