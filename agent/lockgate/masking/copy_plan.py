"""What is copied out as the fields of a result, so that it is masked by the same plan, and the layout of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from lockgate.masking.copy_rows import MASKED, QUOTED, Layout
from lockgate.values.catalog import Catalog, Column
from lockgate.values.copying import CopyFormat, CopyKind
from lockgate.values.output import Output

_TEXT: Final = 25
_NO_TYPE: Final = 0xFFFFFFFF
"""No type has it: taken for one of the database's own, of which nothing is known."""
_FIRST_OWN_TYPE: Final = 16384
"""FirstNormalObjectId of PostgreSQL's src/include/access/transam.h: types from here on are the database's own."""


@dataclass(frozen=True, slots=True)
class CopyField:
    """A column that is copied out, as `lockgate.masking.plan.Field` has it: the server names neither table nor type."""

    name: str
    type_oid: int
    format: int
    table_oid: int = 0
    column_number: int = 0
    type_modifier: int = -1


def copy_fields(outputs: Sequence[Output], kind: CopyKind, catalog: Catalog | None) -> tuple[CopyField, ...]:
    """The fields of what is copied out.

    A plain column has the type that the catalog says. Where none is known, or only one of the database's own, a value
    in text or csv is a text, in which nothing is of the wrong type; in binary only NULL fits.
    """
    binary = kind is CopyKind.BINARY
    return tuple(CopyField(output.name, _type(output, catalog, binary=binary), int(binary)) for output in outputs)


def _type(output: Output, catalog: Catalog | None, *, binary: bool) -> int:
    oid = _NO_TYPE
    if catalog is not None and output.plain and output.sources is not None and len(output.sources) == 1:
        oids = {column.type_oid for name in output.sources for column in _columns(name, catalog)}
        oid = oids.pop() if len(oids) == 1 else _NO_TYPE
    return oid if binary or oid < _FIRST_OWN_TYPE else _TEXT


def _columns(name: str, catalog: Catalog) -> list[Column]:
    """Every column that `schema.table.column` can mean: a part may itself hold a dot."""
    parts = name.split(".")
    found: list[Column] = []
    for first in range(1, len(parts) - 1):
        for second in range(first + 1, len(parts)):
            schema, table, column = (".".join(p) for p in (parts[:first], parts[first:second], parts[second:]))
            for relation in catalog.by_name.get(table, ()):
                if relation.schema == schema:
                    found += [c for c in relation.columns if c.name == column]
    return found


def layout_of(written: CopyFormat, names: Sequence[str], masked: Sequence[bool]) -> Layout:
    """The layout of a COPY's rows; `names` are those of its columns, `masked` says which of them are."""
    forced = written.force_quote
    return Layout(
        kind=written.kind,
        delimiter=written.delimiter,
        null=written.null,
        quote=written.quote,
        escape=written.escape,
        columns=bytes(
            (MASKED if hidden else 0) | (QUOTED if forced is None or name in forced else 0)
            for name, hidden in zip(names, masked, strict=True)
        ),
        # in text another NULL may be a value as well, and would tell which values are it: nothing is taken for one
        tells_null=written.kind is not CopyKind.TEXT or written.null in (rb"\N", b""),
    )
