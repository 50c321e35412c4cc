"""The benchmark's client against a real server: it counts to the last byte and says when it couldn't."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certificates import Signer, install
from tests.support.postgres import Postgres

UID = "64001"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres() as server:
        install(server.folder / "data", *Signer(tmp_path_factory.mktemp("ca")).certify("db", "127.0.0.1"))
        server.psql("CREATE ROLE app LOGIN; ALTER SYSTEM SET ssl = on")
        server.psql("SELECT pg_reload_conf()")
        yield server


def run(server: Postgres, what: str, argument: str, tls: str = "disable") -> subprocess.CompletedProcess[str]:
    program = str(Path(__file__).with_name("client.py"))
    argv = [sys.executable, "-I", program, UID, "127.0.0.1", str(server.port), tls, what, argument]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60, cwd="/", input="")


def test_a_result_is_counted_to_its_last_byte(server: Postgres) -> None:
    answer = json.loads(run(server, "bulk", "SELECT repeat('x', 93) FROM generate_series(1, 30000)").stdout)
    description = 1 + 4 + 2 + len("repeat\0") + 18
    row = 1 + 4 + 2 + 4 + 93
    assert answer["bytes"] == description + 30000 * row + 1 + 4 + len("SELECT 30000\0") + 6
    assert answer["tail"].endswith("SELECT 30000\0Z\0\0\0\5I")
    assert "xxx" in answer["head"]


@pytest.mark.parametrize("tls", ["disable", "require"])
def test_it_is_the_same_inside_tls_and_in_binary(server: Postgres, tls: str) -> None:
    answer = json.loads(run(server, "binary", "SELECT i FROM generate_series(1, 3000) i", tls).stdout)
    row = 1 + 4 + 2 + 4 + 4
    assert answer["bytes"] == 5 + 5 + (1 + 4 + 2 + len("i\0") + 18) + 3000 * row + 1 + 4 + len("SELECT 3000\0") + 6
    assert b"\0\0\0\4\0\0\0\1" in answer["head"].encode("latin-1")


@pytest.mark.parametrize("tls", ["disable", "require"])
def test_connections_are_whole(server: Postgres, tls: str) -> None:
    assert len(json.loads(run(server, "connect", "0.3", tls).stdout)["microseconds"]) > 2


def test_tls_that_is_not_offered_is_an_error() -> None:
    with Postgres() as plain:
        plain.psql("CREATE ROLE app LOGIN")
        assert "TLS is not offered" in run(plain, "latency", "0.1", "require").stderr


def test_a_direct_start_asks_for_the_protocol_by_its_name() -> None:
    program = str(Path(__file__).with_name("client.py"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = str(listening.getsockname()[1])
        argv = [sys.executable, "-I", program, UID, "127.0.0.1", port, "direct", "latency", "0.1"]
        with subprocess.Popen(argv, stderr=subprocess.PIPE, cwd="/") as client:
            accepted, _ = listening.accept()
            with accepted:
                hello = accepted.recv(4096)
            client.communicate()
    assert hello[:1] == b"\x16"
    assert b"postgresql" in hello


def test_a_refused_statement_is_not_a_fast_one(server: Postgres) -> None:
    answer = run(server, "bulk", "SELECT * FROM nowhere")
    assert answer.returncode != 0
    assert 'relation "nowhere" does not exist' in answer.stderr


def test_latency_is_of_whole_round_trips(server: Postgres) -> None:
    taken = json.loads(run(server, "latency", "0.2").stdout)["microseconds"]
    assert len(taken) > 10
    assert 0.05 < sum(taken) / 1e6 < 1.0


def test_idle_connections_are_open_until_the_input_ends(server: Postgres) -> None:
    answer = run(server, "idle", "3")
    assert json.loads(answer.stdout) == {"open": 3}


def test_it_runs_as_who_it_is_told(server: Postgres) -> None:
    program = str(Path(__file__).with_name("client.py"))
    argv = [sys.executable, "-I", program, UID, "127.0.0.1", str(server.port), "disable", "idle", "1"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/") as client:
        assert client.stdout is not None
        assert client.stdout.readline()
        status = Path(f"/proc/{client.pid}/status").read_text()
        client.communicate()
    assert f"Uid:\t{UID}\t{UID}\t{UID}\t{UID}" in status
