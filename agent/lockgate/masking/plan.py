"""Which column of a result gets which mask: decided once for a RowDescription, applied to every row of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Final, Protocol

from lockgate.masking.classified import Classified, Held
from lockgate.masking.maskers import MASKERS, Action, stricter
from lockgate.values.output import Output
from lockgate.values.verdict import Mask

_JSON, _JSONB, _XML = 114, 3802, 142
_BPCHAR, _VARCHAR = 1042, 1043
_TEXT: Final = frozenset({19, 25, 705, _BPCHAR, _VARCHAR})
"""name, text, unknown, character(n), varchar: any characters are a valid value (pg_type.dat of PostgreSQL 18)."""
_ENCODINGS: Final = frozenset({"UTF8", "UNICODE", "SQL_ASCII"})
"""Values of `client_encoding` under which a value's bytes are the UTF-8 that the `partial` masker reads."""
_NARROWEST: Final = 3
"""Characters a declared width needs to hold `***`."""


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
    """`actions` is one byte, an `Action`, a column: what `mask_rows` takes."""

    actions: bytes

    @property
    def masks(self) -> bool:
        """False when every column is kept: rows may then pass as they are (`skip_rows`)."""
        return any(self.actions)


def build_plan(
    fields: Sequence[Field], maskers: Sequence[str | None], *, encoding: str, text_types: Collection[int] = ()
) -> Plan:
    """One masker name, or None, a field -> the plan for its rows.

    The client never gets a value that its declared type can't have: a column of a type that doesn't hold text becomes
    NULL under every masker, as does a `varchar(n)` too narrow for `***`; json and jsonb become the JSON string
    "***". `partial` is `redact` for xml and JSON, whose first character is markup, and for every field when
    `encoding`, the session's `client_encoding`, is none that UTF-8 can be read from. `text_types` are further type
    OIDs that hold any text (citext: its OID differs from database to database).

    Raises ValueError when there are not as many maskers as fields, a masker is not known or a format is not 0 or 1.
    """
    readable = encoding.upper().replace("-", "") in _ENCODINGS
    return Plan(
        bytes(_action(f, masker, readable, text_types) for f, masker in zip(fields, maskers, strict=True)),
    )


def _action(field: Field, masker: str | None, readable: bool, text_types: Collection[int]) -> Action:
    if field.format not in (0, 1):
        raise ValueError(f"format {field.format} is neither text nor binary")
    if masker is None:
        return Action.KEEP
    if masker not in MASKERS:
        raise ValueError(f"{masker!r} is not a masker")
    if masker == "null":
        return Action.NULL
    if field.type_oid == _JSONB and field.format == 1:
        return Action.REDACT_JSONB
    if field.type_oid in (_JSON, _JSONB):
        return Action.REDACT_JSON
    if field.type_oid == _XML:
        return Action.REDACT
    if field.type_oid not in _TEXT and field.type_oid not in text_types:
        return Action.NULL
    # atttypmod of these two is the declared width and the 4 bytes of a varlena header
    if field.type_oid in (_BPCHAR, _VARCHAR) and 0 <= field.type_modifier - 4 < _NARROWEST:
        return Action.NULL
    return Action.PARTIAL if masker == "partial" and readable else Action.REDACT


def choose_maskers(
    fields: Sequence[Field], masks: Sequence[Mask], outputs: Sequence[Output] | None, columns: Classified
) -> tuple[str | None, ...]:
    """The masker of each field, from what the server says of it and what lineage does.

    `masks` are the verdict's, `outputs` the lineage of the result (None when it couldn't be told at all). A field
    gets the strictest masker of all that apply: the column's own where the output is that column unchanged, at least
    `redact` where it only depends on it. A field that the server names as a table's own column is that column: the
    server knows which of several tables of one name it read. But when lineage does not count that column among
    the sources (a RowDescription from before a column was renamed), both apply.

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
            plain = stricter(plain, "redact")
        return stricter(plain, None if derived is None else stricter(derived, "redact"))

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
