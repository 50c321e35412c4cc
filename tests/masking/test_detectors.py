from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.masking.detectors import CANDIDATES, DETECTORS, KINDS, TooManyCandidates, compiled

JWT = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----"
FOUND = {
    "email": ["ann@example.org", "ann.smith+shop@mail.example.co.uk", "ANN@EXAMPLE.ORG", "émilie@exämple.de",
              "a_b%c-d@x-y.io", "ann@xn--bcher-kva.example"],
    "phone": ["+49 171 1234567", "+1 (555) 010-9999", "+442071838750", "(415) 555-2671",
              "415-555-2671", "415.555.2671"],
    "card": ["4111111111111111", "4111 1111 1111 1111", "5555-5555-5555-4444", "378282246310005", "3782 822463 10005",
             "6011111111111117", "30569309025904", "3530111333300000", "4222222222222", "2223003122003222"],
    "iban": ["DE89370400440532013000", "DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", "NO9386011117947",
             "FR14 2004 1010 0505 0001 3M02 606", "MT84MALT011000012345MTLCAST001S"],
    "us_ssn": ["078-05-1120", "123 45 6789"],
    "uk_nino": ["AB123456C", "AB 12 34 56 C"],
    "es_dni": ["12345678Z", "12345678-Z", "X1234567L", "X-1234567-L"],
    "it_codice_fiscale": ["RSSMRA85T10A562S"],
    "fr_nir": ["255081416802538", "2 55 08 14 168 025 38"],
    "pl_pesel": ["44051401359", "02070803628"],
    "cloud_key": ["AKIA" + "IOSFODNN7EXAMPLE", "aws_secret_access_key = " + "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                  "AIza" + "SyA-1234567890abcdefghijklmnopqrstu", "ya29." + "a0AfH6SMBx1234567890abcd",
                  "AccountKey=" + "A" * 86 + "==", "abc8Q~" + "a" * 34, "ghp_" + "a1" * 18,
                  "github_pat_" + "a1" * 41, "xoxb-" + "123456789012-abcdefghijkl",
                  "hooks.slack.com/services/" + "T00000000/B00000000/XXXX", "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc"],
    "private_key": [PEM, PEM.replace("RSA ", ""), PEM.replace("RSA PRIVATE KEY", "PGP PRIVATE KEY BLOCK")],
    "jwt": [JWT],
}  # fmt: skip
PASSED = {
    "email": ["ann@localhost", "@example.org", "ann@", "a@b.1", "user at example.org", "@param foo.bar"],
    "phone": ["2024-01-02 03:04:05+00", "+1", "127.0.0.1", "123456789012", "1.234.567", "3+4567890", "0415-555-26711"],
    "card": ["4111111111111112", "1234567890123456", "41111111111111111111111", "a4111111111111111",
             "2024-01-02 2024-01-05", "4111111111111111b", "4111-1111"],
    "iban": ["DE89370400440532013001", "XX89370400440532013000", "DE8937040044053201300", "de89370400440532013000"],
    "us_ssn": ["000-12-3456", "666-12-3456", "900-12-3456", "123-00-4567", "123-45-0000", "123-45 6789",
               "1123-45-6789"],
    "uk_nino": ["BG123456C", "AB123456E", "DA123456C", "XAB123456C", "QQ123456C"],
    "es_dni": ["12345678A", "X1234567A", "112345678Z"],
    "it_codice_fiscale": ["RSSMRA85T10A562T", "RSSMRA85T10A562"],
    "fr_nir": ["255081416802539", "955081416802538"],
    "pl_pesel": ["44051401358", "44051401359" + "0", "99999999999"],
    "cloud_key": ["AKIAIOSFODNN7", "XAKIAIOSFODNN7EXAMPLE", "ghp_short", "sk_live_", "xoxb-"],
    "private_key": ["-----BEGIN CERTIFICATE-----", "-----BEGIN PUBLIC KEY-----"],
    "jwt": ["eyJhbGciOiJIUzI1NiJ9", "eyJxxxxxxxxxxx.eyJxxxxxxxx.zzzzz", "eyJub3QiOiJhbGdvIn0.eyJzdWIiOiIxIn0.x"],
}  # fmt: skip


