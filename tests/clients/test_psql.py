"""psql: what it asks of the catalog for itself, and what it does with a result."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import time

import pytest

from tests.clients.side_by_side import directly, intercepted, same, where
from tests.support.postgres import BINARIES
from tests.support.stack import Stack, environment

PSQL = str(BINARIES / "psql")
DESCRIBING = ["d", "d customers", "d+ customers", "d contacts", "d+ contacts", "da", "dA", "db", "dc", "dC", "dconfig",
              "dd", "dD", "ddp", "des", "det", "deu", "dew", "df", "df+ upper", "dF", "dFd", "dFp", "dFt", "dg", "di",
              "dl", "dL", "dm", "dn", "dn+", "do", "dO", "dp", "dP", "drds", "dRp", "dRs", "ds", "dt", "dt+", "dT",
              "du", "dv", "dx", "dX", "dy", "l", "sf+ pg_catalog.rpad(text, int)", "sv contacts", "z",
              "encoding", "errverbose"]  # fmt: skip


def psql(stack: Stack, *options: str) -> list[str]:
    return [PSQL, "-X", *where(stack), "-d", "postgres", *options]


@pytest.mark.parametrize("person", ["ann", "bob"])
def test_every_describing_command_passes(stack: Stack, person: str) -> None:
    script = "".join(f"\\{command}\n" for command in DESCRIBING)
    run = intercepted(stack, psql(stack), script, person=person)
    there = directly(psql(stack), script)
    assert run.stderr == there.stderr
    # sizes of tables grow meanwhile
    assert _sizeless(run.stdout) == _sizeless(there.stdout)


def _sizeless(text: str) -> str:
    return re.sub(r"\d+ (?:bytes|kB|MB)", "SIZE", text)


def test_results_in_every_format(stack: Stack) -> None:
    script = "\n".join(
        f"\\pset format {form}\nSELECT id, total FROM orders WHERE id < 4 ORDER BY id;"
        for form in ("aligned", "csv", "html", "unaligned", "wrapped", "latex", "asciidoc")
    )
    assert "10" in same(stack, psql(stack), script + "\n\\x\nSELECT 1 AS a, NULL AS b;\n")


def test_gdesc_gset_gexec_crosstab_and_bind(stack: Stack) -> None:
    script = """
    SELECT 1 AS one, email FROM customers \\gdesc
    SELECT 5 AS five \\gset
    SELECT :five + 1 AS six;
    SELECT format('SELECT %s AS made', i) FROM generate_series(1, 3) i \\gexec
    SELECT 1 AS r, 'a' AS c, 2 AS v \\crosstabview
    \\set FETCH_COUNT 7
    SELECT id FROM orders ORDER BY id LIMIT 20;
    \\errverbose
    SELECT * FROM nowhere;
    \\echo :SQLSTATE :ROW_COUNT :LAST_ERROR_MESSAGE
    """
    out = same(stack, psql(stack), script)
    assert "email  | text" in out
    assert "42P01" in out


def test_copy_both_ways(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> None:
    rows = stack.folder / "rows.csv"
    rows.write_text('1,"a ""quoted"" one"\n2,"two\nlines"\n3,\\N\n')
    rows.chmod(0o644)
    script = f"""
    BEGIN;
    \\copy scratch FROM '{rows}' CSV
    \\copy (SELECT * FROM scratch ORDER BY id) TO STDOUT
    \\copy (SELECT * FROM scratch ORDER BY id) TO STDOUT CSV HEADER
    COPY scratch TO STDOUT (FORMAT csv, FORCE_QUOTE *);
    \\copy (SELECT * FROM scratch) TO '/dev/null' BINARY
    ROLLBACK;
    """
    assert 'a "quoted" one' in same(stack, psql(stack), script)


def test_copy_of_masked_columns_is_masked(stack: Stack) -> None:
    script = """
    \\copy (SELECT id, email, ssn FROM customers ORDER BY id LIMIT 2) TO STDOUT
    \\copy (SELECT id, email, ssn FROM customers ORDER BY id LIMIT 2) TO STDOUT CSV HEADER
    SELECT 'still here';
    """
    run = intercepted(stack, psql(stack, "-At"), script, person="ann")
    assert run.stdout.splitlines() == [
        "1\tu***@e***.org\t***",
        "2\tu***@e***.org\t***",
        "id,email,ssn",
        "1,u***@e***.org,***",
        "2,u***@e***.org,***",
        "still here",
    ], run.stderr


def test_watch(stack: Stack) -> None:
    script = "SELECT total FROM orders WHERE id = 3 \\watch 0.1\n"
    with subprocess.Popen(
        stack.command("ann", psql(stack, "-At")), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env=environment(), cwd="/",
    ) as watching:  # fmt: skip
        assert watching.stdin is not None
        assert watching.stdout is not None
        watching.stdin.write(script)
        watching.stdin.flush()
        seen = 0
        while seen < 3:
            line = watching.stdout.readline()
            assert line
            seen += line.strip() == "30"
        watching.kill()


def test_tab_completion(stack: Stack) -> None:
    argv = stack.command("ann", psql(stack, "-v", "PROMPT1=", "-v", "PROMPT2="))
    master, slave = pty.openpty()
    try:
        with subprocess.Popen(
            argv, stdin=slave, stdout=slave, stderr=slave, cwd="/", start_new_session=True,
            env={**environment(), "TERM": "xterm", "LC_ALL": "C.UTF-8"},
        ) as running:  # fmt: skip
            os.close(slave)
            slave = -1
            try:
                _until(master, b"", "help")  # the greeting
                _until(master, b"SELECT * FROM custo\t", "customers ")
                _until(master, b"WHERE ema\t", "email ")
                assert "u***@e***.org" in _until(master, b"LIKE 'user7@%';\n", "(1 row)")
            finally:
                running.kill()
    finally:
        os.close(master)
        if slave >= 0:
            os.close(slave)


def _until(terminal: int, typed: bytes, wanted: str) -> str:
    """Type something and read the terminal until `wanted` stands there."""
    os.write(terminal, typed)
    seen = b""
    deadline = time.monotonic() + 20
    while wanted not in seen.decode("utf-8", "replace"):
        ready, _, _ = select.select([terminal], [], [], deadline - time.monotonic())
        assert ready, seen
        seen += os.read(terminal, 4096)
    return seen.decode("utf-8", "replace")
