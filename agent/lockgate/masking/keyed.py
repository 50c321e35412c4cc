"""Keyed pseudonyms: the pseudo-random function, and the permutations made of it. `_keyed.pxd` is this, compiled.

The function is keyed BLAKE2b (RFC 7693): one compression for every message here that counts. The permutations are
Feistel networks of ROUNDS rounds in the manner of FF1 (NIST SP 800-38G): the value is cut in two, and each half in turn
is moved by a function of the other, in the group that the value's characters form. FF1 itself knows one alphabet a
value; here each place has its own, so that digits stay digits and letters letters without a value being taken apart.
Whoever doesn't have the key can do no better than collect pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from hashlib import blake2b
from math import prod
from typing import Final

KEY_BYTES: Final = 32
HASH_BYTES: Final = 16
"""Of a pseudonym, before it is written in hexadecimal: 2**40 values have two alike with a chance of 2**-49."""
ROUNDS: Final = 10
"""As FF1 has. Eight keep a balanced network apart from random; unbalanced ones need more (Hoang and Rogaway, 2010)."""
FEWEST_VALUES: Final = 1_000_000
"""Values in the smallest set that is permuted: of a smaller one a few tokens give all away (SP 800-38G, rev. 1)."""
BYTES_A_PLACE: Final = 4
"""Of the function's output, for a place of an alphabet of 64 at most: its bias is then 2**-26."""


class Use(IntEnum):
    """What a message to the function is for: no two uses share an answer."""

    TEXT = 0
    NUMERIC = 1
    SMALL = 2
    LARGE = 3
    UUID = 4
    HASH = 5
    SHIFT = 6


def pseudonym(key: bytes, value: bytes) -> bytes:
    """32 hexadecimal digits: the same for the same value and key, and nothing else about the value."""
    return blake2b(bytes((Use.HASH,)) + value, key=key, digest_size=HASH_BYTES).hexdigest().encode()


def shift(key: bytes, days: int) -> int:
    """By how many days dates are moved, 1 to `days` in either direction: never by none."""
    found = blake2b(bytes((Use.SHIFT,)) + days.to_bytes(8, "little"), key=key, digest_size=64).digest()
    distance = 1 + int.from_bytes(found[:8], "little") % days
    return distance if found[8] & 1 else -distance


def permute(key: bytes, use: Use, digits: Sequence[int], sizes: Sequence[int]) -> list[int] | None:
    """The place-by-place permutation of `digits`, each below its entry of `sizes` (64 at most).

    None when there are fewer than FEWEST_VALUES such values.
    """
    if prod(sizes) < FEWEST_VALUES:
        return None
    half = len(digits) // 2
    left, right = list(digits[:half]), list(digits[half:])
    for number in range(ROUNDS):
        source, target = (left, right) if number & 1 else (right, left)
        bounds, moduli = (sizes[:half], sizes[half:]) if number & 1 else (sizes[half:], sizes[:half])
        message = bytes((use, number)) + len(digits).to_bytes(2, "little")
        message += bytes(byte for pair in zip(bounds, source, strict=True) for byte in pair)
        stream = _stream(key, use, message, len(target) * BYTES_A_PLACE)
        for place, modulus in enumerate(moduli):
            word = int.from_bytes(stream[place * BYTES_A_PLACE : (place + 1) * BYTES_A_PLACE], "little")
            target[place] = (target[place] + word) % modulus
    return left + right


def permute_pair(key: bytes, use: Use, pair: tuple[int, int], sizes: tuple[int, int]) -> tuple[int, int]:
    """The same for a value of two places of up to 2**61 values each."""
    halves = list(pair)
    for number in range(ROUNDS):
        source = 1 - (number & 1)
        message = bytes((use, number)) + halves[source].to_bytes(8, "little")
        found = blake2b(message, key=key, digest_size=64).digest()
        target = 1 - source
        halves[target] = (halves[target] + int.from_bytes(found[:8], "little")) % sizes[target]
    return halves[0], halves[1]


def _stream(key: bytes, use: Use, message: bytes, size: int) -> bytes:
    """`size` bytes: the digest of the message, and then those of it and a number from 1 on."""
    first = blake2b(message, key=key, digest_size=64).digest()
    stream, block = first, 1
    while len(stream) < size:
        stream += blake2b(bytes((use, ROUNDS, block)) + first, key=key, digest_size=64).digest()
        block += 1
    return stream
