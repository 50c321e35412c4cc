"""Channels: who may listen, who may speak, and what comes without being asked for, in both protocol versions."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from typing import Any

import hiredis
import pytest

from tests.support.markers import marker
from tests.support.redis_raw import RedisRaw
from tests.support.redis_stack import RedisStack
from tests.support.stack import environment


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


# classified channels


EMAIL, HIDDEN = "user1@example.org", b"***"

PY_LISTENS = """
    import redis, sys, threading
    for protocol in (2, 3):
        with redis.Redis(HOST, PORT, protocol=protocol) as client, client.pubsub() as pubsub:
            pubsub.subscribe("news:1", "weather", "events:1")
            pubsub.psubscribe("n*")
            pubsub.ssubscribe("news:1")
            for _ in range(5): pubsub.get_message(timeout=5)
            with redis.Redis(HOST, PORT) as other:
                other.publish("news:1", "user1@example.org")
                other.publish("weather", "rain")
                other.publish("events:1", '{"user": {"email": "user1@example.org"}}')
                other.publish("events:1", "user1@example.org")
                other.execute_command("SPUBLISH", "news:1", "user1@example.org")
            found = []
            while len(found) < 6:
                message = pubsub.get_message(timeout=5)
                assert message, found
                found.append((message["type"], message["data"].decode()))
            print(sorted(found))
"""


def test_redis_py_hears_what_it_may(stack: RedisStack) -> None:
    assert stack.python("ann", PY_LISTENS).splitlines() == 2 * [
        str([
            ("message", "***"),
            ("message", "***"),
            ("message", "rain"),
            ("message", '{"user": {"email": "u***@e***.org"}}'),
            ("pmessage", "***"),
            ("smessage", "***"),
        ])
    ]  # fmt: skip
    plain = stack.python("cyd", PY_LISTENS)
    assert "***" not in plain
    assert plain.count(EMAIL) == 2 * 5
    assert marker(str(stack.records(type="statement")).encode()) is None, "nor is what was published recorded"


def test_redis_cli_hears_what_it_may(stack: RedisStack) -> None:
    with subprocess.Popen(
        stack.cli_command("ann", "PSUBSCRIBE", "n*:*"), stdout=subprocess.PIPE, text=True, env=environment(), cwd="/"
    ) as process:
        try:
            assert process.stdout is not None
            assert [process.stdout.readline() for _ in range(3)] == ["psubscribe\n", "n*:*\n", "1\n"]
            publish(stack, "news:1", EMAIL)
            assert [process.stdout.readline() for _ in range(4)] == ["pmessage\n", "n*:*\n", "news:1\n", "***\n"]
        finally:
            process.kill()


@pytest.mark.parametrize("version", [2, 3])
def test_a_subscription_lives_by_the_rules_now_in_force(stack: RedisStack, version: int) -> None:
    """Masked once a policy says so, and closed once it isn't permitted; who subscribes anew is told why."""
    file = stack.folder / "policies" / "all.cedar"
    epoch = len(stack.records(type="agent", event="reload"))

    def become(policies: str) -> None:
        nonlocal epoch
        file.write_text(policies)
        deadline = time.monotonic() + 20
        while len(stack.records(type="agent", event="reload")) <= epoch:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        epoch += 1

    before = file.read_text()
    lenient = before.replace('@mask("redact")', '@mask("truncate:4")')
    shut = before + (
        '@id("shut") @reason("no news is good news") '
        'forbid (principal, action == Action::"execute", resource in Channels::"cache/news:*");'
    )
    try:
        with RedisRaw(stack, "ann") as raw, RedisRaw(stack, "cyd") as other:
            for one in (raw, other):
                one.ask("HELLO", version)
                one.ask("PSUBSCRIBE", "news:*")
            for policies, expected in ((None, HIDDEN), (lenient, b"user"), (before, HIDDEN)):
                if policies is not None:
                    become(policies)
                assert publish(stack, "news:1", EMAIL) == 2
                assert told(raw.replies(1)[0])[3] == expected
                assert told(other.replies(1)[0])[3] == EMAIL.encode()
            become(shut)
            assert raw.ended(), "at once"
            assert other.ended()
            assert publish(stack, "news:1", EMAIL) == 0
            assert marker(raw.heard) is None
            (denied,) = [r for r in stack.records(phase="begin", verdict="deny") if r.get("policy") == "shut"][:1]
            assert denied["statement"] == "PSUBSCRIBE news:*"
        with RedisRaw(stack, "ann") as again:
            again.ask("HELLO", version)
            assert "no news is good news" in str(again.ask("PSUBSCRIBE", "news:*"))
    finally:
        become(before)


def test_what_explain_says_of_a_subscription(stack: RedisStack) -> None:
    def explained(*more: str) -> dict[str, Any]:
        (found,) = stack.json(
            "policy", "explain", "--config", str(stack.agent_yaml), "--principal", "ann", "--groups", "engineers",
            "--datastore", "cache", *more,
        )  # fmt: skip
        return dict(found)

    assert [mask["column"] for mask in explained("SUBSCRIBE news:1")["masks"]] == ["&news:*"]
    everything = [mask["column"] for mask in explained("PSUBSCRIBE n* e*")["masks"]]
    assert everything == ["&news:*", "&events:*#$.user.email"]
    assert explained("PUBLISH news:1 x")["masks"] == []


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
