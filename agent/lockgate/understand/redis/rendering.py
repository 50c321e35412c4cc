"""A command as text: what stands in a record and before whoever approves it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from lockgate.values.command import Call

MAX_ARGUMENTS: Final = 64
"""Arguments that are shown, the name too: nobody reads more before they decide."""

MAX_BYTES: Final = 512
"""Bytes of one argument that are shown. redis-cli shows all, MONITOR too; the server's slow log 128."""

MAX_CHARACTERS: Final = 16_384
"""Of the whole text, give or take one argument. (Each byte may take four characters.)"""

HIDDEN: Final = "?"

PLAIN_FIRST: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_:@/*{}+=~,%<>|$!&;#^-")
PLAIN: Final = PLAIN_FIRST | frozenset(b".")
"""An argument needs no quotes that is of these: no quotes, space or backslash, nothing that looks hidden or cut."""

_PLAIN = re.compile(b"[%b][%b]*" % (re.escape(bytes(sorted(PLAIN_FIRST))), re.escape(bytes(sorted(PLAIN)))))

_WORDS = re.compile(b"(?:%b)(?: %b)*" % (_PLAIN.pattern, _PLAIN.pattern))
"""Such arguments, none of them empty, with a space between two."""

_ESCAPES = {ord("\\"): "\\\\", ord('"'): '\\"', 10: "\\n", 13: "\\r", 9: "\\t", 7: "\\a", 8: "\\b"}
_SPELT = [_ESCAPES.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}") for byte in range(256)]
"""Each byte as sds.c's sdscatrepr has it."""


def text(call: Call, hide: Callable[[int], bool]) -> str:
    """The call as redis-cli would take it, in one line of printable ASCII.

    Arguments for whose place `hide` is true, and all of `secrets`, are `?`; an argument that is a question mark is
    quoted, so that calls which are shown whole look alike only if they are the same (but for the case of the command's
    name). What is longer than MAX_BYTES ends in `... (N bytes)`, N all of them; what is beyond MAX_ARGUMENTS or
    MAX_CHARACTERS is `... (N more arguments)`.
    """
    args, secrets = call.args, call.secrets
    first = 1 + (" " in call.name)
    found = [call.name]
    length = len(call.name)
    for place in range(first, len(args)):
        if place >= MAX_ARGUMENTS or length > MAX_CHARACTERS:
            found.append(f"... ({len(args) - place} more arguments)")
            break
        shown = HIDDEN if place in secrets or hide(place) else spelt(args[place])
        length += len(shown) + 1
        found.append(shown)
    return " ".join(found)


def bare(call: Call) -> str:
    """`text` with nothing hidden but `secrets`."""
    args = call.args
    if not call.secrets and len(args) <= MAX_ARGUMENTS:
        # most calls: a name and words that need no quotes
        joined = b" ".join(args)
        if len(joined) <= MAX_BYTES and joined.count(b" ") == len(args) - 1 and _WORDS.fullmatch(joined):
            told = joined.decode("ascii")
            if told.startswith(call.name):
                return told
    return text(call, _shown)


def _shown(place: int) -> bool:
    return False


def whole(call: Call, hide: Callable[[int], bool], limit: int) -> str:
    """The same with nothing left out but what is hidden. Beyond `limit` characters it ends anywhere."""
    found, secrets = [call.name], frozenset(call.secrets)
    left = limit - len(call.name)
    for place in range(1 + (" " in call.name), len(call.args)):
        if left < 0:
            break
        hidden = place in secrets or hide(place)
        found.append(HIDDEN if hidden else _written(call.args[place][: left + 1]))
        left -= len(found[-1]) + 1
    return " ".join(found)


def spelt(argument: bytes) -> str:
    if len(argument) > MAX_BYTES:
        return f"{_quoted(argument[:MAX_BYTES])}... ({len(argument)} bytes)"
    return _written(argument)


def _written(argument: bytes) -> str:
    return argument.decode("ascii") if _PLAIN.fullmatch(argument) else _quoted(argument)


def _quoted(argument: bytes) -> str:
    return '"' + "".join([_SPELT[byte] for byte in argument]) + '"'
