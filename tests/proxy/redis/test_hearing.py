"""What subscribers hear of a real server: masked by its channel, by the rules and the identity of the moment."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hiredis
import pytest
from redis.exceptions import ConnectionError as Gone
from redis.exceptions import NoPermissionError

from lockgate.proxy.redis import hearing
from lockgate.proxy.redis.gate import CommandGate
from lockgate.proxy.redis.judge import CommandJudge
from lockgate.wire.gate import Refusal
from tests.proxy.desk import Desk, collecting
from tests.proxy.house import play
from tests.proxy.redis.house import CLASSIFICATION, MARKER, POLICIES, RedisHouse
from tests.proxy.redis.test_attacks import Raw, client
from tests.proxy.test_observing import turn, value
from tests.support.redis import Redis

CHANNELS = {**CLASSIFICATION, "&news:*": ("pii",), "&events:*#$.user.email": ("pii",), "~&odd:*": ("pii",)}
EVENT = json.dumps({"user": {"email": MARKER, "name": "Ann"}, "n": 1})
SHOWN = json.dumps({"user": {"email": "***", "name": "Ann"}, "n": 1})
PLAIN = POLICIES[: POLICIES.index('@id("pii")')] + POLICIES[POLICIES.index('@id("dbas-approve")') :]
"""Nothing is masked."""
CLOSED = (
    POLICIES + '@id("shut") forbid (principal, action == Action::"execute", resource in Channels::"orders/news:*");'
)
PARTLY = POLICIES.replace('@mask("redact")', '@mask("truncate:2")')
NO_MONITOR = (
    '@id("shut") forbid (principal, action == Action::"execute", resource) when { context.kinds.contains("MONITOR") };'
)
NO_SESSIONS = '@id("shut") forbid (principal, action == Action::"execute", resource in Keys::"orders/session:*");'
NO_SWAP = (
    '@id("no-swap") forbid (principal, action == Action::"execute", resource) when { context.kinds.contains("X") };'
)
WAYS = [("SUBSCRIBE", "news:1"), ("PSUBSCRIBE", "n*"), ("PSUBSCRIBE", "*"), ("PSUBSCRIBE", "news:1"),
        ("PSUBSCRIBE", "?ews:[0-9]"), ("SSUBSCRIBE", "news:1")]  # fmt: skip
RESP = pytest.mark.parametrize("resp", ["2", "3"])
WAY = pytest.mark.parametrize("way", WAYS, ids=" ".join)


def house(folder: Path, server: Redis, **given: Any) -> RedisHouse:
    return RedisHouse(folder, server, **{"classification": CHANNELS, **given})


def publish(server: Redis, way: tuple[str, str], text: str, channel: str = "news:1") -> int:
    return int(server.ask("SPUBLISH" if way[0] == "SSUBSCRIBE" else "PUBLISH", channel, text))


async def listening(house: RedisHouse, resp: str, *way: str) -> Raw:
    raw = await client(house)
    await raw.ask("HELLO", resp)
    confirmed = await raw.ask(*way)
    assert isinstance(confirmed, list), confirmed
    return raw


async def heard(raw: Raw) -> bytes:
    """What was published."""
    told = await raw.reply()
    assert isinstance(told, list)
    assert bytes(told[0]).endswith(b"message")
    return bytes(told[-1])


async def over(raw: Raw) -> bytes:
    """What is still said until the connection ends."""
    return await asyncio.wait_for(raw.reader.read(), 20)


def changed(
    house: RedisHouse, policies: str | None = None, classification: dict[str, tuple[str, ...]] | None = None
) -> None:
    """As the agent takes what has changed on disk."""
    if policies is not None:
        house.write_policies(policies)
    if classification is not None:
        house.classification["orders"] = classification
    house.policies.reload()
    house.identities.replace(house.directory("engineers"))
    house.listener.store.reclassify(house.classification["orders"])


def statements(house: RedisHouse, way: tuple[str, str]) -> list[dict[str, Any]]:
    """The records of a subscription."""
    written = [one for one in house.records(type="statement", phase="begin") if one["statement"].startswith(way[0])]
    assert all(way[1] in one["statement"] for one in written)
    return written


# masks


@RESP
@WAY
def test_a_message_is_masked_by_its_channel_whatever_is_listened_to(
    tmp_path: Path, server: Redis, resp: str, way: tuple[str, str]
) -> None:
    async def use() -> None:
        async with house(tmp_path, server) as running:
            raw = await listening(running, resp, *way)
            for text in (MARKER, "", EVENT, MARKER * 10_000):
                assert publish(server, way, text) == 1
                assert await heard(raw) == b"***"
            if way[1] == "*":
                publish(server, way, MARKER, "not-news")
                assert await heard(raw) == MARKER.encode()
            begun = statements(running, way)
            assert ["&news:*", "redact"] in begun[0]["masks"]
            assert MARKER not in str(running.records())
            assert value(running, 'masked_cells_total{datastore="orders"}') == 4

    play(use())


@RESP
@pytest.mark.parametrize("way", [("SUBSCRIBE", "events:1"), ("PSUBSCRIBE", "*"), ("SSUBSCRIBE", "events:1")])
def test_a_place_in_a_message_is_masked_and_all_of_what_is_no_json(
    tmp_path: Path, server: Redis, resp: str, way: tuple[str, str]
) -> None:
    async def use() -> None:
        async with house(tmp_path, server) as running:
            raw = await listening(running, resp, *way)
            for text, expected in ((EVENT, SHOWN), (EVENT[:-1], "***"), (MARKER, "***"), ('{"n": 1}', '{"n": 1}')):
                publish(server, way, text, "events:1")
                assert await heard(raw) == expected.encode()

    play(use())


@RESP
def test_redis_py_hears_masks(tmp_path: Path, server: Redis, resp: str) -> None:
    async def use() -> None:
        async with house(tmp_path, server) as running:
            listener = running.connect(protocol=int(resp)).pubsub()
            await listener.subscribe("news:1", "weather")
            await listener.psubscribe("event*")
            for _ in range(3):
                assert (await listener.get_message(timeout=10))["type"].endswith("subscribe")
            for channel, text in (("news:1", MARKER), ("weather", "rain"), ("events:1", EVENT)):
                server.ask("PUBLISH", channel, text)
            told = [await listener.get_message(timeout=10) for _ in range(3)]
            assert [one["data"] for one in told] == ["***", "rain", SHOWN]
            await listener.aclose()

    play(use())


def test_a_pattern_of_keys_is_none_of_channels_and_the_other_way_round(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        async with house(tmp_path, server) as running:
            raw = await listening(running, "3", "PSUBSCRIBE", "*")
            for channel in ("secret:1", "&odd:1", "odd:1"):
                server.ask("PUBLISH", channel, "open")
                assert await heard(raw) == b"open"
            for key, expected in (("&odd:1", b"***"), ("news:1", b"plain"), ("&news:1", b"plain"), ("odd:1", b"plain")):
                server.ask("SET", key, "plain")
                assert await raw.ask("GET", key) == expected

    play(use())


def test_maskers_are_those_of_values(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        policies = POLICIES.replace('@mask("redact")', '@mask("null")')
        async with house(tmp_path, server, policies=policies) as running:
            for resp in "23":
                listener = running.connect(protocol=int(resp)).pubsub()
                await listener.subscribe("news:1")
                await listener.get_message(timeout=10)
                server.ask("PUBLISH", "news:1", MARKER)
                assert (await listener.get_message(timeout=10))["data"] is None
                await listener.aclose()

    play(use())


# records, and others who show what is published


@pytest.mark.parametrize("word", ["PUBLISH", "SPUBLISH"])
def test_what_is_published_is_not_recorded(tmp_path: Path, server: Redis, word: str) -> None:
    async def use() -> None:
        async with house(tmp_path, server) as running:
            raw = await client(running)
            assert await raw.ask(word, "news:1", MARKER) == 0
            assert await raw.ask(word, "weather", "rain") == 0
            await raw.ask("MULTI")
            await raw.ask(word, "events:1", MARKER)
            assert await raw.ask("EXEC") == [0]
            assert MARKER not in str(running.records())
            assert running.told[:2] == [f"{word} news:1 ?", f"{word} weather rain"] or running.told[0] == (
                f"{word} news:1 ?\n{word} weather rain"
            )

    play(use())


def test_who_approves_a_message_is_not_shown_it(tmp_path: Path, server: Redis) -> None:
    holding = POLICIES + (
        '@id("two-for-news") @approvers("dba") @timeout("20s") '
        'forbid (principal, action == Action::"execute_alone", resource in Channels::"orders/news:*");'
    )

    async def use() -> None:
        async with (
            collecting(tmp_path) as collector,
            house(tmp_path, server, policies=holding, collector=collector) as running,
        ):
            desk, raw = Desk(running), await client(running)
            raw.say("PUBLISH", "news:1", MARKER)
            hold = await desk.hold()
            assert hold.statement == "PUBLISH news:1 ?"
            await desk.decide(hold)
            assert await raw.reply() == 0

    play(use())


@pytest.mark.parametrize("words", ["MONITOR", "SLOWLOG GET", "COMMANDLOG GET"])
def test_what_tells_of_others_commands_is_refused_where_only_messages_are_masked(
    tmp_path: Path, server: Redis, words: str
) -> None:
    async def use() -> None:
        async with house(tmp_path, server, classification={"&news:*": ("pii",)}) as running:
            raw = await client(running)
            assert isinstance(await raw.ask(*words.split()), hiredis.ReplyError)

    play(use())


def test_names_of_channels_are_told(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        async with house(tmp_path, server) as running:
            await listening(running, "3", "SUBSCRIBE", "news:1")
            raw = await client(running)
            assert await raw.ask("PUBSUB", "CHANNELS", "news*") == [b"news:1"]
            assert await raw.ask("PUBSUB", "NUMSUB", "news:1") == [b"news:1", 1]

    play(use())


# keyspace notifications


@pytest.mark.parametrize(("classified", "name"), [({}, b"session:1"), ({"&*": ("pii",)}, b"***")])
def test_keyspace_notifications_are_names_unless_their_channel_is_classified(
    tmp_path: Path, server: Redis, classified: dict[str, tuple[str, ...]], name: bytes
) -> None:
    async def use() -> None:
        server.ask("CONFIG", "SET", "notify-keyspace-events", "KEA")
        async with house(tmp_path, server, classification={**CHANNELS, **classified}) as running:
            raw = await listening(running, "2", "PSUBSCRIBE", "__keyevent@0__:*")
            server.ask("SET", "session:1", MARKER)
            assert await heard(raw) == name
        server.ask("CONFIG", "SET", "notify-keyspace-events", "")

    play(use())


# what becomes other while it is listened to


@RESP
@WAY
def test_messages_are_masked_by_the_rules_now_in_force(
    tmp_path: Path, server: Redis, resp: str, way: tuple[str, str]
) -> None:
    async def use() -> None:
        async with house(tmp_path, server, policies=PLAIN) as running:
            raw = await listening(running, resp, *way)
            for policies, expected in ((None, MARKER), (POLICIES, "***"), (PARTLY, MARKER[:2]), (PLAIN, MARKER)):
                if policies is not None:
                    changed(running, policies)
                publish(server, way, MARKER)
                assert await heard(raw) == expected.encode()
            changed(running, POLICIES, {})
            publish(server, way, MARKER)
            assert await heard(raw) == MARKER.encode(), "classified no more"
            changed(running, classification={"&*#$.a": ("pii",)})
            publish(server, way, MARKER)
            assert await heard(raw) == b"***", "by another name"

    play(use())


@RESP
@WAY
def test_a_subscription_that_is_not_permitted_any_more_ends(
    tmp_path: Path, server: Redis, resp: str, way: tuple[str, str]
) -> None:
    async def use() -> None:
        async with house(tmp_path, server, policies=PLAIN) as running:
            raw = await listening(running, resp, *way)
            publish(server, way, "before")
            assert await heard(raw) == b"before"
            changed(running, CLOSED)
            assert publish(server, way, MARKER) == 1
            assert await over(raw) == b"", "nothing of it, and no error that nobody waits for"
            assert not running.listener.connections
            told = statements(running, way)
            assert [(one["verdict"], one["policy"]) for one in told] == [("allow", "work"), ("deny", "shut")]
            (ended,) = running.records(type="statement", phase="end", outcome="denied")
            assert ended["error"]["code"] == "NOPERM"
            again = await client(running)
            await again.ask("HELLO", resp)
            assert "(policy shut)" in str(await again.ask(*way)), "who subscribes anew is told"

    play(use())


@RESP
@pytest.mark.parametrize("words", [*WAYS, ("MONITOR",), ("CLIENT", "TRACKING", "ON", "BCAST")], ids=" ".join)
def test_it_ends_at_the_reload_also_where_nothing_is_said(
    tmp_path: Path, server: Redis, resp: str, words: tuple[str, ...]
) -> None:
    shut = CLOSED + NO_MONITOR.replace("shut", "eyes") + NO_SESSIONS.replace("shut", "keys")

    async def use() -> None:
        async with house(tmp_path, server, policies=PLAIN) as running:
            raw, other = await client(running), await listening(running, resp, "SUBSCRIBE", "weather")
            await raw.ask("HELLO", resp)
            if not isinstance(await raw.ask(*words), hiredis.ReplyError):
                for policies in (PLAIN + NO_SWAP, shut):
                    assert len(running.listener.connections) == 2
                    changed(running, policies)
                    running.listener.reconsider()
                    await asyncio.sleep(0.05)
                assert await over(raw) == b""
                assert len(running.listener.connections) == 1
                denied = running.records(type="statement", phase="begin", verdict="deny")
                assert [one["policy"] in ("shut", "eyes", "keys") for one in denied] == [True]
            server.ask("PUBLISH", "weather", "rain")
            assert await heard(other) == b"rain"

    play(use())


def test_another_subscription_of_the_same_client_goes_on_until_then(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        async with house(tmp_path, server, policies=PLAIN) as running:
            raw = await listening(running, "2", "SUBSCRIBE", "weather")
            assert isinstance(await raw.ask("SUBSCRIBE", "news:1"), list)
            changed(running, CLOSED)
            for text in ("rain", "sun"):
                server.ask("PUBLISH", "weather", text)
                assert await heard(raw) == text.encode()
            server.ask("PUBLISH", "news:1", MARKER)
            assert await over(raw) == b""

    play(use())


@RESP
def test_redis_py_comes_again_and_is_told_why(tmp_path: Path, server: Redis, resp: str) -> None:
    async def use() -> None:
        async with house(tmp_path, server, policies=PLAIN) as running:
            listener = running.connect(protocol=int(resp)).pubsub()
            await listener.subscribe("news:1")
            await listener.get_message(timeout=10)
            changed(running, CLOSED)
            server.ask("PUBLISH", "news:1", MARKER)
            heard: list[object] = []
            with pytest.raises(NoPermissionError, match="policy shut"):  # noqa: PT012 - as a client would go on
                while True:
                    try:
                        heard.append(await listener.get_message(timeout=10))
                    except Gone:
                        await listener.connect()
            assert MARKER not in str(heard)
            await listener.aclose()

    play(use())


def test_who_has_become_somebody_else_hears_as_that(tmp_path: Path, server: Redis) -> None:
    """Groups are those of identities.yaml as of now; a process that has ended, or is another program, is nobody."""

    async def use() -> None:
        readers = POLICIES.replace(
            'resource in Tag::"pii")', 'resource in Tag::"pii") unless { principal in Group::"readers" }'
        )
        async with house(tmp_path, server, policies=readers) as running:
            raw = await listening(running, "3", "PSUBSCRIBE", "news:*")
            for groups, expected in (
                (("engineers",), b"***"),
                (("engineers", "readers"), MARKER.encode()),
                (("engineers",), b"***"),
            ):
                running.identities.replace(running.directory(*groups))
                server.ask("PUBLISH", "news:1", MARKER)
                assert await heard(raw) == expected
            running.identities.replace(running.directory("nobodies"))
            server.ask("PUBLISH", "news:1", MARKER)
            assert await over(raw) == b""

    play(use())


@pytest.mark.parametrize("words", [("SUBSCRIBE", "weather"), ("MONITOR",), ("CLIENT", "TRACKING", "ON", "BCAST")])
def test_whose_process_is_gone_hears_nothing(
    tmp_path: Path, server: Redis, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    async def use() -> None:
        async with house(tmp_path, server, policies=PLAIN) as running:
            raw = await client(running)
            await raw.ask("HELLO", "3")
            await raw.ask(*words)
            gone = Refusal("denied", "lockgate: pid 7 has ended")
            monkeypatch.setattr(CommandGate, "refresh", lambda self: gone)
            server.ask("PUBLISH", "weather", MARKER)
            server.ask("SET", "session:1", MARKER)
            assert await over(raw) == b""
            told = running.records(type="statement", phase="begin", verdict="deny")
            assert [(one["statement"], one["reason"]) for one in told] == [
                (" ".join(words), "lockgate: pid 7 has ended")
            ]

    play(use())


def test_a_token_that_is_renewed_ends_nothing(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        async with house(tmp_path, server) as running:
            raw = await listening(running, "2", "SUBSCRIBE", "news:1")
            for _ in range(3):
                running.clock += 280
                server.ask("PUBLISH", "news:1", MARKER)
                assert await heard(raw) == b"***"

    play(use())


MASKING = POLICIES[POLICIES.index('@id("pii")') : POLICIES.index('@id("dbas-approve")')]


@pytest.mark.parametrize(
    ("words", "makes", "forbidden"),
    [
        ("MONITOR", "PUBLISH news:1 x", NO_MONITOR),
        ("MONITOR", "PUBLISH news:1 x", MASKING),
        ("CLIENT TRACKING ON BCAST", "SET session:1 x", NO_SESSIONS),
        ("CLIENT TRACKING ON BCAST PREFIX session:", "SET session:1 x", NO_SESSIONS),
    ],
)
def test_what_tells_of_everything_ends_with_the_permission(
    tmp_path: Path, server: Redis, words: str, makes: str, forbidden: str
) -> None:
    async def use() -> None:
        async with house(tmp_path, server, policies=PLAIN) as running:
            raw = await client(running)
            await raw.ask("HELLO", "3")
            assert await raw.ask(*words.split()) == b"OK"
            server.ask(*makes.split())
            assert await raw.reply()
            changed(running, PLAIN + forbidden)
            server.ask(*makes.split())
            assert await over(raw) == b""

    play(use())


@pytest.mark.parametrize("another", ["policy", "approver", "principal"])
def test_what_a_second_person_let_pass_goes_on_and_what_none_did_ends(
    tmp_path: Path, server: Redis, another: str
) -> None:
    holding = POLICIES + (
        '@id("two-listen") @approvers("dba") @timeout("20s") '
        'forbid (principal, action == Action::"execute_alone", resource in Channels::"orders/news:*");'
    )

    async def use() -> None:
        async with collecting(tmp_path) as collector, house(tmp_path, server, collector=collector) as running:
            alone = await listening(running, "2", "SUBSCRIBE", "news:1")
            changed(running, holding)
            desk, approved = Desk(running), await client(running)
            approved.say("SUBSCRIBE", "news:1")
            await desk.decide(await desk.hold())
            assert isinstance(await approved.reply(), list)
            for policies in (None, holding):
                if policies is not None:
                    changed(running, policies)
                server.ask("PUBLISH", "news:1", MARKER)
                assert await heard(approved) == b"***"
            assert await over(alone) == b""
            if another == "policy":
                changed(running, holding.replace("two-listen", "two-by-other-rules"))
            elif another == "approver":
                changed(running, holding.replace('@approvers("dba")', '@approvers("owners")'))
            else:
                running.identities.replace(running.directory("engineers", name="cyd"))
            server.ask("PUBLISH", "news:1", MARKER)
            assert await over(approved) == b""

    play(use())


@RESP
def test_what_began_while_it_was_observed_is_masked_once_it_is_enforced(
    tmp_path: Path, server: Redis, resp: str
) -> None:
    async def use() -> None:
        async with house(tmp_path, server, mode="observe") as running:
            raw = await listening(running, resp, "PSUBSCRIBE", "*")
            for mode, expected in (("observe", MARKER), ("enforce", "***"), ("observe", MARKER)):
                if mode != running.listener.store.settings.mode:
                    turn(running.listener, running.listener.store, mode)
                server.ask("PUBLISH", "news:1", MARKER)
                assert await heard(raw) == expected.encode()

    play(use())


def test_a_switch_of_version_and_a_reset_show_nothing(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        async with house(tmp_path, server) as running:
            raw = await listening(running, "3", "SUBSCRIBE", "news:1")
            for resp in ("3", "2"):
                await raw.ask("HELLO", resp)
                server.ask("PUBLISH", "news:1", MARKER)
                assert await heard(raw) == b"***"
            assert await raw.ask("RESET") == b"RESET"
            server.ask("PUBLISH", "news:1", MARKER)
            assert await raw.ask("PING") == b"PONG", "it listens no more"
            assert isinstance(await raw.ask("PSUBSCRIBE", "news:*"), list)
            server.ask("PUBLISH", "news:1", MARKER)
            assert await heard(raw) == b"***"

    play(use())


def test_what_a_transaction_publishes_to_its_own_client_is_masked(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        async with house(tmp_path, server) as running:
            raw = await listening(running, "3", "SUBSCRIBE", "news:1")
            assert await raw.ask("MULTI") == b"OK"
            for words in (("GET", "a"), ("PUBLISH", "news:1", MARKER), ("GET", "b")):
                assert await raw.ask(*words) == b"QUEUED"
            raw.say("EXEC")
            raw.say("PING")
            said = b""
            while b"PONG" not in said and (piece := await asyncio.wait_for(raw.reader.read(65536), 20)):
                said += piece
            assert MARKER.encode() not in said

    play(use())


# what it costs


def test_each_is_judged_once_until_something_changes(
    tmp_path: Path, server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    judge: Callable[..., Any] = CommandJudge.judge

    def counted(self: CommandJudge, asker: Any, request: Any) -> Any:
        asked.append(request.text)
        return judge(self, asker, request)

    async def use() -> None:
        async with house(tmp_path, server) as running:
            raw = await listening(running, "3", "SUBSCRIBE", "news:1")
            await raw.ask("PSUBSCRIBE", "w*")
            monkeypatch.setattr(CommandJudge, "judge", counted)
            for _ in range(2):
                for number in range(20):
                    server.ask("PUBLISH", "news:1", MARKER)
                    server.ask("PUBLISH", f"weather:{number}", "rain")
                    assert [await heard(raw), await heard(raw)] == [b"***", b"rain"]
                assert asked == ["SUBSCRIBE news:1", "PSUBSCRIBE w*"]
                asked.clear()
                changed(running)

    play(use())


def test_what_is_remembered_is_bounded(tmp_path: Path, server: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hearing, "REMEMBERED", 4)

    async def use() -> None:
        async with house(tmp_path, server) as running:
            raw = await listening(running, "3", "PSUBSCRIBE", "*")
            for number in range(10):
                assert isinstance(await raw.ask("SUBSCRIBE", f"news:{number}"), list)
            for number in range(10):
                server.ask("PUBLISH", f"news:{number}", MARKER)
                assert [await heard(raw), await heard(raw)] == [b"***", b"***"]
            (served,) = running.listener.connections.values()
            gate: Any = served.gate
            assert len(gate._hearing._judged) <= 4
            assert len(gate._hearing._masks) <= 4

    play(use())
