"""Ordinary clients, unchanged: what they get directly they get through the agent."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator

import pytest

from tests.clients.side_by_side import POLICIES, directly
from tests.support.redis_stack import CACHE, RedisStack


@pytest.fixture(scope="module")
def stack() -> Iterator[RedisStack]:
    with RedisStack(policies=POLICIES + CACHE) as running:
        yield running


def same(stack: RedisStack, code: str) -> str:
    """A Python program, directly and as bob, who is neither refused nor held; what it prints both times."""
    program = f"HOST, PORT = '127.0.0.1', {stack.redis.port}\n" + textwrap.dedent(code)
    stack.refill()
    there = directly([sys.executable, "-c", program])
    assert there.returncode == 0, there.stderr
    stack.refill()
    assert stack.python("bob", code) == there.stdout
    return there.stdout


WORK = """
print(client.set("a", "1", ex=100), client.get("a"), client.ttl("a") > 90, client.incr("a", 5), client.append("a", "x"))
print(client.mset({"m1": "1", "m2": "2"}), client.mget("m1", "nothing", "m2"), client.delete("m1", "m2", "m3"))
print(client.hset("h", mapping={"a": 1, "b": b"\\x00\\xff"}), client.hgetall("h"), client.hincrbyfloat("h", "a", 0.5))
print(client.rpush("l", *range(10)), client.lrange("l", 2, 4), client.lpos("l", "7"), client.lmove("l", "l2"))
print(client.sadd("s", "x", "y"), sorted(client.smembers("s")), client.smismember("s", ["x", "z"]))
print(client.zadd("z", {"p": 1.5, "q": float("inf")}), client.zrange("z", 0, -1, withscores=True),
      client.zrank("z", "q"))
print(client.xadd("x", {"f": "v"}, id="1-1"), client.xrange("x"), client.xgroup_create("x", "g", "0"),
      client.xreadgroup("g", "c", {"x": ">"}), client.xack("x", "g", "1-1"), client.xpending("x", "g"))
print(client.setbit("b", 7, 1), client.bitcount("b"), client.bitfield("b").set("u8", 0, 255).get("u4", 0).execute())
print(client.geoadd("g", (13.361389, 38.115556, "Palermo")), client.geohash("g", "Palermo"), client.pfadd("pf", "a"))
print(sorted(client.scan_iter("s*", count=1))[-5:], client.exists("a"), client.type("z"), client.dbsize() > 5)
print(client.getrange("a", 0, 1), client.object("encoding", "l"), client.expiretime("a") > 0, client.persist("a"))
print(client.sort("l", desc=True, start=0, num=2), client.rename("l2", "l3"), client.copy("l3", "l4"))
with client.pipeline(transaction=False) as pipe:
    for n in range(1000): pipe.incr("pipe")
    print(pipe.execute()[-1])
big = b"x" * 5_000_000
client.set("big", big); print(client.get("big") == big, client.strlen("big"), client.delete("big"))
try:
    client.incr("h")
except redis.ResponseError as error:
    print(error)
print(client.ping(), client.echo("hello"), client.time()[0] > 0, client.client_setname("me"), client.client_getname())
"""


@pytest.mark.parametrize(
    "options", ["protocol=2", "protocol=3", "protocol=3, decode_responses=True, encoding='latin-1'"]
)
def test_redis_py(stack: RedisStack, options: str) -> None:
    begin = f"import redis\nwith redis.Redis(HOST, PORT, {options}) as client:\n"
    out = same(stack, begin + textwrap.indent(WORK, "    "))
    assert " 5000000 1\n" in out


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py_asyncio(stack: RedisStack, protocol: int) -> None:
    out = same(
        stack,
        f"""
        import asyncio, redis.asyncio
        async def main():
            async with redis.asyncio.Redis(host=HOST, port=PORT, protocol={protocol}) as client:
                print(await client.set("a", 1), await client.get("a"), await client.hset("h", "f", "v"))
                print(await asyncio.gather(*(client.incrby("n", 0) for _ in range(50))))
                async with client.pipeline() as pipe:
                    print(await pipe.hgetall("h").get("nothing").lpush("l", 1, 2).execute())
                print(sorted([key async for key in client.scan_iter("session:*")]))
                print(await client.blpop("l", 1), await client.blpop("nothing", 0.1))
                print(await client.xread({{"letters": "3-0"}}))
        asyncio.run(main())
        """,
    )
    assert "b'5-0'" in out


def test_hiredis_by_itself(stack: RedisStack) -> None:
    out = same(
        stack,
        """
        import hiredis, socket
        with socket.create_connection((HOST, PORT), 10) as connection:
            reader = hiredis.Reader()
            connection.sendall(b"".join(hiredis.pack_command(c) for c in
                [("SET", "a", "1"), ("HGETALL", "contact:1"), ("GET", "nothing")]))
            found = []
            while len(found) < 3:
                reader.feed(connection.recv(65536))
                while (one := reader.gets()) is not False:
                    found.append(one)
            print(found)
            connection.sendall(b"PING\\r\\nGET a\\r\\n")  # inline
            data = b""
            while data.count(b"\\r\\n") < 3:
                data += connection.recv(65536)
            print(data)
        """,
    )
    assert "b'+PONG\\r\\n$1\\r\\n1\\r\\n'" in out


def test_redis_cli_in_its_ways(stack: RedisStack) -> None:
    assert stack.said("bob", "GET", "session:1", options=["--json"]) == '"session 1"'
    assert stack.said("bob", "SET", "csv", "1", options=["--csv"]) == '"OK"'
    assert "session:1" in stack.cli("bob", options=["--scan", "--pattern", "session:*"]).stdout
    piped = stack.cli("bob", options=["--pipe"], script="SET piped:1 a\r\nSET piped:2 b\r\n")
    assert "errors: 0, replies: 2" in piped.stdout, piped.stderr
    assert stack.said("bob", "GET", "piped:2") == "b"
    assert "Biggest string" in stack.cli("bob", options=["--bigkeys"]).stdout
    script = stack.folder / "one.lua"
    script.write_text("return {KEYS[1], ARGV[1]}")
    script.chmod(0o644)
    refused = stack.said("ann", options=["--eval", str(script), "k", ",", "v"])
    assert refused.startswith("NOPERM lockgate: "), "a script that nobody reviewed is not an engineer's"


@pytest.mark.parametrize("options", [["-P", "1", "-c", "1"], ["-P", "16", "-c", "20"], ["-3", "-P", "4"]], ids=" ".join)
def test_redis_benchmark(stack: RedisStack, options: list[str]) -> None:
    before = stack.redis.calls("SET")
    tests = "ping,set,get,incr,lpush,lpop,sadd,hset,zadd,lrange_100,mset"
    argv = ["redis-benchmark", "-p", str(stack.redis.port), "-n", "1000", "-t", tests, "--csv", *options]
    run = stack.run("bob", argv)
    assert run.returncode == 0, run.stderr
    assert "rror" not in run.stdout + run.stderr
    assert stack.redis.calls("SET") >= before + 1000
