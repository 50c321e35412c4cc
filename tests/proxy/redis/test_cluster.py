"""A node of a real cluster through the house: clients are sent on to where the agent is, and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.proxy.house import play
from tests.proxy.redis.house import RedisHouse
from tests.proxy.redis.test_observing import replies
from tests.support.redis import Cluster, Redis
from tests.support.redis_playbook import ABORTED, OK, QUEUED, bulk

KEYS = [f"k{number}" for number in range(50)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster() as running:
        yield running


@pytest.fixture
def away(cluster: Cluster) -> str:
    """A key that another node than the first has."""
    return next(key for key in KEYS if cluster.owner(key) is not cluster.nodes[0])


async def heard(port: int, *lines: str) -> list[bytes]:
    """What a client hears, line by line."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write("".join(f"{line}\r\n" for line in lines).encode())
        return await replies(reader, len(lines))
    finally:
        writer.close()


async def both(house: RedisHouse, node: Redis, *lines: str) -> list[bytes]:
    """The same whether it goes through the house or not."""
    direct, through = await heard(node.port, *lines), await heard(house.listener.port, *lines)
    assert through == direct
    return through


@pytest.mark.parametrize("resp", ["HELLO 2", "HELLO 3"])
def test_redirections_to_what_is_covered_pass_byte_for_byte(
    tmp_path: Path, cluster: Cluster, away: str, resp: str
) -> None:
    async def use() -> None:
        node = cluster.nodes[0]
        async with RedisHouse(tmp_path, node) as house:
            house.led = {("127.0.0.1", one.port) for one in cluster.nodes}
            for lines in ((f"GET {away}",), ("MULTI", f"GET {away}", "EXEC")):
                told = await both(house, node, *lines)
                owner = cluster.owner(away).port
                assert f"-MOVED {cluster.slot(away)} 127.0.0.1:{owner}\r\n".encode() in told
            (_, told_in_3) = await heard(house.listener.port, resp, f"GET {away}")
            assert told_in_3.startswith(b"-MOVED ")
            ends = [r["error"]["code"] for r in house.records(type="statement", phase="end") if "error" in r]
            assert "MOVED" in ends

    play(use())


def test_one_to_what_is_not_says_what_to_add(tmp_path: Path, cluster: Cluster, away: str) -> None:
    async def use() -> None:
        node, owner = cluster.nodes[0], cluster.owner(away).port
        async with RedisHouse(tmp_path, node) as house:
            said = (
                f"-ERR lockgate: the datastore redirects to 127.0.0.1:{owner}: add it to its `addresses` in agent.yaml"
            )
            told = await heard(house.listener.port, f"GET {away}", "MULTI", f"GET {away}", "EXEC", "PING")
            refused = f"{said}\r\n".encode()
            assert told == [refused, OK, refused, ABORTED, b"+PONG\r\n"]

    play(use())


def test_ask_is_one_too_and_asking_passes(tmp_path: Path, cluster: Cluster) -> None:
    key = next(key for key in KEYS if cluster.owner(key) is cluster.nodes[0])

    async def use() -> None:
        with cluster.migrating(key) as (source, target):
            async with RedisHouse(tmp_path, source) as house:
                (told,) = await heard(house.listener.port, f"GET {key}")
                assert b"add it to its `addresses`" in told
                house.led = {("127.0.0.1", target.port)}
                (told,) = await both(house, source, f"GET {key}")
                assert told == f"-ASK {cluster.slot(key)} 127.0.0.1:{target.port}\r\n".encode()
            (folder := tmp_path / "target").mkdir()
            async with RedisHouse(folder, target) as house:
                house.led = {("127.0.0.1", source.port)}
                told_there = await heard(house.listener.port, "ASKING", f"SET {key} x", "ASKING", f"GET {key}",
                                         "ASKING", "MULTI", f"GET {key}", "EXEC", f"GET {key}")  # fmt: skip
                assert told_there[:4] == [OK, OK, OK, bulk("x")]
                assert told_there[5:6] == [OK]
                assert told_there[6] in (QUEUED, told_there[-1])
                assert told_there[-1].startswith(b"-MOVED ")
                await heard(house.listener.port, "ASKING", f"DEL {key}")

    play(use())


def test_what_clients_ask_to_know_the_cluster_passes(tmp_path: Path, cluster: Cluster) -> None:
    async def use() -> None:
        node = cluster.nodes[0]
        async with RedisHouse(tmp_path, node) as house:
            told = await both(
                house, node, "CLUSTER SLOTS", "CLUSTER MYID", "CLUSTER KEYSLOT a", "READONLY", "READWRITE"
            )
            assert all(str(one.port).encode() in told[0] for one in cluster.nodes)
            for line in ("CLUSTER SHARDS", "CLUSTER NODES", "CLUSTER INFO", "COMMAND"):
                # they tell of what changes all the time
                (passed,) = await heard(house.listener.port, line)
                assert passed[:1] in b"*$"
            nodes = await heard(house.listener.port, "HELLO 3", "CLUSTER SHARDS")
            assert nodes[1][:1] == b"*"

    play(use())


def test_observed_they_lead_where_they_will(tmp_path: Path, cluster: Cluster, away: str) -> None:
    async def use() -> None:
        node = cluster.nodes[0]
        async with RedisHouse(tmp_path, node, mode="observe") as house:
            await both(house, node, f"GET {away}", "MULTI", f"GET {away}", "EXEC", "GET a")

    play(use())
