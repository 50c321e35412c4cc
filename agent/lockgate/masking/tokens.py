"""Tokens: format-preserving pseudonyms of text, integers, numerics and UUIDs. `_tokens.pxd` is this, compiled.

Each is a permutation: different values have different tokens, equal ones equal tokens, and a token has the shape of
its value. What can't be given one (too few values of its shape, too long) becomes `***` or None.
"""

from __future__ import annotations

import re
import struct
from typing import Final

from lockgate.masking.keyed import Use, permute, permute_pair
from lockgate.masking.partial import LONGEST_EMAIL, REDACTED, is_email

LONGEST_TOKEN: Final = 256
"""Bytes of a text that gets a token: a longer one is prose."""
MOST_DIGITS: Final = 64
"""Digits of a numeric that gets a token."""

_FIRST_LETTERS: Final = b"\xb0"
"""Second byte that the letters behind E2 begin with (U+2C00); before are the spaces, quotes, dashes and signs."""
_SMALL: Final = 2**31
_LARGE: Final = 2**63
_BASE: Final = 10_000
_NUMERIC_POSITIVE, _NUMERIC_NEGATIVE = 0, 0x4000
_NUMERIC: Final = re.compile(rb"(-?)([0-9]+)(?:\.([0-9]+))?")
_INTEGER: Final = re.compile(rb"-?[0-9]{1,19}")
_UUID: Final = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def token_text(key: bytes, value: bytes) -> bytes:
    """A token of a UTF-8 text: a digit for a digit, a letter for a letter of the same case, all else in its place.

    A letter outside ASCII becomes another character of its block (64 characters of two bytes, 4096 of three), the
    signs of Latin-1 (U+0080 to U+00BF) and general punctuation and symbols (U+2000 to U+2BFF) stay, and so does the
    top-level domain of an e-mail address. Trailing spaces are taken off: `character(n)` is padded with them.
    `***` for a text of more than LONGEST_TOKEN bytes, with characters of four bytes or from a block that can't be
    permuted, that is no UTF-8, or of a shape that fewer than FEWEST_VALUES texts have.
    """
    value = value.rstrip(b" ")
    if len(value) > LONGEST_TOKEN:
        return REDACTED
    end = len(value)
    if len(value) <= LONGEST_EMAIL and is_email(value):
        end = value.rindex(b".")
    found = _alphabets(value, end)
    if found is None:
        return REDACTED
    places, bases, sizes = found
    moved = permute(key, Use.TEXT, [value[p] - b for p, b in zip(places, bases, strict=True)], sizes)
    if moved is None:
        return REDACTED
    result = bytearray(value)
    for place, base, digit in zip(places, bases, moved, strict=True):
        result[place] = base + digit
    return bytes(result)


def _alphabets(value: bytes, end: int) -> tuple[list[int], list[int], list[int]] | None:
    """The places before `end` that are permuted, the first byte of the alphabet of each and its size."""
    places: list[int] = []
    bases: list[int] = []
    sizes: list[int] = []
    at = 0
    while at < end:
        byte = value[at]
        follow, letter = 0, True
        if byte < 0x80:
            base, size = _ascii(byte)
            if size:
                places.append(at)
                bases.append(base)
                sizes.append(size)
        elif 0xC3 <= byte <= 0xDF:
            follow = 1
        elif byte == 0xC2:
            follow, letter = 1, False
        elif 0xE1 <= byte <= 0xEC:
            follow = 2
            letter = byte != 0xE2 or value[at + 1 : at + 2] >= _FIRST_LETTERS
        else:
            return None
        if follow >= end - at:
            return None
        for next_at in range(at + 1, at + 1 + follow):
            if value[next_at] & 0xC0 != 0x80:
                return None
            if letter:
                places.append(next_at)
                bases.append(0x80)
                sizes.append(64)
        at += 1 + follow
    return places, bases, sizes


def _ascii(byte: int) -> tuple[int, int]:
    if 0x30 <= byte <= 0x39:
        return 0x30, 10
    if 0x61 <= byte <= 0x7A:
        return 0x61, 26
    if 0x41 <= byte <= 0x5A:
        return 0x41, 26
    return 0, 0


