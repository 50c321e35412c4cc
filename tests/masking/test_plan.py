from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from lockgate.masking import StaleCatalog, Unmaskable, build_plan, choose_maskers, mask_rows, resolve
from lockgate.masking.classified import Classified
from lockgate.masking.maskers import Action
from lockgate.values.catalog import Catalog, Column, Relation
from lockgate.values.output import Output
from lockgate.values.verdict import Mask

TEXT, VARCHAR, BPCHAR, NAME, INT4, UUID, DATE, BYTEA, JSON, JSONB, XML, TEXT_ARRAY = (
    25, 1043, 1042, 19, 23, 2950, 1082, 17, 114, 3802, 142, 1009,
)  # fmt: skip


@dataclass(frozen=True)
class Field:
    name: str = "c"
    table_oid: int = 0
    column_number: int = 0
    type_oid: int = TEXT
    type_modifier: int = -1
    format: int = 0


def action(
    masker: str | None, field: Field, encoding: str = "UTF8", text_types: frozenset[int] = frozenset()
) -> Action:
    return Action(build_plan([field], [masker], encoding=encoding, text_types=text_types).actions[0])


@pytest.mark.parametrize("kind", [TEXT, VARCHAR, BPCHAR, NAME])
@pytest.mark.parametrize("form", [0, 1])
def test_text_holds_a_mask_in_either_format(kind: int, form: int) -> None:
    field = Field(type_oid=kind, format=form)
    assert action("redact", field) is Action.REDACT
    assert action("partial", field) is Action.PARTIAL
    assert action("null", field) is Action.NULL
    assert action(None, field) is Action.KEEP


@pytest.mark.parametrize("kind", [INT4, UUID, DATE, BYTEA, TEXT_ARRAY, 16385, 18])
@pytest.mark.parametrize("form", [0, 1])
@pytest.mark.parametrize("masker", ["redact", "partial", "null"])
def test_a_type_that_holds_no_text_becomes_null(kind: int, form: int, masker: str) -> None:
    assert action(masker, Field(type_oid=kind, format=form)) is Action.NULL


@pytest.mark.parametrize("masker", ["redact", "partial"])
def test_json_stays_json(masker: str) -> None:
    assert action(masker, Field(type_oid=JSON)) is Action.REDACT_JSON
    assert action(masker, Field(type_oid=JSON, format=1)) is Action.REDACT_JSON
    assert action(masker, Field(type_oid=JSONB)) is Action.REDACT_JSON
    assert action(masker, Field(type_oid=JSONB, format=1)) is Action.REDACT_JSONB
    assert action(masker, Field(type_oid=XML)) is Action.REDACT


def test_a_declared_width_too_narrow_for_stars_becomes_null() -> None:
    assert action("redact", Field(type_oid=VARCHAR, type_modifier=4 + 2)) is Action.NULL
    assert action("redact", Field(type_oid=BPCHAR, type_modifier=4 + 1)) is Action.NULL
    assert action("redact", Field(type_oid=VARCHAR, type_modifier=4 + 3)) is Action.REDACT


def test_partial_reads_utf8_only() -> None:
    for encoding in ("UTF8", "utf-8", "UNICODE", "SQL_ASCII"):
        assert action("partial", Field(), encoding) is Action.PARTIAL
    for encoding in ("LATIN1", "SJIS", "GB18030", ""):
        assert action("partial", Field(), encoding) is Action.REDACT


def test_further_text_types() -> None:
    assert action("partial", Field(type_oid=16400)) is Action.NULL
    assert action("partial", Field(type_oid=16400), text_types=frozenset({16400})) is Action.PARTIAL


def test_what_makes_no_sense_is_an_error() -> None:
    with pytest.raises(ValueError, match="not a masker"):
        build_plan([Field()], ["partail"], encoding="UTF8")
    with pytest.raises(ValueError, match="shorter"):
        build_plan([Field(), Field()], ["null"], encoding="UTF8")
    with pytest.raises(ValueError, match="format 2"):
        build_plan([Field(format=2)], [None], encoding="UTF8")


def test_a_plan_that_keeps_everything_says_so() -> None:
    assert not build_plan([Field(), Field()], [None, None], encoding="UTF8").masks
    assert build_plan([Field(), Field()], [None, "null"], encoding="UTF8").masks
    assert not build_plan([], [], encoding="UTF8").masks


def test_a_plan_drives_the_kernel() -> None:
    plan = build_plan([Field(), Field(type_oid=INT4)], ["partial", "redact"], encoding="UTF8")
    row = b"D\0\0\0\x1d\0\x02\0\0\0\x0fann@example.org\xff\xff\xff\xff"
    assert mask_rows(row, 0, len(row), plan.actions)[0] == b"D\0\0\0\x1b\0\x02\0\0\0\x0da***@e***.org\xff\xff\xff\xff"


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
    assert chosen(Field(), out("public.customers_eu.email")) == "redact"


def test_a_generated_column_is_redacted_whole() -> None:
    assert chosen(Field(table_oid=CUSTOMERS, column_number=5), None) == "redact"
    assert chosen(Field(), out("public.customers.folded", plain=True)) == "redact"


def test_an_expression_over_a_masked_column_is_redacted_whole() -> None:
    assert chosen(Field(), out(EMAIL)) == "redact"
    assert chosen(Field(), out(EMAIL, "public.customers.note")) == "redact"
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
    assert chosen(Field(), either) == "redact"


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
    assert choose_maskers([Field()], PARTIAL, [outputs["whole"]], after) == ("redact",)


def test_a_whole_row_is_what_lineage_says() -> None:
    """RowDescription has the table's OID and column 0 for it."""
    whole = Field(table_oid=CUSTOMERS, column_number=0)
    assert chosen(whole, out(EMAIL, "public.customers.note")) == "redact"
    assert chosen(whole, out("public.customers.note")) is None
    with pytest.raises(Unmaskable):
        chosen(whole, None)
