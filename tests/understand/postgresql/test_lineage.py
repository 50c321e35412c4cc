"""Outputs, influences and copies of whole statements, on a catalog written down."""

from __future__ import annotations

import pytest

from lockgate.understand.postgresql import ANYTHING, Understanding, checked, copies, influences, outputs
from lockgate.values.output import Output
from tests.understand.postgresql.catalogs import catalog, relation

CATALOG = catalog(
    relation("customers", "id email ssn note"),
    relation("orders", "id customer total"),
    relation("contacts", "id mail low", "select id, email, lower(ssn) from public.customers where note is not null"),
    relation("nested", "low", "select low from public.contacts"),
    relation("loop", "x", "select x from public.loop"),
    relation("lost", "x", None, "v"),
    relation("s1.t", "a b"),
    relation("s2.t", "a c"),
    relation("pg_catalog.pg_stats", "tablename most_common_vals", None, "v"),
    relation("pg_temp_3.scratch", "a"),
    functions=frozenset({"evil", "shadowed", "lower_hash"}),
)


def found(text: str, statement: int = 0) -> tuple[Output, ...] | None:
    return outputs(Understanding().request(text), CATALOG, statement=statement)


def told(text: str) -> str:
    """`name<-source+source`, a space between outputs; `*` marks an unchanged column, `?` what isn't known."""
    shown = []
    for output in found(text) or ():
        sources = "?" if output.sources is None else "+".join(sorted(s.removeprefix("public.") for s in output.sources))
        shown.append(f"{output.name}<-{sources}{'*' if output.plain else ''}")
    return " ".join(shown)


