"""Requests: the same from the cache as without it, one shape for one meaning, nothing kept or shown of a value."""

from __future__ import annotations

import gc
import sys
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.understand.redis import CommandTable, Understanding
from lockgate.values.command import Call
from lockgate.values.statement import Effect, Request
from tests.understand.redis.calls import calls
from tests.understand.redis.server import Server

COMMANDS = sorted(CommandTable.builtin(), key=lambda command: command.name)

_WORDS = [
    b"STREAMS", b"STORE", b"GET", b"BY", b"KEYS", b"AUTH", b"AUTH2", b"GROUP", b"COUNT", b"SET", b"LIMIT", b"#", b"*",
    b"0", b"1", b"2", b"-1", b"99999999999999999999", b"", b"\0", b"get\0", b"?", b"requirepass", b"NOPE", b"EX", b"u8",
]  # fmt: skip
_argument = st.one_of(st.sampled_from(_WORDS), st.binary(max_size=5))


@st.composite
def anything(draw: st.DrawFn) -> tuple[bytes, ...]:
    """A call of a command with whatever arguments."""
    name = draw(st.sampled_from(COMMANDS)).name.encode().split(b" ")
    if draw(st.booleans()):
        name = [part.lower() for part in name]
    return (*name, *draw(st.lists(_argument, max_size=9)))


def detail(request: Request) -> Call:
    assert isinstance(request.detail, Call)
    return request.detail


@given(st.one_of(anything(), st.lists(st.binary(max_size=8), max_size=6).map(tuple)))
@settings(max_examples=500)
def test_nothing_that_is_sent_raises(args: tuple[bytes, ...]) -> None:
    request = Understanding().request(args)
    call = detail(request)
    assert request.effects
    assert request.text.isascii()
    assert request.text.isprintable()
    for effects in (*(use.effects for use in call.keys), *(use.effects for use in call.channels)):
        assert effects
        assert effects <= request.effects
        assert effects <= {Effect.READ, Effect.WRITE}
    for key in call.keys:
        assert args[key.place] == key.key
    taken = {use.place for use in call.keys} | {use.place for use in call.channels}
    for place in (*call.values, *call.secrets):
        assert 0 < place < len(args)
        assert place not in taken
    if request.refusal is not None:
        assert "\n" not in request.refusal
        assert Effect.UNKNOWN in request.effects
        assert call.keys == ()
        assert call.channels == ()


@given(anything())
@settings(max_examples=500)
def test_the_second_time_is_as_the_first(args: tuple[bytes, ...]) -> None:
    understanding = Understanding()
    first, second = understanding.request(args), understanding.request(args)
    assert first == second
    assert detail(first) == detail(second)
    assert first.statements[0] is second.statements[0] or first.refusal is not None


@given(anything(), st.data())
@settings(max_examples=300)
def test_what_was_asked_before_changes_no_answer(args: tuple[bytes, ...], data: st.DataObject) -> None:
    """Also not what has the same name and as many arguments."""
    understanding = Understanding()
    understanding.request(args)
    name = len(detail(Understanding().request(args)).name.split(" "))
    other = (*args[:name], *data.draw(st.tuples(*[_argument] * (len(args) - name))))
    asked, fresh = understanding.request(other), Understanding().request(other)
    assert asked == fresh
    assert detail(asked) == detail(fresh)


@given(st.lists(anything(), min_size=2, max_size=30))
def test_one_shape_has_one_meaning(sent: list[tuple[bytes, ...]]) -> None:
    understanding = Understanding()
    meanings: dict[str, object] = {}
    for args in sent:
        request = understanding.request(args)
        meaning = (request.statements, detail(request).anywhere)
        assert meanings.setdefault(request.shape, meaning) == meaning


def test_generated_calls_that_differ_in_keys_and_values_have_one_shape(server: Server) -> None:
    understanding = Understanding()
    for name, args in calls(server, Random(7), 5):
        request = understanding.request(args)
        call = detail(request)
        if name.startswith(("EVAL", "SENTINEL")) or request.refusal is not None:
            continue
        free = {use.place for use in call.keys} | set(call.values)
        other = understanding.request(
            tuple(b"7" + a if at in free and not a.isdigit() else a for at, a in enumerate(args))
        )
        assert other.shape == request.shape, (args, other.detail)


