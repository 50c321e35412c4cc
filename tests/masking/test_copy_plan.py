"""What is copied out, as fields of a result and as a layout."""

from __future__ import annotations

import pytest

from lockgate.masking.copy_plan import copy_fields, layout_of
from lockgate.masking.copy_rows import MASKED, QUOTED
from lockgate.values.catalog import Catalog, Column, Relation
from lockgate.values.copying import CopyFormat, CopyKind
from lockgate.values.output import Output

INT4, TEXT, DATE, DOMAIN, UNKNOWN = 23, 25, 1082, 16400, 0xFFFFFFFF
PEOPLE = Relation(
    1, "public", "people", "r",
    (Column("id", 1, INT4), Column("name", 2, TEXT), Column("born", 3, DATE), Column("mood", 4, DOMAIN)),
)  # fmt: skip
DOTTED = Relation(2, "public", "a.b", "r", (Column("c", 1, INT4), Column("d", 2, INT4)))
OTHER = Relation(3, "public.a", "b", "r", (Column("c", 1, TEXT),))
KNOWN = Catalog("db", {}, {r.name: (r,) for r in (PEOPLE, DOTTED, OTHER)})


def plain(name: str) -> Output:
    return Output("x", frozenset({name}), plain=True)


@pytest.mark.parametrize(
    ("output", "text", "binary"),
    [
        (plain("public.people.id"), INT4, INT4),
        (plain("public.people.born"), DATE, DATE),
        (plain("public.people.mood"), TEXT, DOMAIN),
        (plain("public.people.gone"), TEXT, UNKNOWN),
        (Output("x", frozenset({"public.people.born"})), TEXT, UNKNOWN),
        (Output("x", frozenset()), TEXT, UNKNOWN),
        (plain("public.a.b.c"), TEXT, UNKNOWN),
        (plain("public.a.b.d"), INT4, INT4),
    ],
)
def test_the_type_of_a_column(output: Output, text: int, binary: int) -> None:
    (field,) = copy_fields([output], CopyKind.CSV, KNOWN)
    assert (field.name, field.type_oid, field.format, field.table_oid) == ("x", text, 0, 0)
    (field,) = copy_fields([output], CopyKind.BINARY, KNOWN)
    assert (field.type_oid, field.format) == (binary, 1)


def test_which_columns_are_masked_and_quoted() -> None:
    written = CopyFormat(CopyKind.CSV, b",", b"", force_quote=frozenset({"b"}))
    assert layout_of(written, ["a", "b", "c"], [True, True, False]).columns == bytes((MASKED, MASKED | QUOTED, 0))
    everything = CopyFormat(CopyKind.CSV, b";", b"x", b"'", b"\\", force_quote=None)
    layout = layout_of(everything, ["a"], [False])
    assert layout.columns == bytes((QUOTED,))
    assert (layout.delimiter, layout.null, layout.quote, layout.escape) == (b";", b"x", b"'", b"\\")


@pytest.mark.parametrize(
    ("kind", "null", "tells"),
    [
        (CopyKind.TEXT, rb"\N", True),
        (CopyKind.TEXT, b"", True),
        (CopyKind.TEXT, b"ann@example.org", False),
        (CopyKind.CSV, b"ann@example.org", True),
    ],
)
def test_a_null_that_could_be_a_value_is_not_told_from_one(kind: CopyKind, null: bytes, tells: bool) -> None:
    assert layout_of(CopyFormat(kind, null=null), ["a"], [True]).tells_null is tells
