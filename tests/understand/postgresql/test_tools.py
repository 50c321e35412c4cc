"""What tools ask of a catalog is a read or sets the session up, never unknown: what real psql and pg_dump send."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import sqlalchemy

from lockgate.understand.postgresql import Understanding
from lockgate.values.statement import Effect
from tests.support.postgres import BINARIES, Postgres
from tests.support.postgres18 import BINARIES as BINARIES_18
from tests.support.postgres18 import Postgres18

SETUP = """
create table t (id int generated always as identity primary key, a text default 'x' check (a <> ''), b int);
alter table t add foreign key (b) references t;
create index on t (lower(a)) where b > 0;
create view v as select * from t;
create materialized view m as select * from t;
create function f(int) returns int language sql as 'select $1';
create type mood as enum ('sad', 'ok');
create sequence s;
create table p (a int) partition by range (a);
create table p1 partition of p for values from (1) to (2);
create policy q on t using (true);
create publication pub for table t;
create statistics st on a, b from t;
create rule r as on insert to v do instead nothing;
comment on table t is 'x';
"""
COMMANDS = r"""
\d
\d+
\d t
\d+ t
\d v
\d+ p
\d s
\dt+
\df+
\l+
\du+
\dn+
\dx
\dT+
\di+
\dp
\ddp
\dRp+
\dO
\dF+
\dC
\dD
\des
\dA+
\dX
\dy
\sf f
\sv v
\z
\dc
\da+
\dl
\dL+
\db+
\dE
\do+
\dm+
\dew+
\det
\deu
\dFd
\dFp
\dFt
\dRs
\drds
\dAc
\dAf
\dAo
\dAp
\dg+
\dv+ v
\d+ t_id_seq
\d+ m
\d *.*
\dconfig
\encoding
\conninfo
\dn *
\sf+ f
"""

OTHERS = [
    # SQLAlchemy 2: get_columns
    """SELECT pg_catalog.pg_attribute.attname AS name,
    pg_catalog.format_type(pg_catalog.pg_attribute.atttypid, pg_catalog.pg_attribute.atttypmod) AS format_type,
    (SELECT pg_catalog.pg_get_expr(pg_catalog.pg_attrdef.adbin, pg_catalog.pg_attrdef.adrelid) AS pg_get_expr_1
       FROM pg_catalog.pg_attrdef WHERE pg_catalog.pg_attrdef.adrelid = pg_catalog.pg_attribute.attrelid
        AND pg_catalog.pg_attrdef.adnum = pg_catalog.pg_attribute.attnum
        AND pg_catalog.pg_attribute.atthasdef) AS "default",
    pg_catalog.pg_attribute.attnotnull AS not_null, pg_catalog.pg_class.relname AS table_name,
    (SELECT json_build_object('always', pg_catalog.pg_attribute.attidentity = 'a',
     'start', pg_catalog.pg_sequence.seqstart)
       AS json_build_object_1 FROM pg_catalog.pg_sequence WHERE pg_catalog.pg_attribute.attidentity != ''
        AND pg_catalog.pg_sequence.seqrelid = CAST(CAST(pg_catalog.pg_get_serial_sequence(
        CAST(CAST(pg_catalog.pg_attribute.attrelid AS REGCLASS) AS TEXT), pg_catalog.pg_attribute.attname)
        AS REGCLASS) AS OID))
       AS identity_options
    FROM pg_catalog.pg_class LEFT OUTER JOIN pg_catalog.pg_attribute
      ON pg_catalog.pg_class.oid = pg_catalog.pg_attribute.attrelid AND pg_catalog.pg_attribute.attnum > 0
    WHERE pg_catalog.pg_class.relkind = ANY (ARRAY['r', 'p', 'f', 'v', 'm']) AND
     pg_catalog.pg_class.relname IN ('t')""",
    "select pg_catalog.version()",
    "select current_schema()",
    "show standard_conforming_strings",
    # pgjdbc: getPrimaryKeys, and what it sends at first
    """SELECT result.TABLE_CAT, result.COLUMN_NAME, result.KEY_SEQ FROM (SELECT NULL AS TABLE_CAT,
     a.attname AS COLUMN_NAME,
     (information_schema._pg_expandarray(i.indkey)).n AS KEY_SEQ, a.attnum FROM pg_catalog.pg_class ct
     JOIN pg_catalog.pg_attribute a ON (ct.oid = a.attrelid) JOIN pg_catalog.pg_index i ON (a.attrelid = i.indrelid)
     WHERE i.indisprimary) result where result.KEY_SEQ = 1""",
    "SET extra_float_digits = 3",
    "SET application_name = 'PostgreSQL JDBC Driver'",
    # asyncpg and psycopg: types
    "SELECT t.oid, t.typelem, t.typdelim FROM pg_catalog.pg_type t WHERE t.oid = 'mood'::regtype",
    # DBeaver: tables with their sizes and keys; roles
    """SELECT c.oid, c.*, d.description, pg_catalog.pg_get_expr(c.relpartbound, c.oid) AS partition_expr,
     pg_catalog.pg_get_partkeydef(c.oid) AS partition_key FROM pg_catalog.pg_class c
     LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = c.oid AND d.objsubid = 0
      AND d.classoid = 'pg_class'::regclass
     WHERE c.relnamespace = 2200 AND c.relkind NOT IN ('i', 'I', 'c')""",
    """SELECT r.*, pg_catalog.shobj_description(r.oid, 'pg_authid') AS comment,
     pg_catalog.pg_has_role(r.oid, 'USAGE') FROM pg_catalog.pg_roles r ORDER BY r.rolname""",
    "SELECT a.oid, (pg_catalog.aclexplode(a.relacl)).grantee, (pg_catalog.aclexplode(a.relacl)).* FROM pg_class a",
    # Metabase: columns with their keys and estimated rows
    """SELECT c.column_name AS name, c.udt_name AS "database-type", NULLIF(c.column_default, '') IS NOT NULL,
     c.is_generated <> 'NEVER', COL_DESCRIPTION(CAST(CAST(format('%I.%I', CAST(c.table_schema AS TEXT),
     CAST(c.table_name AS TEXT)) AS REGCLASS) AS OID), c.ordinal_position), CAST(reltuples AS BIGINT)
     FROM information_schema.columns AS c LEFT JOIN pg_catalog.pg_class ON relname = c.table_name
     WHERE c.table_schema !~ '^information_schema|catalog_history|pg_'""",
    """WITH table_privileges AS (SELECT NULL AS role, t.schemaname AS schema, t.objectname AS "table",
     pg_catalog.has_any_column_privilege(current_user, '"' || replace(t.schemaname, '"', '""') || '"' || '.' || '"' ||
     replace(t.objectname, '"', '""') || '"', 'update') AS "update"
     FROM (SELECT schemaname, tablename AS objectname FROM pg_catalog.pg_tables) t) SELECT * FROM table_privileges""",
    # Grafana: macros expanded, and its look for TimescaleDB
    """SELECT floor(extract(epoch from "at")/60)*60 AS "time", avg(value) AS "value" FROM metrics
     WHERE "at" BETWEEN '2024-01-01T00:00:00Z' AND '2024-01-02T00:00:00Z' GROUP BY 1 ORDER BY 1""",
    "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'",
    """SELECT quote_ident(table_name) FROM information_schema.tables WHERE quote_ident(table_schema) IN (
     SELECT CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END
     FROM generate_series(array_lower(string_to_array(current_setting('search_path'), ','), 1),
                          array_upper(string_to_array(current_setting('search_path'), ','), 1)) AS i,
          string_to_array(current_setting('search_path'), ',') s)""",
    # pgjdbc: getColumns, getTypeInfo
    """SELECT * FROM (SELECT current_database() AS current_database, n.nspname, c.relname, a.attname, a.atttypid,
     a.attnotnull OR (t.typtype = 'd' AND t.typnotnull) AS attnotnull, a.atttypmod, a.attlen, t.typtypmod,
     row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum) AS attnum, nullif(a.attidentity, '') as attidentity,
     pg_catalog.pg_get_expr(def.adbin, def.adrelid) AS adsrc FROM pg_catalog.pg_namespace n
     JOIN pg_catalog.pg_class c ON (c.relnamespace = n.oid) JOIN pg_catalog.pg_attribute a ON (a.attrelid = c.oid)
     JOIN pg_catalog.pg_type t ON (a.atttypid = t.oid)
     LEFT JOIN pg_catalog.pg_attrdef def ON (a.attrelid = def.adrelid AND a.attnum = def.adnum)
     WHERE c.relkind in ('r', 'p', 'v', 'f', 'm') and a.attnum > 0 AND NOT a.attisdropped) c
     WHERE attname LIKE E'%\\_id%' ORDER BY nspname, c.relname, attnum""",
    """SELECT typinput='pg_catalog.array_in'::regproc as is_array, typtype, typname, pg_type.oid FROM pg_catalog.pg_type
     LEFT JOIN (select ns.oid as nspoid, ns.nspname, r.r from pg_namespace as ns
      join (select s.r, (current_schemas(false))[s.r] as nspname
              from generate_series(1, array_upper(current_schemas(false), 1)) as s(r)) as r using (nspname)) as sp
     ON sp.nspoid = typnamespace WHERE pg_type.oid = 16400 ORDER BY sp.r, pg_type.oid DESC""",
    # what looks like something else
    """SELECT "drop table t", "a""; delete t; --" FROM "select" AS "update" WHERE "from" = $$'$$ || $a$ $$ ; $a$""",
    "SELECT 1 /* a /* b */ ; drop table t; -- */ + 1 -- ; delete from t",
    "SELECT 5 -- 3\n - 2, 4 @> 1, 2 #- 1, '-- not a comment', '/*', \"*/\" FROM t WHERE a /*'*/ = 1 /*'*/",
    "SELECT U&'d\\0061t\\+000061', U&\"d!0061t\" UESCAPE '!', E'\\x27; drop table t', B'01', X'1f', N'x', 1_000, 0xff",
    "SELECT 'a'\n'b; delete from t', $1::text, e'it''s', '\\'",
    "SELECT 'drop table t; delete from t' AS \"delete from t\" /* drop /* nested */ table */ -- truncate",
    "SELECT $q$; drop table t; $q$, E'\\'; drop table t', U&'\\0027; drop'",
]


