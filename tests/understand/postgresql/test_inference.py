"""What a statement uses columns for without showing them."""

from __future__ import annotations

import psycopg
import pytest

from lockgate.understand.postgresql import ANYTHING, Understanding, influences, uses
from lockgate.understand.postgresql.tables import SETS
from lockgate.values.use import Use
from tests.support.postgres import Postgres
from tests.understand.postgresql.catalogs import catalog, relation

CATALOG = catalog(
    relation("c", "id email ssn note"),
    relation("o", "id customer total"),
    relation("v", "id mail first", "select id, email, substr(email, 1, 1) from public.c where ssn > '5'"),
    functions=frozenset({"evil"}),
)


def told(text: str) -> str:
    """`column:use+use` of the tables c and o, in order."""
    found = uses(Understanding().request(text), CATALOG, 0)
    assert found is not None, text
    touched = influences(Understanding().request(text), CATALOG, 0)
    assert touched is not None
    assert found.keys() <= touched, text
    shown = {
        name.removeprefix("public."): "+".join(sorted(how))
        for name, how in found.items()
        if name.startswith(("public.c.", "public.o."))
    }
    return " ".join(f"{name}:{how}" for name, how in sorted(shown.items()))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # shown, not used
        ("select email, lower(email), count(email), max(email) from c", ""),
        ("select count(*) from c", ""),
        # equality
        ("select id from c where email = 'x'", "c.email:equal"),
        ("select id from c where 'x' <> email", "c.email:equal"),
        ("select id from c where email in ('x', 'y') and not ssn = any(array['1', '2'])", "c.email:equal c.ssn:equal"),
        ("select id from c where email = any($1) or ssn <> all($2)", "c.email:equal c.ssn:equal"),
        ("select id from c where email is not null and ssn is not distinct from '1'", "c.email:equal c.ssn:equal"),
        ("select id from c where (email, ssn) = ('x', '1')", "c.email:equal c.ssn:equal"),
        ("select id from c where (email, id) in (('x', '1'), ('y', '2'))", "c.email:equal c.id:equal"),
        ("select id from c where email::text = 'x' and ssn::varchar collate \"C\" = 'y'", "c.email:equal c.ssn:equal"),
        ("select id from c where note", "c.note:equal"),
        ("select id from c where note is true", "c.note:equal"),
        ("select case email when 'x' then 1 end from c", "c.email:equal"),
        ("select case when email = 'x' then 1 end from c", "c.email:equal"),
        ("select count(*) filter (where email = 'x') from c", "c.email:equal"),
        ("select id from c join (values ('x')) v(x) on email = x", "c.email:equal"),
        ("select id from c where email in (select 'x')", "c.email:equal"),
        ("delete from c where email = 'x'", "c.email:equal"),
        ("update c set note = '1' where email = 'x'", "c.email:equal"),
        ("insert into c (email) values ('x') on conflict (email) do nothing", "c.email:equal"),
        ("insert into o values ('x') on conflict do nothing", "o.customer:equal o.id:equal o.total:equal"),
        ("insert into c (id) values ('1') on conflict (id) do update set note = '' where c.email = 'x'",
         "c.email:equal c.id:equal"),
        ("copy (select id from c where email = 'x') to stdout", "c.email:equal"),
        ("explain select id from c where email = 'x'", "c.email:equal"),
        ("prepare p as select id from c where email = $1", "c.email:equal"),
        ("declare x cursor for select id from c where email = 'x'", "c.email:equal"),
        ("with x as (select id from c where email = 'x') select * from x", "c.email:equal"),
        ("select id from o where exists (select from c where email = 'x' and c.id = o.id)",
         "c.email:equal c.id:join o.id:join"),
        ("select id from o where id in (select id from c where email = 'x')",
         "c.email:equal c.id:join o.id:join"),
        # a look-up of a part, of something made of it
        ("select id from c where lower(email) = 'x'", "c.email:equal+predicate"),
        ("select id from c where email::varchar(1) = 'x'", "c.email:equal+predicate"),
        ("select id from c where email::\"char\" = 'x'", "c.email:equal+predicate"),
        ("select id from (select substr(email, 1, 1) as e, id from c) s where e = 'x'", "c.email:equal+predicate"),
        ("select id from c where (c).email = 'x'", "c.email:equal"),
        # order
        ("select id from c where email < 'x' and ssn between '1' and '2'", "c.email:range c.ssn:range"),
        ("select id from c where (email, id) > ('x', '1')", "c.email:range c.id:range"),
        ("select id from c order by email", "c.email:order"),
        ("select id, email from c order by 2", "c.email:order"),
        ("select id, email as e from c order by e", "c.email:order"),
        ("select id, lower(email) as id from c order by id", "c.email:order c.id:order"),
        ("select * from c order by email", "c.email:order"),
        ("select id from c order by lower(email)", "c.email:order"),
        ("select id from c where id = (select id from c order by email limit 1)",
         "c.email:order c.id:equal+join+predicate"),
        ("select distinct on (email) id from c", "c.email:group+order"),
        ("select array_agg(id order by email) from c", "c.email:order"),
        ("select percentile_disc(0.5) within group (order by email) from c", "c.email:order"),
        ("select rank() over (partition by ssn order by email) from c", "c.email:order c.ssn:group"),
        ("select rank() over w, count(*) over () from c window w as (order by email)", "c.email:order"),
        ("select id from c union all select id from o order by 1", "c.id:order o.id:order"),
        ("values ((select email from c)), ('x') order by 1", "c.email:order"),
        # patterns
        ("select id from c where email like 'a%' and ssn ~ '^9'", "c.email:pattern c.ssn:pattern"),
        ("select id from c where email similar to 'a%' or note not ilike 'b'",
         "c.email:pattern c.note:pattern"),
        ("select id from c where lower(email) like 'a%'", "c.email:pattern+predicate"),
        ("select id from c where to_tsvector(email) @@ 'x'", "c.email:pattern+predicate"),
        # groups
        ("select count(*) from c group by email", "c.email:group"),
        ("select email, count(*) from c group by 1", "c.email:group"),
        ("select email as e, count(*) from c group by e", "c.email:group"),
        ("select count(*) from c group by rollup (email, (ssn, note))", "c.email:group c.note:group c.ssn:group"),
        ("select distinct email from c", "c.email:group"),
        ("select count(distinct email) from c", "c.email:group"),
        ("select email from c union select ssn from c", "c.email:equal+group c.ssn:equal+group"),
        ("select email from c intersect all select 'x'", "c.email:equal+group"),
        ("select email from c union all select ssn from c", ""),
        ("select count(*) from c group by id having max(email) > 'm'", "c.email:predicate+range c.id:group"),
        # joins
        ("select c.id from c join o on email = customer", "c.email:join o.customer:join"),
        ("select c.id from c, o where email < customer", "c.email:join+range o.customer:join+range"),
        ("select 1 from c join o using (id)", "c.id:join o.id:join"),
        ("select 1 from c natural join o", "c.id:join o.id:join"),
        ("select 1 from c where email = (select customer || 'x' from o)",
         "c.email:equal+join o.customer:join+predicate"),
        ("merge into o using c on o.customer = c.email when matched and c.ssn > '1' then delete",
         "c.email:join c.ssn:range o.customer:join"),
        # anything else that decides which rows there are
        ("select id from c where length(email) + 1 is null", "c.email:equal+predicate"),
        ("select id from c where starts_with(email, 'x')", "c.email:predicate"),
        ("select id from c limit (select length(email) from c)", "c.email:predicate"),
        ("select id from c union select id from o offset (select length(email) from c)",
         "c.email:predicate c.id:equal+group o.id:equal+group"),
        ("values (1) limit (select length(email) from c)", "c.email:predicate"),
        ("select id from c, generate_series(1, ascii(email))", "c.email:predicate"),
        ("select id, generate_series(1, ascii(email)) from c", "c.email:predicate"),
        ("select id from c tablesample bernoulli (1) repeatable ((select length(email) from c))", "c.email:predicate"),
        ("select id from c, xmltable('/a' passing (email::xml) columns x int path 'b')", "c.email:predicate"),
        ("with recursive r(n) as (select email from c union all select n from r) cycle n set l using p "
         "select 1 from r", "c.email:group"),
        ("create index on c (id) where email = 'x'", "c.email:predicate"),
        # of a view its columns, not its own conditions
        ("select id from v", ""),
        ("select id from v where mail = 'x'", "c.email:equal"),
        ("select id from v where first = 'x'", "c.email:equal+predicate"),
        ("create view w as select id from c where email like 'a%'", "c.email:pattern"),
    ],
)  # fmt: skip
def test_what_columns_are_used_for(text: str, expected: str) -> None:
    assert told(text) == expected


