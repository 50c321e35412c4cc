"""What a COPY TO sends, and how it writes it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lockgate.understand.postgresql import Understanding
from lockgate.understand.postgresql.copying import CopyOut, Uncopyable, copied_out, format_of
from lockgate.understand.postgresql.parsing import parse
from lockgate.values.catalog import Catalog, Relation
from lockgate.values.copying import CopyFormat, CopyKind
from tests.understand.postgresql.catalogs import catalog, relation


def computed(made: Relation, *names: str) -> Relation:
    return replace(made, columns=tuple(replace(c, generated=c.name in names) for c in made.columns))


SHOP = catalog(
    relation("customers", "id email note"),
    computed(relation("folded", "id lower email"), "lower"),
    relation("contacts", "address", "SELECT email AS address FROM customers"),
    relation("a.same", "x y"),
    relation("b.same", "x y"),
    relation("a.other", "x y"),
    relation("b.other", "y x"),
)


def copied(text: str, known: Catalog = SHOP) -> CopyOut | None:
    return copied_out(Understanding().request(text), known, 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("COPY customers TO STDOUT", ["+id", "+email", "+note"]),
        ("COPY public.customers (note, email) TO STDOUT", ["+note", "+email"]),
        ("COPY folded TO STDOUT", ["+id", "+email"]),
        ("COPY same TO STDOUT", ["x", "y"]),
        ("COPY contacts TO STDOUT", ["+address"]),
        ("COPY (SELECT email, upper(email) u, 1 AS one FROM customers) TO STDOUT", ["+email", "u", "one"]),
        ("COPY (SELECT * FROM contacts) TO STDOUT", ["+address"]),
        ("COPY (TABLE customers) TO STDOUT", ["+id", "+email", "+note"]),
        ("COPY (UPDATE customers SET note = '' RETURNING email, id) TO STDOUT", ["+email", "+id"]),
        ("COPY (VALUES (1, 2)) TO STDOUT", ["column1", "column2"]),
    ],
)
def test_the_columns_it_sends(text: str, expected: list[str]) -> None:
    found = copied(text)
    assert found is not None
    assert found.to_client
    assert found.outputs is not None
    assert found.why is None
    assert ["+" * output.plain + output.name for output in found.outputs] == expected


def test_where_a_column_of_one_of_several_tables_comes_from() -> None:
    found = copied("COPY same (y) TO STDOUT")
    assert found is not None
    assert found.outputs is not None
    assert found.outputs[0].sources == frozenset({"a.same.y", "b.same.y"})


@pytest.mark.parametrize(
    "text",
    ["SELECT 1", "COPY customers FROM STDIN", "COPY customers FROM '/f'", "PREPARE p AS SELECT email FROM customers"],
)
def test_what_is_no_copy_out(text: str) -> None:
    assert copied(text) is None


@pytest.mark.parametrize("text", ["COPY customers TO '/tmp/f'", "COPY customers TO PROGRAM 'cat'"])
def test_what_stays_on_the_server(text: str) -> None:
    found = copied(text)
    assert found is not None
    assert not found.to_client


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("COPY nowhere TO STDOUT", "not in the catalog"),
        ("COPY customers (gone) TO STDOUT", "column gone"),
        ("COPY other TO STDOUT", "name its schema"),
        ("COPY (SELECT * FROM nowhere) TO STDOUT", "not in the catalog"),
        ("COPY (DELETE FROM customers) TO STDOUT", "returns nothing"),
        (f"COPY ({'SELECT * FROM (' * 70}SELECT 1{') x' * 70}) TO STDOUT", "too complex"),
    ],
)
def test_columns_that_can_not_be_told(text: str, why: str) -> None:
    found = copied(text)
    assert found is not None
    assert found.outputs is None
    assert found.format is not None
    assert why in (found.why or "")


def test_without_a_catalog_the_format_is_still_known() -> None:
    found = copied_out(Understanding().request("COPY customers TO STDOUT CSV"), None, 0)
    assert found is not None
    assert (found.outputs, found.format) == (None, CSV)


def test_a_format_that_can_not_be_told() -> None:
    found = copied("COPY customers TO STDOUT (ENCODING 'SJIS')")
    assert found is not None
    assert found.format is None
    assert found.outputs is not None
    assert "encoding" in (found.why or "")


def written(options: str) -> CopyFormat:
    return format_of(parse(f"COPY t TO STDOUT {options}")[0].stmt)


TEXT, CSV = CopyFormat(CopyKind.TEXT), CopyFormat(CopyKind.CSV, b",", b"")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", TEXT),
        ("(FORMAT text, DELIMITER '|', NULL 'none')", replace(TEXT, delimiter=b"|", null=b"none")),
        ("WITH DELIMITER AS '|' NULL AS ''", replace(TEXT, delimiter=b"|", null=b"")),
        ("USING DELIMITERS ';'", replace(TEXT, delimiter=b";")),
        (r"(DELIMITER E'\x01')", replace(TEXT, delimiter=b"\1")),
        ("(HEADER, FREEZE)", replace(TEXT, header=True)),
        ("(HEADER 0)", TEXT),
        ("CSV HEADER", replace(CSV, header=True)),
        ("(FORMAT csv, HEADER On)", replace(CSV, header=True)),
        ("CSV QUOTE '''' ESCAPE '\\' FORCE QUOTE a, b",
         replace(CSV, quote=b"'", escape=b"\\", force_quote=frozenset({"a", "b"}))),
        ("CSV QUOTE '|'", replace(CSV, quote=b"|", escape=b"|")),
        ("(FORMAT csv, FORCE_QUOTE *, NULL 'NULL')", replace(CSV, null=b"NULL", force_quote=None)),
        ("(FORMAT csv, NULL 0, ENCODING 'utf-8')", replace(CSV, null=b"0")),
        ("WITH BINARY", CopyFormat(CopyKind.BINARY)),
        ("(FORMAT binary)", CopyFormat(CopyKind.BINARY)),
    ],
)  # fmt: skip
def test_how_it_writes(options: str, expected: CopyFormat) -> None:
    assert written(options) == expected


def test_the_oldest_way_to_ask_for_binary() -> None:
    assert format_of(parse("COPY BINARY t TO STDOUT")[0].stmt).kind is CopyKind.BINARY


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ("(FORMAT 'CSV')", "neither text, csv nor binary"),
        ("(FORMAT 'json')", "neither text, csv nor binary"),
        ("(ENCODING 'LATIN1')", "encoding is latin1"),
        ("(FORMAT binary, ENCODING 'SJIS')", "encoding is sjis"),
        ("(FORMAT text, FORMAT csv)", "given twice"),
        ("(NEWER 1)", "not known"),
        ("(DELIMITER '||')", "single one-byte"),
        ("(DELIMITER 'é')", "single one-byte"),
        ("(DELIMITER '')", "single one-byte"),
        ("(DELIMITER)", "not a text"),
        ("(NULL 1.5)", "not a text"),
        ("(DELIMITER 'n')", "from an escape"),
        (r"(DELIMITER '\', NULL '')", "from an escape"),
        (r"(NULL 'a\')", "from an escape"),
        (r"(DELIMITER E'\n')", "from the rest of a row"),
        (r"(NULL E'a\nb')", "from the rest of a row"),
        ("(NULL 'a|b', DELIMITER '|')", "from the rest of a row"),
        ("(FORMAT csv, QUOTE ',')", "quote can't be told"),
        ("(FORMAT csv, NULL '\"')", "quote can't be told"),
        ("(HEADER match)", "neither on nor off"),
    ],
)
def test_what_it_is_refused_for(options: str, why: str) -> None:
    with pytest.raises(Uncopyable, match=why):
        written(options)
