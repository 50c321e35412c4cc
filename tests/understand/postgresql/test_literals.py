"""What may be recorded of a text: no password and no value of a secret column, but what an approver needs to see."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.understand.postgresql import Understanding, redacted
from tests.understand.postgresql.catalogs import catalog, relation

CATALOG = catalog(
    relation("customers", "id email ssn note"),
    relation("orders", "id customer total"),
    relation("contacts", "id low", "select id, lower(ssn) from public.customers where note = 'KEPT' or ssn = '1'"),
)
SECRETS = frozenset({"public.customers.ssn", "public.customers.email"})


def shown(text: str, secrets: frozenset[str] = SECRETS) -> str:
    return redacted(Understanding().request(text), secrets, CATALOG)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("select * from customers where ssn = 'GONE' and id = 3 limit 5",
         "select * from customers where ssn = '***' and id = 3 limit 5"),
        ("select * from customers where 'GONE' < ssn or not (id in (1, -2) and note like 'x%') order by 1 offset 2",
         "select * from customers where '***' < ssn or not (id in (1, -2) and note like 'x%') order by 1 offset 2"),
        ("select 'label', ssn from customers where id = 3", "select 'label', ssn from customers where id = 3"),
        ("select id from customers where id = 3 -- kept", "select id from customers where id = 3 -- kept"),
        ("/* GONE */ delete from customers -- GONE\nwhere ssn = 'GONE'",
         "  delete from customers  \nwhere ssn = '***'"),
        ("insert into customers (id, ssn, note) values (1, 'GONE', 'n'), (2, lower('GONE'), 'm')",
         "insert into customers (id, ssn, note) values (1, '***', 'n'), (2, lower('***'), 'm')"),
        ("insert into customers values (1, 'GONE', 'GONE', 'kept')",
         "insert into customers values (1, '***', '***', 'kept')"),
        ("update customers set ssn = 'GONE', note = 'kept' where id = 7",
         "update customers set ssn = '***', note = 'kept' where id = 7"),
        ("update orders set total = 5 where id = (select id from customers where ssn = 'GONE' and id = 4)",
         "update orders set total = 5 where id = (select id from customers where ssn = '***' and id = 4)"),
        ("select * from contacts where low = 'GONE' and id = 3", "select * from contacts where low = '***' and id = 3"),
        ("select 'é', id from customers where ssn = 'GONE' and note = 'kéept'",
         "select 'é', id from customers where ssn = '***' and note = 'kéept'"),
        ("select * from customers where ssn = E'GO\\'NE' or ssn = U&'GONE' or ssn = $x$GONE$x$ or ssn = b'1'",
         "select * from customers where ssn = '***' or ssn = '***' or ssn = '***' or ssn = '***'"),
        ("select 5; delete from customers where ssn = 'GONE'; select 6",
         "select 5; delete from customers where ssn = '***'; select 6"),
        ("insert into orders (total) values (5)", "insert into orders (total) values (5)"),
        ("set work_mem = '1GB'", "set work_mem = '1GB'"),
        ("do $$ begin delete from customers where ssn = 'GONE'; -- GONE\nend $$",
         "do $$ begin delete from customers where ssn = '***';  \nend $$"),
        ("execute p('GONE', 3)", "execute p('***', '***')"),
        ("select evil('GONE', 3)", "select evil('***', 3)"),
        ("select 1 frm customers where ssn = 'GONE' and note = 'x'", "select *** frm customers where ssn = '***'"),
        ("select 1 -- GONE\n from from", "select *** '***'"),
    ],
)  # fmt: skip
def test_values_of_secret_columns_go_and_the_rest_stays(text: str, expected: str) -> None:
    assert shown(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "create user bob password 'GONE'",
        "alter role bob with encrypted password 'GONE' valid until '2030-01-01'",
        "create user bob password $$GONE$$",
        "create user bob /* GONE */ password /* x */ 'GONE'",
        "create user mapping for bob server s options (user 'GONE', \"password\" 'GONE')",
        "alter server s options (set passwd 'GONE')",
        "create subscription s connection 'host=h password=GONE' publication p",
        "select dblink_connect('host=h password = GONE')",
        "select * from dblink('postgres://u:GONE@h/d', 'select 1') as x(a int)",
        "select crypt('GONE', gen_salt('bf'))",
        "select app.pgp_sym_encrypt(note, 'GONE') from customers",
        "set app.token = 'GONE'",
        "alter system set primary_conninfo = 'host=h password=GONE'",
        "select set_config('app.secret', 'GONE', false)",
        "do $$ begin execute 'alter role bob password ''GONE'''; end $$",
        "create function f() returns void language sql as $$ alter role bob password 'GONE' $$",
        "select 'postgres://bob:GONE@host/db'",
    ],
)
@pytest.mark.parametrize("secrets", [SECRETS, frozenset[str]()])
def test_passwords_always_go(text: str, secrets: frozenset[str]) -> None:
    assert "GONE" not in shown(text, secrets)
    assert "GONE" not in redacted(Understanding().request(text), secrets, None)


def test_without_a_catalog_nothing_can_be_told_apart() -> None:
    request = Understanding().request("select * from x where id = 3")
    assert redacted(request, SECRETS, None) == "select * from x where id = '***'"
    assert redacted(request, frozenset(), None) == request.text


SECRET_PLACES = [
    "select * from customers where ssn = {}",
    "select * from customers c where {} in (c.ssn, note)",
    "select * from customers where (ssn, id) = ({}, 3)",
    "select * from customers where ssn between {} and {}",
    "select * from customers where lower(ssn) like {} escape '!'",
    "select * from customers where ssn = any (array[{}, {}])",
    "select * from customers where coalesce(ssn, {}) = note",
    "select * from customers where ssn = concat({}, id)",
    "select * from customers where (id = 3) = (ssn = {})",
    "select case ssn when {} then 1 end from customers",
    "select nullif(ssn, {}) from customers",
    "select ssn = {} from customers",
    "select count(*) filter (where ssn = {}) from customers",
    "select max(ssn) from customers group by id having max(ssn) > {}",
    "select * from customers order by ssn = {}",
    "select * from orders o join customers c on c.ssn = {} and o.id = 1",
    "select * from orders where exists (select from customers where ssn = {})",
    "select * from customers where ssn in (values ({}))",
    "select * from customers where ssn = (select {}::text)",
    "select * from customers where ssn in (select note from customers union select {})",
    "with s as (select ssn as a from customers) select * from s where a = {}",
    "with s(a) as (select {}) select * from customers, s where ssn = a",
    "with recursive r(a, b) as (select note, ssn from customers union select b, a from r where a = {}) select 1 from r",
    "select * from (select ssn as a from customers) s where s.a = {}",
    "select * from customers natural join (values ({})) v(ssn)",
    "select * from contacts where low = {}",
    "select * from customers as c(a, b, d) where d = {}",
    "insert into customers (ssn) values ({})",
    "insert into customers values (1, {}, {})",
    "insert into customers (id, ssn) select 1, {}",
    "insert into customers (ssn) values ('x') on conflict (id) do update set email = {}",
    "insert into customers (ssn) values ('x') on conflict (id) do update set note = 'a' where customers.ssn = {}",
    "update customers set ssn = {}",
    "update customers set (note, ssn) = ('a', {})",
    "update customers set (note, ssn) = (select 'a', {})",
    "update customers set note = 'x' where ssn = {}",
    "update customers set note = case when ssn = {} then 'x' end",
    "delete from customers where ssn = {} returning note",
    "merge into customers c using orders o on c.ssn = {} when matched then delete",
    "merge into customers c using orders o on true when matched and c.ssn = {} then update set email = {}",
    "merge into customers c using orders o on true when not matched then insert (ssn) values ({})",
    "copy (select * from customers where ssn = {}) to stdout",
    "copy customers from stdin where ssn = {}",
    "prepare p as select * from customers where ssn = {}",
    "declare c cursor for select * from customers where ssn = {}",
    "explain select * from customers where ssn = {}",
    "explain analyze execute p({})",
    "execute p({})",
    "create table x as select * from customers where ssn = {}",
    "create view x as select * from customers where ssn = {}",
    "create index on customers (id) where ssn = {}",
    "create policy p on customers using (ssn = {})",
    "create rule r as on update to customers do insert into customers (ssn) values ({})",
    "create function f() returns text begin atomic select note from customers where ssn = {}; end",
    "alter table customers add check (ssn <> {})",
    "alter table customers alter ssn set default {}",
    "create table x partition of customers for values in ({})",
    "do $x$ begin delete from customers where ssn = {}; end $x$",
    "select evil({})",
    "select * from nope where a = {}",
    "select * from customers where nope = {}",
]
MARKER = "MARKER-7"
SPELLINGS = ["'{}'", "E'{}'", "$q${}$q$", "U&'{}'", "'x{}'::text", "('{}' || 'y')", "upper('{}')", "'a'\n'{}'", "'é{}'"]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(SECRET_PLACES), st.sampled_from(SPELLINGS), st.sampled_from(["", " -- {}", "/* {} */ "]))
def test_a_secret_never_survives(place: str, spelling: str, comment: str) -> None:
    value = spelling.format(MARKER)
    text = place.format(value, value)
    text = comment.format(MARKER) + text if comment.startswith("/*") else text + comment.format(MARKER)
    assert Understanding().request(text).refusal is None, text
    assert MARKER not in shown(text)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_text_can_be_redacted(text: str) -> None:
    for secrets in (SECRETS, frozenset[str]()):
        shown(f"select * from customers where ssn = {text}", secrets)
        shown(text, secrets)
