from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.masking import Program, mask_value
from lockgate.masking import cells as reference
from lockgate.masking.cells import ALIKE, Action, Cell, truncate

KEY = bytes(range(32))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"abcdef", b"abcd"), (b"abcde   ", b"abcd"), (b"abcd", b"***"), (b"abcd    ", b"***"), (b"", b"***"),
        ("日本語文字".encode(), "日本語文".encode()), (b"abc\xffef", b"***"),
        (b"abcd\xff", b"***"), (b"abcde\xff", b"abcd"),
    ],
)  # fmt: skip
def test_truncate_shows_the_first_characters_and_never_all(value: bytes, shown: bytes) -> None:
    assert truncate(value, 4) == shown
    assert mask_value(Program([Cell(Action.TRUNCATE, number=4)]), 0, value) == shown


def test_the_same_json_has_the_same_pseudonym_in_either_format() -> None:
    text = reference.mask_value(Cell(Action.HASH_JSON, key=KEY), b'{"a": 1}')
    binary = reference.mask_value(Cell(Action.HASH_JSONB, key=KEY), b'\x01{"a": 1}')
    assert text is not None
    assert binary == b"\x01" + text
    assert text[:1] == text[-1:] == b'"'


def test_padding_does_not_count_for_a_pseudonym() -> None:
    cell = Cell(Action.HASH, key=KEY)
    assert reference.mask_value(cell, b"DE   ") == reference.mask_value(cell, b"DE")


@pytest.mark.parametrize("action", sorted(set(Action) - ALIKE))
def test_null_can_not_look_like_values_that_look_different(action: Action) -> None:
    with pytest.raises(ValueError, match="tells values apart"):
        Cell(action, null=True)


def test_a_cell_does_not_show_its_key() -> None:
    assert "\\x" not in repr(Cell(Action.HASH, key=KEY))


TEXTUAL = (Action.HASH, Action.TOKEN_TEXT, Action.PARTIAL, Action.REDACT, Action.HASH_JSON)


@given(st.sampled_from(TEXTUAL), st.text(alphabet="0123456789abcdefXYZ", min_size=12, max_size=60))
def test_no_run_of_a_secret_comes_out(action: Action, secret: str) -> None:
    """Eight characters in a row would be one chance in 16**8 at most for a keyed masker."""
    shown = mask_value(Program([Cell(action, key=KEY)]), 0, secret.encode())
    assert shown is not None
    runs = {secret[n : n + 8] for n in range(len(secret) - 7)}
    assert not any(run in shown.decode() for run in runs)