ALL = "id<-customers.id* email<-customers.email* ssn<-customers.ssn* note<-customers.note*"
ROW = "customers.email+customers.id+customers.note+customers.ssn"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("select * from customers", ALL),
        ("table customers", ALL),
        ("select c.* from orders o, customers c", ALL),
        ("select (c).* from customers c", ALL),
        ("select public.customers.ssn, db.public.customers.id from customers", "ssn<-customers.ssn* id<-customers.id*"),
        ("select ssn as s, lower(ssn), ssn || note from customers",
         "s<-customers.ssn* lower<-customers.ssn ?column?<-customers.note+customers.ssn"),
        ("select 1, now(), current_user, $1, 'x'::text from customers",
         "?column?<- now<- current_user<- ?column?<- text<-"),
        ("select count(*), count(ssn) from customers", "count<- count<-customers.ssn"),
        ("select ctid, tableoid from customers", "ctid<- tableoid<-"),
        ("select ssn(c), ssn(customers) from customers c, customers", "ssn<-customers.ssn* ssn<-customers.ssn*"),
        ("select shadowed(c), lower(c), nope(c) from customers c", f"shadowed<-? lower<-{ROW} nope<-?"),
        ("select id between '1' and '2', id not between symmetric '1' and '2' from orders",
         "?column?<-orders.id ?column?<-orders.id"),
        ("select exists (select generate_series(1, ascii(ssn))) from customers", "exists<-customers.ssn"),
        ("select exists (select lower(ssn), note) from customers", "exists<-"),
        ("select exists (select from contacts where id = '1')", "exists<-contacts.id+customers.id"),
        ("select '1' in (select id from contacts)", "?column?<-contacts.id+customers.id"),
        ("select exists (select from contacts where low = '1')", "exists<-contacts.low+customers.ssn"),
        ("select count(*) over () from customers window w as (order by ssn)", "count<-"),
        ("select count(*) over (w rows 1 preceding) from customers window v as (order by note), w as (order by ssn)",
         "count<-customers.ssn"),
        ("select count(*) over w from customers window v as (order by ssn), w as (v)", "count<-customers.ssn"),
        ("select c from customers c", f"c<-{ROW}"),
        ("select row_to_json(c), c::text, (c).ssn from customers c",
         f"row_to_json<-{ROW} c<-{ROW} ssn<-customers.ssn*"),
        ("select count(*) filter (where ssn = '1') from customers", "count<-customers.ssn"),
        ("select rank() over w from customers window w as (order by ssn)", "rank<-customers.ssn"),
        ("select case when ssn = '1' then 1 end from customers", "case<-customers.ssn"),
        ("select id from customers join orders using (id)", "id<-customers.id+orders.id"),
        ("select * from orders natural join customers",
         "id<-customers.id+orders.id customer<-orders.customer* total<-orders.total* email<-customers.email* "
         "ssn<-customers.ssn* note<-customers.note*"),
        ("select * from (customers join orders using (id)) j(k)",
         "k<-customers.id+orders.id email<-customers.email* ssn<-customers.ssn* note<-customers.note* "
         "customer<-orders.customer* total<-orders.total*"),
        ("select x from (select ssn from customers) s(x)", "x<-customers.ssn*"),
        ("select s.lower from (select lower(ssn) from customers) s", "lower<-customers.ssn"),
        ("select l.x from customers c, lateral (select c.ssn) l(x)", "x<-customers.ssn*"),
        ("select (select ssn) from customers", "ssn<-customers.ssn"),
        ("select exists (select * from customers where ssn = '1')", "exists<-customers.ssn"),
        ("select id in (select ssn from customers) from orders", "?column?<-customers.ssn+orders.id"),
        ("select ssn from customers union select total from orders", "ssn<-customers.ssn+orders.total"),
        ("select ssn from customers union all select ssn from customers", "ssn<-customers.ssn*"),
        ("select id from orders except select ssn from customers", "id<-customers.ssn+orders.id"),
        ("values (1, (select ssn from customers)), (2, 'x')", "column1<- column2<-customers.ssn"),
        ("with x as (select ssn as a from customers) select a from x", "a<-customers.ssn*"),
        ("with customers as (select 1 as ssn) select ssn from customers", "ssn<-"),
        ("with customers as (select 1 as ssn) select ssn from public.customers", "ssn<-customers.ssn*"),
        ("with customers as (select * from customers) select ssn from customers", "ssn<-customers.ssn*"),
        ("with recursive r(n, m) as (select 'a', ssn from customers union select m, n from r) select n from r",
         "n<-customers.ssn"),
        ("with recursive a as (select * from b), b as (select ssn from customers) select * from a",
         "ssn<-customers.ssn*"),
        ("with recursive r(n) as (select id from orders union select 'x' from r) search depth first by n set o "
         "select o from r", "o<-orders.id"),
        ("with d as (delete from customers returning ssn) select * from d", "ssn<-customers.ssn*"),
        ("select * from contacts", "id<-customers.id* mail<-customers.email* low<-contacts.low+customers.ssn"),
        ("select low from nested", "low<-contacts.low+customers.ssn+nested.low"),
        ("select x from loop", "x<-?"),
        ("select x from lost", "x<-?"),
        ("select a, b, c from t", "a<-s1.t.a+s2.t.a b<-s1.t.b* c<-s2.t.c*"),
        ("select * from s1.t", "a<-s1.t.a* b<-s1.t.b*"),
        ("select a from pg_temp.scratch", "a<-pg_temp_3.scratch.a*"),
        ("select nope from customers", "nope<-?"),
        ("select ssn from nope", "ssn<-?"),
        ("select evil() from customers", "evil<-?"),
        ("select shadowed(1), pg_catalog.lower('x'), app.lower('x')", "shadowed<-? lower<- lower<-?"),
        ("select c.lower_hash from customers c", "lower_hash<-?"),
        ("select (c).lower_hash from customers c", "lower_hash<-?"),
        ("select x from evil() x", "x<-?"),
        ("select query_to_xml('select ssn from customers', true, true, '')", "query_to_xml<-?"),
        ("select tablename, most_common_vals from pg_stats",
         "tablename<-pg_catalog.pg_stats.tablename* most_common_vals<-pg_catalog.pg_stats.most_common_vals*"),
        ("select * from generate_series(1, 2) g, string_to_table('a', 'b') with ordinality",
         "g<- string_to_table<- ordinality<-"),
        ("select e.* from customers, json_each(note::json) e", "key<-customers.note value<-customers.note"),
        ("select u from customers, unnest(string_to_array(ssn, '-')) u", "u<-customers.ssn"),
        ("select * from xmltable('/a' passing (select note::xml from customers) columns x int path 'b')",
         "x<-customers.note"),
        ("select a, b from customers, json_table(note::jsonb, '$' columns (a int, nested '$.x' columns (b int)))",
         "a<-customers.note b<-customers.note"),
        ("select point::geometry(point, 4326) from (select 1) x(point)", "point<-"),
        ("insert into orders (total) select ssn from customers returning total, id",
         "total<-customers.ssn+orders.total id<-orders.id*"),
        ("update orders set total = ssn from customers returning orders.total, note",
         "total<-customers.ssn+orders.total note<-customers.note*"),
        ("delete from orders using customers returning ssn", "ssn<-customers.ssn*"),
        ("merge into orders o using customers c on true when matched then update set total = ssn returning total",
         "total<-customers.ssn+orders.total"),
        ("update orders set total = '1' returning old.total, new.id", "total<-orders.total* id<-orders.id*"),
        ("select current_setting('work_mem'), current_setting('app.x')", "current_setting<- current_setting<-?"),
        ("show work_mem", "work_mem<-"),
        ("explain select ssn from customers", "QUERY PLAN<-"),
        ("explain select evil()", "QUERY PLAN<-?"),
        ("explain execute p", "QUERY PLAN<-?"),
        ("prepare p as select ssn from customers", "ssn<-customers.ssn*"),
        ("declare c cursor for select ssn from customers", "ssn<-customers.ssn*"),
    ],
)  # fmt: skip
def test_where_outputs_come_from(text: str, expected: str) -> None:
    assert told(text) == expected


