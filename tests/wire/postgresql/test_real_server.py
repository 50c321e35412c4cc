"""Clients nobody wrote for this, through a session, against the real PostgreSQL: the same as without it."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

import asyncpg
import psycopg
import pytest

from lockgate.masking import Plan, RootKey, build_plan
from lockgate.wire.gate import Asked, MaskingError, Ruling
from lockgate.wire.postgresql.frames import Field
from lockgate.wire.postgresql.gate import CopyMask, Masking
from lockgate.wire.postgresql.session import Session
from tests.support.passing_proxy import passing_proxy
from tests.support.playbook import DENIED, ScriptedGate
from tests.support.postgres import BINARIES, Postgres

KEYS = RootKey(bytes(32)).keys("people")
TABLE = """
CREATE TABLE people (id int PRIMARY KEY, name text NOT NULL, ssn text NOT NULL, CHECK (id < 1000));
INSERT INTO people SELECT n, 'name ' || n, '123-45-' || 6000 + n FROM generate_series(1, 500) n;
CREATE VIEW all_people AS SELECT * FROM people UNION SELECT * FROM people;
"""


class SsnGate(ScriptedGate):
    """Masks every column named ssn, and what can't be told; refuses DELETE."""

    def run(self, asked: Asked) -> Ruling | None:
        self.asked.append(asked)
        if asked.request.text.lstrip().upper().startswith("DELETE"):
            return Ruling(DENIED)
        masked = any("ssn" in r.text or "people" in r.text for r in (asked.request, *asked.candidates))
        return Ruling(masking=_Ssn() if masked else None, barrier=asked.request.text.upper().startswith("SET"))


class _Ssn(Masking):
    def plan(self, statement: int, fields: Sequence[Field], *, utf8: bool) -> Plan | None:
        if any(f.name == "secret" for f in fields):
            raise MaskingError("what secret holds can't be told")
        plan = build_plan(fields, ["redact" if f.name == "ssn" else None for f in fields], keys=KEYS, utf8=utf8)
        return plan if plan.masks else None

    def copy(self, statement: int, columns: int, found: dict[str, int], *, binary: bool) -> CopyMask | None:
        raise MaskingError("which columns are copied can't be told")


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres() as server:
        server.psql(TABLE)
        yield server


@pytest.fixture
def proxy(server: Postgres) -> Iterator[int]:
    with passing_proxy(server.port, SsnGate) as (port, sessions):
        yield port
    assert all(session.closing for session in sessions)


