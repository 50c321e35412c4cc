"""Attacks on the seams between the pieces: each is one that went through before what stands against it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import hiredis
import pytest

from tests.proxy.desk import Desk, collecting
from tests.proxy.house import play
from tests.proxy.redis.house import MARKER, POLICIES, RedisHouse
from tests.support.redis import Redis

OPEN = POLICIES[: POLICIES.index('@id("frozen")')] + POLICIES[POLICIES.index('@id("alone")') :]
"""Scripts may run, as far as nothing is masked or held."""


class Raw:
    """A client that speaks bytes, and reads one reply at a time."""

    def __init__(self, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self.reader, self.writer = streams
        self._replies = hiredis.Reader()

    async def ask(self, *words: bytes | str) -> object:
        self.say(*words)
        return await self.reply()

    def say(self, *words: bytes | str) -> None:
        args = [word.encode() if isinstance(word, str) else word for word in words]
        self.writer.write(b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in args))

    async def reply(self) -> object:
        while (found := self._replies.gets()) is False:
            data = await asyncio.wait_for(self.reader.read(65536), 20)
            assert data, "closed"
            self._replies.feed(data)
        return found


async def client(house: RedisHouse) -> Raw:
    return Raw(await house.raw())


async def blocked(server: Redis) -> None:
    """Until somebody waits at the server."""
    for _ in range(2000):
        if b"blocked_clients:1" in server.ask("INFO", "clients"):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nobody waits")


@pytest.mark.parametrize("long", [False, True])
def test_nobody_has_others_connections_broken_by_what_they_track(tmp_path: Path, server: Redis, long: bool) -> None:
    """CLIENT TRACKING REDIRECT sends to any client that listens to anything, whatever it listens to. Ours may not say
    it; whoever reaches the server by another way may."""

    async def use() -> None:
        async with RedisHouse(tmp_path, server) as house:
            victim, streams = await client(house), await asyncio.open_connection("127.0.0.1", server.port)
            house.stack.callback(streams[1].close)
            attacker = Raw(streams)
            number = await victim.ask("CLIENT", "ID")
            assert await victim.ask("SUBSCRIBE", "news") == [b"subscribe", b"news", 1]
            await attacker.ask("HELLO", "3")
            assert await attacker.ask("CLIENT", "TRACKING", "ON", "REDIRECT", str(number)) == b"OK"
            key = "k" * 300_000 if long else "k"
            await attacker.ask("GET", key)
            server.ask("SET", key, "1")
            server.ask("PUBLISH", "news", "still here")
            assert await victim.reply() == [b"message", b"news", b"still here"]
            # who wants to be told still is
            assert await victim.ask("SUBSCRIBE", "__redis__:invalidate") == [b"subscribe", b"__redis__:invalidate", 2]
            await attacker.ask("GET", key)
            server.ask("SET", key, "2")
            assert await victim.reply() == [b"message", b"__redis__:invalidate", [key.encode()]]

    play(use())


BOB = (
    POLICIES
    + """
@id("not-as-bob") forbid (principal, action == Action::"execute", resource) when { context.user == "bob" };
"""
)


@pytest.mark.parametrize(
    "words",
    [
        ("HELLO", "2", "AUTH", "bob", "pw", "SETNAME", "a b"),
        ("HELLO", "3", "AUTH", "bob", "pw", "SETNAME", "\n"),
        ("HELLO", "2", "AUTH", "bob", "pw", "AUTH", "bob", "wrong"),
        ("HELLO", "2", "auth\0x", "bob", "pw", "AUTH", "nobody", "x"),
    ],
)
def test_nobody_becomes_another_by_a_hello_that_fails(tmp_path: Path, server: Redis, words: tuple[str, ...]) -> None:
    """The server authenticates as soon as it reads AUTH, and stays so when what stands behind is wrong."""

    async def use() -> None:
        server.ask("ACL", "SETUSER", "bob", "on", ">pw", "~*", "&*", "+@all")
        try:
            async with RedisHouse(tmp_path, server, policies=BOB) as house:
                raw = await client(house)
                assert isinstance(await raw.ask(*words), hiredis.ReplyError)
                assert await raw.ask("ACL", "WHOAMI") == b"default"
                assert await raw.ask("HELLO", "2", "AUTH", "bob", "pw", "SETNAME", "fine") != b""
                assert "not-as-bob" in str(await raw.ask("ACL", "WHOAMI"))
        finally:
            server.ask("ACL", "DELUSER", "bob")

    play(use())


SCRIPTS_BY_TWO = (
    OPEN
    + """
