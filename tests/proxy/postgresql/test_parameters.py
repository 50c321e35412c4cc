"""What an approver sees of bound values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.proxy.postgresql.parameters import SHOWN_CHARACTERS, SHOWN_PARAMETERS, formats, shown


@pytest.mark.parametrize(
    ("codes", "read"), [(b"", []), (b"\0\0", []), (b"\0\1\0\1", [1]), (b"\0\2\0\0\0\1\0\7", [0, 1])]
)
def test_format_codes(codes: bytes, read: list[int]) -> None:
    assert formats(codes) == read


def test_text_is_quoted_and_binary_is_hexadecimal() -> None:
    assert shown([b"ann", b"\0\7", None], [0, 1, 0], secret=False) == '\n-- $1 = "ann"\n-- $2 = \\x0007\n-- $3 = NULL'


def test_one_code_goes_for_all_and_none_means_text() -> None:
    assert shown([b"a", b"b"], [1], secret=False) == "\n-- $1 = \\x61\n-- $2 = \\x62"
    assert shown([b"a", b"b"], [], secret=False) == '\n-- $1 = "a"\n-- $2 = "b"'


def test_nothing_is_shown_where_any_of_them_may_be_classified() -> None:
    assert shown([b"user1@example.org", None], [], secret=True) == "\n-- $1 = ***\n-- $2 = ***"


def test_without_values_there_is_nothing_to_show() -> None:
    assert shown([], [], secret=False) == ""


def test_a_long_value_says_how_long_it_is() -> None:
    assert shown([b"x" * 5000], [], secret=False).endswith("... (5000 bytes)")


def test_many_values_are_counted() -> None:
    assert shown([b"x"] * (SHOWN_PARAMETERS + 3), [], secret=False).endswith("\n-- and 3 more")


@given(st.lists(st.none() | st.binary(max_size=50), max_size=5), st.lists(st.integers(0, 1), max_size=5), st.booleans())
def test_no_value_can_end_the_comment_it_stands_in(values: list[bytes | None], codes: list[int], secret: bool) -> None:
    lines = shown(values, codes, secret=secret).split("\n")[1:]
    assert len(lines) == len(values)
    assert all(line.startswith("-- $") and line.isprintable() for line in lines)
    assert all(len(line) <= SHOWN_CHARACTERS + 60 for line in lines)
