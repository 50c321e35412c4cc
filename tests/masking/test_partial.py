import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.masking.partial import LONGEST_EMAIL, LONGEST_NUMBER, MOST_STARS, partial


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        # addresses
        ("ann@example.org", "a***@e***.org"),
        ("ann.smith+shop@mail.example.co.uk", "a***@m***.uk"),
        ("jo@ab.de", "***@***.de"),
        ("joe@ab.de", "j***@***.de"),
        ("Émilie@exämple.de", "É***@e***.de"),
        ("ann@example.org   ", "a***@e***.org"),
        # no addresses: more than one @, no top-level domain, one too long or not of letters, blanks
        ("a@b@example.org", "a************"),
        ("user:secret@localhost", "u************"),
        ("ann@example.averylongone", "a************"),
        ("ann@192.168.10.12", "a************"),
        ("mail ann@example.org", "m************"),
        ("@example.org", "@***********"),
        ("ann@.org", "a*******"),
        # numbers
        ("4111111111111111", "************1111"),
        ("4111 1111 1111 1111", "**** **** **** 1111"),
        ("078-05-1120", "***-**-1120"),
        ("+1 (555) 010-9999", "+* (***) ***-9999"),
        ("123456789", "*****6789"),
        ("12345678", "***"),
        ("1980-12-24", "***"),
        ("1234", "***"),
        ("----------", "***"),
        ("1" * (LONGEST_NUMBER + 1), "1" + "*" * MOST_STARS),
        # text
        ("Ann Smith", "A********"),
        ("Anna", "A***"),
        ("Ann", "***"),
        ("", "***"),
        ("    ", "***"),
        ("DE        ", "***"),
        ("Łódź", "Ł***"),
        ("日本語文字", "日****"),
        ("😀😀😀😀", "😀***"),
        ("x" * 1000, "x" + "*" * MOST_STARS),
        ("x" * 13, "x" + "*" * MOST_STARS),
        ("x" * 12, "x" + "*" * 11),
        ("١٢٣٤٥٦٧٨٩٠", "١*********"),
        ("a" * 250 + "@b.de", "a" + "*" * MOST_STARS),
    ],
)
def test_partial(value: str, shown: str) -> None:
    assert partial(value.encode()).decode() == shown


@pytest.mark.parametrize(
    "value",
    [
        b"\xff\xfe\xfd\xfc\xfb",
        b"Andr\xe9 in LATIN1",
        b"\xc0\xafoverlong",
        b"\xed\xa0\x80surrogate",
        b"\xf4\x90\x80\x80beyond",
        b"abc\xe6\x97",  # a character cut in the middle
        b"ab\x83\x40",  # SJIS, whose second bytes can be ASCII
    ],
)
def test_bytes_that_are_no_utf8_show_nothing(value: bytes) -> None:
    assert partial(value) == b"***"


def test_an_address_with_bytes_that_are_no_utf8_is_none() -> None:
    assert partial(b"ann\xff@example.org") == b"***"
    assert partial(b"annabelle.smiths\xff@example.org") == b"a" + b"*" * MOST_STARS


@given(st.text() | st.emails() | st.from_regex(r"[0-9 ()+-]{0,40}", fullmatch=True))
def test_a_mask_is_bounded_valid_and_not_the_value(text: str) -> None:
    if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
        return
    value = text.encode()
    shown = partial(value)
    shown.decode()
    assert len(shown) <= LONGEST_NUMBER
    assert b"*" in shown
    if b"*" not in value:
        assert shown != value


@given(st.binary(max_size=LONGEST_EMAIL + 10))
def test_whatever_the_bytes_the_mask_is_text(value: bytes) -> None:
    partial(value).decode()


@given(st.text(alphabet="abcdefgh", min_size=3, max_size=40), st.text(alphabet="ijklmnop", min_size=3, max_size=40))
def test_an_address_shows_one_character_of_either_side(local: str, host: str) -> None:
    assert partial(f"{local}@{host}.com".encode()).decode() == f"{local[0]}***@{host[0]}***.com"