def token_integer(key: bytes, value: bytes, *, binary: bool, width: int) -> bytes | None:
    """A token of an integer of `width` bytes: of the same sign, and on the same side of 2**31.

    So an integer has the same token in an int4 and an int8 column. None for what isn't one, and for width 2: there
    are too few.
    """
    if width not in (4, 8):
        return None
    if binary:
        if len(value) != width:
            return None
        number = int.from_bytes(value, "big", signed=True)
    elif _INTEGER.fullmatch(value):
        number = int(value)
    else:
        return None
    magnitude = -1 - number if number < 0 else number
    if magnitude < _SMALL:
        high, low = permute_pair(key, Use.SMALL, divmod(magnitude, 2**16), (2**15, 2**16))
        magnitude = high * 2**16 + low
    elif width == 8 and magnitude < _LARGE:
        sizes = (2**31, 2**32 - 1)
        high, low = permute_pair(key, Use.LARGE, divmod(magnitude - _SMALL, sizes[1]), sizes)
        magnitude = high * sizes[1] + low + _SMALL
    else:
        return None
    number = -1 - magnitude if number < 0 else magnitude
    return number.to_bytes(width, "big", signed=True) if binary else str(number).encode()


def token_uuid(key: bytes, value: bytes, *, binary: bool) -> bytes | None:
    """A token of a UUID, of the same version and variant (RFC 9562, 4.1 and 4.2); None for what isn't one."""
    if binary:
        if len(value) != 16:
            return None
        raw = int.from_bytes(value, "big")
    elif _UUID.fullmatch(value):
        raw = int(value.replace(b"-", b""), 16)
    else:
        return None
    # 60 bits before and 62 behind, with the version in bits 76 to 79 and the variant in 62 and 63
    high, low = raw >> 64, raw & (2**64 - 1)
    first = (high >> 16) << 12 | high & 0xFFF
    first, second = permute_pair(key, Use.UUID, (first, low & (2**62 - 1)), (2**60, 2**62))
    high = (first >> 12) << 16 | high & 0xF000 | first & 0xFFF
    raw = high << 64 | low & ~(2**62 - 1) | second
    if binary:
        return raw.to_bytes(16, "big")
    text = f"{raw:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}".encode()


def token_numeric(key: bytes, value: bytes, *, binary: bool) -> bytes | None:
    """A token of a numeric with the same sign and as many digits before and behind the point.

    None for NaN, the infinities, more than MOST_DIGITS digits, and a shape that fewer than FEWEST_VALUES have.
    """
    text = _decimal(value) if binary else value
    match = None if text is None else _NUMERIC.fullmatch(text)
    if match is None:
        return None
    whole, fraction = match[2], match[3] or b""
    digits = whole + fraction
    if len(digits) > MOST_DIGITS or (len(whole) > 1 and whole[0] == 0x30):
        return None
    # the first of several digits before the point isn't 0: the number would have fewer
    first = int(len(whole) > 1)
    values = [digit - 0x30 for digit in digits]
    values[0] -= first
    moved = permute(key, Use.NUMERIC, values, [10 - first] + [10] * (len(digits) - 1))
    if moved is None:
        return None
    moved[0] += first
    shown = bytes(0x30 + digit for digit in moved)
    if binary:
        return _encode(match[1] == b"-", shown, len(whole))
    point = b"." if fraction else b""
    return match[1] + shown[: len(whole)] + point + shown[len(whole) :]


def _decimal(value: bytes) -> bytes | None:
    """numeric_send's format (numeric.c): count, weight, sign, scale, and digits of base 10000, two bytes each."""
    if len(value) < 8:
        return None
    count, weight, sign, scale = struct.unpack_from("!HhHH", value)
    if sign not in (_NUMERIC_POSITIVE, _NUMERIC_NEGATIVE) or len(value) != 8 + 2 * count:
        return None
    if scale > MOST_DIGITS or not -MOST_DIGITS <= weight <= MOST_DIGITS:
        return None
    words = struct.unpack_from(f"!{count}H", value, 8)
    if any(word >= _BASE for word in words):
        return None

    def word_at(power: int) -> int:
        return words[weight - power] if 0 <= weight - power < count else 0

    whole = "".join(f"{word_at(power):04d}" for power in range(max(weight, 0), -1, -1)).lstrip("0") or "0"
    behind = (scale + 3) // 4
    fraction = "".join(f"{word_at(-1 - power):04d}" for power in range(behind))[:scale]
    return f"{'-' if sign else ''}{whole}{'.' if fraction else ''}{fraction}".encode()


def _encode(negative: bool, digits: bytes, whole: int) -> bytes:
    scale = len(digits) - whole
    groups = -(-whole // 4)
    padded = b"0" * (4 * groups - whole) + digits + b"0" * (-scale % 4)
    words = [int(padded[at : at + 4]) for at in range(0, len(padded), 4)]
    # numeric_recv strips zeros itself, but not every client does
    weight = groups - 1
    while words and words[0] == 0:
        words.pop(0)
        weight -= 1
    while words and words[-1] == 0:
        words.pop()
    if not words:
        weight, negative = 0, False
    sign = _NUMERIC_NEGATIVE if negative else _NUMERIC_POSITIVE
    return struct.pack(f"!HhHH{len(words)}H", len(words), weight, sign, scale, *words)