@pytest.mark.parametrize(
    "text",
    ["select * from t", "select * from nope", "select *, 1 from evil()", "select (evil()).* from customers", "show all",
     "delete from customers", "execute p", "fetch c", "call p()", "copy customers to stdout", "create table x (a int)",
     "select ssn into x from customers", "begin", "select 1 frm x y"],
)  # fmt: skip
def test_no_outputs_where_there_are_none_or_their_number_is_not_known(text: str) -> None:
    assert found(text) is None


def test_each_statement_of_a_text_has_its_own() -> None:
    text = "select 1; select ssn from customers"
    assert [len(o.sources or "") for i in (0, 1) for o in found(text, i) or ()] == [0, 1]


def test_why_something_is_not_known_is_said() -> None:
    (output,) = found("select evil() from customers") or ()
    assert output.why == "function evil() is not known to be free of other data"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("select id from customers where ssn = '1' order by note", "id ssn note"),
        ("select 1 as k from customers group by k order by k", ""),
        ("delete from customers", ""),
        ("delete from customers where ssn = '1'", "ssn"),
        ("insert into customers (ssn) values ('1')", "ssn"),
        ("insert into customers values ('1', '2')", "id email"),
        ("update customers set ssn = '1'", "ssn"),
        ("copy customers (ssn) from stdin", "ssn"),
        ("copy (select ssn from customers) to stdout", "ssn"),
        ("create index on customers (lower(ssn)) where id > '1'", "ssn id"),
        ("truncate customers", ""),
        ("select 1 from customers c join orders o on c.ssn = 'x'", "ssn"),
        ("select 1 union select 2 limit (select length(ssn) from customers)", "ssn"),
        ("(select 1 union all select 2 offset (select 1 from customers where ssn = '')) union select 3", "ssn"),
        ("values (1) order by (select ssn from customers)", "ssn"),
        ("values (1) limit (select length(ssn) from customers)", "ssn"),
        ("select 1 from orders tablesample system (1) repeatable ((select length(ssn) from customers))", "ssn"),
    ],
)
def test_what_a_statement_refers_to(text: str, expected: str) -> None:
    touched = influences(Understanding().request(text), CATALOG, 0)
    assert touched == frozenset(f"public.customers.{name}" for name in expected.split())


def test_a_view_refers_to_what_its_query_does() -> None:
    touched = influences(Understanding().request("select id from contacts"), CATALOG, 0)
    assert touched is not None
    assert {"public.contacts.id", "public.customers.id", "public.customers.note"} <= touched


@pytest.mark.parametrize(
    "text", ["select 1 from nope where a = 1", "select nope from customers", "select x from lost", "?"]
)
def test_what_is_not_in_the_catalog_is_not_known(text: str) -> None:
    assert influences(Understanding().request(text), CATALOG, 0) is None


def flows(text: str) -> dict[str, set[str] | None]:
    return {
        flow.target.removeprefix("public."): None
        if flow.sources is None
        else {source.removeprefix("public.") for source in flow.sources}
        for flow in copies(Understanding().request(text), CATALOG, 0) or ()
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("create table x as select ssn, 1 as one from customers", {"x.ssn": {"customers.ssn"}}),
        ("create table x (a) as select ssn from customers", {"x.a": {"customers.ssn"}}),
        ("create materialized view x as select ssn from customers", {"x.ssn": {"customers.ssn"}}),
        ("create view app.x (a) as select ssn from customers", {"app.x.a": {"customers.ssn"}}),
        ("select ssn into x from customers union select 'a'", {"x.ssn": {"customers.ssn"}}),
        ("create table x as execute p", {"x.*": None}),
        ("insert into orders (total) select ssn from customers", {"orders.total": {"customers.ssn"}}),
        ("insert into orders select id, ssn from customers",
         {"orders.id": {"customers.id"}, "orders.customer": {"customers.ssn"}}),
        ("insert into orders (total) values ((select ssn from customers))", {"orders.total": {"customers.ssn"}}),
        ("insert into orders (total) values ('a') on conflict (id) do update set customer = excluded.id",
         {"orders.customer": {"orders.id"}}),
        ("update orders set total = c.ssn from customers c", {"orders.total": {"customers.ssn"}}),
        ("update orders set (total, id) = (select ssn, id from customers)",
         {"orders.total": {"customers.ssn", "customers.id"}, "orders.id": {"customers.ssn", "customers.id"}}),
        ("merge into orders using customers on true when not matched then insert (total) values (ssn)",
         {"orders.total": {"customers.ssn"}}),
        ("with w as (insert into orders (total) select ssn from customers) select 1",
         {"orders.total": {"customers.ssn"}}),
        ("insert into s1.t select evil()", {"s1.t.a": None}),
        ("insert into nope (a) select ssn from customers", {"nope.a": {"customers.ssn"}}),
        ("insert into nope select ssn from customers", {"nope.*": {"customers.ssn"}}),
        ("select set_config('app.x', ssn, false) from customers", {"function:set_config": {"customers.ssn"}}),
        ("select 1 from customers where evil(ssn)", {"function:evil": {"customers.ssn"}}),
        ("select pg_notify('c', ssn) from customers", {"function:pg_notify": {"customers.ssn"}}),
        ("prepare p as insert into orders (total) select ssn from customers", {"orders.total": {"customers.ssn"}}),
        ("select ssn from customers", {}),
        ("insert into orders (total) values ('x')", {}),
    ],
)  # fmt: skip
def test_what_flows_where(text: str, expected: dict[str, set[str] | None]) -> None:
    assert flows(text) == expected


