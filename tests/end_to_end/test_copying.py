"""COPY TO STDOUT in every format and by ordinary clients: masked as a SELECT is, and the server's own bytes besides."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.end_to_end.test_clients import python
from tests.support.postgres import BINARIES
from tests.support.stack import SCHEMA, Stack, environment

AWKWARD = r"""
CREATE TABLE awkward (id int PRIMARY KEY, email text, "a,b" text, doc jsonb, born date, amount numeric,
                      folded text GENERATED ALWAYS AS (upper("a,b")) STORED);
INSERT INTO awkward (id, email, "a,b", doc, born, amount) VALUES
  (1, 'user1@example.org', 'plain', '{"a": 1}', '1980-02-03', 1.50),
  (2, NULL, NULL, NULL, NULL, NULL),
  (3, '', '', '"x"', 'infinity', 0),
  (4, E'us\ter4@exa\nmple.org', E'tab\t, line\n, return\r, \\backslash, "quote", ''one''', '[]', '0001-01-01 BC', -1),
  (5, '\.', '\.', '{"t": "a,b"}', '2000-01-01', 'NaN'),
  (6, '\N', '\N', 'null', '2000-01-01', 1e30),
  (7, 'üser7@exämple.org', 'ünï|cödé 漢字 \x', '{"t": "ü"}', '2000-01-01', 1),
  (8, '"user8@example.org"', '"', '{"t": "\""}', '2000-01-01', 1),
  (9, E'\\\\user9', E'\\', '{}', '2000-01-01', 1),
  (10, repeat('user10@example.org', 30000), repeat(E'long\n\t"\\', 30000), '{}', '2000-01-01', 1);
INSERT INTO awkward (id, email, "a,b") SELECT n, 'user' || n || '@example.org', repeat(E'\\\n,"x', n % 40)
  FROM generate_series(11, 1000) n;
GRANT ALL ON awkward TO app;
"""
CLASSIFICATION = {
    "orders": {
        "public.customers.email": ["email"],
        "public.customers.ssn": ["pii"],
        "public.awkward.email": ["email"],
        "public.awkward.doc": ["pii"],
        "public.awkward.born": ["pii"],
    }
}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(schema=SCHEMA + AWKWARD, classification=CLASSIFICATION) as running:
        yield running


FORMATS = [
    "",
    "(DELIMITER '|')",
    "(HEADER)",
    "(FORMAT csv)",
    "(FORMAT csv, HEADER, DELIMITER ';', QUOTE '''', ESCAPE '\\', NULL 'NULL', FORCE_QUOTE *)",
    "CSV QUOTE 'u' FORCE QUOTE email, \"a,b\"",
    "(FORMAT binary)",
]


@pytest.mark.parametrize("options", FORMATS)
def test_what_comes_is_what_the_server_makes_of_masked_rows(stack: Stack, options: str) -> None:
    """The server writes a table of the rows that ann's SELECT shows: the agent has to send the very same messages."""
    with psycopg.connect(host="127.0.0.1", port=stack.server.port, user="postgres", dbname="postgres") as server:
        server.execute("""CREATE TEMP TABLE shown AS SELECT id, email, "a,b", doc, born, amount FROM awkward""")
        with server.cursor() as cursor:
            cursor.executemany("UPDATE shown SET email = %s WHERE id = %s", [(mail, n) for n, mail in seen(stack)])
        server.execute("UPDATE shown SET doc = to_jsonb('***'::text) WHERE doc IS NOT NULL")
        server.execute("UPDATE shown SET born = NULL")
        with server.cursor().copy(f"COPY (SELECT * FROM shown ORDER BY id) TO STDOUT {options}") as copy:
            expected = [bytes(message).decode("latin-1") for message in copy]
        server.rollback()
    query = 'SELECT id, email, "a,b", doc, born, amount FROM awkward ORDER BY id'
    found = through(stack, f"COPY ({query}) TO STDOUT {options}")
    assert len(found) == len(expected)
    # compared one by one: a difference of the whole would be as long as the rows are
    assert [pair for pair in zip(found, expected, strict=True) if pair[0] != pair[1]][:1] == []


