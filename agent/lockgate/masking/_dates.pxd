# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""`dates.py`, compiled. A function writes a date or timestamp into `out` and answers its size, or NO_DATE."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    NO_DATE = -1
    MONTH = 1
    FIRST_DAY = -730119  # 0001-01-01, in days from 2000-01-01
    LAST_DAY = 2921939  # 9999-12-31
    DAY_SECONDS = 86400
    LONGEST_TIME = 42


cdef inline int64_t days_of(int year, int month, int day) noexcept nogil:
    """Days from 2000-01-01 of a day of the proleptic Gregorian calendar, year 1 and later."""
    cdef int y = year - (month <= 2), m = (month + 9) % 12
    return 365 * y + y // 4 - y // 100 + y // 400 + (153 * m + 2) // 5 + day - 1 - 730425


cdef inline void civil_of(int64_t days, int *year, int *month, int *day) noexcept nogil:
    """The other way, from FIRST_DAY to LAST_DAY."""
    cdef int64_t z = days + 730425, era, rest, y
    cdef int m
    era = z // 146097
    rest = z % 146097
    y = (rest - rest // 1460 + rest // 36524 - rest // 146096) // 365
    rest -= 365 * y + y // 4 - y // 100
    m = <int>((5 * rest + 2) // 153)
    day[0] = <int>(rest - (153 * m + 2) // 5 + 1)
    month[0] = m + 3 if m < 10 else m - 9
    year[0] = <int>(y + era * 400) + (month[0] <= 2)


cdef inline bint within(int64_t day) noexcept nogil:
    return FIRST_DAY <= day <= LAST_DAY


cdef inline int pair(const uint8_t *p) noexcept nogil:
    """A number of two digits; below 0 when it is none."""
    if not (0x30 <= p[0] <= 0x39 and 0x30 <= p[1] <= 0x39):
        return -10000
    return 10 * (p[0] - 0x30) + p[1] - 0x30


cdef inline bint read_iso(const uint8_t *p, int64_t *day) noexcept nogil:
    """Read ten bytes."""
    cdef int year, month, date, length
    if p[4] != 0x2D or p[7] != 0x2D:
        return False
    year = 100 * pair(p) + pair(p + 2)
    month = pair(p + 5)
    date = pair(p + 8)
    if year < 1 or not 1 <= month <= 12 or date < 1:
        return False
    if month == 2:
        length = 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    else:
        length = 30 if month == 4 or month == 6 or month == 9 or month == 11 else 31
    if date > length:
        return False
    day[0] = days_of(year, month, date)
    return True


cdef inline void write_pair(int value, uint8_t *out) noexcept nogil:
    out[0] = <uint8_t>(0x30 + value // 10)
    out[1] = <uint8_t>(0x30 + value % 10)


cdef inline void write_iso(int64_t day, uint8_t *out) noexcept nogil:
    """Write ten bytes."""
    cdef int year, month, date
    civil_of(day, &year, &month, &date)
    write_pair(year // 100, out)
    write_pair(year % 100, out + 2)
    out[4] = out[7] = 0x2D
    write_pair(month, out + 5)
    write_pair(date, out + 8)


cdef inline int64_t floor_day(int64_t day, int unit) noexcept nogil:
    cdef int year, month, date
    civil_of(day, &year, &month, &date)
    return days_of(year, month if unit == MONTH else 1, 1)


cdef inline bint read_date(const uint8_t *p, Py_ssize_t size, bint binary, int64_t *day) noexcept nogil:
    if not binary:
        return size == 10 and read_iso(p, day)
    if size != 4:
        return False
    day[0] = <int32_t>(<uint32_t>p[0] << 24 | <uint32_t>p[1] << 16 | <uint32_t>p[2] << 8 | p[3])
    return within(day[0])


cdef inline Py_ssize_t write_date(int64_t day, bint binary, uint8_t *out) noexcept nogil:
    cdef int i
    if not within(day):
        return NO_DATE
    if not binary:
        write_iso(day, out)
        return 10
    for i in range(4):
        out[i] = <uint8_t>(day >> (24 - 8 * i))
    return 4


cdef inline bint read_microseconds(const uint8_t *p, Py_ssize_t size, int64_t *day, int64_t *rest) noexcept nogil:
    cdef uint64_t raw = 0
    cdef int64_t value, length = <int64_t>DAY_SECONDS * 1000000
    cdef int i
    if size != 8:
        return False
    for i in range(8):
        raw = raw << 8 | p[i]
    value = <int64_t>raw
    day[0] = value // length
    rest[0] = value % length
    if rest[0] < 0:
        rest[0] += length
        day[0] -= 1
    return within(day[0])


cdef inline Py_ssize_t write_microseconds(int64_t day, int64_t rest, uint8_t *out) noexcept nogil:
    cdef int64_t value = day * (<int64_t>DAY_SECONDS * 1000000) + rest
    cdef int i
    for i in range(8):
        out[i] = <uint8_t>(value >> (56 - 8 * i))
    return 8


cdef inline bint read_time(
    const uint8_t *p, Py_ssize_t size, int64_t *day, int64_t *seconds, bint *zoned, int64_t *offset
) noexcept nogil:
    """`YYYY-MM-DD HH:MM:SS[.ffffff][+HH[:MM[:SS]]]`."""
    cdef Py_ssize_t at = 19, fraction = 0
    cdef int part, unit = 3600
    cdef bint minus
    if size < 19 or size > LONGEST_TIME or not read_iso(p, day):
        return False
    if p[10] != 0x20 or p[13] != 0x3A or p[16] != 0x3A:
        return False
    if pair(p + 11) < 0 or pair(p + 14) < 0 or pair(p + 17) < 0:
        return False
    seconds[0] = 3600 * pair(p + 11) + 60 * pair(p + 14) + pair(p + 17)
    zoned[0] = False
    offset[0] = 0
    if at < size and p[at] == 0x2E:
        at += 1
        while at < size and fraction < 6 and 0x30 <= p[at] <= 0x39:
            at += 1
            fraction += 1
        if fraction == 0:
            return False
    if at == size:
        return True
    if p[at] != 0x2B and p[at] != 0x2D:
        return False
    zoned[0] = True
    minus = p[at] == 0x2D
    while True:
        at += 1
        if size - at < 2:
            return False
        part = pair(p + at)
        if part < 0:
            return False
        offset[0] += part * unit
        at += 2
        if at == size:
            break
        if p[at] != 0x3A or unit == 1:
            return False
        unit //= 60
    if minus:
        offset[0] = -offset[0]
    return True


cdef inline Py_ssize_t shift_date(const uint8_t *p, Py_ssize_t size, bint binary, int64_t days, uint8_t *out) noexcept nogil:
    cdef int64_t day
    return write_date(day + days, binary, out) if read_date(p, size, binary, &day) else NO_DATE


cdef inline Py_ssize_t truncate_date(const uint8_t *p, Py_ssize_t size, bint binary, int64_t unit, uint8_t *out) noexcept nogil:
    cdef int64_t day
    return write_date(floor_day(day, <int>unit), binary, out) if read_date(p, size, binary, &day) else NO_DATE


cdef inline Py_ssize_t shift_time(const uint8_t *p, Py_ssize_t size, bint binary, int64_t days, uint8_t *out) noexcept nogil:
    cdef int64_t day, rest, offset
    cdef bint zoned
    if binary:
        if not read_microseconds(p, size, &day, &rest) or not within(day + days):
            return NO_DATE
        return write_microseconds(day + days, rest, out)
    if not read_time(p, size, &day, &rest, &zoned, &offset) or not within(day + days):
        return NO_DATE
    write_iso(day + days, out)
    memcpy(out + 10, p + 10, size - 10)
    return size


cdef inline Py_ssize_t truncate_time(
    const uint8_t *p, Py_ssize_t size, bint binary, int64_t unit, bint expected, uint8_t *out
) noexcept nogil:
    cdef int64_t day, rest, offset
    cdef bint zoned
    if binary:
        if not read_microseconds(p, size, &day, &rest):
            return NO_DATE
        return write_microseconds(floor_day(day, <int>unit), 0, out)
    if not read_time(p, size, &day, &rest, &zoned, &offset) or zoned != expected:
        return NO_DATE
    if zoned:
        rest -= offset
        # from 100 hours before to 200 behind, so that what is divided is positive
        day += (rest + 10 * DAY_SECONDS) // DAY_SECONDS - 10
        if not within(day):
            return NO_DATE
    write_iso(floor_day(day, <int>unit), out)
    memcpy(out + 10, b" 00:00:00+00", 12)
    return 22 if zoned else 19
