"""What a target is: an input, what must hold of it, and inputs to begin with."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from tests.fuzz.script import Mutate

SECONDS: Final = 3.0
"""Processor time that one input may take, instrumented and on a busy machine."""


@dataclass(frozen=True)
class Target:
    """`check` raises for an input of at most `longest` bytes of which something doesn't hold that must.

    `mutate` makes another input of one; None leaves that to the engine.
    """

    name: str
    check: Callable[[bytes], None]
    seeds: Sequence[bytes]
    longest: int = 2048
    mutate: Callable[[bytes, int, Random, Mutate], bytes] | None = None

    def run(self, data: bytes) -> None:
        """Check one input, and that it took no longer than an input may. Raises whatever is wrong."""
        begun = time.process_time()
        self.check(data)
        took = time.process_time() - begun
        assert took < SECONDS, f"{took:.1f} s for {len(data)} bytes"


def changed(data: bytes, limit: int, random: Random) -> bytes:
    """A few bytes changed, left out, put in or repeated: what stands for an engine's mutations in a test."""
    found = bytearray(data)
    for _ in range(random.randint(1, 4)):
        place = random.randrange(len(found) + 1)
        match random.randrange(5):
            case 0 if place < len(found):
                found[place] = random.randrange(256)
            case 1:
                del found[place : place + random.randint(1, 8)]
            case 2:
                found[place:place] = random.randbytes(random.randint(1, 8))
            case 3:
                found[place:place] = found[place : place + random.randint(1, 30)]
            case _ if place < len(found):
                found[place] ^= 1 << random.randrange(8)
    return bytes(found[:limit])


def inputs(target: Target, count: int, seed: int) -> list[bytes]:
    """Its seeds, and `count` mutations of them and of one another."""
    random = Random(seed)
    found = list(target.seeds)
    for _ in range(count):
        one = random.choice(found)
        made = (
            changed(one, target.longest, random)
            if target.mutate is None
            else target.mutate(one, target.longest, random, lambda data, limit: changed(data, limit, random))
        )
        found.append(made)
    return found
