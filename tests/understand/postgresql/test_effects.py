"""What each kind of statement counts as, what it touches, and what must not raise an alarm."""

from __future__ import annotations

import pytest

from lockgate.understand.postgresql import Understanding
from lockgate.values.statement import Effect, Statement


def one(text: str, functions: frozenset[str] = frozenset()) -> Statement:
    (statement,) = Understanding(functions=functions).request(text).statements
    return statement


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("with d as (delete from x returning *) select * from d", ("SELECT", "DELETE")),
        ("with d as (delete from x returning *) insert into y select * from d", ("INSERT", "DELETE")),
        ("with d as (delete from x returning *) delete from y", ("DELETE",)),
        ("explain analyze delete from x", ("EXPLAIN", "DELETE")),
        ("explain delete from x", ("EXPLAIN",)),
        ("explain analyze create table x as select 1", ("EXPLAIN", "CREATE TABLE AS")),
        ("copy (delete from x returning a) to stdout", ("COPY", "DELETE")),
        ("prepare p as delete from x", ("PREPARE", "DELETE")),
        ("merge into x using y on true when matched then delete when not matched then do nothing", ("MERGE", "DELETE")),
        ("insert into x values (1) on conflict (a) do update set b = 1", ("INSERT", "UPDATE")),
        ("insert into x values (1) on conflict do nothing", ("INSERT",)),
        ("insert into x select * from (select 1) y", ("INSERT",)),
        ("create rule r as on insert to x do also delete from y", ("CREATE RULE",)),
    ],
)
def test_what_runs_inside_gives_a_statement_its_kind_too(text: str, kinds: tuple[str, ...]) -> None:
    assert one(text).kinds == kinds


