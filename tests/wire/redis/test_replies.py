"""Where replies end: as hiredis sees it, streamed types and all; the compiled scanner and the reference do the same."""

from __future__ import annotations

from typing import TypeAlias

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.wire.redis import _resp, frames, replies

Scanner: TypeAlias = type[_resp.ReplyScanner] | type[replies.ReplyScanner]

NOTHING = object()
BOTH = pytest.mark.parametrize("scanner", [_resp.ReplyScanner, replies.ReplyScanner], ids=["compiled", "reference"])


def scan(scanner: Scanner, data: bytes, sizes: list[int] | None = None) -> tuple[list[bytes], str | None, int]:
    """The replies that are whole, what is broken behind them, and the type of what isn't whole."""
    found: list[bytes] = []
    one, at, begun = scanner(), 0, 0
    for size in (*(sizes or ()), len(data)):
        end = min(at + size, len(data))
        for stop in one.scan(data, at, end):
            reply = data[begun : stop >> 8]
            behind = _behind_attributes(reply)
            assert stop & 255 == reply[behind] | (frames.ATTRIBUTES if behind else 0)
            found.append(reply)
            begun = stop >> 8
        assert one.between == (begun == end) or one.broken is not None
        at = end
    return found, one.broken, 0 if one.between else one.first


def _behind_attributes(reply: bytes) -> int:
    """Where the value begins in a whole reply; by the reference."""
    at = 0
    while reply[at : at + 1] == b"|":
        one = replies.ReplyScanner()
        # what an attribute holds is a map
        at = one.scan(reply[:at] + b"%" + reply[at + 1 :], at, len(reply))[0] >> 8
    return at


WHOLE = [
    b"+OK\r\n", b"+\r\n", b"-ERR no\r\n", b":0\r\n", b":-12\r\n", b":+12\r\n", b"$0\r\n\r\n", b"$-1\r\n",
    b"$5\r\na\r\nb\n\r\n", b"*0\r\n", b"*-1\r\n", b"*2\r\n:1\r\n*1\r\n$1\r\nx\r\n", b"_\r\n", b"#t\r\n", b"#f\r\n",
    b",1.5e-7\r\n", b",inf\r\n", b",nan\r\n", b"(-123456789012345678901234567890\r\n", b"!5\r\nERR x\r\n",
    b"=8\r\ntxt:abcd\r\n", b"~2\r\n:1\r\n:2\r\n", b"%1\r\n+k\r\n*1\r\n_\r\n", b"%0\r\n", b">2\r\n+invalidate\r\n*0\r\n",
    b"|1\r\n+ttl\r\n:5\r\n$1\r\nx\r\n", b"|0\r\n+x\r\n", b"|1\r\n+a\r\n|1\r\n+b\r\n:1\r\n:2\r\n+x\r\n",
    b"*2\r\n|1\r\n+ttl\r\n:5\r\n:1\r\n:2\r\n", b"|1\r\n+a\r\n:1\r\n|1\r\n+b\r\n:2\r\n>1\r\n+x\r\n",
    b"$?\r\n;4\r\nabcd\r\n;2\r\n\r\n\r\n;0\r\n", b"$?\r\n;0\r\n", b"*?\r\n.\r\n", b"*?\r\n:1\r\n*?\r\n.\r\n.\r\n",
    b"%?\r\n+k\r\n+v\r\n.\r\n", b"~?\r\n+k\r\n.\r\n", b">?\r\n+k\r\n.\r\n", b"*1\r\n$?\r\n;1\r\nx\r\n;0\r\n",
    b"*1\r\n" * 128 + b":1\r\n",
]  # fmt: skip


@BOTH
def test_every_type_ends_where_it_ends(scanner: Scanner) -> None:
    data = b"".join(WHOLE)
    assert scan(scanner, data) == (WHOLE, None, 0)
    assert scan(scanner, data, [1] * len(data)) == (WHOLE, None, 0)


@BOTH
@pytest.mark.parametrize("reply", WHOLE)
def test_no_shorter_part_of_it_is_one(scanner: Scanner, reply: bytes) -> None:
    for end in range(len(reply)):
        found, broken, _ = scan(scanner, reply[:end])
        assert (found, broken) == ([], None)


@BOTH
@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"PONG\r\n", "an unknown type"),
        (b"\r\n", "an unknown type"),
        (b";1\r\n", "an unknown type"),
        (b"+a\nb\r\n", "a line has LF in it"),
        (b"+a\rb\r\n", "a line has CR in it"),
        (b",1,5\r\n", "a number has something else in it"),
        (b"(1.5\r\n", "a number has something else in it"),
        (b":1x\r\n", "an integer is none"),
        (b":\r\n", "an integer is none"),
        (b":-\r\n", "an integer is none"),
        (b"#x\r\n", "a boolean is none"),
        (b"_x\r\n", "a null or an end has something in it"),
        (b"$05\r\n", "a length is none"),
        (b"$+5\r\n", "a length is none"),
        (b"$\r\n", "a length is none"),
        (b"$5\n", "a length ends without CR LF"),
        (b"$-2\r\n", "a length is negative"),
        (b"%-1\r\n", "a length is negative"),
        (b"!-1\r\n", "a length is negative"),
        (b"$1234567890123456789\r\n", "a length is none"),
        (b"*" + b"1" * 30, "a length is too long"),
        (b"=3\r\n", "a verbatim string has no format"),
        (b"$1\r\nxx\r\n", "a bulk is longer than it says"),
        (b"$1\r\nx\rx", "a bulk is longer than it says"),
        (b"*1\r\n>1\r\n", "a push inside something else"),
        (b"|1\r\n>1\r\n", "a push inside something else"),
        (b"|?\r\n", "a length is none"),
        (b"=?\r\n", "a length is none"),
        (b".\r\n", "an end of what is not open"),
        (b"*1\r\n.\r\n", "an end of what is not open"),
        (b"*?\r\n|0\r\n.\r\n", "an end of what is not open"),
        (b"%?\r\n:1\r\n.\r\n", "a map ends behind a key"),
        (b"$?\r\n$1\r\n", "a streamed string goes on with something else"),
        (b"*1\r\n" * 129, "a reply is nested too deep"),
    ],
)
def test_anything_else_is_broken_and_what_stood_before_it_is_not(scanner: Scanner, data: bytes, why: str) -> None:
    for sizes in ([], [1] * len(data)):
        assert scan(scanner, data, sizes)[:2] == ([], why)
    assert scan(scanner, b"+OK\r\n" + data)[:2] == ([b"+OK\r\n"], why)


