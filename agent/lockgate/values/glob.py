"""Glob patterns as Redis matches them (util.c, `stringmatchlen`): over bytes, case and all."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

PATTERN_BYTES: Final = 1024
"""The longest pattern that `compile_glob` takes."""


@lru_cache(maxsize=4096)
def compile_glob(pattern: bytes) -> re.Pattern[bytes]:
    """What `fullmatch` matches a key by. Raises ValueError for a pattern of more than PATTERN_BYTES.

    `*` is any bytes, `?` one, `[a-z]` and `[^a-z]` one of a class, a backslash takes the meaning of what follows. As in
    Redis a class may be left open at the end, and a range may be written backwards.
    """
    if len(pattern) > PATTERN_BYTES:
        raise ValueError(f"a pattern of more than {PATTERN_BYTES} bytes")
    parts: list[list[bytes]] = [[]]
    """What stands before, between and behind the stars."""
    at = 0
    while at < len(pattern):
        one = pattern[at : at + 1]
        at += 1
        if one == b"*":
            if parts[-1] or len(parts) == 1:
                parts.append([])
        elif one == b"?":
            parts[-1].append(b".")
        elif one == b"[":
            part, at = _class(pattern, at)
            parts[-1].append(part)
        else:
            if one == b"\\" and at < len(pattern):
                one = pattern[at : at + 1]
                at += 1
            parts[-1].append(re.escape(one))
    first, *others = (b"".join(part) for part in parts)
    if not others:
        return re.compile(first, re.DOTALL)
    # the earliest place is as good as any later one, so nothing is tried twice: no key takes more than linear time
    between = b"".join(b"(?>.*?" + part + b")" for part in others[:-1])
    return re.compile(first + between + b".*" + others[-1], re.DOTALL)


def _class(pattern: bytes, at: int) -> tuple[bytes, int]:
    """The class that begins behind a `[`, and where what stands behind it begins."""
    negated = pattern[at : at + 1] == b"^"
    at += negated
    members: set[int] = set()
    while at < len(pattern):
        one = pattern[at]
        if one == ord("\\") and at + 1 < len(pattern):
            members.add(pattern[at + 1])
            at += 2
        elif one == ord("]"):
            at += 1
            break
        elif at + 2 < len(pattern) and pattern[at + 1] == ord("-"):
            first, last = sorted((one, pattern[at + 2]))
            members.update(range(first, last + 1))
            at += 3
        else:
            members.add(one)
            at += 1
    chosen = members if not negated else set(range(256)) - members
    if not chosen:
        return b"(?!)", at
    return b"[" + b"".join(b"\\x%02x" % member for member in sorted(chosen)) + b"]", at
