"""What passes because others like it did, against a real server: it is as if each had been judged by itself.

`slowly` has nothing remembered: every command is understood and judged.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hiredis
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lockgate.audit.errors import SpoolError
from lockgate.config import SpoolSettings
from lockgate.identity.workload import ProcessGone
from lockgate.proxy.connection import UpstreamSide
from lockgate.proxy.ledger import Ledger
from lockgate.proxy.redis import batch as batches
from lockgate.proxy.redis.gate import CommandGate
from lockgate.understand.redis.rendering import MAX_ARGUMENTS, MAX_CHARACTERS
from lockgate.wire.redis._resp import CommandReader, encode_command
from tests.proxy.house import play, until
from tests.proxy.redis.house import MARKER, POLICIES, RedisHouse
from tests.proxy.redis.scripted import Scripted
from tests.support.redis import Redis
from tests.support.redis_playbook import bulk

Args = tuple[bytes, ...]

TEAMS = (
    POLICIES
    + """
@id("team") @reason("teams read what is theirs")
permit (principal in Group::"engineers", action == Action::"execute", resource in Keys::"orders/team:*");
@id("other-teams") forbid (principal, action == Action::"execute", resource in Keys::"orders/team:?:closed");
"""
)
TRIED = TEAMS + '@id("tried") forbid (principal, action == Action::"execute", resource in Keys::"orders/k:2");'
MAILS = (
    TEAMS
    + """
@id("reveals") permit (principal, action == Action::"reveal_detected", resource);
@id("mail") @mask("redact") forbid (principal, action == Action::"reveal_detected", resource == Detector::"email");
"""
)
NUMBERED = (
    POLICIES
    + """
@id("not-there") forbid (principal, action == Action::"execute", resource) when {
    context.database == "1" && context.effects.contains("write") };
