"""Passwords as PostgreSQL prepares them. The first examples are RFC 4013's own (section 3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.wire.postgresql.saslprep import saslprep


@pytest.mark.parametrize(
    ("password", "prepared"),
    [
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b", "a b"),  # a space that is not ASCII's
        ("a\u200bb", "a b"),  # zero width space is in both tables: PostgreSQL looks at spaces first
        ("p\u00e4ss", "p\u00e4ss"),
        ("pa\u0308ss", "p\u00e4ss"),
        ("\u0627b", "\u0627b"),  # prohibited: mixed directions
        ("\u06271", "\u06271"),  # prohibited: does not end as it begins
        ("\u0627\u0628", "\u0627\u0628"),
        ("\u00e4\x07", "\u00e4\x07"),  # prohibited: as it is
        ("\u00aa\u0221", "\u00aa\u0221"),  # prohibited: unassigned in Unicode 3.2
        ("\u00ad", "\u00ad"),  # nothing would be left
        ("\x07", "\x07"),  # ASCII is never looked at
        ("", ""),
    ],
)
def test_a_password_is_prepared(password: str, prepared: str) -> None:
    assert saslprep(password) == prepared


@given(st.text())
def test_what_can_not_be_prepared_is_used_as_it_is(password: str) -> None:
    prepared = saslprep(password)
    assert prepared == password or saslprep(prepared) == prepared
