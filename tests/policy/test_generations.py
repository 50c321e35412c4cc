from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.policy.generations import Generations


@given(st.integers(2, 20), st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=200))
def test_never_more_than_its_limit_and_never_a_wrong_value(limit: int, steps: list[tuple[bool, int]]) -> None:
    cache: Generations[int, int] = Generations(limit)
    for put, key in steps:
        if put:
            cache.put(key, key * 7)
            assert cache.get(key) == key * 7
        else:
            assert cache.get(key) in (None, key * 7)
        assert len(cache) <= limit


def test_what_is_used_stays_while_others_come_and_go() -> None:
    cache: Generations[str, int] = Generations(10)
    cache.put("ours", 1)
    for n in range(1000):
        cache.put(f"flood {n}", n)
        assert cache.get("ours") == 1


def test_what_is_not_used_goes() -> None:
    cache: Generations[int, int] = Generations(4)
    for n in range(6):
        cache.put(n, n)
    assert cache.get(0) is None


def test_putting_a_key_again_pushes_nothing_out() -> None:
    cache: Generations[int, int] = Generations(4)
    cache.put(1, 1)
    cache.put(2, 2)
    for n in range(10):
        cache.put(2, n)
    assert (cache.get(1), cache.get(2)) == (1, 9)


def test_a_cache_needs_room() -> None:
    with pytest.raises(ValueError, match="fewer than two"):
        Generations(1)