def test_hundreds_of_arms_and_joins_are_fine_and_too_much_is_unknown() -> None:
    text = "select ssn from customers" + " union all select id from orders" * 500
    assert told(text) == "ssn<-customers.ssn+orders.id"
    joins = "select c.ssn from customers c " + "".join(f" join orders o{i} on true" for i in range(300))
    assert told(joins) == "ssn<-customers.ssn*"
    deep = "select * from " + "(select * from " * 100 + "customers" + ") x" * 100
    assert found(deep) is None
    assert influences(Understanding().request(deep), CATALOG, 0) is None
    assert None in flows(f"insert into orders (total) {deep}").values()


def test_views_that_double_at_each_step_end() -> None:
    views = [relation("v0", "x", "select ssn from public.customers")]
    views += [relation(f"v{i}", "x", f"select a.x || b.x from v{i - 1} a, v{i - 1} b") for i in range(1, 40)]
    doubling = catalog(relation("customers", "id ssn"), *views)
    outcome = outputs(Understanding().request("select x from v39"), doubling, statement=0)
    assert outcome is not None
    assert outcome[0].sources is not None
    assert "public.customers.ssn" in outcome[0].sources


@pytest.mark.parametrize(
    ("text", "anything"),
    [
        ("select evil()", True),
        ("select 1 where evil() is null", True),
        ("select exists (select 1 where evil() = 1)", True),
        ("select 1 <=>> 2", True),
        ("select 1 operator(app.=) any (select 2)", True),
        ("select x from evil() x", True),
        ("select query from pg_stat_get_activity(null)", True),
        ("select lower('x'), now(), current_setting('app.tenant')", False),
    ],
)
def test_what_reads_as_it_likes_may_refer_to_anything(text: str, anything: bool) -> None:
    assert (ANYTHING in (influences(Understanding().request(text), CATALOG, 0) or ())) is anything


def test_a_function_inside_exists_leaves_its_answer_unknown() -> None:
    (output,) = found("select exists (select 1 where evil() = 1)") or ()
    assert output.sources is None


@pytest.mark.parametrize(
    ("text", "tables"),
    [
        ("update customers set note = 'x'", "customers"),
        ("insert into customers (id) values (1)", "customers"),
        ("delete from customers", "customers"),
        ("merge into orders using customers on true when matched then delete", "orders"),
        ("with d as (update customers set note = 'x' returning id) select * from d", "customers"),
        ("update contacts set id = 2", "customers"),
        ("select * from customers", ""),
    ],
)
def test_constraints_look_at_whole_rows_of_what_is_written(text: str, tables: str) -> None:
    rows = {name.rpartition(".")[0] for name in checked(Understanding().request(text), CATALOG, 0)}
    assert rows - {"public.contacts"} == {f"public.{table}" for table in tables.split()}
    if "customers" in tables:
        assert "public.customers.ssn" in checked(Understanding().request(text), CATALOG, 0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("alter table customers alter ssn type int", "public.customers.ssn"),
        ("alter table customers add unique (ssn)", "public.customers.ssn"),
        ("create unique index on customers (id, ssn)", "public.customers.ssn"),
        ("create index on orders (evil(id))", ANYTHING),
        ("do $$ begin null; end $$", ANYTHING),
        ("refresh materialized view contacts", ANYTHING),
        ("create extension x", ANYTHING),
        ("listen x", ANYTHING),
        ("create table newcomer (id int) partition by range (id)", None),
        ("alter table orders add total2 int", None),
    ],
)
def test_a_command_may_tell_of_rows_that_it_does_not_name(text: str, told: str | None) -> None:
    found = influences(Understanding().request(text), CATALOG, 0)
    assert found is not None
    assert told in found if told is not None else not {ANYTHING, "public.customers.ssn"} & found
