"""Dates and timestamps: moved by days, or cut to their month or year. `_dates.pxd` is this, compiled.

In text format only ISO style is read, from year 1 to 9999, and every answer is within those: all else, such as
infinity, BC or another DateStyle, becomes None. In binary format a date is an Int32 of days and a timestamp an Int64
of microseconds since 2000-01-01 (date.c and timestamp.c of PostgreSQL), of UTC where it has a time zone.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Final

MONTH, YEAR = 1, 2
"""What a date is cut to."""

_EPOCH: Final = date(2000, 1, 1)
_DAY: Final = 86_400
_DAY_MICROSECONDS: Final = _DAY * 1_000_000
_DATE: Final = re.compile(rb"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_TIME: Final = re.compile(
    rb"([0-9]{4})-([0-9]{2})-([0-9]{2}) ([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]{1,6})?"
    rb"(?:([+-])([0-9]{2})(?::([0-9]{2})(?::([0-9]{2}))?)?)?"
)


def shift_date(value: bytes, days: int, *, binary: bool) -> bytes | None:
    """A date that many days later."""
    day = _read_date(value, binary)
    return None if day is None else _write_date(_moved(day, days), binary)


def shift_time(value: bytes, days: int, *, binary: bool) -> bytes | None:
    """A timestamp that many times 24 hours later: its time of day and its offset stay."""
    if binary:
        found = _read_microseconds(value)
        if found is None:
            return None
        moved = _moved(found[0], days)
        return None if moved is None else _write_microseconds(moved, found[1])
    match = _TIME.fullmatch(value)
    day = None if match is None else _day(match)
    text = None if day is None else _write_date(_moved(day, days), False)
    return None if text is None else text + value[10:]


def truncate_date(value: bytes, unit: int, *, binary: bool) -> bytes | None:
    """The first day of a date's month or year."""
    day = _read_date(value, binary)
    return None if day is None else _write_date(_floor(day, unit), binary)


def truncate_time(value: bytes, unit: int, *, binary: bool, zoned: bool) -> bytes | None:
    """The midnight that a timestamp's month or year begins with: in UTC where it has a time zone."""
    if binary:
        found = _read_microseconds(value)
        return None if found is None else _write_microseconds(_floor(found[0], unit), 0)
    match = _TIME.fullmatch(value)
    if match is None or (match[7] is not None) != zoned:
        return None
    day = _day(match)
    if day is None:
        return None
    if zoned:
        seconds = _seconds(match[4], match[5], match[6])
        offset = _seconds(match[8], match[9] or b"0", match[10] or b"0")
        seconds += offset if match[7] == b"-" else -offset
        day = _moved(day, seconds // _DAY)
        if day is None:
            return None
    text = _write_date(_floor(day, unit), False)
    return None if text is None else text + (b" 00:00:00+00" if zoned else b" 00:00:00")


def _seconds(hours: bytes, minutes: bytes, seconds: bytes) -> int:
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds)


def _day(match: re.Match[bytes]) -> date | None:
    try:
        return date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        return None


def _moved(day: date, days: int) -> date | None:
    try:
        return day + timedelta(days=days)
    except OverflowError:
        return None


def _floor(day: date, unit: int) -> date:
    return day.replace(day=1) if unit == MONTH else day.replace(month=1, day=1)


def _read_date(value: bytes, binary: bool) -> date | None:
    if not binary:
        match = _DATE.fullmatch(value)
        return None if match is None else _day(match)
    return _moved(_EPOCH, int.from_bytes(value, "big", signed=True)) if len(value) == 4 else None


def _write_date(day: date | None, binary: bool) -> bytes | None:
    if day is None:
        return None
    return (day - _EPOCH).days.to_bytes(4, "big", signed=True) if binary else day.isoformat().encode()


def _read_microseconds(value: bytes) -> tuple[date, int] | None:
    """The day and the microseconds into it."""
    if len(value) != 8:
        return None
    days, rest = divmod(int.from_bytes(value, "big", signed=True), _DAY_MICROSECONDS)
    day = _moved(_EPOCH, days)
    return None if day is None else (day, rest)


def _write_microseconds(day: date, rest: int) -> bytes:
    return ((day - _EPOCH).days * _DAY_MICROSECONDS + rest).to_bytes(8, "big", signed=True)