"""
)


NEVER_TWICE = ("id", "seq", "prev", "time", "host", "v", "duration_us")


@contextmanager
def slowly() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CommandGate, "learn", lambda gate, request: None)
        yield


def line(text: str) -> Args:
    return tuple(text.encode().split(b" "))


class Talk:
    """One client: says commands, and hears one answer for each."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.heard = b""

    @classmethod
    async def to(cls, house: RedisHouse) -> Talk:
        return cls(*await house.raw())

    def say(self, *commands: Args) -> None:
        self.writer.write(b"".join(map(encode_command, commands)))

    async def hear(self, count: int) -> list[object]:
        parser, found = hiredis.Reader(), list[object]()
        while len(found) < count:
            data = await asyncio.wait_for(self.reader.read(1 << 16), 20)
            if not data:
                break
            self.heard += data
            parser.feed(data)
            while (answer := parser.gets()) is not False:
                found.append(answer)
        return found

    def reset(self) -> None:
        """Be gone, and not just say no more."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def ask(self, *commands: Args) -> list[object]:
        self.say(*commands)
        return await self.hear(len(commands))

    async def tell(self, *texts: str) -> list[object]:
        return await self.ask(*map(line, texts))


def statements(house: RedisHouse, *, ended: bool = True) -> list[dict[str, Any]]:
    """The records of statements, each beginning with its end, without what is never twice the same.

    With `ended` False some ends may be lost.
    """
    found: dict[str, dict[str, Any]] = {}
    for record in house.records():
        if record["type"] not in ("statement", "prepare"):
            continue
        kept = {name: value for name, value in record.items() if name not in NEVER_TWICE}
        if "connection" in kept:
            kept["connection"] = {name: kept["connection"][name] for name in ("database", "user", "principal")}
        of = found.setdefault(record["id"], {})
        place = f"{record['type']} {record.get('phase')}"
        assert place not in of, "each is recorded once"
        of[place] = kept
    for of in found.values():
        assert ("statement begin" in of) >= ("statement end" in of), "what never began has no end"
        assert not ended or ("statement begin" in of) == ("statement end" in of), of
    return list(found.values())


def counted(house: RedisHouse) -> list[str]:
    """Metrics but for how long things took."""
    return [text for text in house.metrics.text().decode().splitlines() if not text.startswith("#")
            and "seconds" not in text and "spool" not in text and "process_" not in text]  # fmt: skip


def run(server: Redis, reads: Sequence[Sequence[Args]], **more: Any) -> tuple[Any, ...]:
    """What a client hears that says `reads` one after another, what the server ran, what is recorded and counted."""

    async def use() -> tuple[Any, ...]:
        with tempfile.TemporaryDirectory() as folder:
            async with RedisHouse(Path(folder), server, **more) as house:
                talk = await Talk.to(house)
                for read in reads:
                    await talk.ask(*read)
                await until(lambda: sum(r.get("phase") == "begin" for r in house.records(type="statement"))
                            == sum(r.get("phase") == "end" for r in house.records(type="statement")))  # fmt: skip
                return talk.heard, statements(house), counted(house)

    server.ask("FLUSHALL")
    server.ask("CONFIG", "RESETSTAT")
    for number in range(2):
        server.ask("SET", f"secret:{number}", MARKER)
        server.ask("HSET", f"profile:{number}", "name", "ann", "email", MARKER)
    server.ask("SET", "k:3", "ann@example.com")
    sent: list[bytes] = []
    with pytest.MonkeyPatch.context() as patch:
        write = UpstreamSide.write

        def told(side: UpstreamSide, data: bytes) -> None:
            sent.append(data)
            write(side, data)

        patch.setattr(UpstreamSide, "write", told)
        patch.setattr(CommandGate, "_hold", approved)
        found = play(use())
    ran = server.stats(refused=True)
    for own in ("FLUSHALL", "CONFIG", "INFO", "CONFIG RESETSTAT"):
        ran.pop(own, None)
    return *found, CommandReader(1 << 30).feed(b"".join(sent)), ran


async def approved(gate: Any, asked: Any, judgement: Any) -> Any:
    """Somebody lets it pass at once."""
    await asyncio.sleep(0)
    return gate.let_pass(asked, judgement, None, gate.refresh())


def alike(server: Redis, reads: Sequence[Sequence[Args]], **more: Any) -> tuple[Any, ...]:
    followed: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        before = CommandGate.follow

        def follow(gate: CommandGate, *about: Any) -> Any:
            found = before(gate, *about)
            followed.append(0 if found is None else found.count)
            return found

        patch.setattr(CommandGate, "follow", follow)
        fast = run(server, reads, **more)
    with slowly():
        slow = run(server, reads, **more)
    for one, other, what in zip(fast, slow, ("answers", "records", "metrics", "sent", "ran"), strict=True):
        assert one == other, what
    return *fast, sum(followed)


KEYS = st.sampled_from([
    *(b"k:1", b"k:2", b"k:3", b"plain"), *(b"team:a", b"team:a:closed", b"frozen:1", b"money:1", b"secret:1"),
    b"profile:1", b"profile:1\0", b"", b"\xff\xfe", b"SECRET:1",
])  # fmt: skip
VALUES = st.sampled_from([
    *(b"1", b"a b", b"", b"?", b'"', b"\x00", b"v" * 600, b"\xff" * 5000, b"bob@example.com", b"secret:1"),
    *(b"GET", b"EX", b"10", b"KEYS", b"BLOCK", b"DB", b"0"),
])  # fmt: skip
SHAPES: list[Callable[[Any, Any], Args]] = [
    lambda k, v: (b"GET", k()),
    lambda k, v: (b"gEt", k()),
    lambda k, v: (b"GET\0", k()),
    lambda k, v: (b"SET", k(), v()),
    lambda k, v: (b"SET", k(), v(), v()),
    lambda k, v: (b"SET", k(), v(), b"EX", b"100"),
    lambda k, v: (b"SETEX", k(), b"100", v()),
    lambda k, v: (b"GETSET", k(), v()),
    lambda k, v: (b"GETEX", k()),
    lambda k, v: (b"GETEX", k(), b"PERSIST"),
    lambda k, v: (b"APPEND", k(), v()),
    lambda k, v: (b"MGET", k(), k()),
    lambda k, v: (b"MGET", *(k() for _ in range(MAX_ARGUMENTS - 1))),
    lambda k, v: (b"DEL", *(k() for _ in range(MAX_ARGUMENTS))),
    lambda k, v: (b"MSET", k(), v(), k(), v()),
    lambda k, v: (b"RENAME", k(), k()),
    lambda k, v: (b"COPY", k(), k()),
    lambda k, v: (b"COPY", k(), k(), b"DB", b"1"),
    lambda k, v: (b"MOVE", k(), b"1"),
    lambda k, v: (b"SWAPDB", b"0", b"1"),
    lambda k, v: (b"EXPIRE", k(), b"1000"),
    lambda k, v: (b"OBJECT", b"ENCODING", k()),
    lambda k, v: (b"OBJECT", b"HELP", k()),
    lambda k, v: (b"TYPE", k()),
    lambda k, v: (b"DUMP", k()),
    lambda k, v: (b"SORT", k()),
    lambda k, v: (b"SORT", k(), b"BY", b"nosort"),
    lambda k, v: (b"SORT", k(), b"GET", b"secret:*"),
    lambda k, v: (b"SORT", k(), b"STORE", k()),
    lambda k, v: (b"HGET", k(), b"email"),
    lambda k, v: (b"HGET", k(), b"name"),
    lambda k, v: (b"HSET", k(), b"email", v()),
    lambda k, v: (b"HGETALL", k()),
    lambda k, v: (b"LPUSH", k(), v()),
    lambda k, v: (b"LMPOP", b"1", k(), b"LEFT"),
    lambda k, v: (b"LMPOP", b"2", k(), b"LEFT"),
    lambda k, v: (b"SINTERCARD", b"1", k()),
    lambda k, v: (b"SINTERCARD", b"2", k(), k()),
    lambda k, v: (b"ZADD", k(), b"1", v()),
    lambda k, v: (b"ZADD", k(), b"GT", b"1", v()),
    lambda k, v: (b"ZRANGESTORE", k(), k(), b"0", b"-1"),
    lambda k, v: (b"BITFIELD", k(), b"GET", b"u8", b"0"),
    lambda k, v: (b"BITFIELD", k(), b"SET", b"u8", b"0", b"1"),
    lambda k, v: (b"BLPOP", k(), b"0.001"),
    lambda k, v: (b"XREAD", b"STREAMS", k(), b"0"),
    lambda k, v: (b"XREAD", b"COUNT", b"1", b"STREAMS", k(), b"0"),
    lambda k, v: (b"EVAL", b"return ARGV[1]", b"0", v()),
    lambda k, v: (b"EVAL", b"return redis.call('GET', KEYS[1])", b"1", k()),
    lambda k, v: (b"MIGRATE", b"127.0.0.1", b"1", k(), b"0", b"10"),
    lambda k, v: (b"PUBLISH", k(), v()),
    lambda k, v: (b"ECHO", v()),
    lambda k, v: (b"PING",),
    lambda k, v: (b"WATCH", k()),
    lambda k, v: (b"UNWATCH",),
    lambda k, v: (b"MULTI",),
    lambda k, v: (b"EXEC",),
    lambda k, v: (b"DISCARD",),
    lambda k, v: (b"SELECT", b"0"),
    lambda k, v: (b"SELECT", b"1"),
    lambda k, v: (b"RESET",),
    lambda k, v: (b"AUTH", v()),
    lambda k, v: (b"FLUSHALL",),
    lambda k, v: (b"DBSIZE",),
    lambda k, v: (b"SCAN", b"0"),
    lambda k, v: (b"NO.SUCH", k()),
    lambda k, v: (b"GET",),
    lambda k, v: (b"GET", k(), v()),
]


@st.composite
def pipelines(draw: st.DrawFn) -> list[list[Args]]:
    """A few reads of many commands, of a handful of kinds: most of them have precedents."""

    def key() -> bytes:
        return draw(KEYS)

    def value() -> bytes:
        return draw(VALUES)

    kinds = draw(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=4))
    several = [kind(key, value) for kind in kinds for _ in range(draw(st.integers(1, 3)))]
    return draw(st.lists(st.lists(st.sampled_from(several), min_size=1, max_size=30), min_size=1, max_size=4))


@pytest.mark.parametrize(
    "more",
    [
        {"policies": TEAMS},
        {"policies": TEAMS, "shadow": TRIED},
        {"policies": MAILS},
        {"policies": NUMBERED},
        {"policies": TEAMS, "classification": {}},
    ],
    ids=["plain", "tried", "detected", "numbered", "bare"],
)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(reads=pipelines())
def test_it_is_as_if_each_had_been_judged_by_itself(
    server: Redis, more: dict[str, Any], reads: list[list[Args]]
) -> None:
    alike(server, reads, **more)


def test_most_of_a_pipeline_follows(server: Redis) -> None:
    reads = [[(b"SET", b"k:%d" % number, b"x") for number in range(50)] for _ in range(4)]
    *_, sent, ran, followed = alike(server, reads)
    assert len(sent) == ran["SET"] - 3 == 200
    assert followed >= 196, "or nothing here tests anything"


@pytest.mark.parametrize("size", [1, 100, 300, 700])
def test_records_have_the_same_bounds(server: Redis, size: int) -> None:
    """However much of it follows, no record is longer than one of what was judged, and none ends elsewhere."""
    some: list[Args] = [(b"SET", b"k:%d" % number, b"v" * (size + number % 7)) for number in range(250)]
    others: list[Args] = [(b"GET", b"k:1"), (b"GET", b"team:a"), (b"PING",)] * 90
    mixed = [one for pair in zip(some, others, strict=False) for one in pair]
    reads = [some[:40], some * 3, mixed[:30], mixed * 2, [*some[:180], (b"PING",), *some]]
    _, told, *_ = alike(server, reads, policies=TEAMS)
    for record in told:
        text = record["statement begin"]["statement"]
        assert len(text.replace("\n", "")) <= batches.CHARACTERS + size + 20
        assert record["statement begin"].get("commands", 1) == len(text.split("\n")) <= batches.COMMANDS


def test_what_is_too_long_to_be_shown_is_cut_alike(server: Redis) -> None:
    lines = [(b"DEL", *[b"\xff" * length] * 20) for length in (1, 200, 204, 205, MAX_CHARACTERS)]
    alike(server, [lines, lines * 3])
    long = [(b"SET", b"k:1", b"v" * length) for length in (3, 1 << 20, 3 << 20, 5)]
    alike(server, [long, *[[one] for one in long]])


# every ground on which precedents are dropped


async def settled(talk: Talk, *texts: str) -> None:
    """Commands that have precedents from here on."""
    for _ in range(2):
        await talk.tell(*texts)


FORBIDDING = POLICIES + '@id("no") forbid (principal, action == Action::"execute", resource in Keys::"orders/k:*");'


def forbid(house: RedisHouse) -> None:
    house.write_policies(FORBIDDING)
    house.policies.reload()
    house.listener.store.reclassify(house.listener.store.classification)


def hide(house: RedisHouse) -> None:
    house.listener.store.reclassify({"k:*": ("pii",)})


def leave(house: RedisHouse) -> None:
    house.identities.replace(house.directory("strangers"))


@pytest.mark.parametrize("change", [forbid, hide, leave])
def test_what_has_changed_is_so_for_the_next_command(
    tmp_path: Path, server: Redis, change: Callable[[RedisHouse], None]
) -> None:
    async def use() -> None:
        server.ask("SET", "k:1", MARKER)
        async with RedisHouse(tmp_path, server) as house:
            talk = await Talk.to(house)
            await settled(talk, "GET k:1")
            change(house)
            before = server.calls("GET")
            found = await talk.tell("GET k:1", "GET k:1")
            if change is hide:
                assert found == [b"***", b"***"]
            else:
                assert all("lockgate: " in str(one) for one in found)
                assert server.calls("GET") == before
            assert MARKER.encode() not in talk.heard[-20:]

    play(use())


def test_an_engine_that_is_another_is_enough(tmp_path: Path, server: Redis) -> None:
    """Also before the stores are told what is classified now."""

    async def use() -> None:
        async with RedisHouse(tmp_path, server) as house:
            talk = await Talk.to(house)
            await settled(talk, "GET k:1")
            house.write_policies(FORBIDDING)
            house.policies.reload()
            assert "lockgate: " in str((await talk.tell("GET k:1"))[0])

    play(use())


def test_what_is_tried_from_now_on_is_told(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        async with RedisHouse(tmp_path, server, shadow=POLICIES) as house:
            talk = await Talk.to(house)
            await settled(talk, "GET k:1")
            house.write_policies(FORBIDDING, "next")
            house.shadow.reload()
            await talk.tell("GET k:1", "GET k:1")
            *_, last = house.records(type="statement", phase="begin")
            assert (last["commands"], last["shadow"]["would"]) == (2, "deny")

    play(use())


def test_what_is_observed_is_recorded_as_that_and_not_followed(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        async with RedisHouse(tmp_path, server) as house:
            talk = await Talk.to(house)
            await settled(talk, "GET frozen:1", "GET k:1")
            store = house.listener.store
            enforced = store.settings
            store.become(msgspec.structs.replace(enforced, mode="observe"))
            await talk.tell("GET k:1", "SET frozen:1 x", "GET k:1")
            *_, first, second, third = house.records(type="statement", phase="begin")
            assert [r["mode"] for r in (first, second, third)] == ["observe"] * 3
            assert second["would"] == "deny"
            store.become(enforced)
            house.listener.enforce()
            found = await (other := await Talk.to(house)).tell("GET k:1", "SET frozen:1 y", "GET k:1")
            assert "lockgate: " in str(found[1])
            await settled(other, "GET k:1")
            assert house.records(type="statement", phase="begin")[-1]["mode"] == "enforce"
            assert server.ask("GET", "frozen:1") == b"x"

    play(use())


@pytest.mark.parametrize("move", ["SELECT 1", "MULTI|SELECT 1|EXEC"])
def test_another_database_is_another_question(tmp_path: Path, server: Redis, move: str) -> None:
    async def use() -> None:
        async with RedisHouse(tmp_path, server, policies=NUMBERED) as house:
            talk = await Talk.to(house)
            await settled(talk, "SET k:1 v")
            found = await talk.tell("SET k:1 v", *move.split("|"), "SET k:1 w", "SET k:1 w", "GET k:1")
            refused = [one for one in found[-3:] if "lockgate: " in str(one)]
            assert len(refused) == (2 if move == "SELECT 1" else 0)
            assert server.ask("DBSIZE", database=1) == 0
            found = await talk.tell("RESET", "SET k:1 v", "SELECT 1", "SET k:1 w")
            assert "lockgate: " in str(found[-1])

    play(use())


def test_another_user_is_another_question(tmp_path: Path) -> None:
    policies = (
        POLICIES
        + """
