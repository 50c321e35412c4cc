"""The caches: the same answer as without them, bounded, and one shape never for two meanings."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.understand.postgresql import Understanding, reread
from lockgate.understand.postgresql.understanding import CACHED_CHARACTERS
from lockgate.values.catalog import Catalog
from lockgate.values.statement import Effect


def test_the_same_text_is_the_same_request() -> None:
    understanding = Understanding()
    assert understanding.request("select 1") is understanding.request("select 1")


def test_texts_that_differ_in_constants_share_a_shape_and_statements() -> None:
    understanding = Understanding()
    first = understanding.request("select a from t where b = 1 and c = 'x'")
    second = understanding.request("select a from t where b = 22 and c = 'don''t'")
    assert first.shape == second.shape == "~select a from t where b = $1 and c = $2"
    assert second.statements is first.statements
    assert second.text == "select a from t where b = 22 and c = 'don''t'"


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("select nextval('a')", "select nextval('b')"),
        ("select set_config('role', 'a', false)", "select set_config('work_mem', 'a', false)"),
        ("select a, b from t order by 1", "select a, b from t order by 2"),
        ("select distinct on (1) a, b from t", "select distinct on (2) a, b from t"),
        ("select a, b from t group by rollup (1)", "select a, b from t group by rollup (2)"),
        ("select 'a'::regclass", "select 'b'::regclass"),
        ("select regclass 'a'", "select regclass 'b'"),
        ("select cast('a' as pg_catalog.regclass)", "select cast('b' as pg_catalog.regclass)"),
        ("select date'2020-01-01' from t", "select date$1 from t"),
        ("select n'a' from t", "select n$1 from t"),
        ("select 1", "select $1"),
        ("set a = 1", "set a = 2"),
        ("create user a password 'x'", "create user a password 'y'"),
        ("do 'x'", "do 'y'"),
        ("select f('x')", "select f('y')"),
        ("copy t from '/x'", "copy t from '/y'"),
        ("select 1 <?> 2", "select 1 <?> 3"),
        ("select 1; create user a", "select 2; create user a"),
    ],
)
@pytest.mark.parametrize("swap", [False, True])
def test_constants_that_could_matter_keep_shapes_apart(one: str, two: str, swap: bool) -> None:
    texts = (two, one) if swap else (one, two)
    understanding = Understanding()
    assert understanding.request(texts[0]).shape != understanding.request(texts[1]).shape


@pytest.mark.parametrize("text", ["", ";", " ; ;; ", "-- nothing", "/* a /* nested */ b */"])
def test_an_empty_text_asks_for_nothing(text: str) -> None:
    request = Understanding().request(text)
    assert (request.statements, request.refusal) == ((), None)


def test_every_statement_of_a_text_is_there() -> None:
    request = Understanding().request("select 1; drop table t; commit")
    assert [s.kind for s in request.statements] == ["SELECT", "DROP TABLE", "COMMIT"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("select 1 frm", None),
        ("select 1 from", "syntax error at end of input"),
        ("select 'é' from é x y", 'syntax error at or near "y" (at character 21)'),
        ("select 'x", "unterminated quoted string"),
        ("select 1\0; drop table t", "NUL"),
        ("select '\ud800'", "not valid Unicode"),
        (r"select E'\xff'", "invalid byte sequence"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, reason: str | None) -> None:
    request = Understanding().request(text)
    if reason is None:
        assert request.refusal is None
    else:
        assert request.refusal is not None
        assert reason in request.refusal
        assert request.effects == {Effect.UNKNOWN}
        assert request.shape == "!" + text


def test_a_nul_is_seen_whatever_was_cached_before() -> None:
    understanding = Understanding()
    understanding.request("select 1")
    assert understanding.request("select 1\0").refusal is not None


def test_both_caches_are_bounded() -> None:
    understanding = Understanding(limit=10)
    for number in range(50):
        understanding.request(f"select a{number} from t")
        understanding.request(f"select nextval('{number}')")
    understanding.request("select '" + "x" * CACHED_CHARACTERS + "'")
    assert len(understanding._texts) == len(understanding._shapes) == 10
    assert max(map(len, understanding._texts)) < CACHED_CHARACTERS


def test_a_text_over_the_limit_is_refused() -> None:
    request = Understanding(max_bytes=100).request("select '" + "é" * 50 + "'")
    assert request.refusal == "the text is too long (109 bytes; the limit is 100)"


WORDS = """
select insert into update delete from where set values ( ) , ; * = 1 'x' "y" $1 t u a b with as union all join
on lateral null array [ ] :: int regclass case when then else end order by 1 group limit returning $$ $a$ --
/* */ ' " \\ E'\\' U&'\\0041' b'1' . .. := => @ ? explain analyze copy to stdin program prepare execute do
call
"""


@settings(max_examples=200, deadline=2000)
@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(WORDS.split()), max_size=25).map(" ".join)))
def test_any_text_is_answered(text: str) -> None:
    cached = Understanding()
    first = cached.request(text)
    assert first.text == text
    assert cached.request(text) == first
    for statement in first.statements:
        assert statement.effects


CONSTANTS = st.sampled_from(
    ["1", "0", "-3", "1.5", "'x'", "''", "null", "true", "E'\\n'", "b'1'", "x'1f'", "'drop table t'"]
)
TEMPLATES = st.sampled_from(
    ["select a from t where b = {} and c > {}", "select {} from t order by {}", "insert into t values ({}, {})",
     "update t set a = {} where b = {}", "select a from t limit {} offset {}", "select f({}), now() - {}",
     "select {}::text, {}::regclass", "select a from t group by {}, {}", "delete from t where {} = {}",
     "select case when {} then {} end from t", "select nextval({}) + {}", "select date{} , {}", "select -{}, array[{}]",
     "select a from t where b in ({}, {}) or c", "select set_config({}, {}, false)"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(TEMPLATES, st.lists(CONSTANTS, min_size=2, max_size=2), st.lists(CONSTANTS, min_size=2, max_size=2))
def test_a_shape_hit_answers_as_a_fresh_reading_would(template: str, one: list[str], two: list[str]) -> None:
    warm = Understanding()
    warm.request(template.format(*one))
    text = template.format(*two)
    assert warm.request(text).statements == Understanding().request(text).statements


def test_where_a_built_in_name_is_somebody_elses_too_a_call_may_do_anything() -> None:
    catalog = Catalog("db", {}, {}, frozenset({"abs", "+"}))
    understanding = Understanding()
    for text in ("select abs('x'::text)", "select 1 + 1"):
        request = understanding.request(text)
        again = reread(request, catalog)
        assert Effect.UNKNOWN in again.effects
        assert again.shape not in {request.shape, understanding.request(text).shape}
        assert again.text == text
    for text in (
        "select pg_catalog.abs(1)",
        "select 1 operator(pg_catalog.+) 1",
        "select lower('x')",
        "select 1 frm x y",
    ):
        request = understanding.request(text)
        assert reread(request, catalog) is request
    request = understanding.request("select abs(1)")
    assert reread(request, Catalog("db", {}, {}, frozenset({"mine"}))) is request, (
        "nothing to read again where nothing is overloaded"
    )