def test_a_views_own_column_is_named_too() -> None:
    found = uses(Understanding().request("select id from v where mail = 'x'"), CATALOG, 0)
    equal = frozenset({Use.EQUAL})
    assert found == {"public.v.mail": equal, "public.c.email": equal}


@pytest.mark.parametrize("text", ["select id from c where evil(email)", "select evil()", "select 1 where 1 <=>> 2"])
def test_what_may_look_at_anything_may_use_it_for_anything(text: str) -> None:
    found = uses(Understanding().request(text), CATALOG, 0)
    assert found is not None
    assert found[ANYTHING] == frozenset(Use)


@pytest.mark.parametrize("text", ["select 1 from nope where x = 1", "select nope from c", "sel"])
def test_what_is_not_in_the_catalog_is_not_known(text: str) -> None:
    assert uses(Understanding().request(text), CATALOG, 0) is None


def test_the_functions_that_return_sets_are_those_of_the_server() -> None:
    query = """
        select distinct proname from pg_proc where proretset and pronargs > 0 and oid < 10000
           and pronamespace = 'pg_catalog'::regnamespace and provolatile <> 'v'
           and proname !~ '^(pg_(?!mcv|options)|txid_|.*statement|json_populate_type)'
    """
    with Postgres() as server:
        where = f"host=127.0.0.1 port={server.port} user=postgres dbname=postgres"
        with psycopg.connect(where, autocommit=True) as connection:
            names = {name for (name,) in connection.execute(query)}
    assert names - SETS == set()