@id("not-app") forbid (principal, action == Action::"execute", resource) when { context.user == "app" };
"""
    )

    async def use(server: Redis) -> None:
        async with RedisHouse(tmp_path, server, policies=policies) as house:
            talk = await Talk.to(house)
            await settled(talk, "GET k:1")
            found = await talk.tell("AUTH app pw", "GET k:1", "GET k:1", "RESET", "GET k:1")
            assert found[0] == b"OK"
            assert all("lockgate: " in str(one) for one in found[1:3])

    with Redis(users={"app": "on >pw ~* +@all"}) as server:
        play(use(server))


CLOSING = (
    POLICIES
    + """
@id("closing") forbid (principal, action == Action::"execute", resource)
when { context.now >= datetime("1970-01-01T01:40:00Z") };
"""
)


def test_another_minute_is_another_question(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        async with RedisHouse(tmp_path, server, policies=CLOSING) as house:
            now = [5940.0]
            house.policies.engine._clock = lambda: now[0]
            talk = await Talk.to(house)
            await settled(talk, "GET k:1")
            now[0] = 6001.0
            assert "lockgate: " in str((await talk.tell("GET k:1"))[0])

    play(use())


def test_what_was_judged_a_moment_ago_is_of_that_minute(
    tmp_path: Path, server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def use() -> None:
        async with RedisHouse(tmp_path, server, policies=CLOSING) as house:
            now = [5999.0]
            house.policies.engine._clock = lambda: now[0]
            learn = CommandGate.learn

            def later(gate: CommandGate, request: Any) -> None:
                now[0] = 6000.0
                learn(gate, request)

            monkeypatch.setattr(CommandGate, "learn", later)
            talk = await Talk.to(house)
            assert await talk.tell("GET k:1") == [None]
            assert "lockgate: " in str((await talk.tell("GET k:1"))[0])

    play(use())


def test_a_process_that_is_gone_is_refused_once_and_counted_once(tmp_path: Path, server: Redis) -> None:
    async def use() -> tuple[list[object], list[str]]:
        async with RedisHouse(tmp_path, server) as house:
            talk = await Talk.to(house)
            await settled(talk, "GET k:1")
            house.clock = 10_000
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("lockgate.identity.cache.describe", gone)
                found = await talk.tell("GET k:1", "GET k:1")
            return found, [text for text in counted(house) if "refused" in text]

    found, refused = play(use())
    assert all("lockgate: " in str(one) for one in found)
    assert [text for text in refused if "identity" in text] == ['lockgate_refused_total{reason="identity"} 2.0']


def gone(*_: object) -> Any:
    raise ProcessGone("pid 1 has ended")


def test_commands_that_the_server_has_otherwise_now_are_judged_anew(tmp_path: Path, server: Redis) -> None:
    policies = (
        POLICIES
        + """
