"""Commands like others that passed before: the compiled ones are those of the reference, and both are bounded."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lockgate.policy._matching import Matching
from lockgate.proxy.redis import _precedents, precedents
from lockgate.understand.redis.rendering import MAX_ARGUMENTS, MAX_BYTES, MAX_CHARACTERS, bare, whole
from lockgate.values.command import Call
from lockgate.wire.redis._resp import CommandReader

Args = tuple[bytes, ...]

FORCED = [("frozen:*", b"frozen:*"), ("*:1", b"*:1"), ("k*", b"k*")]
TRIED = [("k:?", b"k:?"), ("*", b"*")]
HIDDEN = [("secret:*", b"secret:*")]
FACTS: tuple[Mapping[str, Any], ...] = ({"n": 0}, {"n": 1}, {"n": 0})
KEYS = st.sampled_from([b"k:1", b"k:2", b"k", b"frozen:1", b"other:1", b"other", b"secret:1", b"", b"\xff\0"])
VALUES = st.one_of(
    st.binary(max_size=8),
    st.sampled_from([
        b"", b"?", b"...", b".a", b"a.", b'"', b"\\", b" ", b"\r\n", b"x" * MAX_BYTES, b"x" * (MAX_BYTES + 1),
        b"\xff" * MAX_BYTES, b"\xff" * 5000, b"y" * 70_000,
    ]),
)  # fmt: skip
NAMES = st.sampled_from([b"GET", b"get", b"MGET", b"SET", b"MSET"])
PLACES = {b"GET": (1, 9, 1), b"get": (1, 9, 1), b"MGET": (1, 99, 1), b"SET": (1, 2, 1), b"MSET": (1, 99, 2)}


def places(args: Args) -> tuple[int, ...]:
    first, last, step = PLACES[args[0]]
    return tuple(range(first, min(last, len(args)), step))


def same(args: Args) -> tuple[int, ...]:
    """Where the words stand that tell kinds of one name apart."""
    return tuple(range(3, len(args), 2)) if args[0] == b"SET" else ()


@st.composite
def commands(draw: st.DrawFn) -> Args:
    name = draw(NAMES)
    count = draw(st.one_of(st.integers(1, 5), st.integers(MAX_ARGUMENTS - 1, MAX_ARGUMENTS + 1)))
    return (name, *(draw(KEYS if draw(st.booleans()) else VALUES) for _ in range(count - 1)))


def both() -> tuple[_precedents.Precedents, precedents.Precedents]:
    rules = tuple(Matching(patterns).match for patterns in (FORCED, TRIED, HIDDEN))
    return _precedents.Precedents(*rules), precedents.Precedents(*rules)


class Alike(RuleBasedStateMachine):
    """Both are told and asked the same."""

    @initialize()
    def begin(self) -> None:
        self.compiled, self.reference = both()

    @rule(args=commands(), facts=st.sampled_from(FACTS))
    def learn(self, args: Args, facts: Mapping[str, Any]) -> None:
        for one in (self.compiled, self.reference):
            one.learn(args, args[0].decode().upper(), places(args), same(args), facts)

    @rule(data=st.lists(commands(), min_size=1, max_size=4), times=st.integers(1, 40), room=st.integers(0, 60),
          characters=st.integers(1, 70_000))  # fmt: skip
    def follow(self, data: list[Args], times: int, room: int, characters: int) -> None:
        pipeline = data * times
        at = 0
        while at < len(pipeline):
            passing = self.compiled.follow(pipeline, at, room, characters)
            assert passing == self.reference.follow(pipeline, at, room, characters)
            if passing is not None:
                self.told(pipeline[at : at + passing[0]], passing)
            at += 1 if passing is None else passing[0]

    def told(self, followed: list[Args], passing: precedents.Passing) -> None:
        """What is recorded is what one that was understood has, and what is sent is what came."""
        count, facts, text, sent = passing
        assert count == len(followed)
        assert any(facts is one for one in FACTS)
        texts = [bare(Call(args[0].decode().upper(), args)) for args in followed]
        assert text == "\n".join(texts)
        assert CommandReader(1 << 30).feed(sent) == followed

    @invariant()
    def bounded(self) -> None:
        kinds = [kind for some in self.reference._kinds.values() for kind in some]
        assert len(kinds) <= precedents.KINDS
        assert all(len(kind.ways) <= precedents.WAYS for kind in kinds)


TestAlike = Alike.TestCase


def followed(one: _precedents.Precedents | precedents.Precedents, lines: list[Args], room: int = 99) -> int:
    """How many of them are."""
    passing = one.follow(lines, 0, room, 65_536)
    return 0 if passing is None else passing[0]


def test_words_that_tell_kinds_apart_are_as_they_were_told() -> None:
    for one in both():
        one.learn((b"SET", b"k:1", b"v", b"EX", b"10"), "SET", (1,), (3,), FACTS[0])
        one.learn((b"SET", b"k:1", b"v", b"PX", b"10"), "SET", (1,), (3,), FACTS[1])
        lines: list[Args] = [
            (b"SET", b"k:1", b"w", word, b"99") for word in (b"EX", b"EX", b"PX", b"ex", b"NX", b"EX\0")
        ]
        assert [followed(one, lines[at:]) for at in range(6)] == [2, 1, 1, 0, 0, 0]


def test_nothing_is_known_of_what_was_not_told() -> None:
    for one in both():
        one.learn((b"SET", b"k:1", b"v"), "SET", (1,), (), FACTS[0])
        for other in (
            (b"set", b"k:1", b"v"),
            (b"SET", b"k:1", b"v", b"GET"),
            (b"SET", b"k:1"),
            (b"SET",),
            (b"SET\0", b"k:1", b"v"),
            (b"SET", b"k", b"v"),
            (b"SET", b"frozen:1", b"v"),
            (b"SET", b"secret:1", b"v"),
            (b"", b"k:1", b"v"),
        ):
            assert followed(one, [other]) == 0, other
            assert followed(one, [(b"SET", b"k:1", b"v"), other]) == 1, other


@pytest.mark.parametrize("which", [0, 1])
def test_keys_that_match_differently_have_no_precedent(which: int) -> None:
    one = both()[which]
    for args in ((b"MGET", b"k:1", b"k"), (b"MGET", b"other", b"secret:1"), (b"MGET", b"secret:1", b"secret:2")):
        one.learn(args, "MGET", (1, 2), (), FACTS[0])
        assert followed(one, [args]) == 0
    one.learn((b"MGET", b"k:2", b"k:3"), "MGET", (1, 2), (), FACTS[0])
    assert followed(one, [(b"MGET", b"k:2", b"k:2"), (b"MGET", b"k:2", b"other")]) == 1


@pytest.mark.parametrize("which", [0, 1])
def test_what_is_remembered_is_bounded(which: int) -> None:
    """Kinds and ways are as many as a client and the policies together make."""
    rules = Matching([(f"k{number}", b"k%d" % number) for number in range(3 * precedents.WAYS)]).match
    one = (_precedents.Precedents, precedents.Precedents)[which](rules, rules, lambda _: ())
    for number in range(3 * precedents.WAYS):
        one.learn((b"GET", b"k%d" % number), "GET", (1,), (), FACTS[0])
    known = sum(followed(one, [(b"GET", b"k%d" % number)]) for number in range(3 * precedents.WAYS))
    assert 0 < known <= precedents.WAYS
    names = [b"N%d" % number for number in range(3 * precedents.KINDS)]
    for name in names:
        one.learn((name, b"x"), name.decode(), (1,), (), FACTS[0])
    known = sum(followed(one, [(name, b"x")]) for name in names)
    assert 0 < known <= precedents.KINDS
    for count in range(2, MAX_ARGUMENTS + 9):
        one.learn((b"DEL", *[b"x"] * (count - 1)), "DEL", tuple(range(1, count)), (), FACTS[0])
    assert followed(one, [(b"DEL", *[b"x"] * (MAX_ARGUMENTS - 1))]) == 1
    assert followed(one, [(b"DEL", *[b"x"] * MAX_ARGUMENTS)]) == 0


def test_it_ends_at_the_very_same_command() -> None:
    for size in range(1000, 1040):
        compiled, reference = both()
        for one in (compiled, reference):
            one.learn((b"SET", b"k:1", b"v"), "SET", (1,), (), FACTS[0])
        lines = [(b"SET", b"k:1", b"\xff" * (size // 5))] * 100
        assert compiled.follow(lines, 0, 100, 65_536) == reference.follow(lines, 0, 100, 65_536)


@pytest.mark.parametrize("which", [0, 1])
def test_what_follows_at_once_is_bounded(which: int) -> None:
    one = both()[which]
    one.learn((b"SET", b"k:1", b"v"), "SET", (1,), (), FACTS[0])
    lines: list[Args] = [(b"SET", b"k:1", b"v" * 300)] * 1000
    passing = one.follow(lines, 0, 1000, 5000)
    assert passing is not None
    taken, _, text, _ = passing
    assert 5000 <= len(text.replace("\n", "")) < 5000 + 400
    assert followed(one, lines[taken:], 7) == 7
    assert followed(one, [(b"SET", b"k:1", b"\xff" * MAX_BYTES)] * 9) == 9
    one.learn((b"DEL", *[b"k:1"] * 20), "DEL", tuple(range(1, 21)), (), FACTS[0])
    assert followed(one, [(b"DEL", *[b"k:\xff" * 200] * 20)]) == 0, f"{MAX_CHARACTERS} characters at most"


def test_what_was_sent_is_not_kept() -> None:
    """A connection that sent something long once holds no room for it."""
    one = both()[0]
    one.learn((b"SET", b"k:1", b"v"), "SET", (1,), (), FACTS[0])
    tracemalloc.start()
    try:
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(3):
            assert followed(one, [(b"SET", b"k:1", b"v" * (32 << 20))]) == 0
            assert followed(one, [(b"SET", b"k:1", b"v" * (100 << 10))] * 20) == 10
        after, most = tracemalloc.get_traced_memory()
        assert after - before < 4 << 20
        assert most - before < 40 << 20
    finally:
        tracemalloc.stop()


@given(st.lists(st.binary(max_size=3), min_size=1, max_size=4).map(tuple))
def test_bytes_of_any_kind_are_sent_as_they_came(args: Args) -> None:
    for one in both():
        one.learn(args, "X", (), (), FACTS[0])
        passing = one.follow([args, args], 0, 9, 99)
        assert passing is not None
        count, _, text, sent = passing
        assert count == 2
        assert CommandReader(1 << 20).feed(sent) == [args, args]
        assert text == "\n".join([whole(Call("X", args), lambda _: False, 99)] * 2)