def effects(names: str) -> frozenset[Effect]:
    return frozenset(Effect(name) for name in names.split())


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("select 1", "SELECT", "read"),
        ("values (1)", "SELECT", "read"),
        ("table t", "SELECT", "read"),
        ("select * from t for update", "SELECT", "read write"),
        ("select * from (select * from t for key share) x", "SELECT", "read write"),
        ("select a into b from c", "SELECT INTO", "ddl read write"),
        ("with a as (select 1) select * into b from a", "SELECT INTO", "ddl read write"),
        ("create table b as select 1", "CREATE TABLE AS", "ddl read write"),
        ("create materialized view b as select 1", "CREATE MATERIALIZED VIEW", "ddl read write"),
        ("refresh materialized view b", "REFRESH MATERIALIZED VIEW", "read write"),
        ("with d as (delete from x returning *) select * from d", "SELECT", "read write"),
        ("with d as (update x set a = 1) select 1", "SELECT", "read write"),
        ("insert into t values (1)", "INSERT", "write"),
        ("insert into t values ((select 1))", "INSERT", "read write"),
        ("insert into t values (evil())", "INSERT", "write unknown"),
        ("insert into t select * from u", "INSERT", "read write"),
        ("insert into t values (1) returning a", "INSERT", "read write"),
        ("update t set a = 1", "UPDATE", "write"),
        ("update t set a = b from u", "UPDATE", "read write"),
        ("delete from t where a = 1", "DELETE", "write"),
        ("delete from t where a in (select b from u)", "DELETE", "read write"),
        ("merge into t using u on t.a = u.a when matched then delete", "MERGE", "read write"),
        ("truncate t", "TRUNCATE TABLE", "write"),
        ("explain delete from t", "EXPLAIN", "read"),
        ("explain (analyze off) delete from t", "EXPLAIN", "read"),
        ("explain analyze delete from t", "EXPLAIN", "read write"),
        ("explain (analyze) delete from t", "EXPLAIN", "read write"),
        ("explain (analyze off, analyze on) delete from t", "EXPLAIN", "read write"),
        ("explain (analyze 1) delete from t", "EXPLAIN", "read write"),
        ("explain select immutable_they_say()", "EXPLAIN", "read unknown write"),
        ("explain select nextval('s')", "EXPLAIN", "read"),
        ("explain execute p", "EXPLAIN", "read"),
        ("explain analyze execute p", "EXPLAIN", "read unknown write"),
        ("copy t from stdin", "COPY", "write"),
        ("copy t to stdout", "COPY", "read"),
        ("copy (delete from t returning *) to stdout", "COPY", "read write"),
        ("copy t from program 'x'", "COPY", "write admin"),
        ("copy t to '/tmp/x'", "COPY", "read admin"),
        ("do $$ begin end $$", "DO", "unknown write"),
        ("call p()", "CALL", "unknown write"),
        ("prepare p as delete from t", "PREPARE", "write"),
        ("execute p", "EXECUTE", "unknown write"),
        ("create table x as execute p", "CREATE TABLE AS", "ddl write unknown"),
        ("deallocate p", "DEALLOCATE", "session"),
        ("declare c cursor for select 1", "DECLARE CURSOR", "read"),
        ("fetch c", "FETCH", "read"),
        ("move c", "MOVE", "read"),
        ("close c", "CLOSE CURSOR", "session"),
        ("set role bob", "SET", "session"),
        ("set session authorization bob", "SET", "session admin"),
        ("set session authorization default", "SET", "session"),
        ("reset session authorization", "RESET", "session"),
        ("set session_replication_role = replica", "SET", "session admin"),
        ("set local lo_compat_privileges = on", "SET", "session admin"),
        ("select set_config('Session_Replication_Role', 'replica', true)", "SELECT", "read session admin"),
        ("explain select set_config('session_replication_role', 'replica', true)", "EXPLAIN", "read"),
        ("create function f() returns int language sql set commit_delay = 1 as ''", "CREATE FUNCTION", "ddl admin"),
        ("discard all", "DISCARD ALL", "session"),
        ("reset all", "RESET", "session"),
        ("set local search_path = x", "SET", "session"),
        ("show all", "SHOW", "read"),
        ("select set_config('role', 'bob', false)", "SELECT", "read session"),
        ("select set_config(x, 'bob', false)", "SELECT", "read session unknown write"),
        ("update pg_settings set setting = 'off'", "UPDATE", "write session unknown"),
        ("update pg_catalog.pg_settings set setting = 'off'", "UPDATE", "write session unknown"),
        ("alter system set work_mem = '1GB'", "ALTER SYSTEM", "admin"),
        ("alter role bob set search_path = x", "ALTER ROLE", "admin"),
        ("grant select on t to bob", "GRANT", "admin"),
        ("revoke select on t from bob", "REVOKE", "admin"),
        ("grant a to b", "GRANT ROLE", "admin"),
        ("create user bob", "CREATE ROLE", "admin"),
        ("alter table t owner to bob", "ALTER TABLE", "admin ddl"),
        ("alter table t disable row level security", "ALTER TABLE", "admin ddl"),
        ("drop owned by bob", "DROP OWNED", "admin ddl"),
        ("create schema x create table y (a int) grant select on y to z", "CREATE SCHEMA", "ddl admin"),
        ("create extension dblink", "CREATE EXTENSION", "ddl admin"),
        ("create function f() returns int language c as 'x'", "CREATE FUNCTION", "ddl admin"),
        ("create function f() returns int language plpython3u as 'x'", "CREATE FUNCTION", "ddl admin"),
        ("create function f() returns int language sql as 'delete from t'", "CREATE FUNCTION", "ddl"),
        ("create view v as select evil() from t", "CREATE VIEW", "ddl"),
        ("create table t (id int default nextval('s'), b text default evil())", "CREATE TABLE", "ddl"),
        ("create table p partition of t for values from (evil()) to (2)", "CREATE TABLE", "ddl unknown write"),
        ("alter table t add column b int default evil()", "ALTER TABLE", "ddl unknown write"),
        ("create index on t (evil(a))", "CREATE INDEX", "ddl unknown write"),
        ("drop table t", "DROP TABLE", "ddl"),
        ("drop foreign data wrapper t", "DROP FOREIGN DATA WRAPPER", "ddl"),
        ("begin", "BEGIN", "transaction"),
        ("set transaction read only", "SET", "session"),
        ("rollback to x", "ROLLBACK", "transaction"),
        ("commit prepared 'x'", "COMMIT PREPARED", "transaction"),
        ("lock t in access share mode", "LOCK TABLE", "read"),
        ("lock t", "LOCK TABLE", "write"),
        ("vacuum t", "VACUUM", "admin"),
        ("analyze t", "ANALYZE", "admin"),
        ("listen x", "LISTEN", "session"),
        ("notify x", "NOTIFY", "write"),
        ("load 'x'", "LOAD", "admin"),
        ("select nextval('s')", "SELECT", "read write"),
        ("select pg_read_file('/etc/passwd')", "SELECT", "read admin"),
        ("select ('/etc/passwd'::text).pg_read_file", "SELECT", "read admin"),
        ("select (a.b).lo_unlink from a", "SELECT", "read write"),
        ("select ('s'::regclass).nextval", "SELECT", "read write"),
        ("select (a).b.c, (a).lower from t", "SELECT", "read"),
        ("select (information_schema._pg_expandarray(a)).n from t", "SELECT", "read"),
        ("select * from pg_ls_dir('.')", "SELECT", "read admin"),
        ("select pg_terminate_backend(1)", "SELECT", "read admin"),
        ("select pg_advisory_lock(1)", "SELECT", "read session"),
        ("select lo_unlink(1)", "SELECT", "read write"),
        ("select query_to_xml('delete from t', true, true, '')", "SELECT", "read unknown write"),
        ("select ts_rewrite(a, 'select 1')", "SELECT", "read unknown write"),
        ("select ts_rewrite(a, b, c)", "SELECT", "read"),
        ("select dblink('x')", "SELECT", "read unknown write"),
        ("select public.lower('x')", "SELECT", "read unknown write"),
        ("select pg_catalog.lower('x')", "SELECT", "read"),
        ("select db.pg_catalog.lower('x')", "SELECT", "read"),
        ("select 1 operator(public.+) 1", "SELECT", "read unknown write"),
        ("select 1 operator(pg_catalog.+) 1", "SELECT", "read"),
        ("select a <?> b", "SELECT", "read unknown write"),
        ("select a from t order by a using <?>", "SELECT", "read unknown write"),
        ("select a <?> any (select 1)", "SELECT", "read unknown write"),
        ("select * from t limit evil()", "SELECT", "read unknown write"),
        ("select count(*) filter (where evil()) over (order by evil()) from t", "SELECT", "read unknown write"),
        ("select * from rows from (generate_series(1, 2), evil())", "SELECT", "read unknown write"),
        ("select * from t tablesample evil(1)", "SELECT", "read unknown write"),
        ("select * from t tablesample system (1)", "SELECT", "read"),
    ],
)  # fmt: skip
def test_what_a_statement_counts_as(text: str, kind: str, expected: str) -> None:
    statement = one(text)
    assert statement.refusal is None
    assert (statement.kind, statement.effects) == (kind, effects(expected))