@id("no-slow") forbid (principal, action == Action::"execute", resource) when { context.categories.contains("slow") };
"""
    )

    async def use() -> None:
        async with RedisHouse(tmp_path, server, policies=policies) as house:
            talk = await Talk.to(house)
            await settled(talk, "GET k:1")
            known = house.commands.server(house.endpoint)  # type: ignore[arg-type]
            known.table = type(known.table).from_server([[b"get", 2, [b"readonly"], 1, 1, 1, [b"@slow"]]])
            assert "lockgate: " in str((await talk.tell("GET k:1"))[0])

    play(use())


def test_what_is_queued_or_watched_or_told_of_is_nothing_ordinary(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        async with RedisHouse(tmp_path, server) as house:
            talk = await Talk.to(house)
            await settled(talk, "SET k:1 v", "GET k:1")
            assert await talk.tell("MULTI", "SET k:1 w", "GET k:1", "EXEC", "GET k:1") == [
                b"OK", b"QUEUED", b"QUEUED", [b"OK", b"w"], b"w",
            ]  # fmt: skip
            found = await talk.tell(
                "WATCH k:1", "GET k:1", "MULTI", "GET frozen:1", "SET frozen:1 x", "EXEC", "GET k:1"
            )
            assert "EXECABORT" in str(found[5])
            assert found[6] == b"w"
            assert await talk.tell("SUBSCRIBE c") == [[b"subscribe", b"c", 1]]
            (refused,) = await talk.tell("GET k:1")
            assert "only (P|S)SUBSCRIBE" in str(refused)
            assert await talk.tell("UNSUBSCRIBE c", "GET k:1") == [[b"unsubscribe", b"c", 0], b"w"]

    play(use())


# records and order


class Failing:
    """The disk takes nothing while `on`, but what comes behind `times` failures."""

    def __init__(self, house: RedisHouse, patch: pytest.MonkeyPatch, times: int = 1 << 30) -> None:
        self.on = False
        self.left = times
        write = house.spool._journal.write

        def failing(*about: Any) -> None:
            if self.on and self.left:
                self.left -= 1
                raise SpoolError("no space left on device")
            write(*about)

        patch.setattr(house.spool._journal, "write", failing)


def test_a_seal_that_fails_takes_nothing_unrecorded_with_it(
    tmp_path: Path, server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seals and what the agent does are written beside the ledger: what fails there was staged by connections, too."""

    async def use() -> None:
        async with RedisHouse(tmp_path, server, policies=TEAMS) as house:
            disk = Failing(house, monkeypatch)
            talk = await Talk.to(house)
            await settled(talk, "SET k:1 v", "SET team:a v")
            before = server.calls("SET")
            stage = Ledger.stage

            def staged(ledger: Ledger, *about: Any) -> Any:
                found = stage(ledger, *about)
                if not failed:
                    failed.append(True)
                    disk.on = True
                    with pytest.raises(SpoolError):
                        house.spool.seal()
                    disk.on = False
                return found

            failed: list[bool] = []
            assert house.spool.unsealed
            monkeypatch.setattr(Ledger, "stage", staged)
            talk.say(*map(line, ("SET k:1 x", "SET team:a x", "SET k:1 x")))
            told = await asyncio.wait_for(talk.reader.read(), 10)
            monkeypatch.undo()
            assert b"can't be recorded" in told
            assert server.calls("SET") == before
            statements(house)

    play(use())


