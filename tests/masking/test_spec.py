from __future__ import annotations

from itertools import pairwise

import pytest

from lockgate.masking.spec import Masker, MaskerError, Name, parse_masker, stricter

STRICTEST_FIRST = (
    "null", "veil", "redact", "hash", "tokenise", "partial", "truncate:year", "truncate:month", "truncate:1",
    "truncate:4", "truncate:64", "date_shift:3650", "date_shift:30", "date_shift:1",
)  # fmt: skip


def test_what_policies_write() -> None:
    assert parse_masker("partial") == Masker(Name.PARTIAL)
    assert parse_masker("truncate:4") == Masker(Name.TRUNCATE, 4)
    assert parse_masker("truncate:month") == Masker(Name.TRUNCATE, unit="month")
    assert parse_masker("date_shift:30") == Masker(Name.DATE_SHIFT, 30)


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "Redact", "redact ", "redact:", "partial:4", "hash:sha256", "truncate", "truncate:", "truncate:0",
        "truncate:04", "truncate:65", "truncate:-1", "truncate:1.5", "truncate:\u0664", "truncate:day", "truncate:4:4",
        "date_shift", "date_shift:0", "date_shift:3651", "date_shift:99999", "date_shift:month", "mask",
    ],
)  # fmt: skip
def test_what_is_none_is_refused_and_said_how_it_would_be(text: str) -> None:
    with pytest.raises(MaskerError, match=r"is not a masker|takes|needs a number"):
        parse_masker(text)


def test_every_masker_has_its_place_in_the_order() -> None:
    assert {parse_masker(text).name for text in STRICTEST_FIRST} == set(Name)
    for one, other in pairwise(STRICTEST_FIRST):
        assert parse_masker(one).strictness > parse_masker(other).strictness
        assert stricter(one, other) == stricter(other, one) == one


def test_no_masker_is_the_least_strict() -> None:
    assert stricter(None, "partial") == stricter("partial", None) == "partial"
    assert stricter(None, None) is None
    with pytest.raises(MaskerError):
        stricter("partial", "misspelt")
