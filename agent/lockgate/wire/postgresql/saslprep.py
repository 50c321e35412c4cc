"""SASLprep (RFC 4013) as PostgreSQL prepares passwords for SCRAM: what it can't prepare is used as it is.

Source: PostgreSQL's src/common/saslprep.c, whose callers fall back to the password itself where it reports
SASLPREP_PROHIBITED (libpq's scram_init, the server's pg_be_scram_build_secret).
"""

from __future__ import annotations

import stringprep
import unicodedata
from collections.abc import Callable
from typing import Final

_PROHIBITED: Final[tuple[Callable[[str], bool], ...]] = (
    stringprep.in_table_a1,  # unassigned in Unicode 3.2: a password is a "stored string"
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def saslprep(password: str) -> str:
    """`password` prepared, or as it is."""
    if password.isascii():
        return password
    mapped = "".join(
        " " if stringprep.in_table_c12(character) else character
        for character in password
        if not stringprep.in_table_b1(character) or stringprep.in_table_c12(character)
    )
    prepared = unicodedata.normalize("NFKC", mapped)
    if not prepared or any(table(character) for character in prepared for table in _PROHIBITED):
        return password
    right = [stringprep.in_table_d1(character) for character in prepared]
    if any(right) and not (right[0] and right[-1] and not any(map(stringprep.in_table_d2, prepared))):
        return password
    return prepared