MAPPED = """
create type address as (street text, zip text);
create domain positive as int check (value > 0);
create table mapped (id bigserial primary key, tags text[], at address, n positive, m mood, during tstzrange,
  body jsonb default '{}', doubled int generated always as (1 + 1) stored, unique (n, m));
create view over_mapped as select id, tags from mapped;
comment on column mapped.n is 'a number; drop table t';
"""


def sqlalchemys(url: str) -> None:
    """What an inspector asks of everything there is."""
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool)
    with warnings.catch_warnings(action="ignore", category=sqlalchemy.exc.SAWarning), engine.connect() as connection:
        found = sqlalchemy.inspect(connection)
        for schema in found.get_schema_names():
            found.get_sequence_names(schema)
            found.get_table_names(schema)
            found.get_view_names(schema)
            found.get_materialized_view_names(schema)
        sqlalchemy.MetaData().reflect(connection, views=True)
        found.get_view_definition("over_mapped")


def asyncpgs(port: int) -> None:
    """The types asyncpg looks up, and the state it puts a pooled connection back into."""

    create_pool: Any = asyncpg.create_pool  # untyped

    async def use() -> None:
        pool = create_pool(host="127.0.0.1", port=port, user="postgres", database="postgres", min_size=1, max_size=1)
        async with pool, pool.acquire() as connection:
            await connection.fetch("select at, tags, n, m, during, body from mapped where m = $1", "ok")
            await connection.set_type_codec("jsonb", encoder=str, decoder=str, schema="pg_catalog")

    asyncio.run(use())


