from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.script import decode, encode, messages, mutated

STEPS = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=300)), max_size=5)


@given(STEPS)
def test_steps_come_back_from_their_bytes(steps: list[tuple[int, bytes]]) -> None:
    assert decode(encode(steps)) == steps


@given(st.binary())
def test_any_bytes_are_steps_and_messages(data: bytes) -> None:
    assert sum(3 + len(said) for _, said in decode(data)) <= len(data) + 2
    assert b"".join(messages(data)) == data


@given(STEPS, st.randoms(use_true_random=False))
def test_a_mutation_keeps_to_its_length(steps: list[tuple[int, bytes]], random: Random) -> None:
    pool = [(0, b"Q\0\0\0\x05\0"), (1, b"")]
    data = encode(steps)
    for _ in range(4):
        data = mutated(data, 200, random, lambda one, limit: one[:limit], pool)
        assert len(data) <= 200