def psql(port: int, text: str) -> tuple[str, str]:
    run = subprocess.run(
        ["psql", "-X", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-v", "SHOW_CONTEXT=never"],
        input=text, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return run.stdout, run.stderr


SCRIPT = r"""
SELECT 1 AS one, NULL AS nothing, 'é' AS word; SELECT 2 \; SELECT 3;
BEGIN; SELECT 1/0; SELECT 1; ROLLBACK;
SELECT count(*) FROM generate_series(1, 20000);
SELECT repeat('x', 300000) LIKE 'x%';
CREATE TEMP TABLE t (a int, b text);
\copy t FROM PSTDIN
COPY t FROM STDIN;
1	one
2	two
\.
COPY t TO STDOUT;
COPY all_people FROM STDIN;
PREPARE p AS SELECT a FROM t WHERE b = $1; EXECUTE p('two'); DEALLOCATE p; EXECUTE p('two');
BEGIN; DECLARE c CURSOR FOR SELECT a FROM t ORDER BY a; FETCH 1 FROM c; FETCH ALL FROM c; COMMIT;
DO $$ BEGIN RAISE NOTICE 'hello %', 1; END $$;
LISTEN ch; NOTIFY ch, 'payload';
SELECT nosuch FROM t; SELEC 1;
\d t
\bind 7
SELECT $1::int
\g
SET client_encoding TO 'LATIN1';
SHOW client_encoding;
""".replace("\\copy t FROM PSTDIN\n", "").replace("\\bind 7\nSELECT $1::int\n\\g\n", "")


def test_psql_says_the_same(server: Postgres) -> None:
    def told(port: int) -> tuple[str, str]:
        out, errors = psql(port, SCRIPT)
        return out, "\n".join(line for line in errors.splitlines() if "server process with PID" not in line)

    direct = told(server.port)
    with passing_proxy(server.port, ScriptedGate) as (port, _):
        through = told(port)
    assert [line for line in through[0].splitlines() if "server process" not in line] == [
        line for line in direct[0].splitlines() if "server process" not in line
    ]
    assert through[1] == direct[1]


def test_psql_sees_masks_and_refusals(proxy: int) -> None:
    out, errors = psql(
        proxy, "SELECT id, ssn FROM people WHERE id < 3; DELETE FROM people; BEGIN; DELETE FROM people; SELECT 1;"
    )
    assert "6001" not in out
    assert out.count("***") == 2
    assert errors.count("not you") == 2
    assert "current transaction is aborted" in errors


@pytest.mark.parametrize(
    "text",
    [
        "SELECT ssn::regclass FROM people",
        "SELECT ssn::int FROM people",
        "SELECT ssn::regtype FROM people",
        "SELECT to_tsquery(ssn || '&') FROM people",
        "UPDATE people SET id = 5000 WHERE ssn IS NOT NULL",
        "SELECT cursor_to_xml(ssn::refcursor, 1, false, false, '') FROM people",
        "DO $$ BEGIN RAISE NOTICE '%', (SELECT max(ssn) FROM people); END $$",
        "SELECT max(ssn) AS secret FROM people",
        "COPY (SELECT ssn FROM people) TO STDOUT",
    ],
)
def test_no_message_of_the_server_shows_a_masked_value(proxy: int, text: str) -> None:
    out, errors = psql(proxy, text)
    assert "123-45" not in out + errors
    assert errors


def every_way(port: int) -> list[Any]:
    """What psycopg can do, and what it gets."""
    got: list[Any] = []
    with psycopg.connect(host="127.0.0.1", port=port, user="postgres", autocommit=True) as db:
        got.append(db.execute("SELECT %s::int + 1, %b::text", (1, "x")).fetchall())
        for n in range(8):  # from the fifth on as a prepared statement
            got.append(db.execute("SELECT id FROM people WHERE id = %s", (n,)).fetchall())
        got.append(db.execute("SELECT id, name FROM people WHERE id < 4", binary=True).fetchall())
        with db.transaction(), db.cursor("named") as cursor:
            cursor.execute("SELECT id FROM people ORDER BY id")
            got += [cursor.fetchmany(3), cursor.fetchone(), len(cursor.fetchall())]
        with db.pipeline():
            cursors = [db.execute("SELECT id FROM people WHERE id = %s", (n,)) for n in range(200)]
            got.append([c.fetchall() for c in cursors])
        with pytest.raises(psycopg.errors.DivisionByZero):
            run_together(db, "SELECT 1", "SELECT 1/0", "SELECT 2")
        with db.pipeline() as pipe:
            db.execute("SET application_name TO 'x'")
            db.execute("SELECT 1")
            pipe.sync()
            got.append(db.execute("SHOW application_name").fetchall())
        db.execute("CREATE TEMP TABLE t (a int, b text)")
        plain = db.cursor()
        with plain.copy("COPY t FROM STDIN") as copy:
            for n in range(1000):
                copy.write_row((n, "x" * n))
        with plain.copy("COPY t TO STDOUT (FORMAT binary)") as copy:
            got.append(sum(len(data) for data in copy))
        with plain.copy("COPY (SELECT * FROM t WHERE a < %s) TO STDOUT", (3,)) as copy:
            got.append([bytes(data) for data in copy])
        with pytest.raises(psycopg.errors.BadCopyFileFormat):
            feed(plain, "COPY t FROM STDIN")
        with pytest.raises(psycopg.errors.WrongObjectType):
            feed(plain, "COPY all_people FROM STDIN")
        plain.executemany("INSERT INTO t VALUES (%s, %s) RETURNING a", [(n, "y") for n in range(50)], returning=True)
        got.append(plain.fetchall())
        got.append(db.execute("SELECT count(*) FROM t").fetchone())
        got.append(db.info.transaction_status)
    return got


def run_together(db: psycopg.Connection[Any], *texts: str) -> None:
    with db.pipeline():
        for text in texts:
            db.execute(text.encode())


def feed(cursor: psycopg.Cursor[Any], text: str) -> None:
    with cursor.copy(text.encode()) as copy:
        copy.write(b"1\t2\t3\n")


def test_psycopg_gets_the_same(server: Postgres, proxy: int) -> None:
    assert every_way(proxy) == every_way(server.port)


def test_masks_in_every_way_psycopg_reads(proxy: int) -> None:
    with psycopg.connect(host="127.0.0.1", port=proxy, user="postgres", autocommit=True) as db:
        text = "SELECT ssn FROM people WHERE id = %s"
        for n in range(1, 9):
            assert db.execute(text, (n,)).fetchall() == [("***",)]
            assert db.execute(text, (n,), binary=True).fetchall() == [("***",)]
        with db.pipeline():
            assert [c.fetchall() for c in [db.execute(text, (n,)) for n in range(1, 30)]] == [[("***",)]] * 29
        with db.transaction(), db.cursor("c") as cursor:
            cursor.execute("SELECT ssn FROM people")
            assert set(cursor.fetchall()) == {("***",)}
        db.execute("PREPARE p AS SELECT ssn FROM people LIMIT 1")
        assert db.execute("EXECUTE p").fetchall() == [("***",)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.execute("SELECT max(ssn) AS secret FROM people WHERE id < %s", (3,))
        assert db.execute("SELECT 1").fetchall() == [(1,)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege), db.transaction():
            db.execute("DELETE FROM people WHERE id = %s", (1,))
        assert db.execute("SELECT count(*) FROM people").fetchall() == [(500,)]


async def asyncpg_every_way(port: int) -> list[Any]:
    db = await asyncpg.connect(  # type: ignore[no-untyped-call]
        host="127.0.0.1", port=port, user="postgres", database="postgres"
    )
    try:
        got: list[Any] = [await db.fetch("SELECT id, name FROM people WHERE id < $1", 5)]
        got.append(await db.fetchval("SELECT ssn = '***' FROM people WHERE id = 1"))
        statement = await db.prepare("SELECT id FROM people WHERE id = $1")
        got += [await statement.fetchval(n) for n in range(5)]
        async with db.transaction():
            got.append([r["id"] async for r in db.cursor("SELECT id FROM people ORDER BY id", prefetch=7)])
        await db.execute("CREATE TEMP TABLE u (a int, b text)")
        got.append(await db.copy_records_to_table("u", records=[(n, "x") for n in range(2000)]))
        await db.executemany("INSERT INTO u VALUES ($1, $2)", [(n, "y") for n in range(100)])
        got.append(await db.fetchval("SELECT count(*) FROM u"))
        try:
            await db.execute("SELECT 1/0")
        except asyncpg.DivisionByZeroError as error:
            got.append(error.sqlstate)
        await db.reset()
        return got
    finally:
        await db.close()


def test_asyncpg_gets_the_same(server: Postgres, proxy: int) -> None:
    assert asyncio.run(asyncpg_every_way(proxy)) == asyncio.run(asyncpg_every_way(server.port))


@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
def test_pgbench(server: Postgres, mode: str) -> None:
    def pgbench(port: int, *more: str) -> str:
        run = subprocess.run(
            [BINARIES / "pgbench", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", *more, "postgres"],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        return run.stdout

    pgbench(server.port, "-i", "-q")
    with passing_proxy(server.port, ScriptedGate) as (port, sessions):
        out = pgbench(port, "-n", "-T", "2", "-c", "2", "-M", mode)
    assert "number of failed transactions: 0" in out
    assert all(_clean(session) for session in sessions)


def _clean(session: Session) -> bool:
    return session.ended_well and session.closing
