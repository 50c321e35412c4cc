"""Values that nobody who sees them masked may be sent, in whatever dress."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

VALUE = re.compile(rb"user\d+@example\.org|900-00-\d{4}|19(80-0|80-1|81-)\d|guess-?\d+|hunter2", re.IGNORECASE)
"""What classified columns hold in tests, and what is compared with them there."""

_HEX = re.compile(rb"[0-9A-Fa-f]{12,}")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{10,}")
_ESCAPES = [
    (re.compile(rb"=([0-9A-Fa-f]{2})"), 16),  # quoted-printable
    (re.compile(rb"%([0-9A-Fa-f]{2})"), 16),  # URLs
    (re.compile(rb"\\+x([0-9A-Fa-f]{2})"), 16),
    (re.compile(rb"\\+u00([0-9A-Fa-f]{2})"), 16),  # JSON
    (re.compile(rb"\\+([0-3][0-7]{2})"), 8),  # bytea
    (re.compile(rb"&#x([0-9A-Fa-f]{1,2});"), 16),
    (re.compile(rb"&#(\d{1,3});"), 10),
]


def marker(data: bytes) -> bytes | None:
    """The first classified value in `data`: plain, turned around, in hexadecimal, base64, wide or escaped letters."""
    for form in _forms(data):
        found = VALUE.search(form)
        if found is not None:
            return found.group()
    return None


def _forms(data: bytes) -> Iterator[bytes]:
    yield data
    yield data[::-1]
    yield data.replace(b"\0", b"")
    for pattern, base in _ESCAPES:
        if pattern.search(data):
            yield pattern.sub(lambda match, base=base: bytes([int(match[1], base) % 256]), data)  # type: ignore[misc]
    for run in _HEX.findall(data):
        for start in (0, 1):
            piece = run[start:]
            yield bytes.fromhex(piece[: len(piece) // 2 * 2].decode())
    for run in _BASE64.findall(data):
        plain = run.replace(b"-", b"+").replace(b"_", b"/")
        for start in range(4):
            piece = plain[start:]
            yield base64.b64decode(piece + b"A" * (-len(piece) % 4))