@BOTH
def test_what_it_is_is_known_as_soon_as_it_can_be(scanner: Scanner) -> None:
    one = scanner()
    known = [(b"|1\r\n+a\r\n:1\r\n", 0), (b"$", ord("$")), (b"100\r\n", ord("$")), (b"x" * 100, ord("$"))]
    for data, first in known:
        assert one.scan(data, 0, len(data)) == []
        assert one.first == first
    assert one.scan(b"\r\n", 0, 2) == [2 << 8 | ord("$") | frames.ATTRIBUTES]


# held against hiredis, which knows all but attributes and streamed types

_LINES = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=8).map(str.encode)
_SCALARS = st.one_of(
    _LINES.map(lambda s: b"+" + s + b"\r\n"),
    _LINES.map(lambda s: b"-" + s + b"\r\n"),
    st.integers(-(2**63), 2**63 - 1).map(lambda n: b":%d\r\n" % n),
    st.binary(max_size=20).map(lambda s: b"$%d\r\n%b\r\n" % (len(s), s)),
    st.binary(max_size=20).map(lambda s: b"=%d\r\ntxt:%b\r\n" % (len(s) + 4, s)),
    st.sampled_from([b"$-1\r\n", b"*-1\r\n", b"_\r\n", b"#t\r\n", b",1.5\r\n", b",-inf\r\n", b"(12345\r\n"]),
)


def _aggregates(parts: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    several = st.lists(parts, max_size=4)
    scalars = st.lists(_SCALARS, max_size=4)
    return st.one_of(
        several.map(lambda found: b"*%d\r\n" % len(found) + b"".join(found)),
        scalars.map(lambda found: b"~%d\r\n" % len(found) + b"".join(found)),
        st.lists(st.tuples(_LINES.map(lambda s: b"+" + s + b"\r\n"), parts), max_size=3).map(
            lambda found: b"%%%d\r\n" % len(found) + b"".join(key + value for key, value in found)
        ),
    )


_REPLIES = st.recursive(_SCALARS, _aggregates, max_leaves=6)
_CUTS = st.lists(st.integers(0, 12), max_size=30)


@given(parts=st.lists(_REPLIES, max_size=6), sizes=_CUTS)
def test_replies_end_where_hiredis_ends_them(parts: list[bytes], sizes: list[int]) -> None:
    data = b"".join(parts)
    for scanner in (_resp.ReplyScanner, replies.ReplyScanner):
        assert scan(scanner, data, sizes) == (parts, None, 0)
    for part in parts:
        reader = hiredis.Reader(notEnoughData=NOTHING)
        reader.feed(part[:-1])
        assert reader.gets() is NOTHING
        reader.feed(part[-1:])
        assert reader.gets() is not NOTHING
        assert not reader.has_data()


PIECES = [*WHOLE[:-1], *(w[:-3] for w in WHOLE[:-1]), *(bytes((c,)) for c in b"+-:$*%~>|=!;._#,(?\r\n1")]


@given(
    pieces=st.lists(
        st.sampled_from(PIECES),
        max_size=12,
    ),
    sizes=_CUTS,
)  # fmt: skip
def test_the_compiled_scanner_and_the_reference_see_the_same_however_it_is_cut(
    pieces: list[bytes], sizes: list[int]
) -> None:
    data = b"".join(pieces)
    found = scan(replies.ReplyScanner, data)
    assert scan(_resp.ReplyScanner, data) == found
    assert scan(_resp.ReplyScanner, data, sizes) == found
    assert scan(replies.ReplyScanner, data, sizes) == found


@given(
    said=st.lists(st.sampled_from([*WHOLE, frames.QUEUED]), max_size=12),
    index=st.integers(0, 12),
    most=st.integers(0, 12),
)
def test_ordinary_answers_end_where_something_else_is_said(said: list[bytes], index: int, most: int) -> None:
    """An error, a push, what has attributes, and what is said inside MULTI."""
    data = b"".join(said)
    stops = replies.ReplyScanner().scan(data, 0, len(data))
    index = min(index, len(stops))
    at = stops[index - 1] >> 8 if index else 0
    count, end = replies.ordinary(data, at, stops, index, most)
    assert _resp.ordinary(data, at, stops, index, most) == (count, end)
    assert end == at + sum(map(len, said[index : index + count]))
    assert count <= most
    for one in said[index : index + count]:
        assert one[:1] not in (b"-", b"!", b">", b"|")
        assert one != frames.QUEUED
