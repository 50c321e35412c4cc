from __future__ import annotations

import struct
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.masking.tokens import LONGEST_TOKEN, token_integer, token_numeric, token_text, token_uuid

KEY = bytes(range(32))


def shape(text: str) -> str:
    return "".join(
        "9" if c in "0123456789" else ("a" if c.islower() else "A") if c.isascii() and c.isalpha() else c for c in text
    )


@pytest.mark.parametrize(
    "text", ["4111 1111 1111 1111", "+49 (171) 123-4567", "Ann Smith", "AB-123456-x", "O\u2019Brien-Smith \u20ac"]
)
def test_a_token_has_the_shape_of_its_text(text: str) -> None:
    token = token_text(KEY, text.encode()).decode()
    assert token != text
    assert shape(token) == shape(text)
    assert token == token_text(KEY, text.encode() + b"   ").decode()


def test_an_address_stays_one_of_the_same_top_level_domain() -> None:
    token = token_text(KEY, b"ann.smith@example.org").decode()
    assert shape(token[:-4]) == shape("ann.smith@example")
    assert token.endswith(".org")


def test_separators_do_not_count() -> None:
    plain = token_text(KEY, b"4111111111111111").decode()
    assert token_text(KEY, b"4111 1111-1111 1111").decode().replace(" ", "").replace("-", "") == plain


@pytest.mark.parametrize("text", ["Müller-Lüdenscheidt", "Дмитрий Иванов", "日本語文字", "José García"])
def test_letters_outside_ascii_stay_such(text: str) -> None:
    token = token_text(KEY, text.encode()).decode()
    assert token != text
    assert len(token) == len(text)
    assert [len(c.encode()) for c in token] == [len(c.encode()) for c in text]


@pytest.mark.parametrize(
    "value",
    [
        b"", b"   ", b"DE", b"12345", b"abcd", b"x@yz.org", "😀😀😀😀😀😀".encode(), b"a" * (LONGEST_TOKEN + 1),
        b"abcdefgh\xff", b"abcdefgh\xc3", b"abcdefgh\xc2A", b"abcdefgh\xe2\x80", b"----------",
    ],
)  # fmt: skip
def test_what_can_not_be_given_one_is_redacted(value: bytes) -> None:
    assert token_text(KEY, value) == b"***"


@given(st.text(max_size=60).filter(lambda t: "\0" not in t), st.text(max_size=60).filter(lambda t: "\0" not in t))
def test_texts_that_differ_have_tokens_that_do(one: str, other: str) -> None:
    first, second = one.rstrip(" ").encode(), other.rstrip(" ").encode()
    tokens = token_text(KEY, first), token_text(KEY, second)
    for token in tokens:
        token.decode()
    if first != second and b"***" not in tokens:
        assert tokens[0] != tokens[1]


@given(st.integers(-(2**31), 2**31 - 1))
def test_an_integer_keeps_type_and_sign_and_joins_across_widths_and_formats(number: int) -> None:
    texts = [token_integer(KEY, str(number).encode(), binary=False, width=width) for width in (4, 8)]
    assert texts[0] == texts[1]
    assert texts[0] is not None
    token = int(texts[0])
    assert -(2**31) <= token < 2**31
    assert (token < 0) is (number < 0)
    for width in (4, 8):
        sent = token_integer(KEY, number.to_bytes(width, "big", signed=True), binary=True, width=width)
        assert sent == token.to_bytes(width, "big", signed=True)


@given(st.integers(2**31, 2**63 - 1))
def test_a_large_integer_stays_large(number: int) -> None:
    for value in (number, -1 - number):
        found = token_integer(KEY, str(value).encode(), binary=False, width=8)
        assert found is not None
        assert (int(found) < 0) is (value < 0)
        assert 2**31 <= (int(found) if value > 0 else -1 - int(found)) < 2**63
        sent = token_integer(KEY, value.to_bytes(8, "big", signed=True), binary=True, width=8)
        assert sent == int(found).to_bytes(8, "big", signed=True)
        assert token_integer(KEY, str(value).encode(), binary=False, width=4) is None


