from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.masking.dates import MONTH, YEAR, shift_date, shift_time, truncate_date, truncate_time

EPOCH = date(2000, 1, 1)
MOMENT = datetime(2000, 1, 1)


def sent_date(day: date) -> bytes:
    return (day - EPOCH).days.to_bytes(4, "big", signed=True)


def sent_time(moment: datetime) -> bytes:
    return ((moment - MOMENT) // timedelta(microseconds=1)).to_bytes(8, "big", signed=True)


@given(st.dates(), st.integers(-3650, 3650))
def test_a_date_is_moved_in_either_format(day: date, days: int) -> None:
    try:
        moved = day + timedelta(days=days)
    except OverflowError:
        assert shift_date(day.isoformat().encode(), days, binary=False) is None
        assert shift_date(sent_date(day), days, binary=True) is None
        return
    assert shift_date(day.isoformat().encode(), days, binary=False) == moved.isoformat().encode()
    assert shift_date(sent_date(day), days, binary=True) == sent_date(moved)


@given(st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)), st.integers(-3650, 3650))
def test_a_timestamp_keeps_its_time_of_day_and_offset(moment: datetime, days: int) -> None:
    moved = moment + timedelta(days=days)
    for zone in ("", "+00", "-03:30", "+05:45:10"):
        text = f"{moment.isoformat(' ')}{zone}".encode()
        assert shift_time(text, days, binary=False) == f"{moved.isoformat(' ')}{zone}".encode()
    assert shift_time(sent_time(moment), days, binary=True) == sent_time(moved)


@given(st.dates())
def test_a_date_is_cut_to_its_month_or_year(day: date) -> None:
    for unit, cut in ((MONTH, day.replace(day=1)), (YEAR, day.replace(month=1, day=1))):
        assert truncate_date(day.isoformat().encode(), unit, binary=False) == cut.isoformat().encode()
        assert truncate_date(sent_date(day), unit, binary=True) == sent_date(cut)


@given(st.datetimes(datetime(1900, 1, 2), datetime(2200, 1, 1)), st.integers(-15 * 60, 15 * 60))
def test_with_a_zone_it_is_cut_in_utc_so_that_both_formats_agree(moment: datetime, minutes: int) -> None:
    zone = timezone(timedelta(minutes=minutes))
    local = moment.replace(tzinfo=UTC).astimezone(zone)
    text = local.isoformat(" ").encode()
    cut = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    assert truncate_time(text, MONTH, binary=False, zoned=True) == f"{cut.isoformat(' ')}+00".encode()
    assert truncate_time(sent_time(moment), MONTH, binary=True, zoned=True) == sent_time(cut)
    plain = moment.isoformat(" ").encode()
    assert truncate_time(plain, MONTH, binary=False, zoned=False) == cut.isoformat(" ").encode()
    assert truncate_time(plain, MONTH, binary=False, zoned=True) is None
    assert truncate_time(text, MONTH, binary=False, zoned=False) is None


@pytest.mark.parametrize(
    "value",
    [
        b"infinity", b"-infinity", b"0044-03-15 BC", b"31.12.2024", b"12/31/2024", b"31-12-2024", b"12345-01-01", b"",
        b"2023-02-29", b"2024-13-01", b"0000-01-01", b"2024-1-01", b"Tue Dec 31 00:00:00 2024", b"2024-12-31 ",
    ],
)  # fmt: skip
def test_what_is_no_date_of_iso_style_becomes_null(value: bytes) -> None:
    assert shift_date(value, 3, binary=False) is None
    assert truncate_date(value, MONTH, binary=False) is None
    for text in (value, value + b" 00:00:00"):
        assert shift_time(text, 3, binary=False) is None
        assert truncate_time(text, MONTH, binary=False, zoned=False) is None


@pytest.mark.parametrize("value", [b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"", b"\0\0\0", b"\0\0\0\0\0"])
def test_what_no_date_in_binary_is_becomes_null(value: bytes) -> None:
    assert shift_date(value, 3, binary=True) is None
    assert truncate_date(value, YEAR, binary=True) is None


@pytest.mark.parametrize("value", [b"\x7f" + b"\xff" * 7, b"\x80" + bytes(7), b"", bytes(7), bytes(9)])
def test_what_no_timestamp_in_binary_is_becomes_null(value: bytes) -> None:
    assert shift_time(value, 3, binary=True) is None
    assert truncate_time(value, YEAR, binary=True, zoned=True) is None
