"""A first install: everything is identified and recorded, and nothing fails because Lockgate is there."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import Signer, install
from tests.support.postgres import BINARIES, Postgres
from tests.support.stack import PEOPLE, POLICIES, Stack, environment

HBA = """
local all all trust
host replication all all trust
hostssl all bound all scram-sha-256
host all all all trust
"""

NEXT = (
    POLICIES
    + """
@id("no-updates") @reason("read only from May on")
forbid (principal, action == Action::"execute", resource) when { context.kinds.contains("UPDATE") };
"""
)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Observed is a PostgreSQL that takes TLS, SCRAM bound to it, and replication."""
    server = Postgres({"max_wal_senders": "4", "wal_level": "replica"}, hba=HBA)
    made = Stack(server=server, datastore={"mode": "observe"}, agent={"shadow": ["next"]})
    (made.folder / "next").mkdir()
    (made.folder / "next" / "all.cedar").write_text(NEXT)
    with made as running:
        signer = Signer(tmp_path_factory.mktemp("signer"))
        install(server.folder / "data", *signer.certify("server", "127.0.0.1"))
        server.psql(
            "ALTER SYSTEM SET ssl = on; SELECT pg_reload_conf(); CREATE ROLE copier REPLICATION LOGIN;"
            "CREATE ROLE bound LOGIN PASSWORD 's3cret'"
        )
        shutil.copy(signer.file, made.folder / "server-ca.crt")
        until(lambda: plain(running, "SELECT 1") and running.records(would="allow"))  # the catalog is there
        yield running


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of ann's."""
    made = Path(tempfile.mkdtemp(prefix="lockgate-ann-"))
    os.chown(made, PEOPLE["ann"], PEOPLE["ann"])
    yield made
    shutil.rmtree(made)


