"""The text of a command: unambiguous, bounded, and without what is hidden."""

from __future__ import annotations

import ast
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.understand.redis import Understanding, text, whole
from lockgate.understand.redis.rendering import MAX_ARGUMENTS, MAX_BYTES, MAX_CHARACTERS
from lockgate.values.command import Call


def shown(*args: bytes) -> str:
    call = Understanding().request(args).detail
    assert isinstance(call, Call)
    return text(call, lambda place: False)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ((b"get", b"session:1"), "GET session:1"),
        ((b"GET", b"a b"), 'GET "a b"'),
        ((b"GET", b""), 'GET ""'),
        ((b"GET", b"?"), 'GET "?"'),
        ((b"GET", b"..."), 'GET "..."'),
        ((b"GET", b"a?"), 'GET "a?"'),
        ((b"GET", b"it's"), 'GET "it\'s"'),
        ((b"GET", b'"a\\"'), r'GET "\"a\\\""'),
        ((b"GET", b"\r\n\t\a\b\0\x7f\xff"), r'GET "\r\n\t\a\b\x00\x7f\xff"'),
        ((b"GET", "é".encode()), r'GET "\xc3\xa9"'),
        ((b"config", b"get", b"*"), "CONFIG GET *"),
        ((b"CONFIG", b"SET", b"requirepass", b"s3cret"), "CONFIG SET requirepass ?"),
        ((b"SET", b"k", b"v", b"EX", b"10"), "SET k v EX 10"),
        ((b"AUTH", b"user", b"s3cret"), "AUTH user ?"),
        ((b"GET", b"(1"), 'GET "(1"'),
    ],
)
def test_text(args: tuple[bytes, ...], expected: str) -> None:
    assert shown(*args) == expected


def test_what_is_hidden_is_a_question_mark() -> None:
    call = Understanding().request((b"MSET", b"a", b"1", b"b", b"?")).detail
    assert isinstance(call, Call)
    assert text(call, lambda place: place in (1, 2)) == 'MSET ? ? b "?"'


def test_a_long_argument_is_cut_and_its_length_told() -> None:
    written = shown(b"GET", b"x" * (MAX_BYTES + 1))
    assert written == 'GET "' + "x" * MAX_BYTES + f'"... ({MAX_BYTES + 1} bytes)'
    assert shown(b"GET", b"x" * MAX_BYTES) == "GET " + "x" * MAX_BYTES


def test_many_arguments_are_cut_and_counted() -> None:
    written = shown(b"DEL", *[b"%d" % at for at in range(1000)])
    assert written.endswith(f" {MAX_ARGUMENTS - 2} ... ({1001 - MAX_ARGUMENTS} more arguments)")


def test_the_whole_is_bounded() -> None:
    assert len(shown(b"DEL", *[b"\0" * 4096] * 1000)) < MAX_CHARACTERS + 4 * MAX_BYTES + 100


_arguments = st.lists(
    st.one_of(st.binary(max_size=6), st.sampled_from([b"?", b"...", b"?)", b'"', b"\\", b" ", b"a"])), max_size=4
)


@given(_arguments, _arguments)
def test_two_calls_that_are_shown_whole_look_alike_only_if_they_are_the_same(
    one: list[bytes], other: list[bytes]
) -> None:
    texts = [text(Call("X", (b"X", *args)), lambda place: False) for args in (one, other)]
    assert (texts[0] == texts[1]) == (one == other)


@given(_arguments, _arguments, st.sets(st.integers(1, 4)))
def test_a_hidden_argument_is_told_from_any_that_is_shown(
    one: list[bytes], other: list[bytes], hidden: set[int]
) -> None:
    first = text(Call("X", (b"X", *one)), hidden.__contains__)
    second = text(Call("X", (b"X", *other)), lambda place: False)
    assert first != second or not any(place <= len(one) for place in hidden)


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_it_is_one_line_of_printable_ascii_that_reads_back(args: list[bytes]) -> None:
    written = text(Call("X", (b"X", *args)), lambda place: False)
    assert written.isascii()
    assert written.isprintable()
    parts = re.findall(r'"(?:[^"\\]|\\.)*"|[^ ]+', written)
    read = [ast.literal_eval(f"b{part}") if part.startswith('"') else part.encode() for part in parts]
    assert read == [b"X", *args]


def test_the_whole_leaves_nothing_out_but_what_is_hidden() -> None:
    call = Call("MSET", (b"MSET", *[b"k", b"v"] * 50, b"x" * 600, b"last"), secrets=(2,))
    found = whole(call, lambda place: place == 4, 10_000)
    assert found == " ".join(["MSET", "k", "?", "k", "?", *["k", "v"] * 48, "x" * 600, "last"])
    for limit in (0, 10, 100, 300):
        assert limit < len(whole(call, lambda _: False, limit)) < limit + 10
