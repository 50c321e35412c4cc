"""Ordinary clients, unchanged: what they get directly they get through the agent."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from tests.support.postgres import BINARIES
from tests.support.stack import Stack, environment


def python(stack: Stack, code: str) -> str:
    """Run Python among the intercepted processes, as ann; its output."""
    prelude = f"HOST, PORT = '127.0.0.1', {stack.server.port}\n"
    run = subprocess.run(
        stack.command("ann", [sys.executable, "-c", prelude + textwrap.dedent(code)]),
        capture_output=True, text=True, check=False, timeout=60, env=environment(), cwd="/",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_psycopg_with_parameters_cursors_and_copy(stack: Stack) -> None:
    out = python(
        stack,
        """
        import psycopg
        with psycopg.connect(host=HOST, port=PORT, user='app', dbname='postgres') as db:
            print(db.execute("SELECT total FROM orders WHERE id = %s", (3,)).fetchone())
            for _ in range(8):  # prepared by itself after the fifth
                print(db.execute("SELECT id FROM orders WHERE id = %s", (5,)).fetchone()[0], end=' ')
            with db.cursor(name='c') as cursor:
                cursor.itersize = 7
                cursor.execute("SELECT id FROM orders ORDER BY id")
                print(sum(1 for _ in cursor))
            with db.cursor().copy("COPY scratch (id, body) FROM STDIN") as copy:
                for i in range(1000):
                    copy.write_row((i, 'x' * 50))
            with db.cursor().copy("COPY scratch TO STDOUT") as copy:
                print(sum(len(piece) for piece in copy) > 50000)
            db.rollback()
            try:
                db.execute("DROP TABLE orders")
            except psycopg.errors.InsufficientPrivilege as error:
                print(error.diag.message_primary)
            db.rollback()
            print(db.execute("SELECT 1").fetchone())
        """,
    )
    assert out.splitlines() == [
        "(Decimal('30'),)",
        "5 5 5 5 5 5 5 5 100",
        "True",
        "lockgate: schema changes go through migrations",
        "(1,)",
    ]


def test_psycopg_pipelines(stack: Stack) -> None:
    out = python(
        stack,
        """
        import psycopg
        with psycopg.connect(host=HOST, port=PORT, user='app', dbname='postgres', autocommit=True) as db:
            with db.pipeline():
                cursors = [db.execute("SELECT %s::int", (i,)) for i in range(50)]
            print(sum(c.fetchone()[0] for c in cursors))
            try:
                with db.pipeline() as pipeline:
                    a = db.execute("SELECT 1")
                    pipeline.sync()
                    b = db.execute("DROP TABLE orders")
                    c = db.execute("SELECT 3")
            except psycopg.errors.InsufficientPrivilege as error:
                print('refused', a.fetchone())
            print(db.execute("SELECT 4").fetchone())
        """,
    )
    assert out.splitlines() == ["1225", "refused (1,)", "(4,)"]


def test_asyncpg_in_binary(stack: Stack) -> None:
    out = python(
        stack,
        """
        import asyncio, asyncpg
        async def main():
            db = await asyncpg.connect(host=HOST, port=PORT, user='app', database='postgres')
            print(await db.fetchval("SELECT total FROM orders WHERE id = $1", 4))
            row = await db.fetchrow("SELECT id, email, ssn, born FROM customers WHERE id = $1", 9)
            print(tuple(row))
            async with db.transaction():
                print(len([r async for r in db.cursor("SELECT id FROM orders", prefetch=9)]))
            await db.executemany("INSERT INTO scratch VALUES ($1, $2)", [(i, 'y') for i in range(20)])
            try:
                await db.execute("DROP TABLE orders")
            except asyncpg.InsufficientPrivilegeError as error:
                print(error.message)
            print(await db.fetchval("SELECT 5"))
            await db.close()
        asyncio.run(main())
        """,
    )
    stack.server.psql("TRUNCATE scratch")
    assert out.splitlines() == [
        "40",
        "(9, 'u***@e***.org', '***', None)",
        "100",
        "lockgate: schema changes go through migrations",
        "5",
    ]


@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
def test_pgbench(stack: Stack, mode: str) -> None:
    script = stack.folder / "bench.sql"
    script.write_text("\\set i random(1, 100)\nSELECT total FROM orders WHERE id = :i;\n")
    script.chmod(0o644)
    run = subprocess.run(
        stack.command("ann", [str(BINARIES / "pgbench"), "-n", "-f", str(script), "-M", mode, "-c", "4", "-t", "50",
                              "-h", "127.0.0.1", "-p", str(stack.server.port), "-U", "app", "postgres"]),
        capture_output=True, text=True, check=False, timeout=60, env=environment(),
    )  # fmt: skip
    assert "number of transactions actually processed: 200/200" in run.stdout, run.stderr
    assert "number of failed transactions: 0" in run.stdout


def test_psql_describes_and_completes(stack: Stack) -> None:
    script = "\\d customers\n\\dt\n\\du\n\\l\n\\df\nSELECT 1 AS one \\gdesc\n"
    run = subprocess.run(
        stack.psql_command("ann"), input=script, capture_output=True, text=True, check=False, timeout=30,
        env=environment(),
    )  # fmt: skip
    assert run.stderr == ""
    assert "email|text" in run.stdout
    assert "one|integer" in run.stdout


def test_pg_dump_of_what_is_not_classified(stack: Stack) -> None:
    run = subprocess.run(
        stack.command("ann", ["pg_dump", "-h", "127.0.0.1", "-p", str(stack.server.port), "-U", "app", "-t", "orders",
                              "postgres"]),
        capture_output=True, text=True, check=False, timeout=60, env=environment(),
    )  # fmt: skip
    assert "COPY public.orders" in run.stdout, run.stderr
