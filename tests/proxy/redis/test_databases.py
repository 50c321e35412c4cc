"""What reaches another database than the one it is sent in: judged for both, and what is masked stays where it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ResponseError

from lockgate.proxy.redis import databases
from lockgate.understand.redis import Understanding
from lockgate.values.command import Call
from tests.proxy.desk import Desk, collecting
from tests.proxy.house import play
from tests.proxy.redis.house import MARKER, POLICIES, RedisHouse
from tests.support.redis import Redis

HERE, EVERYWHERE = (), tuple(map(str, range(16)))
REACHED = [
    ("GET k", HERE),
    ("COPY a b", HERE),
    ("COPY a b DB 3", ("3",)),
    ("COPY a b REPLACE db 3 DB 4", ("3", "4")),
    ("COPY a b db\0x 3", ("3",)),
    ("COPY DB DB", HERE),
    ("COPY a b DB 03", EVERYWHERE),
    ("MOVE k 2", ("2",)),
    ("MOVE k -1", EVERYWHERE),
    ("SWAPDB 1 2", ("1", "2")),
    ("SWAPDB 7 1", ("1",)),
    ("FLUSHDB", HERE),
    ("FLUSHALL", EVERYWHERE),
    ("SCAN 0", HERE),
    ("SORT l GET *", HERE),
    ("MONITOR", EVERYWHERE),
    ("SLOWLOG GET", EVERYWHERE),
    ("EVAL return(1) 0", EVERYWHERE),
    ("FCALL f 1 k", EVERYWHERE),
    ("CLIENT TRACKING ON BCAST", EVERYWHERE),
]


@pytest.mark.parametrize(("line", "expected"), REACHED, ids=[line for line, _ in REACHED])
def test_what_a_command_reaches(line: str, expected: tuple[str, ...]) -> None:
    call = Understanding().request(tuple(word.encode() for word in line.split(" "))).detail
    assert isinstance(call, Call)
    assert databases.reached([call], "7", EVERYWHERE) == tuple(one for one in expected if one != "7")


OPEN = POLICIES[: POLICIES.index('@id("frozen")')] + POLICIES[POLICIES.index('@id("alone")') :].replace(
    "money:*", "m:*"
)
"""Every key may be written, but for `m:*`."""
CLOSED = (
    OPEN
    + """
@id("one-is-closed")
forbid (principal, action == Action::"execute", resource)
when { context.database == "1" && context.effects.contains("write") };
@id("two-is-for-two") @approvers("dba") @timeout("20s")
forbid (principal, action == Action::"execute_alone", resource)
when { context.database == "2" && context.effects.contains("write") };
"""
)


def test_what_another_database_forbids_is_forbidden_from_here(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        server.ask("SET", "a", "1")
        async with RedisHouse(tmp_path, server, policies=CLOSED, classification={}) as house:
            client = house.connect()
            for line in ("COPY a b DB 1", "COPY a b db\0 1", "MOVE a 1", "SWAPDB 0 1", "SWAPDB 3 1",
                         "COPY a b REPLACE DB 1 DB 3", "EVAL return(1) 0"):  # fmt: skip
                with pytest.raises(ResponseError, match="one-is-closed"):
                    await client.execute_command(*line.split(" "))
            pipeline = client.pipeline(transaction=True)
            pipeline.set("c", "1").execute_command("MOVE", "a", "1")
            with pytest.raises(ResponseError):
                await pipeline.execute()
            assert (server.ask("EXISTS", "a"), server.ask("EXISTS", "c")) == (1, 0)
            assert await client.execute_command("COPY", "a", "b", "DB", "3") == 1
            assert await client.execute_command("MOVE", "a", "3") == 1
            assert server.calls("SWAPDB") == 0

    play(use())


FREE = OPEN.replace('resource in Keys::"orders/m:*")', 'resource in Keys::"orders/m:*") when { false }')
FAR = (
    FREE
    + """
