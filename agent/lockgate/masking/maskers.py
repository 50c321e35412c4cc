"""What a mask does to one value: the names policies use and the rules the compiled row kernel is held against.

All rules work on the bytes of a value as PostgreSQL sends a text-like type, which are the same in text and binary
format. `partial` assumes UTF-8 and shows nothing of a value that isn't.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Final

MASKERS: Final[Mapping[str, int]] = MappingProxyType({"partial": 1, "redact": 2, "null": 3})
"""Masker name -> how much it hides: of two that apply to one column, the greater one is taken."""


class Action(IntEnum):
    """What happens to one column of a row. The numbers are shared with `_rows.pyx`.

    `REDACT_JSON` and `REDACT_JSONB` write the JSON string "***": the latter as jsonb's binary format has it, behind
    a version byte (PostgreSQL's `jsonb_send`).
    """

    KEEP = 0
    NULL = 1
    REDACT = 2
    PARTIAL = 3
    REDACT_JSON = 4
    REDACT_JSONB = 5


REDACTED: Final = b"***"
REDACTED_JSON: Final = b'"***"'
REDACTED_JSONB: Final = b'\x01"***"'

SHORTEST_TEXT: Final = 4
"""Characters a text needs before its first one is shown: below that it would be a third of the value or more."""
SHORTEST_PART: Final = 3
"""Characters either side of an e-mail address needs before its first one is shown."""
MOST_STARS: Final = 12
"""Characters whose number is told. A longer text ends in this many stars, so that its length is not told."""
LONGEST_EMAIL: Final = 254
"""Octets of an e-mail address: RFC 5321, 4.5.3.1.3 (a path is 256 with its angle brackets)."""
LONGEST_TLD: Final = 8
"""Letters of a top-level domain shown whole. Registered ones go to 24, and so much of a text that only looks like an
address would be too much."""
LONGEST_NUMBER: Final = 32
"""Octets of a number with its separators: a card has 19, an international telephone number some 20."""
FEWEST_DIGITS: Final = 9
"""Digits a number needs before its last four are shown: four are then less than half, and a date has but eight."""
SHOWN_DIGITS: Final = 4

_SEPARATORS: Final = b" -+()"
_FIRST_SURROGATE, _LAST_SURROGATE = "\ud800", "\udfff"


def stricter(one: str | None, other: str | None) -> str | None:
    """Of two masker names the one that hides more; None is no masker. Raises KeyError for an unknown name."""
    if one is None or other is None:
        return one or other
    return one if MASKERS[one] >= MASKERS[other] else other


def partial(value: bytes) -> bytes:
    """Keep the shape of a value and little else.

    - an e-mail address: `a***@e***.com`, where a side of fewer than SHORTEST_PART characters shows none;
    - a number, with its spaces, hyphens, plus sign and brackets: all digits but the last four become stars; one of
      fewer than FEWEST_DIGITS digits is `***`;
    - other text: the first character, then a star for each further one up to MOST_STARS; fewer than SHORTEST_TEXT
      characters, or bytes that are no UTF-8, are `***`.

    Trailing spaces are taken off first: `character(n)` is padded with them. The answer differs from the value unless
    the value is itself written as a mask (`a***`). It is at most 24 bytes for an address, LONGEST_NUMBER for a
    number and MOST_STARS + 4 for a text.
    """
    value = value.rstrip(b" ")
    return _email(value) or _number(value) or _text(value)


def _email(value: bytes) -> bytes | None:
    if len(value) > LONGEST_EMAIL or value.count(b"@") != 1 or any(byte <= 0x20 or byte == 0x7F for byte in value):
        return None
    local, _, host = value.partition(b"@")
    domain, _, tld = host.rpartition(b".")
    if not local or not domain or not 2 <= len(tld) <= LONGEST_TLD or not tld.isalpha():
        return None
    try:
        return b"%b***@%b***.%b" % (_initial(local), _initial(domain), tld)
    except UnicodeDecodeError:
        return None


def _initial(part: bytes) -> bytes:
    text = part.decode("utf-8")
    return text[0].encode() if len(text) >= SHORTEST_PART else b""


def _number(value: bytes) -> bytes | None:
    if not value or len(value) > LONGEST_NUMBER or not all(b in _SEPARATORS or 0x30 <= b <= 0x39 for b in value):
        return None
    digits = sum(0x30 <= byte <= 0x39 for byte in value)
    if digits < FEWEST_DIGITS:
        return REDACTED
    hidden = digits - SHOWN_DIGITS
    result = bytearray(value)
    for place, byte in enumerate(value):
        if hidden and 0x30 <= byte <= 0x39:
            result[place] = 0x2A
            hidden -= 1
    return bytes(result)


def _text(value: bytes) -> bytes:
    # 4 bytes a character is the most UTF-8 has, so the characters looked at are whole, wherever the cut falls
    most = MOST_STARS + 1
    text = value[: 4 * most].decode("utf-8", "surrogateescape")[:most]
    if len(text) < SHORTEST_TEXT or any(_FIRST_SURROGATE <= character <= _LAST_SURROGATE for character in text):
        return REDACTED
    return text[0].encode() + b"*" * (len(text) - 1)
