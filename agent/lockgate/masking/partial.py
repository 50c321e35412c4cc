"""The `partial` masker: keep the shape of a value and little else. `_partial.pxd` is this, compiled.

It works on the bytes of a value as PostgreSQL sends a text-like type, which are the same in text and binary format, and
takes them for UTF-8: of a value that isn't it shows nothing.
"""

from __future__ import annotations

from typing import Final

REDACTED: Final = b"***"

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


def is_email(value: bytes) -> bool:
    """Whether a value reads as an e-mail address, with a top-level domain that may be shown."""
    if len(value) > LONGEST_EMAIL or value.count(b"@") != 1 or any(byte <= 0x20 or byte == 0x7F for byte in value):
        return False
    local, _, host = value.partition(b"@")
    domain, _, tld = host.rpartition(b".")
    return bool(local and domain) and 2 <= len(tld) <= LONGEST_TLD and tld.isalpha()


def _email(value: bytes) -> bytes | None:
    if not is_email(value):
        return None
    local, _, host = value.partition(b"@")
    domain, _, tld = host.rpartition(b".")
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
