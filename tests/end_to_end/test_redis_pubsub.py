"""Channels: who may listen, who may speak, and what comes without being asked for, in both protocol versions."""

from __future__ import annotations

import time
from collections.abc import Iterator

import hiredis
import pytest

from tests.support.markers import marker
from tests.support.redis_raw import RedisRaw
from tests.support.redis_stack import RedisStack


@pytest.fixture(scope="module")
def stack() -> Iterator[RedisStack]:
    with RedisStack() as running:
        yield running


def publish(stack: RedisStack, channel: str, message: str) -> int:
    """By somebody whom nobody intercepts; how many got it."""
    return int(stack.redis.ask("PUBLISH", channel, message))


def told(reply: object) -> list[object]:
    """A message as RESP2 has it, whatever it came as."""
    assert isinstance(reply, list)
    return list(reply)


@pytest.mark.parametrize("version", [2, 3])
def test_messages_come_as_they_are(stack: RedisStack, version: int) -> None:
    with RedisRaw(stack, "ann") as raw:
        raw.ask("HELLO", version)
        raw.heard = b""
        assert told(raw.ask("SUBSCRIBE", "weather")) == [b"subscribe", b"weather", 1]
        assert told(raw.ask("PSUBSCRIBE", "wea*")) == [b"psubscribe", b"wea*", 2]
        assert publish(stack, "weather", "rain\r\nand more") == 2
        assert [told(one) for one in raw.replies(2)] == [
            [b"message", b"weather", b"rain\r\nand more"],
            [b"pmessage", b"wea*", b"weather", b"rain\r\nand more"],
        ]
        assert raw.heard.startswith(b">3\r\n" if version == 3 else b"*3\r\n")
        raw.send(b"*1\r\n$11\r\nUNSUBSCRIBE\r\n*1\r\n$12\r\nPUNSUBSCRIBE\r\n")
        assert [told(one)[0] for one in raw.replies(2)] == [b"unsubscribe", b"punsubscribe"]
        assert raw.ask("GET", "session:1") == b"session 1"


def test_resp2_takes_few_commands_meanwhile_and_resp3_all(stack: RedisStack) -> None:
    with RedisRaw(stack, "ann") as raw:
        raw.ask("SUBSCRIBE", "weather")
        refused = raw.ask("GET", "session:1")
        assert isinstance(refused, hiredis.ReplyError)
        assert "lockgate" not in str(refused), "as the server says it"
        assert raw.ask("PING", "x") == [b"pong", b"x"]
    with RedisRaw(stack, "ann") as raw:
        raw.ask("HELLO", 3)
        raw.ask("SUBSCRIBE", "weather")
        assert raw.all(["GET", "session:1"], ["GET", "secret:1"]) == [b"session 1", b"***"]
        publish(stack, "weather", "sun")
        assert told(raw.replies(1)[0]) == [b"message", b"weather", b"sun"]


@pytest.mark.parametrize(
    "words",
    [
        ("SUBSCRIBE", "backstage:1"),
        ("SUBSCRIBE", "weather", "backstage:1"),
        ("PSUBSCRIBE", "backstage:*"),
        ("PSUBSCRIBE", "backst?ge:1"),
        ("PSUBSCRIBE", "*"),
        ("SSUBSCRIBE", "backstage:1"),
        ("PUBLISH", "backstage:1", "x"),
        ("SPUBLISH", "backstage:1", "x"),
    ],
    ids=" ".join,
)
def test_a_closed_channel_is_closed_by_every_name(stack: RedisStack, words: tuple[str, ...]) -> None:
    with RedisRaw(stack, "ann") as raw:
        refused = raw.ask(*words)
        assert isinstance(refused, hiredis.ReplyError), refused
        assert str(refused).startswith("NOPERM lockgate: ")
        assert publish(stack, "backstage:1", "user1@example.org") == 0
        assert raw.ask("GET", "session:1") == b"session 1", "it listens to nothing"
        assert marker(raw.heard) is None