@pytest.mark.parametrize("times", [1, 2, 99])
def test_what_was_lost_with_a_write_has_no_end_either(
    tmp_path: Path, server: Redis, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    async def use() -> None:
        async with RedisHouse(tmp_path, server) as house:
            disk = Failing(house, monkeypatch, times)
            talk, other = await Talk.to(house), await Talk.to(house)
            for one in (talk, other):
                await settled(one, "SET k:1 v", "GET k:1")
            house.records()
            before = server.calls("SET")
            disk.on = True
            for one in (talk, other):
                one.say(*[line("SET k:1 x")] * 3)
            told = [await asyncio.wait_for(one.reader.read(15), 10) for one in (talk, other)]
            await asyncio.sleep(0.02)
            disk.on = False
            ran = 3 * told.count(b"+OK\r\n" * 3)
            assert ran < 6
            assert ran == 0 or times < 99
            assert server.calls("SET") == before + ran
            statements(house, ended=times < 99)

    play(use())


def test_a_full_spool_lets_nothing_follow(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        spool = SpoolSettings(fsync="never", max_bytes=65536, segment_bytes=65536)
        async with RedisHouse(tmp_path, server, spool=spool) as house:
            ran = 0
            for _ in range(40):
                talk = await Talk.to(house)
                found = await talk.ask(*[(b"SET", b"k:1", b"x" * 400)] * 9)
                told = sum(one == b"OK" for one in found)
                ran += told
                if told < 9:
                    break
            else:
                raise AssertionError("it never was full")
            assert server.calls("SET") == ran
            begun = house.records(type="statement", phase="begin")
            assert sum(r.get("commands", 1) for r in begun) == ran
            statements(house)

    play(use())


@pytest.mark.parametrize("how", ["close", "half", "quit", "reset"])
def test_a_client_that_goes_right_after_saying_it_is_heard(tmp_path: Path, server: Redis, how: str) -> None:
    async def use() -> None:
        async with RedisHouse(tmp_path, server) as house:
            talk = await Talk.to(house)
            await settled(talk, "INCR n")
            talk.say(*[line("INCR n")] * 9)
            if how == "quit":
                talk.say(line("QUIT"))
                assert (await talk.hear(10))[-1] == b"OK"
            elif how == "half":
                talk.writer.write_eof()
                assert await talk.hear(10) == list(range(3, 12))
            elif how == "close":
                talk.writer.close()
            else:
                await until(lambda: server.ask("GET", "n") != b"2")
                talk.reset()
            await until(lambda: server.ask("GET", "n") == b"11")
            await until(lambda: not house.listener.connections)
            statements(house)

    play(use())


def test_answers_that_never_come_end_what_followed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def use() -> None:
        async with (
            Scripted({"GET": bulk("1")}, held=frozenset(("GETSET",))) as server,
            RedisHouse(tmp_path, server) as house,
        ):
            talk = await Talk.to(house)
            await settled(talk, "GET k")
            talk.say(*[line("GET k")] * 5, line("GETSET k v"), *[line("GET k")] * 700)
            await talk.hear(5)
            understood: list[Args] = []
            understand = CommandGate.understand

            def counted(gate: CommandGate, args: Args) -> Any:
                understood.append(args)
                return understand(gate, args)

            monkeypatch.setattr(CommandGate, "understand", counted)
            talk.reset()
            await until(lambda: not house.listener.connections)
            assert len(understood) < 5, "it takes no time of others'"
            *_, last = statements(house)
            assert last["statement begin"]["commands"] == 706
            assert last["statement end"]["outcome"] == "disconnected"
            server.release()

    play(use())


def test_bytes_of_several_reads_reach_the_server_in_their_order(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        async with RedisHouse(tmp_path, server, policies=TEAMS) as house:
            talk = await Talk.to(house)
            expected: list[bytes] = []
            for number in range(300):
                key = b"team:l" if number % 3 else b"l"
                commands: list[Args] = [(b"RPUSH", key, b"%d" % (number * 10 + n)) for n in range(3)]
                commands.insert(1, line("FLUSHALL") if number % 5 == 0 else line("PING"))
                if number % 7 == 0:
                    commands.append(line("SELECT 0"))
                if number % 11 == 0:
                    commands += map(line, ("MULTI", "PING", "EXEC"))
                expected += [args[2] for args in commands if args[0] == b"RPUSH" and args[1] == b"l"]
                talk.say(*commands)
                if number % 4 == 0:
                    await asyncio.sleep(0)
                if number % 50 == 0:
                    await asyncio.sleep(0.01)
            await until(lambda: server.calls("RPUSH") == 900)
            assert server.ask("LRANGE", "l", 0, -1) == expected

    play(use())


def test_what_was_judged_for_one_is_not_recorded_for_another(
    tmp_path: Path, server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message comes, and the identity is renewed, between the command and its record."""

    async def use() -> None:
        async with RedisHouse(tmp_path, server) as house:
            talk = await Talk.to(house)
            await talk.tell("HELLO 3", "SUBSCRIBE c")
            await settled(talk, "GET k:1")
            (served,) = house.listener.connections.values()
            gate = served.gate
            stage = type(gate).stage

            def renewed(self: Any) -> None:
                if self._batch is not None:
                    house.identities.replace(house.directory("engineers", name="bob"))
                    monkeypatch.undo()
                    assert self.refresh() is None
                stage(self)

            monkeypatch.setattr(type(gate), "stage", renewed)
            await talk.tell("GET k:1", "GET k:1")
            *_, last = house.records(type="statement", phase="begin")
            assert last["connection"]["principal"] == "ann"
            await talk.tell("GET k:1")
            *_, last = house.records(type="statement", phase="begin")
            assert last["connection"]["principal"] == "bob"

    play(use())


def test_a_server_that_reads_nothing_for_a_while_gets_everything_in_its_order(tmp_path: Path, server: Redis) -> None:
    """What is sent at the end of a turn, while the way to the server is full."""
    pushed = [b"%d:" % number + b"x" * 2000 for number in range(8000)]

    async def use() -> None:
        async with RedisHouse(tmp_path, server) as house:
            reader, writer = await house.raw()
            writer.write(encode_command((b"RPUSH", b"l", b"first")))
            assert await reader.readline() == b":1\r\n"
            server.ask("CLIENT", "PAUSE", "1000", "ALL")
            for value in pushed:
                writer.write(encode_command((b"RPUSH", b"l", value)))
                await writer.drain()
            wanted = b"".join(b":%d\r\n" % (number + 2) for number in range(len(pushed)))
            assert await asyncio.wait_for(reader.readexactly(len(wanted)), 30) == wanted
            assert server.ask("LRANGE", "l", 0, -1) == [b"first", *pushed]
            begun = house.records(type="statement", phase="begin")
            ended = house.records(type="statement", phase="end", outcome="completed")
            assert sum(record.get("commands", 1) for record in begun) == len(pushed) + 1
            assert {record["id"] for record in begun} == {record["id"] for record in ended}

    play(use())
