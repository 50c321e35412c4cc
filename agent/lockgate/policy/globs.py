"""Which of many globs match a key; and what can be told of two globs without trying keys: that everything one matches
the other does too, or nothing.

`Matching` is the reference: `_matching.pyx` is the same, compiled, and what runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from lockgate.values.glob import PATTERN_BYTES, compile_glob

_SPECIAL: Final = b"*?["

TRIED_BYTES: Final = 64
"""The longest pattern of a client's that is compiled to be tried on one name: that takes some 20 us a byte."""


class Matching:
    """`patterns` are names, each with its glob. Raises ValueError for a glob that `compile_glob` refuses."""

    def __init__(self, patterns: Iterable[tuple[str, bytes]]) -> None:
        self._globs = [(name, compile_glob(pattern)) for name, pattern in patterns]

    def match(self, key: bytes) -> tuple[str, ...]:
        """The names of the patterns that match `key`, in the order given. `()` is always the same object."""
        return tuple([name for name, glob in self._globs if glob.fullmatch(key)])


def covers(outer: bytes, inner: bytes) -> bool:
    """Whether all that `inner` matches is matched by `outer`, as far as it can be told: False is "perhaps not".

    `outer` is a pattern that `compile_glob` takes, `inner` may be any.
    """
    if outer == inner:
        return True
    start, rest = beginning(outer)
    begin, more = beginning(inner)
    if not more:
        return compile_glob(outer).fullmatch(begin) is not None
    return rest != b"" and not rest.strip(b"*") and begin.startswith(start)


def disjoint(one: bytes, other: bytes) -> bool:
    """Whether nothing is matched by both, as far as it can be told: False is "perhaps something is".

    `one` is a policy's, `other` may be any.
    """
    (start, rest), (begin, more) = beginning(one), beginning(other)
    shared = min(len(start), len(begin))
    if start[:shared] != begin[:shared]:
        return True
    # a name that isn't a pattern is simply tried
    if not rest and len(other) <= TRIED_BYTES:
        return compile_glob(other).fullmatch(start) is None
    if not more and len(one) <= PATTERN_BYTES:
        return compile_glob(one).fullmatch(begin) is None
    return False


def beginning(pattern: bytes) -> tuple[bytes, bytes]:
    """What everything that a pattern matches begins with, and the pattern from its first `*`, `?` or `[` on."""
    found = bytearray()
    at = 0
    while at < len(pattern) and pattern[at] not in _SPECIAL:
        if pattern[at] == ord("\\") and at + 1 < len(pattern):
            at += 1
        found.append(pattern[at])
        at += 1
    return bytes(found), pattern[at:]