@id("twenty-stays")
forbid (principal, action == Action::"execute", resource)
when { context.database == "20" && context.effects.contains("write") };
@id("beyond") @approvers("dba")
forbid (principal, action == Action::"execute_alone", resource) when { context.database like "9*1" };
"""
)


def test_what_policies_name_beyond_the_usual_databases_counts(tmp_path: Path) -> None:
    async def use() -> None:
        with Redis({"databases": "1000"}) as server:
            async with RedisHouse(tmp_path, server, policies=FAR, classification={}) as house:
                client = house.connect()
                await client.select(20)
                with pytest.raises(ResponseError, match="twenty-stays"):
                    await client.set("a", "1")
                await client.select(999)
                assert await client.set("a", "1")
                for line in ("EVAL return(1) 0", "SWAPDB 0 20", "MOVE a 20", "MOVE a 020"):
                    with pytest.raises(ResponseError, match="twenty-stays"):
                        await client.execute_command(*line.split(" "))
                assert await client.execute_command("MOVE", "a", "21") == 1
                house.write_policies(FAR.replace('"20"', '"21"').replace("FLUSHALL", "NOTHING"))
                house.policies.reload()
                with pytest.raises(ResponseError, match="twenty-stays"):
                    await client.flushall()
                assert server.calls("FLUSHALL") == 0

    play(use())


def test_what_is_tried_may_name_others(tmp_path: Path) -> None:
    async def use() -> None:
        with Redis({"databases": "32"}) as server:
            async with RedisHouse(tmp_path, server, policies=FREE, shadow=FAR, classification={}) as house:
                client = house.connect()
                assert await client.execute_command("SWAPDB", "0", "3")
                assert await client.execute_command("EVAL", "return 1", "0") == 1
                swap, script = house.records(type="statement", phase="begin")[-2:]
                assert "shadow" not in swap
                assert script["shadow"]["policy"] == "twenty-stays"

    play(use())


def test_what_another_database_holds_waits_here(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        server.ask("SET", "a", "1")
        more: dict[str, Any] = {"policies": CLOSED, "classification": {}}
        async with (
            collecting(tmp_path) as collector,
            RedisHouse(tmp_path, server, collector=collector, **more) as house,
        ):
            desk = Desk(house)
            reader, writer = await house.raw()
            writer.write(b"MOVE a 2\r\n")
            hold = await desk.hold()
            assert (hold.statement, hold.policy, hold.database) == ("MOVE a 2", "two-is-for-two", "0")
            assert server.ask("EXISTS", "a") == 1
            await desk.decide(hold)
            assert await reader.readexactly(4) == b":1\r\n"

    play(use())


MASKED_IN_0 = OPEN.replace('resource in Tag::"pii");', 'resource in Tag::"pii") unless { context.database == "1" };')


def test_what_is_masked_here_stays_here(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        server.ask("SET", "secret:1", MARKER)
        server.ask("HSET", "profile:1", "name", "Ann", "email", MARKER)
        async with RedisHouse(tmp_path, server, policies=MASKED_IN_0) as house:
            client = house.connect()
            for line in ("MOVE secret:1 1", "COPY secret:1 secret:1 DB 1", "COPY profile:1 profile:1 DB 1",
                         "COPY secret:1 secret:2 DB 0", "MOVE profile:1 1", "SWAPDB 0 1", "SWAPDB 1 0"):  # fmt: skip
                with pytest.raises(ResponseError, match="another database"):
                    await client.execute_command(*line.split(" "))
            await client.select(1)
            await client.set("secret:1", "open")
            assert await client.get("secret:1") == "open"
            for line in ("SWAPDB 0 1", "SWAPDB 0 2", "MONITOR", "SLOWLOG GET"):
                with pytest.raises(ResponseError, match="lockgate: "):
                    await client.execute_command(*line.split(" "))
            script = "redis.call('SELECT', 0) return redis.call('GET', 'secret:1')"
            with pytest.raises(ResponseError, match="nobody has reviewed"):
                await client.execute_command("EVAL", script, "0")
            assert MARKER not in str(house.records())

    play(use())