def test_who_may_listen_backstage_does(stack: RedisStack) -> None:
    with RedisRaw(stack, "bob") as raw:
        raw.ask("SUBSCRIBE", "backstage:1")
        assert publish(stack, "backstage:1", "psst") == 1
        assert told(raw.replies(1)[0]) == [b"message", b"backstage:1", b"psst"]


def test_messages_and_pipelines_keep_their_order(stack: RedisStack) -> None:
    with RedisRaw(stack, "ann") as raw:
        raw.ask("HELLO", 3)
        raw.ask("SUBSCRIBE", "self")
        answers = raw.all(*(["PUBLISH", "self", str(number)] for number in range(50)))
        answers += raw.replies(50)
        assert [told(one)[2] for one in answers if isinstance(one, list)] == [str(n).encode() for n in range(50)]
        assert [one for one in answers if not isinstance(one, list)] == [1] * 50
    with RedisRaw(stack, "ann") as raw:
        raw.ask("SUBSCRIBE", "many")
        for number in range(500):
            publish(stack, "many", str(number))
        assert [told(one)[2] for one in raw.replies(500)] == [str(n).encode() for n in range(500)]


def test_a_message_that_is_large_passes_whole(stack: RedisStack) -> None:
    with RedisRaw(stack, "ann") as raw:
        raw.ask("SUBSCRIBE", "large")
        publish(stack, "large", "x" * 3_000_000)
        assert told(raw.replies(1)[0])[2] == b"x" * 3_000_000


def test_who_stops_listening_is_gone_at_the_server(stack: RedisStack) -> None:
    with RedisRaw(stack, "ann") as raw:
        raw.ask("SUBSCRIBE", "leaving")
        assert stack.redis.ask("PUBSUB", "NUMSUB", "leaving") == [b"leaving", 1]
    deadline = time.monotonic() + 10
    while stack.redis.ask("PUBSUB", "NUMSUB", "leaving") != [b"leaving", 0]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_redis_py_listens(stack: RedisStack) -> None:
    code = """
    import asyncio, redis, redis.asyncio
    for protocol in (2, 3):
        with redis.Redis(HOST, PORT, protocol=protocol) as client, client.pubsub() as pubsub:
            pubsub.subscribe("py:1"); pubsub.psubscribe("py:*")
            for _ in range(2): pubsub.get_message(timeout=5)
            client.publish("py:1", "a")
            found = []
            while len(found) < 2:
                message = pubsub.get_message(ignore_subscribe_messages=True, timeout=5)
                if message: found.append((message["type"], message["data"]))
            print(sorted(found))
    async def main():
        async with redis.asyncio.Redis(host=HOST, port=PORT) as client, client.pubsub() as pubsub:
            await pubsub.subscribe("py:2")
            await client.publish("py:2", "b")
            async for message in pubsub.listen():
                if message["type"] == "message":
                    print(message["data"]); break
    asyncio.run(main())
    """
    assert stack.python("ann", code).splitlines() == [
        "[('message', b'a'), ('pmessage', b'a')]",
        "[('message', b'a'), ('pmessage', b'a')]",
        "b'b'",
    ]


def test_monitor_is_nothing_for_who_may_not_see(stack: RedisStack) -> None:
    """It shows every command of everybody, values and all."""
    with RedisRaw(stack, "ann") as raw:
        refused = raw.ask("MONITOR")
        assert str(refused).startswith("NOPERM lockgate: ")
        stack.redis.ask("SET", "secret:9", "user9@example.org")
        assert raw.quiet()


def test_tracking_tells_keys_only_to_who_may_know(stack: RedisStack) -> None:
    with RedisRaw(stack, "ann") as raw:
        raw.ask("HELLO", 3)
        answer = raw.ask("CLIENT", "TRACKING", "ON")
        if not isinstance(answer, hiredis.ReplyError):
            assert raw.ask("GET", "session:1") == b"session 1"
            stack.redis.ask("SET", "session:1", "session 1")
            assert told(raw.replies(1)[0]) == [b"invalidate", [b"session:1"]]
