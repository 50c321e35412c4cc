"""The bound values of a statement, as an approver is shown them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

SHOWN_CHARACTERS: Final = 1000
"""Of one value. Of a longer one its beginning and its length are shown; the digest covers all of it."""
SHOWN_PARAMETERS: Final = 200


def formats(codes: bytes) -> list[int]:
    """Bind's parameter format codes, two bytes each behind their count: 0 text, 1 binary."""
    count = int.from_bytes(codes[:2], "big") if codes else 0
    return [int.from_bytes(codes[2 + 2 * i : 4 + 2 * i], "big") for i in range(count)]


def shown(values: Sequence[bytes | None], codes: Sequence[int], *, secret: bool) -> str:
    """Lines of SQL comment, one a value, to stand behind the statement; empty without values.

    No format code means text for all, one goes for all (PostgreSQL's Bind). A binary value is shown in hexadecimal.
    With `secret` the statement touches classified columns, and which value belongs to one is not known: none is shown.
    """
    lines = []
    for place, value in enumerate(values[:SHOWN_PARAMETERS]):
        code = codes[place] if place < len(codes) and len(codes) > 1 else (codes[0] if codes else 0)
        lines.append(f"-- ${place + 1} = {'***' if secret else _shown(value, code)}")
    if len(values) > SHOWN_PARAMETERS:
        lines.append(f"-- and {len(values) - SHOWN_PARAMETERS} more")
    return "".join(f"\n{line}" for line in lines)


def _shown(value: bytes | None, code: int) -> str:
    if value is None:
        return "NULL"
    text = json.dumps(value.decode("utf-8", "backslashreplace")) if code == 0 else f"\\x{value.hex()}"
    if len(text) <= SHOWN_CHARACTERS:
        return text
    return f"{text[:SHOWN_CHARACTERS]}... ({len(value)} bytes)"
