"""What is measured before Redis: that it did run, and that what was refused is no figure."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bench.peers import Peer
from tests.bench.redis_workloads import COMMANDS, MGET, benchmark, commands, latency
from tests.bench.workloads import Failed
from tests.support.redis import Redis


@pytest.fixture(scope="module")
def server() -> Iterator[Redis]:
    with Redis(users={"default": "on nopass ~* &* +@all -mget"}) as running:
        yield running


def test_what_is_asked_for_is_what_the_server_runs(server: Redis) -> None:
    before = server.calls("GET")
    found = benchmark(Peer("direct", server.port), "GET", 16, 4, 800)
    assert server.calls("GET") == before + 800
    assert float(found["rps"]) > 0


def test_a_workload_gives_its_measures(server: Redis) -> None:
    made = commands(server, "SET", 16, 2).run(Peer("direct", server.port), 1)
    assert list(made) == ["redis SET P16 x2"]
    assert set(latency().run(Peer("direct", server.port), 1)) == {"redis latency p50", "redis latency p99"}


def test_what_is_refused_is_a_failure_and_no_figure(server: Redis) -> None:
    with pytest.raises(Failed, match="NOPERM"):
        benchmark(Peer("direct", server.port), "MGET", 1, 1, 100)


def test_what_does_not_reach_the_server_is_a_failure() -> None:
    with Redis() as one, Redis() as other, pytest.raises(Failed, match="the server ran 0"):
        commands(other, "GET", 16, 1).run(Peer("direct", one.port), 1)


def test_every_key_of_an_mget_is_at_random() -> None:
    assert COMMANDS["MGET"].count("key:__rand_int__") == MGET
