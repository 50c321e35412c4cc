"""Bytes as what happens to a session, step by step, and mutations that keep most messages whole.

A fuzzer mutates bytes; a protocol of lengths within lengths would lose all sense under that. So an input is a list of
steps (a number, two bytes of length, data), and half of the mutations change one message of one step and set its length
right again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import TypeAlias

Step: TypeAlias = tuple[int, bytes]
Mutate: TypeAlias = Callable[[bytes, int], bytes]
"""Data and the most bytes that it may become -> something like it."""

_LONGEST = 0xFFFF


def encode(steps: Iterable[Step]) -> bytes:
    """Steps as an input. Raises OverflowError for data of more than 65535 bytes."""
    return b"".join(bytes((number,)) + len(data).to_bytes(2, "big") + data for number, data in steps)


def decode(data: bytes) -> list[Step]:
    """An input as steps: every input is some."""
    steps, at = [], 0
    while at < len(data):
        end = at + 3 + int.from_bytes(data[at + 1 : at + 3], "big")
        steps.append((data[at], data[at + 3 : end]))
        at = end
    return steps


def messages(data: bytes) -> list[bytes]:
    """`data` cut into messages of a type byte and a length; what is left over is the last."""
    found, at = [], 0
    while len(data) - at >= 5:
        end = at + 1 + int.from_bytes(data[at + 1 : at + 5], "big")
        if not at + 5 <= end <= len(data):
            break
        found.append(data[at:end])
        at = end
    return [*found, data[at:]] if at < len(data) else found


def mutated(data: bytes, limit: int, random: Random, mutate: Mutate, pool: Sequence[Step]) -> bytes:
    """Another input, of at most `limit` bytes. `pool` has steps that make sense somewhere."""
    steps = decode(data)
    place = random.randrange(len(steps) + 1)
    match random.randrange(8):
        case 0:
            steps.insert(place, random.choice(pool))
        case 1:
            del steps[place : place + random.randint(1, 3)]
        case 2:
            steps[place:place] = steps[random.randrange(len(steps) + 1) :][: random.randint(1, 3)]
        case 3 | 4 if steps:
            number, said = steps[place - 1]
            steps[place - 1] = number, _one_changed(said, random, mutate)
        case 5 if steps:
            # one that says what another said: names, texts and sizes that meet
            number, said = steps[place - 1]
            steps[place - 1] = number, _one_of(said, random.choice(pool)[1], random)
        case _:
            return mutate(data, limit)
    found = encode((number, said[:_LONGEST]) for number, said in steps)
    return found if len(found) <= limit else data[:limit]


def _one_changed(said: bytes, random: Random, mutate: Mutate) -> bytes:
    parts = messages(said)
    if not parts:
        return mutate(said, 64)
    place = random.randrange(len(parts))
    one = parts[place]
    if len(one) >= 5 and random.random() < 0.9:
        body = mutate(one[5:], len(one) + 16)
        one = one[:1] + (len(body) + 4).to_bytes(4, "big") + body
    else:
        one = mutate(one, len(one) + 16)
    return b"".join((*parts[:place], one, *parts[place + 1 :]))


def _one_of(said: bytes, other: bytes, random: Random) -> bytes:
    parts, others = messages(said), messages(other)
    if not others:
        return said
    place = random.randrange(len(parts) + 1)
    return b"".join((*parts[:place], random.choice(others), *parts[place + random.randrange(2) :]))
