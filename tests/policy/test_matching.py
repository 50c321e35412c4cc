"""Which patterns match a key: the compiled one is held to the reference, whatever patterns and keys there are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.policy import globs
from lockgate.policy._matching import Matching
from lockgate.values.glob import PATTERN_BYTES

_PIECES = st.sampled_from([b"a", b"b", b"ab", b"*", b"?", b"[ab]", b"[^a]", b"\\*", b"\\", b":", b"\0", b"\xff", b"[a"])
_PATTERNS = st.lists(_PIECES, max_size=4).map(b"".join)
_KEYS = st.lists(st.sampled_from([b"a", b"b", b":", b"*", b"\\", b"\0", b"\xff", b"ab:"]), max_size=5).map(b"".join)


@given(patterns=st.lists(_PATTERNS, max_size=8), keys=st.lists(_KEYS, min_size=1, max_size=8))
def test_the_compiled_matching_is_that_of_the_reference(patterns: list[bytes], keys: list[bytes]) -> None:
    named = [(f"{place}", pattern) for place, pattern in enumerate(patterns)]
    compiled, reference = Matching(named), globs.Matching(named)
    for key in keys:
        assert compiled.match(key) == reference.match(key)


def test_it_knows_which_of_a_thousand_patterns_match_and_tells_them_in_order() -> None:
    named = [("last", b"*"), *((f"k{n}", b"key:%d*" % n) for n in range(1000)), ("first", b"k?y:*")]
    compiled = Matching(named)
    assert compiled.match(b"key:77") == ("last", "k7", "k77", "first")
    assert compiled.match(b"") == ("last",)
    assert compiled.match(b"other") == ("last",)


def test_nothing_that_matches_is_always_the_same() -> None:
    compiled = Matching([("s", b"secret:*")])
    assert compiled.match(b"plain") == ()
    assert compiled.match(b"plain") is compiled.match(b"other")
    assert compiled.match(b"secret:1") is compiled.match(b"secret:2")
    assert Matching([]).match(b"any") == ()


def test_sets_of_patterns_beyond_what_is_kept_are_told_all_the_same() -> None:
    """Thirteen patterns, and keys that match each of 8191 sets of them: more than are kept."""
    letters = b"abcdefghijklm"
    compiled = Matching([(chr(letter), b"*%c*" % letter) for letter in letters])
    for number in range(1, 1 << len(letters)):
        some = bytes(letter for place, letter in enumerate(letters) if number >> place & 1)
        assert compiled.match(some) == tuple(map(chr, some))


def test_it_refuses_what_no_pattern_may_be() -> None:
    for matching in (Matching, globs.Matching):
        with pytest.raises(ValueError, match="a pattern of more than"):
            matching([("long", b"x" * (PATTERN_BYTES + 1))])
    with pytest.raises(TypeError):
        Matching([]).match("text")  # type: ignore[arg-type]


def test_it_may_be_made_anew() -> None:
    compiled = Matching([("a", b"a*")])
    compiled.__init__([("b", b"b*"), ("c", b"*")])  # type: ignore[misc]
    assert (compiled.match(b"a"), compiled.match(b"b")) == (("c",), ("b", "c"))