def seen(stack: Stack) -> list[list[Any]]:
    """The numbers and addresses that a SELECT shows to ann."""
    return run(stack, "print(json.dumps(db.execute('SELECT id, email FROM awkward').fetchall()))")


def through(stack: Stack, text: str) -> list[str]:
    """The messages of a COPY as ann gets them, as latin-1."""
    lines = f"with db.cursor().copy({text!r}) as copy:\n    found = [bytes(m).decode('latin-1') for m in copy]"
    return run(stack, f"{lines}\nprint(json.dumps(found))")


def run(stack: Stack, line: str) -> list[Any]:
    opening = "db = psycopg.connect(host=HOST, port=PORT, user='app', dbname='postgres')"
    found: list[Any] = json.loads(python(stack, f"import json, psycopg\n{opening}\n{line}\ndb.close()"))
    return found


def test_rows_of_psycopg_and_of_asyncpg(stack: Stack) -> None:
    out = python(
        stack,
        """
        import asyncio, io, asyncpg, psycopg
        QUERY = "SELECT id, email, born FROM awkward WHERE id < 3 ORDER BY id"
        with psycopg.connect(host=HOST, port=PORT, user='app', dbname='postgres') as db:
            for options in ("", "(FORMAT binary)"):
                with db.cursor().copy(f"COPY ({QUERY}) TO STDOUT {options}") as copy:
                    copy.set_types(["int4", "text", "date"])
                    print(list(copy.rows()))
            with db.cursor().copy("COPY (SELECT email FROM awkward WHERE id = %s) TO STDOUT", (1,)) as copy:
                print(list(copy.rows()))
            print(db.execute("SELECT 1").fetchone())
        async def main():
            db = await asyncpg.connect(host=HOST, port=PORT, user='app', database='postgres')
            for options in ({}, {"format": "csv", "header": True}, {"format": "binary"}):
                out = io.BytesIO()
                print(await db.copy_from_query(QUERY, output=out, **options), out.getvalue()[-24:])
            out = io.BytesIO()
            print(await db.copy_from_table("awkward", columns=["email"], output=out), out.getvalue()[:30])
            print(await db.fetchval("SELECT 1"))
            await db.close()
        asyncio.run(main())
        """,
    )
    assert out.splitlines() == [
        "[(1, 'u***@e***.org', None), (2, None, None)]",
        "[(1, 'u***@e***.org', None), (2, None, None)]",
        "[('u***@e***.org',)]",
        "(1,)",
        r"COPY 2 b'***@e***.org\t\\N\n2\t\\N\t\\N\n'",
        r"COPY 2 b'rn\n1,u***@e***.org,\n2,,\n'",
        r"COPY 2 b'\xff\xff\xff\xff\x00\x03\x00\x00\x00\x04\x00\x00\x00\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff'",
        r"COPY 1000 b'u***@e***.org\n\\N\n***\nu********'",
        "1",
    ]


def test_copy_of_psql_and_pg_dump(stack: Stack) -> None:
    shown = stack.psql("ann", r"\copy (SELECT id, email FROM awkward WHERE id < 3 ORDER BY id) TO PSTDOUT CSV HEADER")
    assert shown.stdout == "id,email\n1,u***@e***.org\n2,\n", shown.stderr
    argv = [f"{BINARIES}/pg_dump", "-h", "127.0.0.1", "-p", str(stack.server.port), "-U", "app", "-d", "postgres"]
    dump = subprocess.run(
        stack.command("ann", [*argv, "--data-only", "-t", "customers"]),
        capture_output=True, text=True, check=False, timeout=60, env=environment(), cwd="/",
    )  # fmt: skip
    assert dump.returncode == 0, dump.stderr
    assert "7\tname7\tu***@e***.org\t***\t" in dump.stdout
    assert "user7@" not in dump.stdout


def test_what_was_copied_is_recorded_with_the_cells_that_were_masked(stack: Stack) -> None:
    stack.psql("ann", "COPY (SELECT id, email FROM customers) TO STDOUT")
    begun = stack.record(type="statement", phase="begin", statement="COPY (SELECT id, email FROM customers) TO STDOUT")
    ended = stack.record(type="statement", phase="end", id=begun["id"])
    assert (ended["outcome"], ended["rows"], ended["masked_cells"]) == ("completed", 100, 100)
