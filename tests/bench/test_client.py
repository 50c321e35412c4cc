"""The benchmark's client against a real server: it counts to the last byte and says when it couldn't."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.postgres import Postgres

UID = "64001"


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres() as server:
        server.psql("CREATE ROLE app LOGIN")
        yield server


def run(server: Postgres, what: str, argument: str) -> subprocess.CompletedProcess[str]:
    program = str(Path(__file__).with_name("client.py"))
    argv = [sys.executable, "-I", program, UID, str(server.port), what, argument]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60, cwd="/", input="")


def test_a_result_is_counted_to_its_last_byte(server: Postgres) -> None:
    answer = json.loads(run(server, "bulk", "SELECT repeat('x', 93) FROM generate_series(1, 30000)").stdout)
    description = 1 + 4 + 2 + len("repeat\0") + 18
    row = 1 + 4 + 2 + 4 + 93
    assert answer["bytes"] == description + 30000 * row + 1 + 4 + len("SELECT 30000\0") + 6
    assert answer["tail"].endswith("SELECT 30000\0Z\0\0\0\5I")
    assert "xxx" in answer["head"]


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
    argv = [sys.executable, "-I", program, UID, str(server.port), "idle", "1"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/") as client:
        assert client.stdout is not None
        assert client.stdout.readline()
        status = Path(f"/proc/{client.pid}/status").read_text()
        client.communicate()
    assert f"Uid:\t{UID}\t{UID}\t{UID}\t{UID}" in status