@pytest.mark.parametrize(
    ("text", "objects"),
    [
        ("select * from public.t, u", {"public.t", "u"}),
        ("select * from db.public.t", {"public.t"}),
        ('select * from "Public"."T"', {"Public.T"}),
        ("with x as (select * from y) select * from x", {"y"}),
        ("with t as (select * from t) select * from t", {"t"}),
        ("with t as (select 1) select * from public.t", {"public.t"}),
        ("select * from (with secrets as (select 1) select 1) q, secrets", {"secrets"}),
        ("with recursive r as (select 1 union all select * from r) select * from r", set()),
        ("with a as (select * from b), b as (select 1) select * from a, b", {"b"}),
        ("with recursive a as (select * from b), b as (select 1) select * from a, b", set()),
        ("with t as (select 1) delete from t", {"t"}),
        ("with t as (select 1) insert into u select * from t", {"u"}),
        ("select * from t a for update of a", {"t"}),
        ("drop table a.b, c", {"a.b", "c"}),
        ("drop trigger x on t", {"t"}),
        ("drop schema s", {"schema:s"}),
        ("drop function f(int)", {"function:f"}),
        ("comment on table a.b is 'x'", {"a.b"}),
        ("grant select on t to bob, current_user", {"t", "role:bob", "role:current_user"}),
        ("grant a to b", {"role:a", "role:b"}),
        ("create role bob", {"role:bob"}),
        ("set role bob", {"setting:role", "role:bob"}),
        ("set role none", {"setting:role", "role:none"}),
        ("reset role", {"setting:role"}),
        ("set session authorization bob", {"setting:session_authorization", "role:bob"}),
        ("select set_config('session_authorization', a) from t", {"setting:session_authorization", "role:?", "t"}),
        ("set Search_Path = x", {"setting:search_path"}),
        ("select set_config('Role', 'bob', false)", {"setting:role", "role:bob"}),
        ("copy t from '/x'", {"t", "file:/x"}),
        ("copy t from program 'x'", {"t", "program"}),
        ("create function a.f() returns int language sql as ''", {"function:a.f"}),
        ("alter table a.b rename to c", {"a.b"}),
        ("alter function f() owner to bob", {"function:f", "role:bob"}),
        ("drop database d", {"database:d"}),
    ],
)  # fmt: skip
def test_what_a_statement_touches(text: str, objects: set[str]) -> None:
    assert set(one(text).objects) == objects


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("ALTER TABLE t ALTER COLUMN b SET DATA TYPE text", {"b"}),
        ("select a, t.b, t.* from t where c = 1 order by d", {"a", "b", "*", "c", "d"}),
        ("select (x).y.z, (f(x)).* from t", {"x", "y", "z", "*"}),
        ("select 1 as alias from t", set()),
        ("insert into t (a, b) values (1, 2) on conflict (c) do update set d = excluded.e", set("abcde")),
        ("update t set a = 1, (b, c) = (2, 3)", {"a", "b", "c"}),
        ("select * from t join u using (a)", {"*", "a"}),
        ("copy t (a, b) from stdin", {"a", "b"}),
        ("alter table t drop column a", {"a"}),
        ("grant select (a) on t to bob", {"a"}),
        ("merge into t using u on t.a = u.b when not matched then insert (c) values (1)", {"a", "b", "c"}),
    ],
)  # fmt: skip
def test_the_columns_it_names(text: str, columns: set[str]) -> None:
    assert set(one(text).columns) == columns