SECRET = b"s3cret-value"


@given(anything(), st.integers(1, 9))
@settings(max_examples=500)
def test_no_value_and_no_secret_is_in_the_text(args: tuple[bytes, ...], at: int) -> None:
    sent = (*args[:at], SECRET, *args[at + 1 :])
    request = Understanding().request(sent)
    call = detail(request)
    place = len(args[:at])
    if place in call.values or place in call.secrets or request.refusal is not None:
        assert place < len(call.name.split(" ")) or SECRET.decode() not in request.text
        assert SECRET.decode() not in request.shape
        assert SECRET.decode() not in (request.refusal or "")
        assert SECRET.decode() not in repr(request.statements)


@pytest.mark.parametrize(
    "args",
    [
        (b"AUTH", SECRET),
        (b"AUTH", b"user", SECRET),
        (b"AUTH", b"user", SECRET, b"more"),
        (b"auth", b"user", SECRET, b"more"),
        (b"HELLO", b"3", b"AUTH", b"user", SECRET),
        (b"HELLO", b"AUTH", b"user", SECRET),
        (b"HELLO", b"x", b"AUTH", b"user", SECRET),
        (b"ACL", b"SETUSER", b"bob", b">" + SECRET),
        (b"ACL", b"SETUSER", b"bob", b"on", b"#" + SECRET, b"~*"),
        (b"CONFIG", b"SET", b"maxmemory", b"1", b"requirepass", SECRET),
        (b"CONFIG", b"SET", b"requirepass", SECRET, b"odd"),
        (b"MIGRATE", b"h", b"1", b"k", b"0", b"10", b"AUTH", SECRET),
        (b"MIGRATE", b"h", b"1", b"k", b"0", b"10", b"AUTH2", b"u", SECRET),
        (b"COMMAND", b"GETKEYS", b"AUTH", SECRET),
        (b"ACL", b"DRYRUN", b"bob", b"AUTH", SECRET),
        (b"SENTINEL", b"SET", b"m", b"auth-pass", SECRET),
        (b"AUTHH", SECRET),
        (SECRET, b"AUTH"),
        (b"CONFIG", SECRET),
        (b"CONFIG SET", b"requirepass", SECRET),
    ],
)
def test_no_password_is_recorded(args: tuple[bytes, ...]) -> None:
    request = Understanding().request(args)
    for told in (request.text, request.shape, request.refusal or "", repr(request.statements)):
        assert SECRET.decode() not in told


def test_nothing_that_was_sent_is_kept() -> None:
    understanding = Understanding()
    sent = [bytes(b"value of %d" % at) for at in range(4)]
    for at, name in enumerate((b"SET", b"SETEX", b"AUTH", b"EVAL")):
        understanding.request((name, b"k", *([b"10"] if name == b"SETEX" else []), sent[at]))
        understanding.request((name, b"k", *([b"10"] if name == b"SETEX" else []), sent[at]))
    gc.collect()
    assert [sys.getrefcount(value) for value in sent] == [3, 3, 3, 3]


def test_the_caches_are_bounded() -> None:
    understanding = Understanding(limit=16)
    for count in range(1, 200):
        understanding.request((b"DEL", *[b"k"] * count))
        understanding.request((b"CONFIG", b"SET", b"a%d" % count, b"1"))
    assert len(understanding._plans) <= 16
    assert len(understanding._statements) <= 16


@pytest.mark.parametrize("name", [b"MGET", b"LPUSH", b"SADD", b"SUNION", b"HDEL", b"XADD", b"SET"])
def test_of_a_long_command_nothing_is_kept(name: bytes) -> None:
    """A plan has each of its arguments: every length there is would be gigabytes."""
    understanding = Understanding()
    for count in range(100, 200):
        understanding.request((name, *[b"NX"] * count))
        understanding.request((b"CONFIG", b"SET", *[word for at in range(count) for word in (b"p%d" % at, b"1")]))
    assert not understanding._plans
    assert not understanding._set_plans
    assert len(understanding._statements) <= 1