def djangos(port: int) -> None:
    """inspectdb, in an interpreter of its own: Django is configured once for a process."""
    program = f"""
import django
from django.conf import settings
settings.configure(DATABASES={{"default": {{"ENGINE": "django.db.backends.postgresql", "NAME": "postgres",
    "USER": "postgres", "HOST": "127.0.0.1", "PORT": {port}}}}}, USE_TZ=True)
django.setup()
from django.core.management import call_command
call_command("inspectdb", include_views=True, include_partitions=True)
"""
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


Release = tuple[type[Postgres], Path]
RELEASES: list[Release] = [(Postgres, BINARIES), (Postgres18, BINARIES_18)]


@pytest.fixture(scope="module", params=RELEASES, ids=["15", "18"])
def asked(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Every text that clients of one release's own sent to its server."""
    kind, binaries = request.param
    with kind(settings={"log_statement": "'all'", "log_line_prefix": "'@@@'"}) as server:
        server.psql(SETUP + MAPPED)
        (server.folder / "log").write_text("")
        where = ["-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres"]
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
        subprocess.run(
            [binaries / "psql", "-XqAt", *where, "postgres"],
            input=COMMANDS,
            text=True,
            capture_output=True,
            check=True,
            env=environment,
        )
        for extra in (["--clean", "--create"], ["--data-only", "--inserts"], ["--schema-only"]):
            subprocess.run(
                [binaries / "pg_dump", *where, *extra, "postgres"], capture_output=True, check=True, env=environment
            )
        sqlalchemys(f"postgresql+psycopg://postgres@127.0.0.1:{server.port}/postgres")
        asyncpgs(server.port)
        djangos(server.port)
        entries = (server.folder / "log").read_text().replace("\0", "").split("@@@")
        texts = [e.partition("statement: ")[2] for e in entries if e.startswith("LOG:") and "statement: " in e]
        executed = [
            e.removeprefix("LOG:  execute ").partition(": ")[2] for e in entries if e.startswith("LOG:  execute ")
        ]
        yield [text.replace("\n\t", "\n").strip() for text in texts + executed]


def test_what_tools_and_mappers_send_is_reads_and_settings(asked: list[str]) -> None:
    understanding = Understanding()
    assert len(asked) > 150
    fine = {Effect.READ, Effect.SESSION, Effect.TRANSACTION}
    alarms = []
    for text in asked:
        request = understanding.request(text)
        if [statement.uses for statement in request.statements] == [("prepared", text.partition("(")[0][8:].lower())]:
            continue  # the session knows what pg_dump prepared by that name: it is in this list as well
        if request.refusal is not None or not request.effects <= fine:
            alarms.append((sorted(request.effects), request.refusal, text))
    assert alarms == []


@pytest.mark.parametrize("text", OTHERS)
def test_what_drivers_and_mappers_send(text: str) -> None:
    request = Understanding().request(text)
    assert request.refusal is None
    assert request.effects <= {Effect.READ, Effect.SESSION}
