"""What tells a number from one that only looks like it: check digits, and what is never given out."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import date
from typing import Final

_BRANDS: Final = (
    # first and last prefix, of so many digits; lengths (ISO/IEC 7812 issuers as the networks publish them)
    (4, 4, 1, (13, 16, 19)),
    (51, 55, 2, (16,)),
    (2221, 2720, 4, (16,)),
    (34, 34, 2, (15,)),
    (37, 37, 2, (15,)),
    (300, 305, 3, (14, 16)),
    (36, 36, 2, (14,)),
    (38, 39, 2, (14, 16)),
    (3528, 3589, 4, (16, 17, 18, 19)),
    (6011, 6011, 4, (16, 17, 18, 19)),
    (644, 649, 3, (16, 17, 18, 19)),
    (65, 65, 2, (16, 17, 18, 19)),
    (62, 62, 2, (16, 17, 18, 19)),
    (50, 50, 2, (16, 17, 18, 19)),
    (56, 58, 2, (16, 17, 18, 19)),
    (63, 63, 2, (16, 17, 18, 19)),
    (67, 67, 2, (16, 17, 18, 19)),
)

_IBAN_LENGTHS: Final = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29,
    "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29,
    "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28,
    "HN": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20,
    "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19,
    "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29,
    "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24,
    "SM": 27, "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
    "YE": 30,
}  # fmt: skip
"""Characters of an IBAN by country (SWIFT IBAN registry)."""

_DNI_LETTERS: Final = "TRWAGMYFPDXBNJZSQVHLCKE"
_ODD: Final = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
"""What a letter counts at an odd place of a codice fiscale (D.M. 23 December 1976); a digit counts as A to J do."""
_PESEL_WEIGHTS: Final = (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)
_PESEL_CENTURIES: Final = {0: 1900, 1: 2000, 2: 2100, 3: 2200, 4: 1800}


def card(found: bytes) -> int:
    """Bytes of the payment card number that `found`, digits with blanks or hyphens, begins with; 0 for none.

    The longest that a network issues and whose check digit (Luhn, ISO/IEC 7812-1 annex B) is right.
    """
    digits: list[int] = []
    ends: list[int] = []
    for at, byte in enumerate(found):
        if 0x30 <= byte <= 0x39:
            digits.append(byte - 0x30)
            ends.append(at + 1)
    for length in range(len(digits), 12, -1):
        # the next digit would be beside it, and it wouldn't stand alone
        beside = length < len(digits) and ends[length] == ends[length - 1] + 1
        if not beside and _issued(digits, length) and _luhn(digits[:length]):
            return ends[length - 1]
    return 0


def _issued(digits: list[int], length: int) -> bool:
    for first, last, size, lengths in _BRANDS:
        if length in lengths and first <= int("".join(map(str, digits[:size]))) <= last:
            return True
    return False


def _luhn(digits: list[int]) -> bool:
    total = sum(digits[-1::-2])
    total += sum(sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return total % 10 == 0


def iban(found: bytes) -> int:
    """Bytes of the IBAN (ISO 13616) that `found` begins with; 0 for none."""
    length = _IBAN_LENGTHS.get(found[:2].decode(), 0)
    characters: list[str] = []
    for at, byte in enumerate(found):
        if byte != 0x20:
            characters.append(chr(byte))
        if len(characters) == length:
            moved = characters[4:] + characters[:4]
            return at + 1 if int("".join(str(int(c, 36)) for c in moved)) % 97 == 1 else 0
    return 0


def ssn(found: bytes) -> bool:
    """A Social Security number that may have been given out (SSA, 20 CFR 422.103), with one kind of separator."""
    area, group, serial = found[:3], found[4:6], found[7:]
    given = area not in (b"000", b"666") and area[0] != 0x39 and group != b"00" and serial != b"0000"
    return given and found[3] == found[6]


def dni(found: bytes) -> bool:
    """A DNI or NIE with the right letter (Real Decreto 1553/2005)."""
    text = found.decode().replace("-", "")
    number = text[:-1].translate(str.maketrans("XYZ", "012"))
    return _DNI_LETTERS[int(number) % 23] == text[-1]


def codice_fiscale(found: bytes) -> bool:
    """A codice fiscale with the right control character."""
    total = 0
    for place, byte in enumerate(found[:15]):
        value = byte - 0x30 if byte <= 0x39 else byte - 0x41
        total += value if place & 1 else _ODD[value]
    return total % 26 == found[15] - 0x41


def nir(found: bytes) -> bool:
    """A numéro de sécurité sociale with the right key (97 minus the remainder); Corsica counts as 19 and 18."""
    text = found.decode().replace(" ", "")
    number = text[:13].replace("2A", "19").replace("2B", "18")
    return int(text[13:]) == 97 - int(number) % 97


def pesel(found: bytes) -> bool:
    """A PESEL: a day of birth, whose month tells the century, and the right check digit."""
    digits = [byte - 0x30 for byte in found]
    if sum(d * w for d, w in zip(digits, _PESEL_WEIGHTS, strict=True)) % 10:
        return False
    century, month = divmod(10 * digits[2] + digits[3], 20)
    try:
        date(_PESEL_CENTURIES[century] + 10 * digits[0] + digits[1], month, 10 * digits[4] + digits[5])
    except ValueError:
        return False
    return True


def jwt(found: bytes) -> bool:
    """A compact JWS or JWE (RFC 7515, RFC 7516): its header is JSON and names an algorithm."""
    header = found.partition(b".")[0]
    try:
        return "alg" in json.loads(base64.urlsafe_b64decode(header + b"=" * (-len(header) % 4)))
    except (binascii.Error, ValueError, RecursionError, TypeError):
        return False
