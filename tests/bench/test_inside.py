"""What is measured by itself is measured: every kind, none of it nothing, and hits are cheaper than misses."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.bench import inside
from tests.bench.report import BESIDE, COSTS, HITS, MISSES
from tests.proxy.house import play
from tests.support.postgres import Postgres

NAMES = {measure.name for measure in COSTS}


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inside, "STATEMENTS", 20)
    monkeypatch.setattr(inside, "RUNS", 3)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres() as server:
        server.psql("CREATE ROLE lockgate LOGIN")
        yield server


def test_statements_judged_before_and_never() -> None:
    found = play(inside.judge())
    beside = {f"{how} {name}" for how in ("observed", "tried") for name in BESIDE}
    ordinary = {f"hit {name}" for name in HITS} | {f"miss {name}" for name in MISSES}
    assert set(found) == ordinary | beside | {"masked adds"}
    assert set(found) <= NAMES
    assert 0 < found["hit masked"] < found["miss one table"]


def test_detectors_find_what_is_there() -> None:
    found = asyncio.run(inside.detectors())
    assert set(found) <= NAMES
    assert found["detectors clean"] > 0


def test_catalogs_are_read_and_removed(server: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inside, "RELATIONS", (3, 30))
    found = play(inside.catalog(server.port))
    assert set(found) == {"catalog 3", "catalog 30"}
    assert server.psql("SELECT count(*) FROM pg_database WHERE datname LIKE 'bench%'") == "0\n"