def test_a_setting_named_by_the_predicate_is_named() -> None:
    statement = one("select set_config(name, 'view', false) from pg_settings where name = 'row_security'")
    assert statement.effects == effects("read session")
    assert "setting:row_security" in statement.objects
    off = "select set_config(name, 'off', false) from pg_settings where name = 'standard_conforming_strings'"
    assert one(off).refusal is not None
    other = one("select set_config(name, 'off', false) from pg_settings where setting = 'row_security'")
    assert "setting:?" in other.objects


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("select 1", ()),
        ("show role", ()),
        ("set Work_Mem = '1GB'", ("work_mem",)),
        ("set local search_path to a, b", ("search_path",)),
        ("set time zone 'utc'", ("timezone",)),
        ("set names 'utf8'", ("client_encoding",)),
        ("set app.who = 'x'", ("app.who",)),
        ("reset row_security", ("row_security",)),
        ("reset all", ("all",)),
        ("discard all", ("all",)),
        ("discard plans", ()),
        ("set transaction isolation level serializable, read only", ("transaction_isolation", "transaction_read_only")),
        ("set session characteristics as transaction read write", ("default_transaction_read_only",)),
        ("set transaction snapshot 'x'", ("transaction_snapshot",)),
        ("select set_config('Role', 'bob', false), set_config('a.b', 'c', true)", ("role", "a.b")),
        ("select set_config(a, 'bob', false) from t", ("?",)),
        ("update pg_settings set setting = 'x' where name = 'role'", ("?",)),
        ("alter role bob set row_security = off", ("row_security",)),
        ("alter role all in database d reset all", ("all",)),
        ("alter database d set search_path = x", ("search_path",)),
        ("alter system set fsync = off", ("fsync",)),
        ("create function f() returns int language sql set role = x set search_path from current as ''",
         ("role", "search_path")),
        ("alter function f() set session_replication_role = replica", ("session_replication_role",)),
        ("alter function f() reset all", ("all",)),
        ("begin isolation level serializable read only", ("transaction_isolation", "transaction_read_only")),
    ],
)  # fmt: skip
def test_the_parameters_a_statement_changes(text: str, settings: tuple[str, ...]) -> None:
    assert one(text).settings == settings


def test_functions_not_known_harmless_are_named() -> None:
    statement = one("select lower(a), nextval('s'), app.f(1), 1 <?> 2 from t")
    assert statement.functions == ("nextval", "app.f", "operator(<?>)")


def test_a_function_someone_defined_under_a_known_name_is_not_known_harmless() -> None:
    assert Effect.UNKNOWN in one("select lower(x)", frozenset({"lower"})).effects
    assert one("select pg_catalog.lower(x)", frozenset({"lower"})).effects == effects("read")


@pytest.mark.parametrize(
    ("text", "makes", "uses"),
    [
        ("prepare p as select 1", ("prepared", "p"), None),
        ("execute p(1, now())", None, ("prepared", "p")),
        ("execute p(evil())", None, None),
        ("declare c cursor for select 1", ("cursor", "c"), None),
        ("fetch all from c", None, ("cursor", "c")),
        ("move 1 in c", None, ("cursor", "c")),
        ("explain analyze execute p", None, None),
        ("create table x as execute p", None, None),
    ],
)
def test_names_of_the_session(text: str, makes: tuple[str, str] | None, uses: tuple[str, str] | None) -> None:
    statement = one(text)
    assert (statement.makes, statement.uses) == (makes, uses)


@pytest.mark.parametrize("value", ["off", "false", "0", "'off'", "of", "xyz"])
@pytest.mark.parametrize("form", ["set standard_conforming_strings = {}", "set local Standard_Conforming_Strings to {}",
                                  "alter role bob set standard_conforming_strings = {}"])  # fmt: skip
def test_a_session_may_not_change_how_its_text_is_read(form: str, value: str) -> None:
    assert one(form.format(value)).refusal is not None


@pytest.mark.parametrize(
    "text",
    ["select set_config('standard_conforming_strings', 'off', false)",
     "with x as (select set_config('STANDARD_CONFORMING_STRINGS', a, false) from t) select 1",
     "create function f() returns int language sql set standard_conforming_strings = off as 'select 1'"],
)  # fmt: skip
def test_nor_by_a_detour(text: str) -> None:
    assert one(text).refusal is not None


@pytest.mark.parametrize("text", ["set standard_conforming_strings = on", "set standard_conforming_strings to 1",
                                  "select set_config('standard_conforming_strings', 'on', false)"])  # fmt: skip
def test_saying_what_is_so_is_fine(text: str) -> None:
    assert one(text).refusal is None
