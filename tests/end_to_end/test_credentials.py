"""Credentials stay with the agent: ordinary clients need none, and none is anywhere that somebody could read it."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from lockgate.wire.postgresql.frames import cancel_request, query, startup
from lockgate.wire.postgresql.scram import salted_password
from tests.support.postgres18 import Postgres18
from tests.support.raw import Raw
from tests.support.stack import SCHEMA, Stack, environment

PASSWORD = "Tr0ub4dor-and-3"
OTHER = "c0rrect-h0rse"
HBA = """
local all all trust
host all lockgate all trust
host all app all scram-sha-256
host all owner all md5
host all all all reject
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("secrets")
    (folder / "app.pw").touch(0o600)
    (folder / "app.pw").write_text(PASSWORD + "\n")
    fetch = folder / "fetch"
    fetch.write_text(f"#!/bin/sh\necho {OTHER}\n")
    fetch.chmod(0o700)
    schema = f"""{SCHEMA}
    ALTER ROLE app PASSWORD '{PASSWORD}';
    SET password_encryption = md5; CREATE ROLE owner LOGIN PASSWORD '{OTHER}';
    """
    datastore = {
        "credential": {"user": "app", "password_file": str(folder / "app.pw")},
        "roles": [{"group": "dba", "credential": {"user": "owner", "command": [str(fetch)]}}],
    }
    with Stack(server=Postgres18(hba=HBA), schema=schema, datastore=datastore) as running:
        yield running


WHO = "SELECT current_user, current_database()"


def test_a_client_needs_none(stack: Stack) -> None:
    for claimed in ("app", "nobody", "postgres"):
        run = subprocess.run(
            stack.psql_command("ann", "-w", "-U", claimed, "-c", WHO),
            capture_output=True, text=True, check=False, timeout=30, env=environment(),
        )  # fmt: skip
        assert (run.stdout, run.stderr) == ("app|postgres\n", "")


def test_what_it_knows_is_not_asked_for(stack: Stack) -> None:
    assert stack.psql("ann", WHO, PGPASSWORD="wrong").stdout == "app|postgres\n"


def test_the_role_is_that_of_the_group(stack: Stack) -> None:
    assert stack.psql("bob", WHO).stdout == "owner|postgres\n"
    record = stack.record(type="statement", phase="begin", statement=WHO)
    assert record["connection"]["user"] == "app"


PSYCOPG = """
import json, sys, psycopg
out = []
for version in ("3.0", "3.2", "latest"):
    with psycopg.connect(host="127.0.0.1", port=int(sys.argv[1]), user="x", dbname="postgres",
                         max_protocol_version=version) as connection:
        out.append([connection.pgconn.full_protocol_version, connection.execute("SELECT 1").fetchone()[0]])
        cancel = connection.pgconn.cancel_conn()
        cancel.blocking() if hasattr(cancel, "blocking") else cancel.start()
print(json.dumps(out))
"""


def test_newer_protocols_of_libpq_18(stack: Stack) -> None:
    run = subprocess.run(
        stack.command("ann", [sys.executable, "-c", PSYCOPG, str(stack.server.port)]),
        capture_output=True, text=True, check=False, timeout=60, env=environment(), cwd="/",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == [[30000, 1], [30002, 1], [30002, 1]]


def test_a_long_key_cancels(stack: Stack) -> None:
    with Raw(stack, "ann") as one, Raw(stack, "ann") as two:
        one.send(startup({"user": "x", "database": "postgres"}, minor=2))
        keys = [payload for kind, payload in one.until() if kind == "K"]
        assert [len(key) for key in keys] == [36]
        one.send(query("SELECT pg_sleep(30)"))
        stack.record(type="statement", phase="begin", statement="SELECT pg_sleep(30)")
        two.send(cancel_request(int.from_bytes(keys[0][:4], "big"), keys[0][4:]))
        assert any(kind == "E" and b"57014" in payload for kind, payload in one.until())


def forms(stack: Stack, role: str, password: str) -> list[bytes]:
    """The password as it could turn up: itself, encoded, and everything that stands for it in SCRAM and md5."""
    raw = password.encode()
    found = [raw, base64.b64encode(raw).rstrip(b"="), raw.hex().encode()]
    stored = stack.server.psql(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{role}'").strip()
    scram = re.fullmatch(r"SCRAM-SHA-256\$(\d+):([^$]+)\$([^:]+):(.+)", stored)
    if scram is None:
        return [*found, stored.removeprefix("md5").encode()]
    salted = salted_password(password, base64.b64decode(scram[2]), int(scram[1]))
    keys = [salted, *(base64.b64decode(scram[n]) for n in (3, 4))]
    return [*found, *keys, *(base64.b64encode(key).rstrip(b"=") for key in keys), *(key.hex().encode() for key in keys)]


def test_it_is_nowhere(stack: Stack) -> None:
    heard = b""
    for person in ("ann", "bob"):
        with Raw(stack, person) as raw:
            raw.start()
            raw.send(query("SELECT 1"))
            raw.until()
            heard += raw.heard
    stack.server.psql("ALTER ROLE app PASSWORD 'changed'")
    refused = stack.psql("ann", WHO).stderr
    stack.server.psql(f"ALTER ROLE app PASSWORD '{PASSWORD}'")
    assert "the datastore refused the agent's credential (SQLSTATE 28P01)" in refused
    assert '"app"' not in refused
    assert 'user \\"app\\"' in stack.log("agent")
    places = [heard, refused.encode()]
    files = [path for path in stack.folder.rglob("*") if path.is_file() and path.parent.name != "bpf"]
    places += [path.read_bytes() for path in files]
    with urllib.request.urlopen(f"http://127.0.0.1:{stack.metrics_port}/metrics") as page:
        places.append(page.read())
    places.append(json.dumps(stack.json("status", "--config", str(stack.agent_yaml))).encode())
    proc = Path(f"/proc/{stack.processes['agent'].pid}")
    places += [(proc / name).read_bytes() for name in ("cmdline", "environ")]
    assert any(b"pg_sleep" in place for place in places)  # it does look where records are
    for role, password in (("app", PASSWORD), ("owner", OTHER)):
        for form in forms(stack, role, password):
            assert not any(form in place for place in places)


def test_nobody_looks_into_the_agent(stack: Stack) -> None:
    limits = Path(f"/proc/{stack.processes['agent'].pid}/limits").read_text()
    assert re.search(r"Max core file size +0 +0 ", limits)
