from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.masking import MaskerError, RootKey
from lockgate.masking.keyed import shift
from lockgate.masking.replies.texts import TextMasker, strictest, text_masker

KEYS = RootKey(bytes(32)).keys("cache")
ALL = ("null", "veil", "redact", "hash", "tokenise", "partial", "truncate:month", "truncate:4", "date_shift:9")


@pytest.mark.parametrize(
    ("masker", "value", "expected"),
    [
        ("null", b"s3cret", None),
        ("veil", b"s3cret", b"***"),
        ("redact", b"s3cret", b"***"),
        ("partial", b"ann@example.org", b"a***@e***.org"),
        ("truncate:2", b"s3cret", b"s3"),
        ("truncate:month", b"2024-05-17", b"2024-05-01"),
        ("truncate:year", b"2024-05-17", b"2024-01-01"),
        ("truncate:month", b"2024-05-17 10:11:12", b"2024-05-01 00:00:00"),
        ("truncate:month", b"2024-05-17T10:11:12.5", b"2024-05-01T00:00:00"),
        ("truncate:month", b"2024-05-17T10:11:12Z", b"2024-05-01T00:00:00Z"),
        ("truncate:month", b"2024-06-01T00:30:00+02:00", b"2024-05-01T00:00:00+00"),
        ("truncate:month", b"2024-05-17T10:11", b"***"),
        ("truncate:month", b"2024-13-17", b"***"),
        ("truncate:month", b"May 2024", b"***"),
        ("truncate:month", b"2024-05-17 10:11:12 s3cret", b"***"),
        ("date_shift:9", b"9999-12-31", b"***"),
        ("date_shift:9", b"whenever", b"***"),
        ("partial", b"s\xff3cret", b"***"),
        ("hash", b"s\xff3cret", b"***"),
        ("tokenise", b"s\xff3cret", b"***"),
        ("truncate:2", b"s\xff3cret", b"***"),
    ],
)
def test_what_is_shown(masker: str, value: bytes, expected: bytes | None) -> None:
    assert text_masker(masker, KEYS).shown(value) == expected


def test_pseudonyms_are_of_the_datastore() -> None:
    for masker in ("hash", "tokenise"):
        one = TextMasker(masker, KEYS).shown(b"s3cret-value")
        assert one == TextMasker(masker, KEYS).shown(b"s3cret-value")
        assert one != TextMasker(masker, RootKey(bytes(32)).keys("other")).shown(b"s3cret-value")
        assert one not in (None, b"s3cret-value", b"***")


def test_dates_move_alike() -> None:
    masker = text_masker("date_shift:9", KEYS)
    assert shift(KEYS.date_shift, 9) != 0
    for form in (b"2024-05-17", b"2024-05-17 10:11:12", b"2024-05-17T10:11:12Z", b"2024-05-17T10:11:12+02:00"):
        found = masker.shown(form)
        assert found is not None
        assert found[10:] == form[10:]
        assert found[:10] == (masker.shown(b"2024-05-17") or b"")
        assert found[:10] != b"2024-05-17"


@given(st.sampled_from(ALL), st.binary(max_size=40))
def test_whatever_it_is_given_it_shows_text_or_null(masker: str, value: bytes) -> None:
    found = text_masker(masker, KEYS).shown(value)
    assert (found is None) == (masker == "null")
    assert found is None or found.decode() is not None


def test_which_maskers_show_nothing_that_hangs_on_the_value() -> None:
    assert [masker for masker in ALL if text_masker(masker, KEYS).opaque] == ["null", "veil", "redact"]
    assert [masker for masker in ALL if text_masker(masker, KEYS).veils] == ["veil"]


def test_the_strictest_is_the_one_that_leaves_least() -> None:
    maskers = [text_masker(masker, KEYS) for masker in reversed(ALL)]
    for count in range(1, len(maskers) + 1):
        assert strictest(maskers[:count]) is maskers[count - 1]
    assert strictest([]) is None


def test_a_masker_that_there_is_none_of() -> None:
    with pytest.raises(MaskerError):
        text_masker("blur", KEYS)
