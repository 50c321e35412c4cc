"""From a command to the patterns that it touches, and to what is classified of its keys."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.policy import touches as room
from lockgate.policy.touches import Classified, Names, Patterns, classified, resolved, touches, unresolved
from lockgate.values.glob import compile_glob
from lockgate.values.statement import Place, Request, Statement, Touch
from tests.policy.given import READ
from tests.policy.given import request as sql
from tests.policy.redis import EMAIL, PATH, RW, SECRET, R, W, bundle, call, channel, request

PATTERNS = Patterns(("*:token", "session:*"), ("*:ops", "news:*", "news:eu"))


def test_each_key_has_the_patterns_that_match_it_and_what_is_done_to_it() -> None:
    one = call("X", ("session:1", R), ("session:token", R), ("cart", W), ("session:2", W))
    assert touches(one, PATTERNS) == (
        Touch(Place.KEY, ("session:*",), R),
        Touch(Place.KEY, ("*:token", "session:*"), R),
        Touch(Place.KEY, (), W),
        Touch(Place.KEY, ("session:*",), W),
    )


def test_keys_that_are_alike_are_one_touch() -> None:
    assert touches(call("MGET", *((f"session:{n}", R) for n in range(1000))), PATTERNS) == (
        Touch(Place.KEY, ("session:*",), R),
    )


def test_keys_are_bytes() -> None:
    patterns = Patterns(("größe:*", "?"))
    assert patterns.key("größe:1".encode()) == ("größe:*",)
    assert patterns.key(b"\xff") == ("?",)
    assert patterns.key("ö".encode()) == ()


GLOBS = st.lists(st.sampled_from(["a", "b", "ab", "*", "?", "[ab]", "\\a", "\\*", "["]), max_size=4).map("".join)


@given(
    st.lists(GLOBS, max_size=6, unique=True),
    st.binary(max_size=4) | st.sampled_from([b"a", b"ab", b"ba", b"aab", b"*"]),
)
def test_a_key_is_matched_as_each_pattern_by_itself_would(globs: list[str], key: bytes) -> None:
    expected = tuple(glob for glob in globs if compile_glob(glob.encode()).fullmatch(key))
    assert Patterns(globs).key(key) == expected


def test_what_is_not_named_is_anything() -> None:
    assert touches(call("EVAL", ("session:1", RW), anywhere=RW), PATTERNS) == (
        Touch(Place.KEY, ("session:*",), RW),
        Touch(Place.KEY, None, RW),
    )
    assert touches(call("PING"), PATTERNS) == ()


@pytest.mark.parametrize(
    ("pattern", "ways"),
    [
        ("ops", {()}),
        ("news:us", {("news:*",)}),
        ("news:eu", {("news:*", "news:eu")}),
        ("news:x:*", {("news:*",), ("*:ops", "news:*")}),
        ("news:e?", {("news:*",), ("news:*", "news:eu"), ("*:ops", "news:*"), ("*:ops", "news:*", "news:eu")}),
        ("x:*", {(), ("*:ops",)}),
        ("[x]*", {(), ("*:ops",), ("news:*",), ("*:ops", "news:*")}),
    ],
)
def test_a_pattern_that_is_listened_to_is_every_way_a_channel_may_match(
    pattern: str, ways: set[tuple[str, ...]]
) -> None:
    found = touches(call("PSUBSCRIBE", channels=(channel(pattern, R, pattern=True),)), PATTERNS)
    assert {touch.patterns for touch in found} >= ways
    assert all(touch.place is Place.CHANNEL and touch.effects == R for touch in found)


def test_a_channel_by_name_is_no_pattern() -> None:
    assert touches(call("SUBSCRIBE", channels=(channel("news:*", R),)), PATTERNS) == (
        Touch(Place.CHANNEL, ("news:*",), R),
    )
    assert touches(call("SUBSCRIBE", channels=(channel("*", R),)), PATTERNS) == (Touch(Place.CHANNEL, (), R),)


def test_what_may_match_too_many_is_anything() -> None:
    patterns = Patterns((), [f"*{n}" for n in range(room.MAYBE + 1)])
    assert patterns.channels(b"x*") == (None,)
    assert len(Patterns((), [f"*{n}" for n in range(room.MAYBE)]).channels(b"x*")) == 2**room.MAYBE


def test_a_request_is_resolved_statement_by_statement() -> None:
    asked = request(call("GET", ("session:1", R)), call("PING"), call("FLUSHALL", anywhere=W))
    found = resolved(asked, PATTERNS)
    assert [statement.touches for statement in found.statements] == [
        (Touch(Place.KEY, ("session:*",), R),),
        (),
        (Touch(Place.KEY, None, W),),
    ]
    assert found.detail is asked.detail
    assert (unresolved(asked), unresolved(found)) == (True, False)
    # a command by itself has its call, not a tuple of one
    alone = resolved(request(call("GET", ("session:1", R))), PATTERNS)
    assert alone.statements == found.statements[:1]


def test_shapes_of_other_patterns_are_other_shapes() -> None:
    """A grant for the like of `GET session:1` is none for `GET secret:1`."""
    keys = ("session:1", "session:2", "cart", "session:token")
    shapes = [resolved(request(call("GET", (key, R))), PATTERNS).shape for key in keys]
    assert shapes[0] == shapes[1]
    assert len(set(shapes)) == 3
    tricky = Patterns(("a", "a', 'b"))
    written = {resolved(request(call("GET", (key, R))), tricky).shape for key in ("a", "a', 'b", "b")}
    assert len(written) == 3


def test_what_is_no_command_stays_as_it_is() -> None:
    for one in (sql(READ), replace(sql(READ), detail=()), request(call("PING")), replace(sql(READ), detail=(1, 2))):
        assert resolved(one, PATTERNS) is one
        assert not unresolved(one)


def test_calls_and_statements_that_do_not_belong_together_are_a_bug() -> None:
    asked = replace(request(call("GET", ("session:1", R))), detail=(call("PING"), call("GET", ("k", R))))
    with pytest.raises(ValueError, match="longer"):
        resolved(asked, PATTERNS)


def test_patterns_are_those_of_a_bundle(tmp_path: Path) -> None:
    loaded = bundle(
        tmp_path,
        """permit (principal, action, resource) when { resource in [Keys::"cache/b", Keys::"cache/a"] };
        permit (principal, action, resource in Keys::"cache.eu/c");
        forbid (principal, action, resource in Channels::"cache/d");""",
    )
    found = Patterns.of(loaded, "cache")
    assert (found.key(b"a"), found.key(b"c"), found.key(b"d"), found.channel(b"d")) == (("a",), (), (), ("d",))


def test_what_is_remembered_of_names_is_bounded() -> None:
    patterns = Patterns(("session:*",))
    tracemalloc.start()
    try:
        for n in range(100):
            patterns.key(b"session:%d" % n + b"x" * 100_000)
        long = tracemalloc.get_traced_memory()[0]
        for n in range(room.NAMES_KEPT + 10_000):
            patterns.key(b"session:%d" % n)
        short = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert long < 100_000
    assert short < room.NAMES_KEPT * (room.NAME_KEPT_BYTES + 256)


# --- classification


def test_names_that_each_key_may_match() -> None:
    names = Names((SECRET, EMAIL, PATH, "*#note"))
    one = call("X", ("secret:1", R), ("profile:7", R), ("cart", W), ("doc:1", R))
    found = classified(one, names)
    assert found.keys == ((SECRET, "*#note"), (EMAIL, "*#note"), ("*#note",), (PATH, "*#note"))
    assert (found.anywhere, found.shown) == ((), (SECRET, "*#note", EMAIL, PATH))
    assert classified(call("SET", ("secret:1", W)), names) == Classified(((SECRET, "*#note"),), (), ())


def test_what_reads_anywhere_may_read_all_that_is_classified() -> None:
    names = Names((SECRET, EMAIL))
    assert classified(call("EVAL", anywhere=RW), names).shown == (SECRET, EMAIL)
    assert classified(call("FLUSHALL", anywhere=W), names).shown == ()
    assert classified(call("PING"), names) == Classified((), (), ())


NEWS, EVENT = "&news:*", "&events:*#$.user.email"
CHANNELS = Names((SECRET, NEWS, EVENT, "~&odd", "&&odd"))


def test_channels_and_keys_have_names_of_their_own() -> None:
    assert (CHANNELS.key(b"news:1"), CHANNELS.channel(b"news:1")) == ((), (NEWS,))
    assert (CHANNELS.key(b"secret:1"), CHANNELS.channel(b"secret:1")) == ((SECRET,), ())
    assert (CHANNELS.key(b"&odd"), CHANNELS.channel(b"&odd")) == (("~&odd",), ("&&odd",))
    assert CHANNELS.keys == (SECRET, "~&odd")
    assert classified(call("GET", ("news:1", R)), CHANNELS) == Classified(((),), (), ())
    assert classified(call("EVAL", anywhere=RW), CHANNELS).shown == (SECRET, "~&odd"), "it reads no messages"


@pytest.mark.parametrize(
    ("listened", "pattern", "names"),
    [
        ("news:1", False, {NEWS}),
        ("news:*", False, {NEWS}),
        ("new", False, set()),
        ("*", False, set()),
        ("news:1", True, {NEWS}),
        ("n?ws:1", True, {NEWS}),
        ("*", True, {NEWS, EVENT, "&&odd"}),
        ("*:1", True, {NEWS, EVENT}),
        ("e*", True, {EVENT}),
        ("weather", True, set()),
        ("[ne]*", True, {NEWS, EVENT}),
    ],
)
def test_what_may_be_heard_of_what_is_classified(listened: str, pattern: bool, names: set[str]) -> None:
    use = channel(listened, R, pattern=pattern)
    assert set(CHANNELS.messages(use)) >= names
    for command in ("SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE"):
        assert set(classified(call(command, channels=(use,)), CHANNELS).shown) >= names
    assert classified(call("PUBSUB CHANNELS", channels=(use,)), CHANNELS).shown == (), "names only"
    if not names:
        assert CHANNELS.messages(use) == ()


def test_monitor_may_tell_of_every_message() -> None:
    every = channel("*", R, pattern=True)
    assert classified(call("MONITOR", channels=(every,)), CHANNELS).shown == (NEWS, EVENT, "&&odd")


def test_a_request_of_no_statement_touches_nothing() -> None:
    assert not unresolved(Request("redis", "", "", (Statement("PING", R),), detail=()))