@pytest.mark.parametrize(
    "args",
    [
        (b"MGET", *[b"k"] * 65_537),
        (b"MSET", *[b"k"] * (65_537 * 2)),
        (b"SINTERCARD", b"65537", *[b"k"] * 65_537),
        (b"EVALSHA", b"0" * 40, b"65537", *[b"k"] * 65_537),
        (b"XREAD", b"STREAMS", *[b"k"] * (65_537 * 2)),
        (b"MIGRATE", b"h", b"1", b"", b"0", b"1", b"KEYS", *[b"k"] * 65_537),
    ],
    ids=lambda args: args[0].decode(),
)
def test_keys_are_bounded(args: tuple[bytes, ...]) -> None:
    understanding = Understanding()
    assert understanding.request(args).refusal == "lockgate: more than 65536 keys in one command"
    assert understanding.request((b"MGET", *[b"k"] * 65_536)).refusal is None


def test_patterns_of_channels_are_bounded() -> None:
    """Each was compiled: two thousand of a thousand bytes held the agent for a minute."""
    understanding = Understanding()
    said = "lockgate: more than 256 patterns in one command, or one of 1024 bytes"
    assert understanding.request((b"PSUBSCRIBE", *[b"*"] * 257)).refusal == said
    assert understanding.request((b"PSUBSCRIBE", b"a", b"*" * 1025)).refusal == said
    assert understanding.request((b"PSUBSCRIBE", *[b"*" * 1024] * 256)).refusal is None
    assert understanding.request((b"SUBSCRIBE", *[b"x" * 2000] * 300)).refusal is None
    asked = understanding.request((b"PUBSUB", b"CHANNELS", b"a" * 1025)).detail
    assert isinstance(asked, Call)
    assert [(use.name, use.pattern) for use in asked.channels] == [(b"*", True)]


def test_each_server_has_its_own_commands() -> None:
    understanding = Understanding()
    tables = [CommandTable.builtin(), CommandTable.from_server([[b"get", 2, [b"admin"], 1, 1, 1]])]
    for _ in range(2):
        found = [understanding.request((b"GET", b"k"), table).effects for table in tables]
        assert found == [{Effect.READ}, {Effect.READ, Effect.ADMIN}]


def test_what_a_policy_can_name() -> None:
    (statement,) = Understanding().request((b"config", b"set", b"MaxMemory", b"1")).statements
    assert statement.kind == "CONFIG SET"
    assert statement.inside == ("CONFIG",)
    assert statement.kinds == ("CONFIG SET", "CONFIG")
    assert statement.categories == ("admin", "dangerous", "slow")
    assert statement.settings == ("maxmemory",)
    assert statement.has_where
    assert not Understanding().request((b"FLUSHALL",)).statements[0].has_where


CHANNELS = [
    ("SUBSCRIBE a b", [("a", "read", False), ("b", "read", False)]),
    ("PSUBSCRIBE a.*", [("a.*", "read", True)]),
    ("SSUBSCRIBE a", [("a", "read", False)]),
    ("PUBLISH a m", [("a", "write", False)]),
    ("SPUBLISH a m", [("a", "write", False)]),
    ("UNSUBSCRIBE a", []),
    ("PUNSUBSCRIBE", []),
    ("PUBSUB CHANNELS", [("*", "read", True)]),
    ("PUBSUB CHANNELS a*", [("a*", "read", True)]),
    ("PUBSUB SHARDCHANNELS a*", [("a*", "read", True)]),
    ("PUBSUB NUMSUB a b", [("a", "read", False), ("b", "read", False)]),
    ("PUBSUB NUMPAT", []),
    ("MONITOR", [("*", "read", True)]),
    ("EVAL x 0", [("*", "write", True)]),
    ("FCALL_RO x 0", []),
]


@pytest.mark.parametrize(("text", "expected"), CHANNELS)
def test_channels(text: str, expected: list[tuple[str, str, bool]]) -> None:
    call = detail(Understanding().request(tuple(part.encode() for part in text.split(" "))))
    assert [(use.name.decode(), " ".join(use.effects), use.pattern) for use in call.channels] == expected
