"""What is told of two globs, held against trying."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.policy.globs import covers, disjoint
from lockgate.values.glob import compile_glob


@pytest.mark.parametrize(
    ("outer", "inner", "told"),
    [
        (b"news:*", b"news:*", True),
        (b"news:*", b"news:eu:*", True),
        (b"news:*", b"news:[a-z]?", True),
        (b"*", b"*", True),
        (b"**", b"?", True),
        (b"n[e]ws", b"n[e]ws", True),
        (b"*:ops", b"x:ops", True),
        (rb"a\*b*", rb"a\*bc?", True),
        (b"news:*", b"news*", False),
        (b"news:*", b"*", False),
        (b"news:?", b"news:*", False),
        (b"news", b"news*", False),
        (b"*:ops", b"x*:ops", False),  # it does; nothing is lost but a question
        (rb"a\*", rb"a*", False),
    ],
)
def test_all_that_one_matches_the_other_may_match_too(outer: bytes, inner: bytes, told: bool) -> None:
    assert covers(outer, inner) is told


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        (b"news:*", b"ops:*", True),
        (b"news:*", b"new", True),
        (b"news", b"news:*", True),
        (b"x?", b"xyz", True),
        (rb"\*a", b"b*", True),
        (b"news:*", b"*", False),
        (b"news:*", b"n*", False),
        (b"*a", b"*b", False),  # they are; nothing is lost but a question
        (b"", b"*", False),
        (b"a", b"*" * 2000, False),
    ],
)
def test_nothing_may_be_matched_by_both(one: bytes, other: bytes, told: bool) -> None:
    assert disjoint(one, other) is told
    assert disjoint(other, one) is told


GLOBS = st.lists(st.sampled_from([b"a", b"b", b"*", b"?", b"[ab]", b"[^a]", b"\\", b"\\*", b"["]), max_size=5).map(
    b"".join
)
NAMES = [bytes(name) for size in range(5) for name in product(b"ab*\\", repeat=size)]


@given(GLOBS, GLOBS)
def test_what_is_told_is_so(one: bytes, other: bytes) -> None:
    first, second = ({name for name in NAMES if compile_glob(pattern).fullmatch(name)} for pattern in (one, other))
    if covers(one, other):
        assert second <= first
    if disjoint(one, other):
        assert not first & second
