"""A cluster: where a client is sent to, it comes through the agent again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.redis import Cluster
from tests.support.redis_raw import RedisRaw
from tests.support.redis_servers import VALKEY
from tests.support.redis_stack import RedisStack

KEYS = [f"session:{number}" for number in range(60)]


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture(scope="module")
def stack(cluster: Cluster) -> Iterator[RedisStack]:
    with RedisStack(redis=cluster, filled=False) as running:
        with cluster.client() as client:
            for number, key in enumerate(KEYS):
                client.set(key, f"session {number}")
                client.set(f"secret:{number}", f"user{number}@example.org")
                client.set(f"vault:{number}", "gold")
        yield running


def test_redis_cli_follows(stack: RedisStack, cluster: Cluster) -> None:
    for number, key in enumerate(KEYS[:12]):
        assert stack.said("ann", "GET", key, options=["-c"]) == f"session {number}"
    dialled = {r["connection"]["datastore"] for r in stack.records(type="connection", phase="begin")}
    assert dialled == {"cache"}
    assert all(node.calls("GET") for node in cluster.nodes)


def test_moved_is_told_as_it_is(stack: RedisStack, cluster: Cluster) -> None:
    key = next(key for key in KEYS if cluster.owner(key) is not stack.redis)
    with RedisRaw(stack, "ann") as raw:
        assert str(raw.ask("GET", key)) == f"MOVED {cluster.slot(key)} 127.0.0.1:{cluster.owner(key).port}"
        assert raw.ask("PING") == b"PONG"


def test_ask_is_followed_with_asking(stack: RedisStack, cluster: Cluster) -> None:
    key = "session:migrating"
    with cluster.migrating(key) as (source, target):
        with RedisRaw(stack, "ann", port=source.port) as raw:
            assert str(raw.ask("GET", key)) == f"ASK {cluster.slot(key)} 127.0.0.1:{target.port}"
        with RedisRaw(stack, "ann", port=target.port) as raw:
            assert raw.all(["ASKING"], ["SET", key, "there"]) == [b"OK", b"OK"]
            assert str(raw.ask("GET", key)).startswith("MOVED "), "ASKING is for one command"
            assert raw.all(["ASKING"], ["GET", key]) == [b"OK", b"there"]
            assert raw.all(["ASKING"], ["DEL", key]) == [b"OK", 1]


def test_what_is_classified_or_closed_is_so_on_every_node(stack: RedisStack) -> None:
    for number in range(9):
        assert stack.said("ann", "GET", f"secret:{number}", options=["-c"]) == "***"
        assert stack.said("ann", "GET", f"vault:{number}", options=["-c"]).startswith("NOPERM lockgate: ")


def test_redis_py_cluster_clients(stack: RedisStack) -> None:
    code = """
    import asyncio
    from redis.cluster import RedisCluster
    from redis.asyncio.cluster import RedisCluster as AsyncCluster
    keys = [f"session:{n}" for n in range(60)]
    with RedisCluster(host=HOST, port=PORT) as client:
        print(sum(client.get(key) == f"session {n}".encode() for n, key in enumerate(keys)))
        print({client.get(f"secret:{n}") for n in range(20)})
        with client.pipeline() as pipe:
            for key in keys: pipe.get(key)
            print(len(pipe.execute()))
        print(len(client.get_nodes()))
    async def main():
        async with AsyncCluster(host=HOST, port=PORT) as client:
            print(len([key for key in keys if await client.get(key)]))
    asyncio.run(main())
    """
    assert stack.python("ann", code).splitlines() == ["60", "{b'***'}", "60", "3", "60"]


def test_redis_benchmark_in_cluster_mode(stack: RedisStack) -> None:
    run = stack.run("ann", ["redis-benchmark", "--cluster", "-p", str(stack.redis.port), "-c", "6", "-n", "300", "-q",
                            "GET", "session:{tag}"])  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "rror" not in run.stdout


def test_a_way_around_the_agent_is_not_taken() -> None:
    """A node that is no address of the datastore: a client that is sent there would come past the agent."""
    other = Cluster()
    known, _, hidden = other.nodes
    addresses = [f"127.0.0.1:{node.port}" for node in other.nodes if node is not hidden]
    with RedisStack(redis=other, filled=False, addresses=addresses) as stack:
        key = next(f"k{n}" for n in range(1000) if other.owner(f"k{n}") is hidden)
        with RedisRaw(stack, "ann", port=known.port) as raw:
            said = str(raw.ask("GET", key))
        assert said.endswith(f"to 127.0.0.1:{hidden.port}: add it to its `addresses` in agent.yaml")
        assert said.startswith("ERR lockgate: the datastore redirects to "), "nothing that a client would follow"
        followed = stack.said("ann", "GET", key, options=["-c"])
        assert followed.startswith("ERR lockgate: ")
        assert hidden.calls("GET") == 0


def test_databases_of_a_cluster() -> None:
    """Valkey 9 has them, and commands about slots that nobody else has."""
    settings = {"cluster-databases": "16", "cluster-slot-stats-enabled": "yes"}
    cluster = Cluster(settings, nodes=2, release=VALKEY)
    with RedisStack(redis=cluster, filled=False) as stack:
        key, vault = "{a}session", "vault:{a}"
        owner = cluster.owner(key)
        owner.ask("SET", key, "there", database=3)
        with RedisRaw(stack, "ann", port=owner.port) as raw:
            assert [raw.ask(*words) for words in (["GET", key], ["SELECT", 3], ["GET", key])] == [None, b"OK", b"there"]
            assert raw.ask("COPY", key, "{a}copy", "DB", 4) == 1
            assert str(raw.ask("GET", vault)).startswith("NOPERM lockgate: ")
            assert str(raw.ask("CLUSTERSCAN", "0")).startswith("NOPERM lockgate: "), "it may name any key"
            assert isinstance(raw.ask("CLUSTER", "SLOT-STATS", "SLOTSRANGE", 0, 1), list)
            elsewhere = next(name for name in ("b", "c", "d", "e", "f") if cluster.owner(name) is not owner)
            moved = f"MOVED {cluster.slot(elsewhere)} 127.0.0.1:{cluster.owner(elsewhere).port}"
            assert str(raw.ask("GET", elsewhere)) == moved
        with RedisRaw(stack, "bob", port=owner.port) as raw:
            raw.ask("SELECT", 3)
            answer = raw.ask("CLUSTERSCAN", "0")
            assert isinstance(answer, list)
            assert len(answer) == 2
        begun = [r for r in stack.records(type="statement", phase="begin") if r["statement"] == f"GET {key}"]
        assert [r["connection"]["database"] for r in begun] == ["0", "3"]
