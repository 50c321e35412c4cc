from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from lockgate.masking import RootKey, StaleCatalog, Unmaskable, build_plan, choose_maskers, mask_rows, resolve
from lockgate.masking.cells import Action, Cell
from lockgate.masking.classified import Classified
from lockgate.masking.types import (
    BPCHAR,
    BYTEA,
    DATE,
    INT2,
    INT4,
    INT8,
    JSON,
    JSONB,
    NAME,
    NUMERIC,
    TEXT,
    TIMESTAMP,
    TIMESTAMPTZ,
    UUID,
    VARCHAR,
    XML,
)  # fmt: skip
from lockgate.values.catalog import Catalog, Column, Relation
from lockgate.values.output import Output
from lockgate.values.verdict import Mask

TEXT_ARRAY = 1009


@dataclass(frozen=True)
class Field:
    name: str = "c"
    table_oid: int = 0
    column_number: int = 0
    type_oid: int = TEXT
    type_modifier: int = -1
    format: int = 0


KEYS = RootKey(bytes(32)).keys("orders")


def cell(masker: str | None, field: Field, *, utf8: bool = True, text_types: frozenset[int] = frozenset()) -> Cell:
    return build_plan([field], [masker], keys=KEYS, utf8=utf8, text_types=text_types).cells[0]


def action(masker: str | None, field: Field, *, utf8: bool = True, text_types: frozenset[int] = frozenset()) -> Action:
    return cell(masker, field, utf8=utf8, text_types=text_types).action


ALL = (
    "null",
    "veil",
    "redact",
    "hash",
    "tokenise",
    "partial",
    "truncate:4",
    "truncate:month",
    "truncate:year",
    "date_shift:9",
)
N, R = Action.NULL, Action.REDACT
TABLE: dict[int, tuple[Action, ...]] = {
    TEXT: (N, R, R, Action.HASH, Action.TOKEN_TEXT, Action.PARTIAL, Action.TRUNCATE, R, R, R),
    VARCHAR: (N, R, R, Action.HASH, Action.TOKEN_TEXT, Action.PARTIAL, Action.TRUNCATE, R, R, R),
    BPCHAR: (N, R, R, Action.HASH, Action.TOKEN_TEXT, Action.PARTIAL, Action.TRUNCATE, R, R, R),
    NAME: (N, R, R, Action.HASH, Action.TOKEN_TEXT, Action.PARTIAL, Action.TRUNCATE, R, R, R),
    JSON: (N, Action.REDACT_JSON, Action.REDACT_JSON, Action.HASH_JSON, *[Action.REDACT_JSON] * 6),
    XML: (N, *[R] * 9),
    INT4: (N, N, N, N, Action.TOKEN_INTEGER, N, N, N, N, N),
    INT8: (N, N, N, N, Action.TOKEN_INTEGER, N, N, N, N, N),
    NUMERIC: (N, N, N, N, Action.TOKEN_NUMERIC, N, N, N, N, N),
    UUID: (N, N, N, N, Action.TOKEN_UUID, N, N, N, N, N),
    DATE: (N, N, N, N, N, N, N, Action.TRUNCATE_DATE, Action.TRUNCATE_DATE, Action.SHIFT_DATE),
    TIMESTAMP: (N, N, N, N, N, N, N, Action.TRUNCATE_TIME, Action.TRUNCATE_TIME, Action.SHIFT_TIME),
    TIMESTAMPTZ: (N, N, N, N, N, N, N, *[Action.TRUNCATE_TIME_WITH_ZONE] * 2, Action.SHIFT_TIME),
    **dict.fromkeys((INT2, BYTEA, TEXT_ARRAY, 16385, 18, 16, 700, 1186), (N,) * 10),
}
"""What README says of each type and masker."""


