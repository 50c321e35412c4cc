"""One Redis connection through the house: judged, recorded, masked, held, and answered in its own protocol."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ExecAbortError, ResponseError

from lockgate.audit.errors import SpoolError
from lockgate.policy import decide
from lockgate.policy.decide import NAMES
from tests.proxy.desk import Desk, collecting
from tests.proxy.house import play
from tests.proxy.redis.house import MARKER, POLICIES, RedisHouse
from tests.support.redis import Redis

RESP = pytest.mark.parametrize("resp", [2, 3])


@RESP
def test_what_policy_permits_runs_and_is_recorded_before_and_after(tmp_path: Path, server: Redis, resp: int) -> None:
    async def use() -> None:
        async with RedisHouse(tmp_path, server) as house:
            client = house.connect(protocol=resp)
            assert await client.set("session:1", "ann")
            assert await client.get("session:1") == "ann"
            begun = house.records(type="statement", phase="begin", statement="GET session:1")
            assert [(r["verdict"], r["effects"], r["kinds"]) for r in begun] == [("allow", ["read"], ["GET"])]
            ended = house.records(type="statement", phase="end", id=begun[0]["id"])
            assert [(r["outcome"], r["bytes"]) for r in ended] == [("completed", 9)]
            (opened,) = house.records(type="connection", phase="begin")
            place = opened["connection"]
            assert (place["protocol"], place["database"], place["user"]) == ("redis", "0", "default")

    play(use())


def test_what_policy_forbids_is_refused_in_one_line_and_never_runs(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        async with RedisHouse(tmp_path, server) as house:
            client = house.connect()
            with pytest.raises(ResponseError, match=r"lockgate: .*nobody empties a store.*policy no-flush"):
                await client.flushall()
            with pytest.raises(ResponseError, match=r"frozen:\*"):
                await client.set("frozen:1", "x")
            assert await client.get("frozen:1") is None
            with pytest.raises(ResponseError, match="unknown command"):
                await client.execute_command("NO.SUCH", "x")
            assert (server.calls("FLUSHALL"), server.calls("SET")) == (0, 0)
            refused = house.records(type="statement", phase="end", outcome="denied")
            assert [r["error"]["code"] for r in refused][-3:] == ["NOPERM", "NOPERM", "ERR"]

    play(use())


@RESP
def test_what_is_classified_is_masked_and_not_recorded(tmp_path: Path, server: Redis, resp: int) -> None:
    async def use() -> None:
        server.ask("SET", "secret:1", MARKER)
        server.ask("HSET", "profile:1", "name", "Ann", "email", MARKER)
        async with RedisHouse(tmp_path, server) as house:
            client = house.connect(protocol=resp)
            assert await client.get("secret:1") == "***"
            assert await client.hgetall("profile:1") == {"name": "Ann", "email": "***"}
            assert await client.hget("profile:1", "name") == "Ann"
            assert await client.mget("secret:1", "plain", "secret:2") == ["***", None, None]
            await client.set("secret:2", MARKER)
            for command in (("GETRANGE", "secret:1", "0", "1"), ("COPY", "secret:1", "plain"), ("DUMP", "secret:1"),
                            ("EVAL", "return redis.call('GET', KEYS[1])", "1", "secret:1"),
                            ("SORT", "plain", "BY", "nosort", "GET", "secret:*")):  # fmt: skip
                with pytest.raises(ResponseError, match="lockgate: "):
                    await client.execute_command(*command)
            assert server.ask("EXISTS", "plain") == 0
            told = str(house.records())
            assert MARKER not in told
            assert "SET secret:2 ?" in told
            (masked,) = house.records(type="statement", phase="begin", statement="GET secret:1")
            assert masked["masks"] == [["secret:*", "redact"]]

    play(use())


@RESP
@pytest.mark.parametrize("pattern", [False, True])
def test_what_others_publish_is_looked_through(tmp_path: Path, server: Redis, resp: int, pattern: bool) -> None:
    policies = POLICIES + (
        '@id("cards") @mask("partial") forbid (principal, action == Action::"reveal_detected", '
        'resource == Detector::"card");'
    )

    async def use() -> None:
        async with RedisHouse(tmp_path, server, policies=policies) as house:
            listener = house.connect(protocol=resp).pubsub()
            await (listener.psubscribe("new*") if pattern else listener.subscribe("news"))
            confirmed = await listener.get_message(timeout=10)
            assert (confirmed["channel"], confirmed["data"]) == ("new*" if pattern else "news", 1)
            for said in ("paid by 4111 1111 1111 1111", "nothing new"):
                server.ask("PUBLISH", "news", said)
            told = [(await listener.get_message(timeout=10))["data"] for _ in range(2)]
            assert told == ["paid by **** **** **** 1111", "nothing new"]
            await listener.aclose()

    play(use())


def test_a_pipeline_is_answered_in_its_order_and_recorded_with_one_write(
    tmp_path: Path, server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def use() -> None:
        async with RedisHouse(tmp_path, server) as house:
            reader, writer = await house.raw()
            writer.write(b"PING\r\n")
            assert await reader.readline() == b"+PONG\r\n"
            await asyncio.sleep(0.05)
            written: list[int] = []
            before = house.spool._journal.write

            def counted(data: bytes, *more: Any) -> None:
                written.append(data.count(b"k:"))
                before(data, *more)

            monkeypatch.setattr(house.spool._journal, "write", counted)
            writer.write(b"".join(b"SET k:%d %d\r\n" % (number, number) for number in range(16)))
            assert await reader.readexactly(16 * 5) == b"+OK\r\n" * 16
            await asyncio.sleep(0.05)
            assert written == [16, 0], "beginnings, and ends"
            writer.write(b"GET k:1\r\nFLUSHALL\r\nGET k:2\r\n")
            assert await reader.readexactly(7) == b"$1\r\n1\r\n"
            assert (await reader.readline()).startswith(b"-NOPERM lockgate: ")
            assert await reader.readexactly(7) == b"$1\r\n2\r\n"

    play(use())


def test_what_can_not_be_recorded_is_not_sent(tmp_path: Path, server: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    async def use() -> None:
        async with RedisHouse(tmp_path, server) as house:
            reader, writer = await house.raw()
            writer.write(b"PING\r\n")
            assert await reader.readline() == b"+PONG\r\n"

            def full(*_: object) -> None:
                raise SpoolError("no space left on device")

            monkeypatch.setattr(house.spool._journal, "write", full)
            writer.write(b"SET k 1\r\nSET k 2\r\n")
            told = await reader.read()
            assert told.startswith(b"-MISCONF lockgate: this can't be recorded, so it is not sent: no space left")
            assert server.calls("SET") == 0
            monkeypatch.undo()

    play(use())


def test_exec_is_judged_as_the_whole(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        server.ask("SET", "secret:1", MARKER)
        async with RedisHouse(tmp_path, server) as house:
            client = house.connect()
            pipeline = client.pipeline(transaction=True)
            pipeline.set("a", "1").get("secret:1").incr("a")
            assert await pipeline.execute() == [True, "***", 2]
            text = house.records(type="statement", phase="begin")[-1]["statement"]
            assert text == "SET a 1\nGET secret:1\nINCRBY a 1\nEXEC"
            pipeline.set("a", "2").flushall()
            with pytest.raises((ExecAbortError, ResponseError)):
                await pipeline.execute()
            assert server.ask("GET", "a") == b"2"

    play(use())


def test_a_transaction_of_many_keys_is_one_question_for_each_way_they_match(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        async with RedisHouse(tmp_path, server) as house:
            pipeline = house.connect().pipeline(transaction=True)
            for number in range(NAMES + 100):
                pipeline.set(f"key:{number}", number)
            assert await pipeline.execute() == [True] * (NAMES + 100)
            assert server.ask("DBSIZE") == NAMES + 100

    play(use())


def test_a_transaction_of_too_many_different_commands_is_refused_in_one_line(
    tmp_path: Path, server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def use() -> None:
        monkeypatch.setattr(decide, "DISTINCT_STATEMENTS", 4)
        async with RedisHouse(tmp_path, server) as house:
            reader, writer = await house.raw()
            for last in ("GETDEL d", "GET other:d"):
                lines = ("MULTI", "SET a 1", "GET b", "DEL c", last, "EXEC", "EXISTS a", "PING")
                writer.write("".join(f"{line}\r\n" for line in lines).encode())
                told = [await reader.readline() for _ in range(5)]
                assert told == [b"+OK\r\n", *[b"+QUEUED\r\n"] * 4]
                if last == "GETDEL d":
                    assert await reader.readline() == (
                        b"-NOPERM lockgate: more than 4 different statements at once (policy lockgate:bound)\r\n"
                    )
                else:
                    assert await reader.readuntil(b":0\r\n$-1\r\n") == b"*4\r\n+OK\r\n$-1\r\n:0\r\n$-1\r\n"
                assert await reader.readline() == (b":0\r\n" if last == "GETDEL d" else b":1\r\n")
                assert await reader.readline() == b"+PONG\r\n"
            denied = house.records(type="statement", phase="begin", policy="lockgate:bound")
            assert [r["statement"] for r in denied] == ["SET a 1\nGET b\nDEL c\nGETDEL d\nEXEC"]

    play(use())


def verdicts(house: RedisHouse, word: str) -> list[str]:
    return [r["verdict"] for r in house.records(type="statement", phase="begin") if word in r["statement"]]


def test_a_write_that_takes_two_waits_with_all_that_stands_behind_it(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        async with collecting(tmp_path) as collector, RedisHouse(tmp_path, server, collector=collector) as house:
            desk = Desk(house)
            reader, writer = await house.raw()
            writer.write(b"SET a 1\r\nSET money:1 100\r\nGET money:1\r\nGET a\r\n")
            assert await reader.readline() == b"+OK\r\n", "what stands before is answered"
            hold = await desk.hold()
            assert (hold.statement, hold.effects, hold.objects) == ("SET money:1 100", ("write",), ("money:*",))
            assert server.ask("EXISTS", "money:1") == 0
            await desk.decide(hold)
            assert await reader.readexactly(5 + 9 + 7) == b"+OK\r\n$3\r\n100\r\n$1\r\n1\r\n"
            assert verdicts(house, "money") == ["hold", "allow"]
            writer.write(b"SET money:1 0\r\nGET money:1\r\n")
            await desk.decide(await desk.hold(), "deny")
            assert await reader.readline() == b"-NOPERM lockgate: denied by bob: c\r\n"
            assert await reader.readexactly(9) == b"$3\r\n100\r\n"

    play(use())


def test_a_transaction_with_such_a_write_waits_as_a_whole(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        async with collecting(tmp_path) as collector, RedisHouse(tmp_path, server, collector=collector) as house:
            desk = Desk(house)
            reader, writer = await house.raw()
            writer.write(b"MULTI\r\nSET a 1\r\nSET money:1 5\r\nEXEC\r\nGET a\r\n")
            assert await reader.readexactly(5 + 9 + 9) == b"+OK\r\n" + b"+QUEUED\r\n" * 2
            hold = await desk.hold()
            assert hold.statement == "SET a 1\nSET money:1 5\nEXEC"
            assert server.ask("EXISTS", "a") == 0
            await desk.decide(hold)
            assert await reader.readexactly(4 + 10 + 7) == b"*2\r\n+OK\r\n+OK\r\n$1\r\n1\r\n"
            writer.write(b"MULTI\r\nSET a 2\r\nSET money:1 6\r\nEXEC\r\nGET a\r\n")
            await reader.readexactly(5 + 9 + 9)
            await desk.decide(await desk.hold(), "deny")
            assert (await reader.readline()).startswith(b"-NOPERM lockgate: denied by bob")
            assert await reader.readexactly(7) == b"$1\r\n1\r\n"

    play(use())


def test_an_approval_is_of_every_argument(tmp_path: Path, server: Redis) -> None:
    """Also of those that nobody is shown: two commands that look alike are not one."""

    async def use() -> None:
        policies = (
            POLICIES
            + """
            @id("secrets-by-two") @approvers("dba") forbid (principal, action == Action::"execute_alone",
            resource in Keys::"orders/secret:*") when { context.effects.contains("write") };"""
        )
        more: dict[str, Any] = {"policies": policies}
        async with (
            collecting(tmp_path) as collector,
            RedisHouse(tmp_path, server, collector=collector, **more) as house,
        ):
            desk, digests = Desk(house), []
            reader, writer = await house.raw()
            for value in (b"one", b"two"):
                writer.write(b"SET secret:1 %b\r\n" % value)
                hold = await desk.hold()
                assert hold.statement == "SET secret:1 ?"
                digests.append(hold.digest)
                await desk.decide(hold)
                assert await reader.readline() == b"+OK\r\n"
            assert len(set(digests)) == 2

    play(use())


def test_records_say_which_database_a_command_ran_in(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        async with RedisHouse(tmp_path, server, policies=POLICIES) as house:
            reader, writer = await house.raw()
            writer.write(b"SET a 1\r\nSELECT 3\r\nSET a 2\r\nRESET\r\nSET a 3\r\n")
            assert await reader.readexactly(5 * 4 + 8) == b"+OK\r\n" * 3 + b"+RESET\r\n" + b"+OK\r\n"
            places = {
                r["statement"]: r["connection"]["database"]
                for r in house.records()
                if (r["type"], r["phase"]) == ("statement", "begin")
            }
            assert places == {"SET a 1\nSELECT 3": "0", "SET a 2\nRESET": "3", "SET a 3": "0"}

    play(use())