def until(condition: Callable[[], object], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def psql(stack: Stack, *statements: str, **variables: str) -> str:
    """What psql prints; it has to succeed."""
    done = subprocess.run(
        stack.psql_command("ann", *[option for text in statements for option in ("-c", text)]),
        capture_output=True, text=True, check=False, timeout=60, env=environment() | variables,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def plain(stack: Stack, *statements: str, **variables: str) -> str:
    return psql(stack, *statements, PGSSLMODE="disable", **variables)


def program(stack: Stack, *argv: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        stack.command("ann", argv), capture_output=True, text=True, check=False, timeout=90,
        env=environment() | {"PGSSLMODE": "disable", "PGGSSENCMODE": "disable"} | variables, cwd="/",
    )  # fmt: skip


def anybody(stack: Stack, name: str) -> list[str]:
    """A program of PostgreSQL's, on its way to the datastore."""
    return [str(BINARIES / name), "-h", "127.0.0.1", "-p", str(stack.server.port)]


def unread(stack: Stack) -> list[str]:
    return [r["unread"] for r in stack.records(type="connection") if "unread" in r]


def newly_unread(stack: Stack, before: list[str]) -> list[str]:
    until(lambda: len(unread(stack)) > len(before))
    return unread(stack)[len(before) :]


def turn(stack: Stack, mode: str) -> None:
    """Say the one line, and have it taken."""
    text, count = stack.agent_yaml.read_text(), len(stack.records(type="agent", event="mode"))
    other = {"observe": "enforce", "enforce": "observe"}[mode]
    stack.agent_yaml.write_text(text.replace(f"mode: {other}", f"mode: {mode}"))
    stack.processes["agent"].send_signal(signal.SIGHUP)
    until(lambda: len(stack.records(type="agent", event="mode")) > count)


# what can be read


def test_nothing_is_blocked_held_or_masked_and_the_record_says_what_would_have_been(stack: Stack) -> None:
    told = plain(
        stack,
        "CREATE TABLE mine (x int)",
        "DROP TABLE mine",
        "DELETE FROM scratch",
        "SELECT email FROM customers WHERE id = 7",
    )
    assert told.splitlines() == ["CREATE TABLE", "DROP TABLE", "DELETE 0", "user7@example.org"]
    found = {r["statement"]: r for r in stack.records(type="statement", phase="begin")}
    dropped, deleted = found["DROP TABLE mine"], found["DELETE FROM scratch"]
    read = next(r for text, r in found.items() if "email" in text)
    assert (dropped["verdict"], dropped["would"], dropped["policy"]) == ("allow", "deny", "no-drop")
    assert dropped["reason"] == "schema changes go through migrations"
    assert (deleted["would"], deleted["policy"]) == ("hold", "two-for-deletes")
    assert (read["would"], read["masks"]) == ("allow", [["public.customers.email", "partial"]])
    assert {r["connection"]["principal"] for r in found.values()} == {"ann"}
    assert {r["mode"] for r in found.values()} == {"observe"}
    assert "masked_cells" not in stack.record(type="statement", phase="end", id=read["id"])


def test_status_says_so_and_counts(stack: Stack) -> None:
    words = stack.lockgate("status", "--config", str(stack.agent_yaml)).stdout
    assert "datastore orders: OBSERVING: nothing is blocked, masked or held (`mode: enforce` in agent.yaml" in words
    (told,) = stack.json("status", "--config", str(stack.agent_yaml))
    (orders,) = told["datastores"]
    assert orders["mode"] == "observe"
    assert min(orders["statements"], orders["would_deny"], orders["would_hold"], orders["would_mask"]) >= 1
    assert told["shadow"] == {"configured": True, "epoch": 1, "problem": None}


def test_who_decides_on_enforcing_reads_a_summary(stack: Stack) -> None:
    plain(stack, "DELETE FROM scratch", "UPDATE scratch SET id = 1")
    config = str(stack.collector_yaml)

    def summary() -> dict[tuple[str, str, str], dict[str, Any]]:
        return {(e["kind"], e["decision"], e["policy"]): e for e in stack.json("audit", "would", "--config", config)}

    until(lambda: {("would", "hold", "two-for-deletes"), ("shadow", "deny", "no-updates")} <= summary().keys())
    held = summary()["would", "hold", "two-for-deletes"]
    assert (held["principals"], held["names"]) == (1, ["ann"])
    found = stack.json("audit", "search", "--config", config, "--would", "hold")
    assert held["example"] == found[0]["id"]
    (tried, *_) = stack.json("audit", "search", "--config", config, "--shadow", "deny")
    assert tried["statement"] == "UPDATE scratch SET id = 1"
    assert tried["shadow"]["reason"] == "read only from May on"
    assert tried["policy"] == "engineers-work"


# what can't


def test_psql_as_it_comes_has_the_datastores_own_tls(stack: Stack) -> None:
    before = unread(stack)
    assert "SSL connection (protocol: TLSv1.3" in psql(stack, "\\conninfo", "SELECT 1")
    assert newly_unread(stack, before) == ["tls"]
    begun = [r for r in stack.records(type="connection", phase="begin") if r.get("unread") == "tls"][-1]
    assert begun["connection"]["principal"] == "ann"


def test_a_client_that_verifies_meets_the_datastores_own_certificate(stack: Stack) -> None:
    ca = str(stack.folder / "server-ca.crt")
    told = psql(stack, "\\conninfo", "SELECT 1", PGSSLMODE="verify-full", PGSSLROOTCERT=ca)
    assert told.endswith("1\n")


def test_scram_bound_to_the_datastores_tls(stack: Stack) -> None:
    done = program(
        stack, *anybody(stack, "psql"), "-XAt", "-U", "bound", "-d", "postgres", "-c", "SELECT current_user",
        PGSSLMODE="require", PGPASSWORD="s3cret", PGCHANNELBINDING="require",
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "bound\n", "")


def test_a_statement_in_the_datastores_tls_is_cancelled_as_ever(stack: Stack) -> None:
    running = subprocess.Popen(
        stack.psql_command("ann", "-c", "SELECT pg_sleep(30)"), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=environment(),
    )  # fmt: skip
    asleep = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(30)' AND state = 'active'"
    until(lambda: "1" in stack.server.psql(asleep))
    running.send_signal(signal.SIGINT)
    assert "canceling statement due to user request" in running.communicate(timeout=10)[1]


def test_a_base_backup(stack: Stack, folder: Path) -> None:
    before = unread(stack)
    done = program(
        stack, *anybody(stack, "pg_basebackup"), "-U", "copier", "-D", str(folder / "copy"), "-X", "stream",
        "-c", "fast",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert (folder / "copy" / "PG_VERSION").exists()
    assert set(newly_unread(stack, before)) == {"replication connections are refused"}


def test_the_function_call_protocol(stack: Stack, folder: Path) -> None:
    file = folder / "large"
    file.write_bytes(b"x" * 100_000)
    file.chmod(0o644)
    before = unread(stack)
    told = plain(stack, f"\\lo_import {file}", "SELECT count(*) FROM pg_largeobject_metadata")
    assert told.splitlines()[0].startswith("lo_import ")
    assert newly_unread(stack, before) == ["the function call protocol is refused: call it in SQL"]


COPY = """
import asyncio, asyncpg

async def row():
    yield b"x" * 20_000_000 + b"\\n"

async def use():
    db = await asyncpg.connect(host="127.0.0.1", port={port}, user="app", database="postgres", ssl=False)
    await db.copy_to_table("scratch", source=row(), columns=["body"])
    print(await db.fetchval("SELECT max(length(body)) FROM scratch"))
    await db.execute("TRUNCATE scratch")
    await db.close()

asyncio.run(use())
"""


def test_a_row_of_twenty_million_bytes_is_copied(stack: Stack) -> None:
    before = unread(stack)
    done = program(stack, sys.executable, "-c", COPY.format(port=stack.server.port))
    assert (done.returncode, done.stdout) == (0, "20000000\n"), done.stderr
    assert newly_unread(stack, before)[0].endswith("the bound is 16777216")
    (begun,) = [r for r in stack.records(type="statement", phase="begin") if r["statement"].startswith("COPY")]
    assert stack.record(type="statement", phase="end", id=begun["id"])["outcome"] == "unread"


def test_text_in_another_encoding(stack: Stack) -> None:
    done = subprocess.run(
        stack.psql_command("ann", "-c", "SELECT 'Büro', length('Büro')".encode("latin-1").decode("latin-1")),
        capture_output=True, check=False, timeout=30,
        env=environment() | {"PGSSLMODE": "disable", "PGCLIENTENCODING": "LATIN1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_names_that_postgresql_cuts(stack: Stack) -> None:
    name = "n" * 70
    told = program(
        stack,
        str(BINARIES / "psql"),
        "-XAt",
        "-h",
        "127.0.0.1",
        "-p",
        str(stack.server.port),
        "-U",
        "app",
        "-d",
        "d" * 70,
    )
    assert f'database "{"d" * 63}" does not exist' in told.stderr, "PostgreSQL's own answer"
    done = stack.psql("ann", f"PREPARE {name} AS SELECT 5", f"EXECUTE {name}", PGSSLMODE="disable")
    assert (done.returncode, done.stdout) == (0, "PREPARE\n5\n")
    assert "will be truncated" in done.stderr


def events(stack: Stack, name: str) -> list[dict[str, Any]]:
    """What the collector has of what the agent did."""
    found = stack.json("audit", "search", "--config", str(stack.collector_yaml), "--limit", "1000")
    return [record for record in found if record.get("event") == name]


def test_a_spool_that_is_full_stops_nobody() -> None:
    bounds = {"max_bytes": 400_000, "segment_bytes": 100_000}
    with Stack(datastore={"mode": "observe"}, agent={"spool": bounds}) as small:
        small.stop("collector")
        long = "SELECT '" + "x" * 20_000 + "' = ''"
        for _ in range(3):
            assert plain(small, *[long] * 12) == "f\n" * 12
        assert small.log("agent").count("goes on without being recorded") == 1
        small.start("collector")
        until(lambda: plain(small, "SELECT 1") and small.log("agent").count("records are written again"), 30)
        until(lambda: events(small, "unrecorded"), 30)
        assert events(small, "unrecorded")[0]["count"] >= 10


# the policies that are tried


def test_what_is_tried_may_be_broken_and_nothing_is_the_worse_for_it(stack: Stack) -> None:
    file = stack.folder / "next" / "all.cedar"
    try:
        file.write_text("permit (nobody);")
        until(lambda: stack.records(type="agent", event="shadow-refused"))
        assert "next/all.cedar:1" in stack.records(type="agent", event="shadow-refused")[0]["detail"]
        plain(stack, "UPDATE scratch SET id = 2")
        assert stack.record(statement="UPDATE scratch SET id = 2")["shadow"]["policy"] == "no-updates", (
            "of the last one"
        )
        assert "NOT TAKEN" in stack.lockgate("status", "--config", str(stack.agent_yaml)).stdout
    finally:
        file.write_text(NEXT)
    until(lambda: stack.json("status", "--config", str(stack.agent_yaml))[0]["shadow"]["problem"] is None)


# the one line


def test_a_file_that_is_saved_turns_nothing_on(stack: Stack) -> None:
    text = stack.agent_yaml.read_text()
    try:
        stack.agent_yaml.write_text(text.replace("mode: observe", "mode: enforce"))
        time.sleep(3)
        assert plain(stack, "CREATE TABLE mine (x int)", "DROP TABLE mine") == "CREATE TABLE\nDROP TABLE\n"
    finally:
        stack.agent_yaml.write_text(text)


def test_one_line_turns_enforcement_on_and_off(stack: Stack) -> None:
    def session(**variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            stack.psql_command("ann"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, env=environment() | variables,
        )  # fmt: skip

    def ask(psql: subprocess.Popen[str], statement: str) -> str:
        assert psql.stdin is not None
        assert psql.stdout is not None
        psql.stdin.write(statement + ";\n")
        psql.stdin.flush()
        return psql.stdout.readline().strip()

    read, encrypted = session(PGSSLMODE="disable"), session()
    try:
        assert [ask(psql, "SELECT email FROM customers WHERE id = 7") for psql in (read, encrypted)] == [
            "user7@example.org", "user7@example.org",
        ]  # fmt: skip
        turn(stack, "enforce")
        try:
            assert ask(read, "SELECT email FROM customers WHERE id = 7") == "u***@e***.org", (
                "from the next statement on"
            )
            assert "EOF" in ask(encrypted, "SELECT 1"), "what is not read is closed"
            assert "schema changes go through migrations" in stack.psql("ann", "DROP TABLE orders").stderr
            assert "SSL connection" in stack.psql("ann", "\\conninfo").stdout, "now it is the agent's TLS"
            words = stack.lockgate("status", "--config", str(stack.agent_yaml)).stdout
            assert "OBSERVING" not in words
            assert "orders: enforcing" in words
            told = stack.records(type="agent", event="mode")[-1]
            assert (told["datastore"], told["from"], told["to"]) == ("orders", "observe", "enforce")
        finally:
            turn(stack, "observe")
        told = stack.records(type="agent", event="mode")[-1]
        assert (told["from"], told["to"]) == ("enforce", "observe")
        assert "NO LONGER ENFORCED" in stack.log("agent")
        assert ask(read, "SELECT email FROM customers WHERE id = 7") == "user7@example.org"
    finally:
        for psql in (read, encrypted):
            psql.kill()
            psql.communicate()


def test_what_else_is_different_waits_for_a_restart_and_a_mistake_is_told(stack: Stack) -> None:
    text = stack.agent_yaml.read_text()
    try:
        stack.agent_yaml.write_text(text + "\nlimits: {connections: 7}\n")
        stack.processes["agent"].send_signal(signal.SIGHUP)
        told = stack.record(type="agent", event="restart-needed")
        assert told["detail"] == "limits.connections"
        stack.agent_yaml.write_text(text.replace("mode: observe", "mode: observed"))
        stack.processes["agent"].send_signal(signal.SIGHUP)
        refused = stack.record(type="agent", event="reload-refused")
        assert "'observed' is none of enforce, observe" in refused["detail"]
    finally:
        stack.agent_yaml.write_text(text)


def test_clients_tls_can_be_passed_only_where_it_is_observed(stack: Stack) -> None:
    text = stack.agent_yaml.read_text()
    other = stack.folder / "other.yaml"
    other.write_text(text.replace("mode: observe", "mode: enforce\n  client_tls: pass"))
    done = stack.lockgate("agent", "--check", "--config", str(other))
    assert done.returncode == 2
    assert "client_tls: pass leaves clients' TLS unread: that is for mode: observe" in done.stderr