@id("scripts-by-two") @approvers("dba") @timeout("20s")
forbid (principal, action == Action::"execute_alone", resource) when { context.kinds.contains("EVAL") };
"""
)


def test_nobody_approves_what_they_are_not_shown(tmp_path: Path, server: Redis) -> None:
    """A script of which the record shows the beginning, a list of keys of which it shows the first, a long pipeline."""

    async def use() -> None:
        more: dict[str, Any] = {"policies": SCRIPTS_BY_TWO, "classification": {}}
        async with (
            collecting(tmp_path) as collector,
            RedisHouse(tmp_path, server, collector=collector, **more) as house,
        ):
            desk, raw = Desk(house), await client(house)
            script = "-- harmless" + " " * 600 + "\nreturn redis.call('SET', 'evil', '1')"
            values = [word for at in range(40) for word in (f"k{at}", "v")]
            for words, hidden in (
                (["EVAL", script, "0"], "'SET', 'evil'"),
                (["MSET", *values, "money:last", "evil"], "money:last evil"),
            ):
                raw.say(*words)
                hold = await desk.hold()
                assert hidden in hold.statement
                await desk.decide(hold, "deny")
                assert "denied by bob" in str(await raw.reply())
            raw.say("MSET", "money:1", "1")
            hold = await desk.hold()
            assert hold.statement == "MSET money:1 1", "nothing is said twice"
            await desk.decide(hold)
            assert await raw.reply() == b"OK"
            assert "too long to be shown" in str(await raw.ask("SET", "money:1", "x" * 1_200_000))
            assert await raw.ask("PING") == b"PONG"
            assert MARKER not in str(house.records())

    play(use())


SHOWN = OPEN.replace('resource in Tag::"pii");', 'resource in Tag::"pii") when { context.user == "nobody" };')
CLOSED = OPEN + '@id("closed") forbid (principal, action == Action::"execute", resource in Keys::"orders/secret:*");'


@pytest.mark.parametrize("words", [
    ("BLPOP", "secret:list", "0"),
    ("BLMOVE", "secret:list", "secret:other", "LEFT", "LEFT", "0"),
    ("XREAD", "block\0", "0", "STREAMS", "secret:stream", "$"),
])  # fmt: skip
@pytest.mark.parametrize("policies", [OPEN, CLOSED])
def test_nobody_waits_for_values_on_what_they_once_might(
    tmp_path: Path, server: Redis, words: tuple[str, ...], policies: str
) -> None:
    """What is answered hours later is masked as then, and what stands behind it is judged then."""

    async def use() -> None:
        server.ask("SET", "secret:1", MARKER)
        async with RedisHouse(tmp_path, server, policies=SHOWN) as house:
            raw = await client(house)
            assert await raw.ask("GET", "secret:1") == MARKER.encode()
            raw.say(*words)
            raw.say("GET", "secret:1")
            await blocked(server)
            house.write_policies(policies)
            house.policies.reload()
            server.ask("RPUSH", "secret:list", MARKER)
            server.ask("XADD", "secret:stream", "*", "f", MARKER)
            told = [str(await raw.reply()), str(await raw.reply())]
            assert MARKER not in str(told)
            assert all("***" in one or "(policy closed)" in one or "meanwhile: " in one for one in told), told
            assert await raw.ask("PING") == b"PONG"
            assert not house.records(type="statement", phase="end", outcome="running")

    play(use())


def test_what_waits_and_is_masked_by_nobody_is_answered_as_it_is(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        async with RedisHouse(tmp_path, server) as house:
            raw = await client(house)
            raw.say("BLPOP", "plain", "0")
            raw.say("LLEN", "plain")
            other = await client(house)
            await blocked(server)
            assert await other.ask("RPUSH", "plain", "a", "b") == 2
            assert await raw.reply() == [b"plain", b"a"]
            assert await raw.reply() == 1
            assert await raw.ask("BLPOP", "plain", "0") == [b"plain", b"b"]
            assert await raw.ask("BLPOP", "plain", "0.01") is None

    play(use())


DETECTING = (
    OPEN
    + """
@id("mail") @mask("redact")
forbid (principal, action == Action::"reveal_detected", resource == Detector::"email");
"""
)


@pytest.mark.parametrize("resp", ["2", "3"])
@pytest.mark.parametrize("words", [("SUBSCRIBE", "c"), ("PSUBSCRIBE", "c*")])
def test_what_detectors_find_is_not_told_by_listening(
    tmp_path: Path, server: Redis, resp: str, words: tuple[str, str]
) -> None:
    async def use() -> None:
        async with RedisHouse(tmp_path, server, policies=DETECTING) as house:
            raw = await client(house)
            await raw.ask("HELLO", resp)
            await raw.ask(*words)
            for said in ("ann@example.org", "x" * 300_000 + " ann@example.org", "open"):
                server.ask("PUBLISH", "c", said)
            told = [await raw.reply() for _ in range(3)]
            assert "ann@" not in str(told)
            assert isinstance(told[-1], list)
            assert told[-1][-1] == b"open"

    play(use())
