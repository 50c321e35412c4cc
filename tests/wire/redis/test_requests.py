"""Commands are read as Redis reads them, or not at all; the compiled reader and the reference do the same."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import TypeAlias

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.wire.redis import _resp, frames, requests

Read: TypeAlias = tuple[list[tuple[bytes, ...]], str | None]
Reader: TypeAlias = type[_resp.CommandReader] | type[requests.CommandReader]

BOTH = pytest.mark.parametrize("reader", [_resp.CommandReader, requests.CommandReader], ids=["compiled", "reference"])
LIMIT = 4096


def read(reader: Reader, data: bytes, sizes: list[int] | None = None) -> Read:
    """What is read of `data`, cut into pieces of these sizes."""
    found, one, at = [], reader(LIMIT), 0
    for size in (*(sizes or ()), len(data)):
        found += one.feed(memoryview(data)[at : at + size])
        at += size
    return found, one.error


@BOTH
@pytest.mark.parametrize(
    ("data", "commands"),
    [
        (b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", [(b"GET", b"k")]),
        (b"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n", [(b"PING",), (b"PING",)]),
        (b"*2\r\n$3\r\nGET\r\n$4\r\n\r\n*1\r\n", [(b"GET", b"\r\n*1")]),
        (b"*1\r\n$0\r\n\r\n", [(b"",)]),
        (b"*0\r\n*-1\r\n*-17\r\n\r\n\n  \r\nPING\r\n", [(b"PING",)]),
        (b"PING\n", [(b"PING",)]),
        (b"  set\tk  'a b' \r\n", [(b"set", b"k", b"a b")]),
        (b"*1\r\n$4\r\nPI", []),
    ],
)
def test_what_is_read(reader: Reader, data: bytes, commands: list[tuple[bytes, ...]]) -> None:
    assert read(reader, data) == (commands, None)
    assert read(reader, data, [1] * len(data)) == (commands, None)


@BOTH
@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"*1\r\n+PING\r\n", "expected '$', got '+'"),
        (b"*1\r\n\r\n", "expected '$', got ' '"),
        (b"*1\r\n\xff", "expected '$', got '?'"),
        (b"*01\r\n", "invalid multibulk length"),
        (b"*\r\n", "invalid multibulk length"),
        (b"*-0\r\n", "invalid multibulk length"),
        (b"*+1\r\n", "invalid multibulk length"),
        (b"*1x\r\n", "invalid multibulk length"),
        (b"*1\rx", "invalid multibulk length"),
        (b"*2147483648\r\n", "invalid multibulk length"),
        (b"*9223372036854775808\r\n", "invalid multibulk length"),
        (b"*1048577\r\n", "more than 1048576 arguments"),
        (b"*" + b"1" * 30, "too big mbulk count string"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$1_0\r\n", "invalid bulk length"),
        (b"*1\r\n$" + b"1" * 30, "too big bulk count string"),
        (b"*1\r\n$4096\r\n", "a command of more than 4096 bytes"),
        (b"*3\r\n$2000\r\n" + b"x" * 2000 + b"\r\n$2000\r\n" + b"x" * 2000 + b"\r\n$99\r\n",
         "a command of more than 4096 bytes"),
        (b"*1\r\n$4\r\nPINGxx", "a bulk is longer than it says"),
        (b'PING "a\r\n', "unbalanced quotes in request"),
        (b'PING "a"b\r\n', "unbalanced quotes in request"),
        (b"PING\0", "NUL in an inline request"),
        (b"x" * 65_537, "too big inline request"),
    ],
)  # fmt: skip
def test_what_is_refused_and_what_stood_before_it_is_not(reader: Reader, data: bytes, error: str) -> None:
    before = b"*1\r\n$4\r\nPING\r\n"
    for sizes in ([], [1] * 100):
        assert read(reader, data, sizes) == ([], error)
        assert read(reader, before + data + before, sizes) == ([(b"PING",)], error)


@BOTH
def test_nothing_is_allocated_for_what_is_only_announced(reader: Reader) -> None:
    tracemalloc.start()
    try:
        many = [reader(1 << 40) for _ in range(10)]
        before = tracemalloc.get_traced_memory()[0]
        for one in many:
            assert one.feed(b"*1048576\r\n$1000000000000\r\nabc") == []
            assert one.held == len(b"*1048576\r\n$1000000000000\r\nabc")
        assert tracemalloc.get_traced_memory()[0] - before < 20_000
    finally:
        tracemalloc.stop()


@BOTH
def test_held_is_what_has_come_of_a_command_and_not_been_handed_over(reader: Reader) -> None:
    one = reader(LIMIT)
    for data, held in [(b"*2\r\n", 4), (b"$3\r\nGE", 10), (b"T\r\n", 13), (b"$1\r\n", 17), (b"k\r\n", 0), (b"PI", 2)]:
        one.feed(data)
        assert one.held == held


@BOTH
@pytest.mark.parametrize(
    "rest",
    [b"", b"*", b"*2\r\n$3\r\nGE", b"*2\r\n$3\r\nGET\r\n", b"*2\r\n$3\r\nGET\r\n$5\r\nab", b"PIN",
     b"*1\r\n+PING\r\nmore", b"*3\r\n$1\r\na\r\n$2\r\nbbxx", b"*01\r\n", b"PI\0NG",
     b"*2\r\n$1\r\na\r\n$9999\r\nabc", b'"\r\nPING\r\n'],
)  # fmt: skip
def test_what_was_not_handed_over_can_be_taken_as_it_was_sent(reader: Reader, rest: bytes) -> None:
    one = reader(LIMIT)
    one.feed(b"*1\r\n$4\r\nPING\r\n" + rest)
    assert one.take() == rest
    assert one.take() == b""
    cut = reader(LIMIT)
    fed = 0
    while fed < len(rest) and cut.error is None:
        assert cut.feed(rest[fed : fed + 1]) == []
        fed += 1
    assert cut.take() == rest[:fed]


def packed(args: tuple[bytes, ...]) -> bytes:
    """As hiredis sends it."""
    found: bytes = hiredis.pack_command(args)  # type: ignore[arg-type]  # it is said to take one argument
    return found


_PIECES = st.lists(
    st.sampled_from([b"*", b"$", b"\r\n", b"\r", b"\n", b"1", b"2", b"3", b"0", b"-", b"GET", b"k", b" ", b'"', b"'",
                     b"\\", b"\\x41", b"*1\r\n", b"$3\r\nGET\r\n", b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", b"\v", b"\0",
                     b"4097", b"x" * 70, b"PING\r\n"]),
    max_size=24,
)  # fmt: skip
_CUTS = st.lists(st.integers(0, 9), max_size=30)


@given(pieces=_PIECES, sizes=_CUTS)
def test_the_compiled_reader_and_the_reference_read_the_same_however_it_is_cut(
    pieces: list[bytes], sizes: list[int]
) -> None:
    data = b"".join(pieces)
    found = read(requests.CommandReader, data)
    assert read(_resp.CommandReader, data) == found
    assert read(_resp.CommandReader, data, sizes) == found
    assert read(requests.CommandReader, data, sizes) == found


@given(st.lists(st.lists(st.binary(max_size=40), min_size=1, max_size=6), max_size=5))
def test_what_is_encoded_is_read_again_and_is_what_hiredis_sends(commands: list[list[bytes]]) -> None:
    encoded = [_resp.encode_command(tuple(args)) for args in commands]
    assert encoded == [requests.encode_command(tuple(args)) for args in commands]
    assert encoded == [packed(tuple(args)) for args in commands]
    assert read(_resp.CommandReader, b"".join(encoded)) == ([tuple(args) for args in commands], None)


@pytest.mark.parametrize("encode", [_resp.encode_command, requests.encode_command])
def test_a_large_command_is_encoded_whole(encode: Callable[[tuple[bytes, ...]], bytes]) -> None:
    large = (b"SET", b"k" * 70_000, b"v" * (1 << 20))
    assert encode(large) == packed(large)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"", []),
        (b" \t\v\f\r\n ", []),
        (b"a\vb \v\fc", [b"a\vb", b"c"]),
        (b'a"b c"', [b"ab c"]),
        (b'"\\x41\\x4\\n\\q\\""', [b'Ax4\nq"']),
        (b"'\\'\\n'", [b"'\\n"]),
        (b"\"a\" 'b'", [b"a", b"b"]),
        (b'""', [b""]),
        (b'"a"b', None),
        (b'"a', None),
        (b'"a\\', None),
        (b"'", None),
        (b'a"b"\vc', [b"ab", b"c"]),
    ],
)
def test_inline_words(line: bytes, words: list[bytes] | None) -> None:
    assert frames.split_inline(line) == words
