"""Which expressions may fail for some values: what the list says, and a server asked about each of them."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from lockgate.understand.postgresql import Understanding, uses
from lockgate.understand.postgresql.lineage import tree_of
from lockgate.understand.postgresql.totality import may_fail
from lockgate.values.use import Use
from tests.support.postgres import Postgres
from tests.understand.postgresql.catalogs import catalog, relation

TOTAL = [
    "lower(email)", "email || ' ' || name", "coalesce(email, 'x')", "coalesce(email, name, 'x')", "substr(email, 2, 3)",
    "substring(email from 1 for 3)", "left(email, 2)", "nullif(email, 'x')", "email = 'x'", "email in ('x', 'y')",
    "email between 'a' and 'b'", "email is null", "not (email = 'x' and name is null)", "email::varchar(3)",
    "email::text || id::text", "greatest(email, name)", "array[email, name]", "doc ->> 'k'", "doc #>> '{a,b}'",
    "(list)[1]", "(list)[1:2]", 'upper(email collate "C")', "concat(email, id, doc)", "length(email)",
    "case when id / 2 > 1 then email else name end", "case id when 1 then lower(email) end", "md5(email)",
    "row_to_json(t)", "count(email)", "max(lower(email))", "min(id)", "string_agg(email, ',' order by id)",
    "array_agg(email)",
    "first_value(email) over (order by id)", "(select email)", "(select lower(u.email) from t u where u.id = 1)",
    "num_nulls(email, name)", "lag(email) over (order by id rows between 1 preceding and current row)",
    "email is distinct from 'x'", "starts_with(email, 'x')", "'2020-01-01'::date::text || email",
]  # fmt: skip
"""Over text columns, but for those of `doc` (JSON), `list` (an array of text) and `id`."""

PARTIAL = {
    "1 / (ascii(email) - 97)": "div", "email::int": "int", "chr(ascii(email) - 109)": "chr", "email::xml": "xml",
    "email::jsonb": "json", "substring(email from '(')": "pattern", "email ~ '('": "pattern",
    "email like 'u%\\'": "escape", "repeat(email, 1000000000)": "large", "(id * 2147483647)": "range", "-id": "range",
    "coalesce(email, (1 / (id - id))::text)": "guarded", "list || list": "shape", "array[list, list]": "shape",
    "email is null and 1 / (id - 1) = 0": "guarded", "list[id]": "place", "to_date(email, 'YYYY')": "date",
    "decode(email, 'hex')": "hex", "substr(email, 1, id)": "length", "email || list": "shape", "id + 1": "range",
    "(select row(email, 1)) = (select row('a', 'a'::text))": "rows", "nullif((select t), (select row(1)))": "rows",
    "translate(email, 'a', 'ж')": "encoding", "case when email is null then email else (1 / id)::text end": "div",
    "(email).int4": "a call", "xmlelement(name x, email)": "xml", "json_object(array[email])": "odd",
    "coalesce(email, (select u.email from t u))": "guarded", "nullif(email, name)": "by another column",
    "coalesce(email, case when 1 / (id - id) > 0 then 'x' end)": "guarded", "own(email)": "anything",
    "pg_catalog.sqrt(id)": "negative", "email::mail": "domain", "email::text[]": "array", "array_agg(list)": "shape",
}  # fmt: skip


def fails(expression: str, *, texts: bool) -> bool:
    tree = tree_of(Understanding().request(f"select {expression} from t"), 0)
    assert tree is not None
    return may_fail(tree.targetList[0].val, frozenset({"own"}), texts=texts)


@pytest.mark.parametrize("expression", TOTAL)
def test_what_always_has_a_value(expression: str) -> None:
    assert not fails(expression, texts=True)


@pytest.mark.parametrize("expression", PARTIAL)
def test_what_may_fail(expression: str) -> None:
    assert fails(expression, texts=False)


@pytest.mark.parametrize("expression", ["email || name", "array[email]", "array_agg(email)"])
def test_what_fails_only_where_arrays_or_json_may_be(expression: str) -> None:
    assert fails(expression, texts=False)
    assert not fails(expression, texts=True)


def test_a_database_that_has_its_own_of_a_name_may_mean_that() -> None:
    for expression, name in (("lower(email)", "lower"), ("email || 'x'", "||"), ("email = 'x'", "=")):
        tree = tree_of(Understanding().request(f"select {expression} from t"), 0)
        assert tree is not None
        assert may_fail(tree.targetList[0].val, frozenset({name}), texts=True)


@pytest.fixture(scope="module")
def server() -> Iterator[psycopg.Connection]:
    with Postgres() as running:
        running.psql(
            """create table t (id int, email text, name text, doc jsonb, list text[]);
               insert into t values (1, '', '', '[]', '{}'), (2147483647, e'\\\\', '日', '"x"', '{{a},{b}}'),
               (-2147483648, '(', '%', 'null', array[null]), (null, null, null, null, null),
               (0, 'Straße', 'x', '{"k": {"a": 1}}', '[5:6]={x,y}'), (7, '{', '"', '1', '{{{1}}}'),
               (8, e'\\u0001', repeat('x', 100000), '[[[]]]', array[repeat('y', 9999)])"""
        )
        with psycopg.connect(
            host="127.0.0.1", port=running.port, user="postgres", dbname="postgres", autocommit=True
        ) as connection:
            yield connection


@pytest.mark.parametrize("expression", TOTAL)
def test_a_server_never_fails_at_what_is_said_to_have_a_value(server: psycopg.Connection, expression: str) -> None:
    server.execute(f"select {expression} from t group by t.id, email, name, doc, list, t".encode()).fetchall()


CATALOG = catalog(relation("t", "id email name doc list"))


def test_what_may_fail_counts_as_a_predicate() -> None:
    def told(text: str) -> dict[str, frozenset[Use]]:
        found = uses(Understanding().request(text), CATALOG, 0)
        assert found is not None
        return dict(found)

    predicate = {"public.t.email": frozenset({Use.PREDICATE})}
    for text in (
        "select 1 / (ascii(email) - 97) from t",
        "select x from (select email::int as x from t) s",
        "with w as (select email::int as x from t) select 1 from w",
        "select lower(chr(ascii(email))) from t",
        "select (select email::int)",
        "values ((select email::int from t))",
        "delete from t returning email::int",
        "insert into t (id) values (1) returning 1 / length(email)",
        "select coalesce(email, (1 / 0)::text) from t",
    ):
        if "from t" in text or "into t" in text:
            assert told(text).get("public.t.email") == predicate["public.t.email"], text
    assert told("select lower(email), email, count(*) over () from t") == {}
    assert told("select email || name from t") == {}