@pytest.mark.parametrize("kind", TABLE)
@pytest.mark.parametrize("form", [0, 1])
def test_what_each_masker_makes_of_each_type(kind: int, form: int) -> None:
    found = [cell(masker, Field(type_oid=kind, format=form)) for masker in ALL]
    assert tuple(c.action for c in found) == TABLE[kind]
    assert cell(None, Field(type_oid=kind, format=form)).action is Action.KEEP
    for one in found:
        if one.action in (Action.TOKEN_INTEGER, Action.TOKEN_NUMERIC, Action.TOKEN_UUID) or one.action >= N + 13:
            assert one.binary is (form == 1)


def test_jsonb_is_json_behind_a_version_in_binary() -> None:
    for form, actions in enumerate(((Action.REDACT_JSON, Action.HASH_JSON), (Action.REDACT_JSONB, Action.HASH_JSONB))):
        field = Field(type_oid=JSONB, format=form)
        assert (action("partial", field), action("hash", field)) == actions


@pytest.mark.parametrize("form", [0, 1])
def test_a_veil_hides_whether_there_is_a_value(form: int) -> None:
    for kind in (TEXT, VARCHAR, NAME, JSON, JSONB, XML, INT4, BYTEA, TEXT_ARRAY):
        veiled = cell("veil", Field(type_oid=kind, format=form))
        assert veiled.null or veiled.action is Action.NULL
        assert not cell("redact", Field(type_oid=kind, format=form)).null
    assert cell("veil", Field(), utf8=False).null


def test_what_a_cell_is_told() -> None:
    assert cell("tokenise", Field(type_oid=INT4)).number == 4
    assert cell("tokenise", Field(type_oid=INT8)).number == 8
    assert cell("truncate:7", Field()).number == 7
    assert cell("truncate:month", Field(type_oid=DATE)).number == 1
    assert cell("truncate:year", Field(type_oid=DATE)).number == 2
    assert cell("hash", Field()).key == KEYS.hash
    assert cell("tokenise", Field()).key == KEYS.tokenise
    days = cell("date_shift:30", Field(type_oid=DATE)).number
    assert days == cell("date_shift:30", Field(type_oid=TIMESTAMPTZ, table_oid=9, column_number=3)).number
    assert 1 <= abs(days) <= 30


def test_a_declared_width_too_narrow_for_what_is_shown_becomes_null() -> None:
    assert action("redact", Field(type_oid=VARCHAR, type_modifier=4 + 2)) is Action.NULL
    assert action("tokenise", Field(type_oid=BPCHAR, type_modifier=4 + 1)) is Action.NULL
    assert action("redact", Field(type_oid=VARCHAR, type_modifier=4 + 3)) is Action.REDACT
    assert action("hash", Field(type_oid=VARCHAR, type_modifier=4 + 31)) is Action.NULL
    assert action("hash", Field(type_oid=VARCHAR, type_modifier=4 + 32)) is Action.HASH


def test_text_in_another_encoding_is_redacted_whatever_the_masker() -> None:
    for masker in ("hash", "tokenise", "partial", "truncate:4"):
        assert action(masker, Field(), utf8=False) is Action.REDACT
    assert action("tokenise", Field(type_oid=UUID), utf8=False) is Action.TOKEN_UUID


def test_further_text_types() -> None:
    assert action("partial", Field(type_oid=16400)) is Action.NULL
    assert action("partial", Field(type_oid=16400), text_types=frozenset({16400})) is Action.PARTIAL


def test_what_makes_no_sense_is_an_error() -> None:
    for maskers, fields, why in (
        (["partail"], [Field()], "not a masker"),
        (["null"], [Field(), Field()], "shorter"),
        ([None], [Field(format=2)], "format 2"),
    ):
        with pytest.raises(ValueError, match=why):
            build_plan(fields, maskers, keys=KEYS)


def test_a_plan_that_keeps_everything_says_so() -> None:
    assert not build_plan([Field(), Field()], [None, None], keys=KEYS).masks
    assert build_plan([Field(), Field()], [None, "null"], keys=KEYS).masks
    assert not build_plan([], [], keys=KEYS).masks