def find(kind: str, value: bytes) -> list[bytes]:
    return [value[start:end] for start, end in DETECTORS[kind].find(value)]


def test_every_kind_has_its_rows() -> None:
    assert tuple(FOUND) == tuple(PASSED) == KINDS


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in FOUND.items() for text in texts])
@pytest.mark.parametrize("around", ["{}", "x: {}, y", "({})", "\n{}\n", '"{}"', "{{{},b}}", "日{}"])
def test_what_is_found_and_where_it_ends(kind: str, text: str, around: str) -> None:
    if around == "日{}" and kind == "email":
        return  # characters outside ASCII belong to an address
    assert find(kind, around.format(text).encode()) == [text.encode()]


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in PASSED.items() for text in texts])
@pytest.mark.parametrize("around", ["{}", "x: {}, y"])
def test_what_only_looks_like_it(kind: str, text: str, around: str) -> None:
    assert find(kind, around.format(text).encode()) == []


def test_an_iban_is_hinted_at_however_it_is_spaced() -> None:
    """Found by fuzzing: the hint wanted groups of four, so that in a buffer without others it was not looked for."""
    value = b"DE1106 0 4704350 24 0 30010"
    assert find("iban", value) == [value]
    assert compiled(DETECTORS["iban"].hint).search(value) is not None


def test_several_in_one_value() -> None:
    text = b"ann@example.org, bob@example.org;eve@example.net"
    assert find("email", text) == [b"ann@example.org", b"bob@example.org", b"eve@example.net"]
    assert find("card", b"12 4111 1111 1111 1111 99") == [b"4111 1111 1111 1111"]
    assert find("iban", b"DE89 3704 0044 0532 0130 00 PLEASE PAY") == [b"DE89 3704 0044 0532 0130 00"]


def test_a_private_key_without_its_end_goes_to_the_end_of_the_value() -> None:
    assert find("private_key", b"x " + PEM[:60].encode()) == [PEM[:60].encode()]
    both = f"{PEM}\n{PEM}".encode()
    assert find("private_key", both) == [PEM.encode()] * 2


@given(st.sampled_from(KINDS), st.data())
def test_a_hint_is_in_all_that_is_found(kind: str, data: st.DataObject) -> None:
    """The look over whole buffers sees hints alone: what it misses would never be read."""
    hint = compiled(DETECTORS[kind].hint)
    text = data.draw(st.sampled_from(FOUND[kind])).encode()
    value = data.draw(st.binary(max_size=12)) + b" " + text + b" " + data.draw(st.binary(max_size=12))
    for start, end in DETECTORS[kind].find(value):
        assert hint.search(value[start:end]) is not None


@given(
    st.sampled_from(KINDS),
    st.binary(max_size=200) | st.text(alphabet="0123456789 -+@.AEeyJ", max_size=300).map(str.encode),
)
def test_noise_is_read_without_trouble(kind: str, value: bytes) -> None:
    hint = compiled(DETECTORS[kind].hint)
    at = 0
    for start, end in DETECTORS[kind].find(value):
        assert at <= start < end <= len(value)
        assert hint.search(value[start:end]) is not None
        at = end


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "pattern", ["4", "1 ", "4-1", "A", "a@", "@", "+1", "123-45-", "DE89 ", "eyJ", "a.", "-----BEGIN ", "AKIA", "\x80"]
)
def test_what_was_made_to_keep_us_busy_does_not(kind: str, pattern: str) -> None:
    value = pattern.encode("latin-1") * (200_000 // len(pattern))
    started = time.process_time()
    with suppress(TooManyCandidates):
        list(DETECTORS[kind].find(value))
    assert time.process_time() - started < 2, (kind, pattern)


def test_a_value_with_too_many_candidates_is_said_to_have() -> None:
    with pytest.raises(TooManyCandidates):
        list(DETECTORS["us_ssn"].find(b"000-00-0000 " * (CANDIDATES + 1)))
