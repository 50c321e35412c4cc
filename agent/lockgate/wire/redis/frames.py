"""What both directions of RESP are made of: limits, the words of Redis's own errors, inline commands, small replies.

Source: Redis 7.0, networking.c (`processInlineBuffer`, `processMultibulkBuffer`) and sds.c (`sdssplitargs`); the RESP3
specification. `requests.py` reads commands, `replies.py` finds where replies end.
"""

from __future__ import annotations

import re
from typing import Final

INLINE_BYTES: Final = 65_536
"""The longest inline command: Redis's PROTO_INLINE_MAX_SIZE."""

ARGUMENTS: Final = 1_048_576
"""The most arguments of one command: Redis's own bound until 7.0. What it announces is not allocated."""

DIGITS: Final = 18
"""The most that a length may have: string2ll takes one more, and no server or client has use for it."""

LINE_BYTES: Final = 24
"""The longest line with a length."""

DEPTH: Final = 128
"""How deep a reply may be nested: hiredis takes 9, Lua makes more."""

ATTRIBUTES: Final = 128
"""Added to the type of a reply that has attributes before it."""

_SPACE: Final = b" \t\n\v\f\r"
"""What isspace() takes in the C locale."""
_ENDS: Final = b" \t\n\r"
"""What ends a word that isn't quoted."""
_ESCAPES: Final = {ord("n"): 10, ord("r"): 13, ord("t"): 9, ord("b"): 8, ord("a"): 7}
_HEX: Final = re.compile(rb"\\x([0-9a-fA-F]{2})")
_PLAIN: Final = re.compile(rb"[^\"'\\]*\Z")

_INTEGER: Final = re.compile(rb"0|-?[1-9][0-9]{0,17}")


def integer(digits: bytes) -> int | None:
    """A number as Redis's string2ll takes it, of at most DIGITS digits; None for anything else."""
    return int(digits) if _INTEGER.fullmatch(digits) else None


def unexpected(byte: int) -> str:
    """Redis's words for an argument that doesn't begin with `$`."""
    shown = " " if byte in b"\r\n" else chr(byte) if 32 <= byte < 127 else "?"
    return f"expected '$', got '{shown}'"


def split_inline(line: bytes) -> list[bytes] | None:
    """The words of an inline command (sds.c, `sdssplitargs`); None when its quotes don't match. `line` has no NUL."""
    if _PLAIN.match(line):
        # words begin behind any space but end before these four only
        return [word.lstrip(_SPACE) for word in re.split(rb"[ \t\n\r]+", line) if word.strip(_SPACE)]
    words: list[bytes] = []
    at, end = 0, len(line)
    while True:
        while at < end and line[at] in _SPACE:
            at += 1
        if at == end:
            return words
        word = bytearray()
        while at < end and line[at] not in _ENDS:
            quote = line[at]
            at += 1
            if quote not in b"\"'":
                word.append(quote)
                continue
            after = _unquoted(line, at, quote, word)
            if after is None or (after < end and line[after] not in _SPACE):
                return None
            at = after
            break
        words.append(bytes(word))


def _unquoted(line: bytes, at: int, quote: int, word: bytearray) -> int | None:
    """Take what is quoted from `at` on into `word`. The offset behind the closing quote; None when there is none."""
    end = len(line)
    while at < end:
        byte = line[at]
        if byte == quote:
            return at + 1
        following = line[at + 1] if at + 1 < end else None
        if byte == ord("\\") and following is not None and (quote == ord('"') or following == quote):
            found = _HEX.match(line, at) if quote == ord('"') else None
            if found:
                word.append(int(found[1], 16))
                at += 4
                continue
            word.append(_ESCAPES.get(following, following) if quote == ord('"') else following)
            at += 2
            continue
        word.append(byte)
        at += 1
    return None


# replies of our own

OK: Final = b"+OK\r\n"
QUEUED: Final = b"+QUEUED\r\n"
RESET: Final = b"+RESET\r\n"


def error(message: str) -> bytes:
    """An error. `message` begins with a word in capitals; what could end the line, or isn't text, is replaced."""
    clean = "".join(c if c.isprintable() else " " for c in message)
    return b"-" + clean.encode("utf-8", "replace") + b"\r\n"


def bulk(data: bytes) -> bytes:
    """A string of any bytes."""
    return b"$%d\r\n%b\r\n" % (len(data), data)


# what they are made of

_HEAD: Final = re.compile(rb"[*>]([0-9]{1,18})\r\n\$([0-9]{1,18})\r\n")
_NAME: Final = re.compile(rb"\$(-1|[0-9]{1,18})\r\n|_\r\n")


def head(data: bytes, limit: int) -> tuple[bytes, bytes | None] | None:
    """The first two elements of an array or push of at least two, both strings (the second may be null).

    None when they haven't come whole. Raises ValueError for anything else, and where they are longer than `limit`.
    """
    found = _front(data, limit)
    return None if found is None else found[:2]


def third(data: bytes, limit: int) -> bytes | None:
    """The third element of what `head` tells the first two of, a string. None and ValueError as with `head`."""
    found = _front(data, limit)
    if found is None:
        return None
    name, at = _named(data, found[2], limit)
    if name is None and at > found[2]:
        raise ValueError("it has something else than a name")
    return name


def _front(data: bytes, limit: int) -> tuple[bytes, bytes | None, int] | None:
    """As `head`, and where what stands behind them begins."""
    found = _HEAD.match(data)
    if found is None:
        if b"\n" in data and data.count(b"\n") > 1:
            raise ValueError("it does not begin with what it is")
        return None
    if int(found[1]) < 2:
        raise ValueError("it has too few elements")
    kind, at = _taken(data, found.end(), int(found[2]), limit)
    if kind is None:
        return None
    name, end = _named(data, at, limit)
    return None if end == at else (kind, name, end)


def _named(data: bytes, at: int, limit: int) -> tuple[bytes | None, int]:
    """The string (None: null) at an offset, and the offset behind it: the same one where it hasn't come whole."""
    found = _NAME.match(data, at)
    if found is None:
        if b"\n" in data[at:]:
            raise ValueError("it has something else than a name")
        return None, at
    if found[1] in (None, b"-1"):
        return None, found.end()
    taken, end = _taken(data, found.end(), int(found[1]), limit)
    return (None, at) if taken is None else (taken, end)


def _taken(data: bytes, at: int, size: int, limit: int) -> tuple[bytes | None, int]:
    if size > limit:
        raise ValueError("its name is too long")
    if len(data) < at + size + 2:
        return None, at
    return data[at : at + size], at + size + 2