def test_a_plan_drives_the_kernel() -> None:
    plan = build_plan([Field(), Field(type_oid=INT4)], ["partial", "redact"], keys=KEYS)
    row = b"D\0\0\0\x1d\0\x02\0\0\0\x0fann@example.org\xff\xff\xff\xff"
    assert mask_rows(row, 0, len(row), plan)[0] == b"D\0\0\0\x1b\0\x02\0\0\0\x0da***@e***.org\xff\xff\xff\xff"


CUSTOMERS, EU, LOOK, COPY, OTHER = 100, 101, 102, 103, 104
COLUMNS = (Column("id", 1, INT4), Column("email", 2, TEXT), Column("note", 4, TEXT), Column("folded", 5, TEXT))


def relation(oid: int, name: str, kind: str = "r", schema: str = "public") -> Relation:
    return Relation(oid, schema, name, kind, COLUMNS)


def known(*relations: Relation) -> Classified:
    by_name: dict[str, tuple[Relation, ...]] = {}
    for r in relations:
        by_name[r.name] = (*by_name.get(r.name, ()), r)
    catalog = Catalog("app", {r.oid: r for r in relations}, by_name)
    return resolve(["public.customers.email"], catalog, {EU: (CUSTOMERS,)}, {CUSTOMERS: ((5, 2),)}, {})


DATABASE = known(
    relation(CUSTOMERS, "customers"),
    relation(EU, "customers_eu"),
    relation(LOOK, "look", "v"),
    relation(COPY, "copy", "m"),
    relation(OTHER, "customers", schema="other"),
)
EMAIL = "public.customers.email"
PARTIAL = [Mask(EMAIL, "partial", "pii")]
UNKNOWN = Output("c", None, why="function f() is not known")


def out(*sources: str, plain: bool = False) -> Output:
    return Output("c", frozenset(sources), plain)


def chosen(field: Field, output: Output | None, masks: list[Mask] = PARTIAL) -> str | None:
    return choose_maskers([field], masks, None if output is None else [output], DATABASE)[0]


def test_nothing_masked_nothing_asked() -> None:
    assert choose_maskers([Field(table_oid=999)], [], None, DATABASE) == (None,)


@pytest.mark.parametrize("output", [None, UNKNOWN, out(EMAIL, plain=True), out(EMAIL)])
def test_a_tables_own_column_is_what_the_server_says(output: Output | None) -> None:
    assert chosen(Field(table_oid=CUSTOMERS, column_number=2), output) == "partial"


@pytest.mark.parametrize("output", [None, UNKNOWN, out("public.customers.note", plain=True)])
def test_another_column_of_the_table_is_kept(output: Output | None) -> None:
    assert chosen(Field(table_oid=CUSTOMERS, column_number=4), output) is None
    assert chosen(Field(table_oid=CUSTOMERS, column_number=-1), None) is None


def test_a_partition_holds_what_its_parent_does() -> None:
    assert chosen(Field(table_oid=EU, column_number=2), None) == "partial"
    assert chosen(Field(), out("public.customers_eu.email")) == "veil"


def test_a_generated_column_is_veiled() -> None:
    assert chosen(Field(table_oid=CUSTOMERS, column_number=5), None) == "veil"
    assert chosen(Field(), out("public.customers.folded", plain=True)) == "veil"


def test_an_expression_over_a_masked_column_is_veiled() -> None:
    assert chosen(Field(), out(EMAIL)) == "veil"
    assert chosen(Field(), out(EMAIL, "public.customers.note")) == "veil"
    assert chosen(Field(), out("public.customers.note")) is None
    assert chosen(Field(), out()) is None
    assert chosen(Field(), out(EMAIL), [Mask(EMAIL, "null", "pii")]) == "null"