@pytest.mark.parametrize("value", [b"", b"-", b"1.5", b"+1", b" 1", b"9" * 20, b"9223372036854775808", b"1e5"])
def test_what_is_no_integer_has_no_token(value: bytes) -> None:
    assert token_integer(KEY, value, binary=False, width=8) is None


def test_an_int2_has_no_token() -> None:
    assert token_integer(KEY, b"7", binary=False, width=2) is None
    assert token_integer(KEY, b"\0\7", binary=True, width=2) is None
    assert token_integer(KEY, b"\0\7", binary=True, width=4) is None


@given(st.uuids(version=4), st.uuids(version=4))
def test_a_uuid_keeps_version_and_variant_in_either_format(one: UUID, other: UUID) -> None:
    found = token_uuid(KEY, str(one).encode(), binary=False)
    assert found is not None
    token = UUID(found.decode())
    assert (token.version, token.variant) == (one.version, one.variant)
    assert token_uuid(KEY, one.bytes, binary=True) == token.bytes
    assert (token_uuid(KEY, other.bytes, binary=True) == token.bytes) is (one == other)


@pytest.mark.parametrize("value", [b"", b"x" * 36, b"123e4567e89b12d3a456426614174000", b"0" * 16])
def test_what_is_no_uuid_has_no_token(value: bytes) -> None:
    assert token_uuid(KEY, value, binary=False) is None
    assert token_uuid(KEY, value[:15], binary=True) is None


def sent(number: Decimal) -> bytes:
    """As numeric_send writes it."""
    sign, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    scale = max(-exponent, 0)
    text = "".join(map(str, digits)).rjust(scale + 1, "0")
    whole, fraction = (text[:-scale], text[-scale:]) if scale else (text, "")
    whole = whole.rjust(-(-len(whole) // 4) * 4, "0")
    padded = whole + fraction.ljust(-(-scale // 4) * 4, "0")
    words = [int(padded[n : n + 4]) for n in range(0, len(padded), 4)]
    weight = len(whole) // 4 - 1
    while words and not words[0]:
        words, weight = words[1:], weight - 1
    while words and not words[-1]:
        words = words[:-1]
    weight = weight if words else 0
    negative = sign and words
    return struct.pack(f"!HhHH{len(words)}H", len(words), weight, 0x4000 if negative else 0, scale, *words)


@given(st.decimals(min_value=-(10**20), max_value=10**20, places=2) | st.integers(0, 10**30).map(Decimal))
def test_a_numeric_keeps_its_digits_count_sign_and_scale_in_either_format(number: Decimal) -> None:
    text = f"{number or abs(number):f}"
    found = token_numeric(KEY, text.encode(), binary=False)
    if found is None:
        assert sum(c.isdigit() for c in text) <= 7
        return
    token = found.decode()
    assert shape(token) == shape(text)
    if set(token) - set("-0."):
        assert token_numeric(KEY, sent(Decimal(text)), binary=True) == sent(Decimal(token))


@pytest.mark.parametrize("value", [b"NaN", b"Infinity", b"-Infinity", b"1.5", b"", b".5", b"5.", b"1" * 65, b"0123456"])
def test_what_no_numeric_of_some_length_is_has_no_token(value: bytes) -> None:
    assert token_numeric(KEY, value, binary=False) is None
    assert token_numeric(KEY, value[:8], binary=True) is None


def test_a_numeric_sent_with_nonsense_has_no_token() -> None:
    right = sent(Decimal("12345678.90"))
    assert token_numeric(KEY, right, binary=True) is not None
    for wrong in (right[:-1], right + b"\0", right[:4] + b"\xc0\0" + right[6:], right[:8] + b"\xff\xff" + right[10:]):
        assert token_numeric(KEY, wrong, binary=True) is None
