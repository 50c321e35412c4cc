"""Which texts have a shape."""

from __future__ import annotations

import time

import pytest

from lockgate.understand.postgresql.parsing import parse
from lockgate.understand.postgresql.shapes import SHAPE_CHARACTERS, constants_are_free, shape_of


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("select 1", "select $1"),
        ("select -1, a - 1", "select $1, a - $2"),
        ("select 'a'\n'b', E'\\'', U&'x', b'1', null, true", "select $1, $2, $3, $4, $5, $6"),
        ("select 'é' from \"é\" /* 'c' */", "select $1 from \"é\" /* 'c' */"),
        ("select $1", None),
        ("select $$a$$", None),
        ("select 1\0", None),
        ("select 1 frm x", None),
        ("select '" + "x" * SHAPE_CHARACTERS + "'", None),
        ("select " + "1," * 600 + "1", None),
    ],
)
def test_shapes(text: str, shape: str | None) -> None:
    assert shape_of(text) == shape


@pytest.mark.parametrize(
    ("text", "free"),
    [
        ("select a from t where b = 1 limit 2", True),
        ("insert into t values (1, now())", True),
        ("update t set a = 1 where b = 'x'::date", True),
        ("delete from t where a = 1", True),
        ("merge into t using u on t.a = 1 when matched then delete", True),
        ("select a from t order by a, 'x' || b", True),
        ("select nextval('s')", False),
        ("select evil(1)", False),
        ("select a <?> 1", False),
        ("select 'x'::regclass", False),
        ("select 'x'::pg_catalog.regproc", False),
        ("select a from t order by 1", False),
        ("select a from t order by a using <", False),
        ("select a from (select a from t order by 1) x", False),
        ("select a from t group by 1", False),
        ("select a from t group by cube ((1, a))", False),
        ("select distinct on (1) a from t", False),
        ("select 1 into x", False),
        ("set a = 1", False),
        ("explain select 1", False),
    ],
)
def test_whose_constants_are_free(text: str, free: bool) -> None:
    (statement,) = parse(text)
    assert constants_are_free(statement.stmt, frozenset()) is free


def test_what_normalising_takes_long_for_has_no_shape() -> None:
    began = time.monotonic()
    for text in ("select " + "+" * 8000 + "1", "/*" * 4000, "select 1;" * 900):
        assert shape_of(text) is None
    assert time.monotonic() - began < 1
