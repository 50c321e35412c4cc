"""Each checksum against numbers known to be right, and against every single digit changed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lockgate.masking.checksums import card, codice_fiscale, dni, iban, jwt, nir, pesel, ssn

RIGHT: dict[Callable[[bytes], object], bytes] = {
    card: b"4111111111111111",
    iban: b"DE89370400440532013000",
    dni: b"12345678Z",
    codice_fiscale: b"RSSMRA85T10A562S",
    nir: b"255081416802538",
    pesel: b"44051401359",
}


@pytest.mark.parametrize("check", RIGHT)
def test_one_digit_changed_is_seen(check: Callable[[bytes], object]) -> None:
    right = RIGHT[check]
    assert check(right)
    for place, byte in enumerate(right):
        if 0x30 <= byte <= 0x39:
            for digit in b"0123456789":
                changed = right[:place] + bytes((digit,)) + right[place + 1 :]
                assert bool(check(changed)) is (digit == byte), changed


def test_a_card_ends_where_a_network_s_numbers_do() -> None:
    assert card(b"4111 1111 1111 1111 99") == 19
    assert card(b"4222222222222") == 13
    assert card(b"411111111111111100") == 0
    assert card(b"9111111111111111") == 0


def test_an_iban_ends_where_its_countrys_do() -> None:
    assert iban(b"DE89 3704 0044 0532 0130 00 PAY") == 27
    assert iban(b"ZZ89 3704 0044 0532 0130 00") == 0
    assert iban(b"DE89 3704") == 0


def test_corsica_has_letters() -> None:
    number = 1850319 * 10**6 + 123456
    key = f"{97 - number % 97:02d}"
    assert nir(f"185032A123456{key}".encode())
    assert not nir(f"185032B123456{key}".encode())


def test_numbers_never_given_out() -> None:
    assert ssn(b"078-05-1120")
    for number in (b"000-05-1120", b"666-05-1120", b"900-05-1120", b"078-00-1120", b"078-05-0000", b"078-05 1120"):
        assert not ssn(number)


@pytest.mark.parametrize("header", [b"", b"!", b"e30", b"W10", b"bnVsbA", b"NQ", b"W1tbW1tbW1tb" * 500, b"\xff"])
def test_a_token_without_an_algorithm_is_none(header: bytes) -> None:
    assert not jwt(header + b".x.y")
