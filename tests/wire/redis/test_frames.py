"""Errors of ours are one line, and the head of a push is found in what has come of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.wire.redis import frames
from tests.support.redis_playbook import array, bulk, message, number, push


@given(st.text())
def test_an_error_is_one_line(text: str) -> None:
    reply = frames.error(text)
    assert reply[:1] == b"-"
    assert reply[-2:] == b"\r\n"
    assert not set(reply[1:-2]) & set(range(32))


def test_a_bulk() -> None:
    assert frames.bulk(b"a\r\n") == b"$3\r\na\r\n\r\n"


@pytest.mark.parametrize(
    ("digits", "value"),
    [(b"0", 0), (b"17", 17), (b"-3", -3), (b"01", None), (b"+1", None), (b"-0", None), (b"", None), (b"1" * 19, None),
     (b"1_0", None), (b" 1", None), (b"1\n", None)],
)  # fmt: skip
def test_numbers_are_as_redis_takes_them(digits: bytes, value: int | None) -> None:
    assert frames.integer(digits) == value


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (message("c", "x"), (b"message", b"c")),
        (message("c", "x", push), (b"message", b"c")),
        (array(bulk("unsubscribe"), bulk(None), number(0)), (b"unsubscribe", None)),
        (push(bulk("sunsubscribe"), b"_\r\n", number(0)), (b"sunsubscribe", None)),
        (array(bulk(b"a\r\n"), bulk(b"\r\n$1")), (b"a\r\n", b"\r\n$1")),
    ],
)
def test_a_head_is_found_as_soon_as_it_has_come(data: bytes, found: tuple[bytes, bytes | None]) -> None:
    heads = [frames.head(data[:end], 100) for end in range(len(data) + 1)]
    known = next(at for at, one in enumerate(heads) if one is not None)
    assert heads == [None] * known + [found] * (len(heads) - known)


def test_the_channel_of_what_a_pattern_brought_is_its_third_part() -> None:
    for of in (array, push):
        data = of(bulk("pmessage"), bulk("n*"), bulk(b"ne\r\nws"), bulk("x"))
        found = [frames.third(data[:end], 100) for end in range(len(data) + 1)]
        known = next(at for at, one in enumerate(found) if one is not None)
        assert found == [None] * known + [b"ne\r\nws"] * (len(found) - known)
        assert known < len(data) - 4, "before the message has come"
    assert frames.third(array(bulk("pmessage"), bulk("n*")), 100) is None
    for other, why in (
        (bulk(None), "else than a name"),
        (number(1), "else than a name"),
        (bulk("y" * 101), "too long"),
    ):
        with pytest.raises(ValueError, match=why):
            frames.third(array(bulk("pmessage"), bulk("n*"), other, bulk("x")), 100)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (array(bulk("x")), "too few elements"),
        (array(number(1), number(2)), "does not begin with what it is"),
        (b"*?\r\n$1\r\nx\r\n", "does not begin with what it is"),
        (array(bulk("x"), number(2)), "something else than a name"),
        (array(bulk("x" * 101), bulk("y")), "too long"),
        (array(bulk("x"), bulk("y" * 101)), "too long"),
    ],
)
def test_what_has_no_head(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        frames.head(data, 100)
