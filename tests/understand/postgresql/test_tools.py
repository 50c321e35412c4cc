"""What tools ask of a catalog is a read or sets the session up, never unknown: what real psql and pg_dump send."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from lockgate.understand.postgresql import Understanding
from lockgate.values.statement import Effect
from tests.support.postgres import BINARIES, Postgres

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
    "SELECT 'drop table t; delete from t' AS \"delete from t\" /* drop /* nested */ table */ -- truncate",
    "SELECT $q$; drop table t; $q$, E'\\'; drop table t', U&'\\0027; drop'",
]


@pytest.fixture(scope="module")
def asked() -> Iterator[list[str]]:
    with Postgres(settings={"log_statement": "'all'", "log_line_prefix": "'@@@'"}) as server:
        server.psql(SETUP)
        (server.folder / "log").write_text("")
        where = ["-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres"]
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
        subprocess.run(
            ["psql", "-XqAt", *where, "postgres"],
            input=COMMANDS,
            text=True,
            capture_output=True,
            check=True,
            env=environment,
        )
        for extra in (["--clean", "--create"], ["--data-only", "--inserts"], ["--schema-only"]):
            subprocess.run(
                [BINARIES / "pg_dump", *where, *extra, "postgres"], capture_output=True, check=True, env=environment
            )
        entries = (server.folder / "log").read_text().replace("\0", "").split("@@@")
        texts = [e.partition("statement: ")[2] for e in entries if e.startswith("LOG:") and "statement: " in e]
        executed = [
            e.partition(">: " if "execute <" in e else ": ")[2] for e in entries if e.startswith("LOG:  execute ")
        ]
        yield [text.replace("\n\t", "\n").strip() for text in texts + executed]


def test_what_psql_and_pg_dump_send_is_reads_and_settings(asked: list[str]) -> None:
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