def test_a_masked_column_out_of_a_subquery_keeps_its_own_masker() -> None:
    assert chosen(Field(), out(EMAIL, plain=True)) == "partial"


@pytest.mark.parametrize("oid", [LOOK, COPY])
def test_a_views_column_is_what_lineage_says(oid: int) -> None:
    assert chosen(Field(table_oid=oid, column_number=4), out(EMAIL, plain=True)) == "partial"
    assert chosen(Field(table_oid=oid, column_number=2), out("public.customers.note", plain=True)) is None


@pytest.mark.parametrize("output", [None, UNKNOWN])
@pytest.mark.parametrize(
    "field", [Field(), Field(table_oid=LOOK, column_number=2), Field(table_oid=999, column_number=1)]
)
def test_what_can_not_be_told_is_refused(field: Field, output: Output | None) -> None:
    with pytest.raises(Unmaskable, match="column 1 of the result"):
        chosen(field, output)


@pytest.mark.parametrize("output", [None, UNKNOWN, out("public.customers.note", plain=True), out()])
@pytest.mark.parametrize("place", [(CUSTOMERS, 3), (999, 1), (999, -1)])
def test_a_column_the_catalog_does_not_have_is_refused_whatever_lineage_says(
    place: tuple[int, int], output: Output | None
) -> None:
    """A view made since, of a table's name and earlier in the search path, would otherwise pass for that table."""
    with pytest.raises(StaleCatalog, match="try again"):
        chosen(Field(table_oid=place[0], column_number=place[1]), output)


def test_the_server_knows_which_of_two_tables_was_read() -> None:
    either = out("other.customers.email", EMAIL)
    assert chosen(Field(table_oid=OTHER, column_number=2), either) is None
    assert chosen(Field(table_oid=CUSTOMERS, column_number=2), either) == "partial"
    assert chosen(Field(), either) == "veil"


def test_a_description_older_than_a_rename_does_not_uncover() -> None:
    """Described when `note` was another column; now the name belongs to what is classified."""
    assert chosen(Field(table_oid=CUSTOMERS, column_number=4), out(EMAIL, plain=True)) == "partial"
    assert chosen(Field(table_oid=CUSTOMERS, column_number=2), out("public.customers.note", plain=True)) == "partial"


def test_the_strictest_of_several_masks() -> None:
    masks = [Mask(EMAIL, "partial", "a"), Mask(EMAIL, "null", "b"), Mask(EMAIL, "redact", "c")]
    assert chosen(Field(table_oid=CUSTOMERS, column_number=2), None, masks) == "null"


def test_a_result_of_another_width_is_refused() -> None:
    with pytest.raises(Unmaskable, match="2 columns"):
        choose_maskers([Field(), Field()], PARTIAL, [out()], DATABASE)


def test_a_mask_of_a_column_that_was_renamed_reaches_it() -> None:
    renamed = Relation(CUSTOMERS, "public", "clients", "r", (Column("mail", 2, TEXT),))
    catalog = Catalog("app", {CUSTOMERS: renamed}, {"clients": (renamed,)})
    after = resolve([EMAIL], catalog, {}, {}, DATABASE.sticky)
    field = Field(table_oid=CUSTOMERS, column_number=2)
    outputs: Mapping[str, Output] = {
        "plain": out("public.clients.mail", plain=True),
        "whole": out("public.clients.mail"),
    }
    assert choose_maskers([field], PARTIAL, [outputs["plain"]], after) == ("partial",)
    assert choose_maskers([Field()], PARTIAL, [outputs["whole"]], after) == ("veil",)


def test_a_whole_row_is_what_lineage_says() -> None:
    """RowDescription has the table's OID and column 0 for it."""
    whole = Field(table_oid=CUSTOMERS, column_number=0)
    assert chosen(whole, out(EMAIL, "public.customers.note")) == "veil"
    assert chosen(whole, out("public.customers.note")) is None
    with pytest.raises(Unmaskable):
        chosen(whole, None)
