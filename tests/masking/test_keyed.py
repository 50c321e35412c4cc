from __future__ import annotations

from math import prod

from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.masking.keyed import FEWEST_VALUES, ROUNDS, Use, permute, permute_pair, pseudonym, shift

KEY, OTHER = bytes(range(32)), bytes(32)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_a_pseudonym_says_which_values_are_equal_and_no_more(one: bytes, other: bytes) -> None:
    found = pseudonym(KEY, one)
    assert len(found) == 32
    assert int(found, 16) >= 0
    assert (found == pseudonym(KEY, other)) is (one == other)
    assert found != pseudonym(OTHER, one)


def test_dates_are_moved_by_the_same_days_each_time_and_never_by_none() -> None:
    for days in range(1, 400):
        moved = shift(KEY, days)
        assert 1 <= abs(moved) <= days
        assert moved == shift(KEY, days)
    keys = [n.to_bytes(32, "big") for n in range(200)]
    assert {shift(key, 3) for key in keys} == {-3, -2, -1, 1, 2, 3}


def test_a_permutation_of_a_million_values_is_one() -> None:
    """All of them: none twice, none left out, few where they were."""
    step = 37  # a full pass takes a minute: every 37th, and their tokens must still differ
    tokens = set()
    fixed = 0
    for number in range(0, 1_000_000, step):
        digits = [int(d) for d in f"{number:06d}"]
        found = permute(KEY, Use.TEXT, digits, [10] * 6)
        assert found is not None
        tokens.add(tuple(found))
        fixed += found == digits
    assert len(tokens) == len(range(0, 1_000_000, step))
    assert fixed <= 3


@settings(max_examples=300)
@given(st.lists(st.sampled_from([10, 26, 64]), min_size=6, max_size=40), st.data())
def test_different_values_of_one_shape_have_different_tokens(sizes: list[int], data: st.DataObject) -> None:
    values = st.tuples(*(st.integers(0, size - 1) for size in sizes))
    one, other = data.draw(values), data.draw(values)
    found, another = permute(KEY, Use.TEXT, one, sizes), permute(KEY, Use.TEXT, other, sizes)
    assert found is not None
    assert (found == another) is (one == other)
    assert all(0 <= digit < size for digit, size in zip(found, sizes, strict=True))
    assert found != permute(OTHER, Use.TEXT, one, sizes) or prod(sizes) < 2**32


def test_a_change_anywhere_changes_about_all() -> None:
    base = permute(KEY, Use.TEXT, [0] * 16, [10] * 16)
    assert base is not None
    for place in range(16):
        changed = permute(KEY, Use.TEXT, [int(n == place) for n in range(16)], [10] * 16)
        assert changed is not None
        assert sum(a != b for a, b in zip(base, changed, strict=True)) >= 9


def test_too_few_values_are_not_permuted() -> None:
    assert permute(KEY, Use.TEXT, [1] * 5, [10] * 5) is None
    assert permute(KEY, Use.TEXT, [], []) is None
    assert permute(KEY, Use.TEXT, [1] * 6, [10] * 6) is not None
    assert FEWEST_VALUES == 10**6
    assert ROUNDS == 10


def test_a_pair_of_few_values_is_permuted_whole() -> None:
    for sizes in ((3, 5), (16, 16), (7, 1)):
        every = [(a, b) for a in range(sizes[0]) for b in range(sizes[1])]
        assert sorted(permute_pair(KEY, Use.SMALL, pair, sizes) for pair in every) == every


@given(st.integers(0, 2**31 - 1), st.integers(0, 2**32 - 2))
def test_a_pair_stays_within_its_sizes(high: int, low: int) -> None:
    sizes = (2**31, 2**32 - 1)
    found = permute_pair(KEY, Use.LARGE, (high, low), sizes)
    assert 0 <= found[0] < sizes[0]
    assert 0 <= found[1] < sizes[1]
    assert found != permute_pair(KEY, Use.UUID, (high, low), sizes)
