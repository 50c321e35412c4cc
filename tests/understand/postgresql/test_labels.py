"""Names of output columns, held against a server."""

from __future__ import annotations

import psycopg

from lockgate.understand.postgresql.labels import label
from lockgate.understand.postgresql.parsing import parse
from tests.support.postgres import Postgres

EXPRESSIONS = """
1
'x'::text
a
t.a
(t).a
a as b
a::text
a::text::varchar
1::int4
cast(1 + 1 as numeric)
a collate "C"
lower(a)
pg_catalog.lower(a)
a || 'x'
nullif(a, 'x')
coalesce(a, 'x')
greatest(a, 'x')
least(a, 'x')
case when true then 1 else 2 end
case when true then 1 else 2 end::text
case when true then 'x' else a end
array[1]
(array[1])[1]
row(1)
(select 1)
(select a)
(select a as c)
(select max(x) from unnest(array[1]) x)
(select 'x'::text)
(select a union select a)
(select a union all (select 'x' as y limit 0) limit 1)
(values (1))
(values (1))::text
(select x.* from (select 1 as b) x)
(select * from (select 1 as b) x)
((select * from (select 1 as b) x))::text
(select (select * from (select 1 as b) x))
exists (select 1)
array(select 1)
1 in (select 1)
current_date
current_timestamp(3)
localtime
current_user
session_user
current_schema
extract(year from now())
overlay(a placing 'x' from 1)
position('x' in a)
trim(a)
a at time zone 'utc' is null
a is null
not true
xmlelement(name x)
xmlconcat('<a/>', '<b/>')
grouping(a)
count(*)
interval '1 day'
date '2020-01-01'
"""


def test_labels_are_what_the_server_says() -> None:
    with (
        Postgres() as server,
        psycopg.connect(f"host=127.0.0.1 port={server.port} user=postgres dbname=postgres") as db,
    ):
        for expression in EXPRESSIONS.strip().splitlines():
            group = " group by a" if expression.startswith(("grouping", "count")) else ""
            text = f"select {expression} from (select now()::text as a) t{group}".replace("a at time", "now() at time")
            (name,) = [column.name for column in db.execute(text.encode()).description or ()]
            (statement,) = parse(text)
            assert label(statement.stmt.targetList[0], lambda _: "b") == name, expression


def test_a_name_that_only_a_star_knows_may_not_be_known() -> None:
    (statement,) = parse("select (select * from t), (select a from t)")
    assert [label(target, lambda _: None) for target in statement.stmt.targetList] == [None, "a"]
