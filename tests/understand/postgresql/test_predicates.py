"""Whether a statement is limited to some rows, as far as its form tells."""

from __future__ import annotations

import pytest

from lockgate.understand.postgresql import Understanding


@pytest.mark.parametrize(
    ("text", "limited"),
    [
        ("delete from t", False),
        ("delete from t where true", False),
        ("delete from t where 1 = 1", False),
        ("delete from t where id = id", False),
        ("delete from t where t.id = t.id", False),
        ("delete from t where id >= id and true", False),
        ("delete from t where id = 5 or true", False),
        ("delete from t where id = 5 or 1 = 1", False),
        ("delete from t where now() > '2000-01-01'", False),
        ("delete from t where id = 5", True),
        ("delete from t where id = 5 and true", True),
        ("delete from t where id = other", True),
        ("delete from t where exists (select 1 from u)", True),
        ("delete from t where current of c", True),
        ("update t set a = 1", False),
        ("update t set a = 1 where id = $1", True),
        ("with d as (delete from t) select 1", False),
        ("explain analyze delete from t", False),
        ("prepare p as delete from t", False),
        ("select * from t", False),
        ("select * from t, u where t.a = u.a", True),
        ("select * from t tablesample system (1)", False),
        ("select * from t where a = 1 union select * from u", False),
        ("select * from (select * from t) x", False),
        ("select * from (select * from t where a = 1) x", True),
        ("select * from (select * from t) x where a = 1", True),
        ("with x as (select * from t) select * from x", False),
        ("with x as (select * from t where a = 1) select * from x", True),
        ("with recursive x as (select 1 union all select n from x) select * from x", True),
        ("select 1", True),
        ("select * from generate_series(1, 2)", True),
        ("declare c cursor for select * from t", False),
        ("create table x as select * from t", False),
        ("insert into t values (1)", True),
        ("truncate t", True),
    ],
)
def test_limited(text: str, limited: bool) -> None:
    (statement,) = Understanding().request(text).statements
    assert statement.has_where is limited
