"""Columns of functions and of XML and JSON tables, held against a server."""

from __future__ import annotations

import psycopg
import pytest

from lockgate.understand.postgresql import Understanding, outputs
from tests.support.postgres import Postgres
from tests.understand.postgresql.catalogs import catalog

FROM = [
    "generate_series(1, 2)",
    "generate_series(1, 2) g",
    "generate_series(1, 2) with ordinality",
    "generate_series(1, 2) with ordinality g (a)",
    "json_each('{}')",
    "json_each_text('{}') j (k)",
    "jsonb_array_elements('[]') j",
    "json_object_keys('{}') k",
    "string_to_table('a', 'b') s",
    "unnest(array[1], array[2])",
    "unnest(array[1], array[2]) u (a)",
    "unnest(array['a', 'b'])",
    "unnest(array[1])",
    "unnest(array[1]) with ordinality as u (a)",
    "unnest(null::int[]) u",
    "rows from (unnest('{}'::text[]), generate_series(1, 2)) u (a)",
    "rows from (generate_series(1, 2), json_each('{}')) with ordinality",
    "json_to_record('{}') as r (a int, b text)",
    "rows from (json_to_record('{}') as (a int), generate_series(1, 2)) r",
    "xmltable('/a' passing ('<a/>'::xml) columns a int path 'b', n for ordinality) x (c)",
]


@pytest.fixture(scope="module")
def server() -> object:
    with (
        Postgres() as running,
        psycopg.connect(
            "host=127.0.0.1 user=postgres dbname=postgres", port=running.port, autocommit=True
        ) as connection,
    ):
        yield connection


@pytest.mark.parametrize("source", FROM)
def test_a_star_has_the_servers_columns(server: psycopg.Connection[tuple[object, ...]], source: str) -> None:
    text = f"select * from {source}"
    names = [column.name for column in server.execute(text.encode()).description or ()]
    found = outputs(Understanding().request(text), catalog(), statement=0)
    assert found is not None
    assert [output.name for output in found] == names
    assert {output.sources for output in found} == {frozenset()}


def test_json_table_has_the_columns_of_nested_paths_in_place() -> None:
    nested = "nested '$.x' columns (b int, nested '$.y' columns (c int))"
    text = f"select * from json_table('{{}}', '$' columns (a int, {nested}, d int))"
    found = outputs(Understanding().request(text), catalog(), statement=0) or ()
    assert [output.name for output in found] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    "source",
    [
        "unnest(array[x])",
        "unnest(array['(1,2)', lower('x')])",
        "unnest(null::t[])",
        "evil()",
        "now()",
        "json_populate_record(null::t, '{}')",
    ],
)
def test_what_may_have_any_columns_is_not_counted(source: str) -> None:
    assert outputs(Understanding().request(f"select * from {source}"), catalog(), statement=0) is None
