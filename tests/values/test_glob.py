"""The glob patterns of keys, held against Redis's own algorithm written down from its source."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.values.glob import PATTERN_BYTES, compile_glob


def matches(pattern: bytes, text: bytes) -> bool:
    return compile_glob(pattern).fullmatch(text) is not None


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        (b"session:*", b"session:42", True),
        (b"session:*", b"session:", True),
        (b"session:*", b"xsession:42", False),
        (b"session:*", b"session:\n\xff", True),
        (b"*:email", b"profile:1:email", True),
        (b"*:email", b"profile:1:emails", False),
        (b"a*b*c", b"a--b-b--c", True),
        (b"a*b*c", b"a--c--b", False),
        (b"h?llo", b"hello", True),
        (b"h?llo", b"hllo", False),
        (b"h[ae]llo", b"hallo", True),
        (b"h[^e]llo", b"hello", False),
        (b"h[a-c]llo", b"hbllo", True),
        (b"h[c-a]llo", b"hbllo", True),
        (b"h[]llo", b"hello", False),
        (b"h[ae", b"ha", True),
        (rb"h\*llo", b"h*llo", True),
        (rb"h\*llo", b"hello", False),
        (b"a.b", b"axb", False),
        (b"a\\", b"a\\", True),
        (b"", b"", True),
        (b"*", b"", True),
        (b"Case", b"case", False),
    ],
)
def test_a_key_matches_as_in_redis(pattern: bytes, text: bytes, expected: bool) -> None:
    assert matches(pattern, text) is expected


def by_the_source(pattern: bytes, text: bytes) -> bool:
    """`stringmatchlen` for patterns of stars, question marks and letters, as it recurses."""
    if not pattern:
        return not text
    if pattern[:1] == b"*":
        return any(by_the_source(pattern[1:], text[at:]) for at in range(len(text) + 1))
    return bool(text) and pattern[:1] in (b"?", text[:1]) and by_the_source(pattern[1:], text[1:])


@given(
    st.lists(st.sampled_from(b"ab*?"), max_size=9).map(bytes), st.lists(st.sampled_from(b"ab"), max_size=9).map(bytes)
)
def test_stars_match_as_in_redis(pattern: bytes, text: bytes) -> None:
    assert matches(pattern, text) is by_the_source(pattern, text)


def test_no_key_keeps_it_busy() -> None:
    """Backtracking would take some 10 ** 12 steps for this one, and never come to an end."""
    started = time.process_time()
    assert not matches(b"*a*a*a*b", b"a" * 1_000_000)
    assert time.process_time() - started < 20


def test_a_pattern_has_a_bound() -> None:
    with pytest.raises(ValueError, match="more than"):
        compile_glob(b"a" * (PATTERN_BYTES + 1))
