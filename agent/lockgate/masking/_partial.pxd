# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""`partial.py`, compiled."""

from libc.string cimport memchr, memcpy, memset

ctypedef const unsigned char *Bytes

cdef enum:
    SHORTEST_TEXT = 4
    SHORTEST_PART = 3
    MOST_STARS = 12
    LONGEST_EMAIL = 254
    LONGEST_TLD = 8
    LONGEST_NUMBER = 32
    FEWEST_DIGITS = 9
    SHOWN_DIGITS = 4


cdef inline Py_ssize_t character(Bytes p, Py_ssize_t left) noexcept nogil:
    """Bytes of the UTF-8 character at `p`, 0 when there is none that is valid (Unicode 15, table 3-7)."""
    cdef unsigned char lead = p[0], low = 0x80, high = 0xBF
    cdef inline Py_ssize_t size, i
    if lead < 0x80:
        return 1
    if lead < 0xC2 or lead > 0xF4:
        return 0
    size = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
    if left < size:
        return 0
    if lead == 0xE0:
        low = 0xA0
    elif lead == 0xED:
        high = 0x9F
    elif lead == 0xF0:
        low = 0x90
    elif lead == 0xF4:
        high = 0x8F
    if p[1] < low or p[1] > high:
        return 0
    for i in range(2, size):
        if p[i] & 0xC0 != 0x80:
            return 0
    return size


cdef inline bint is_digit(unsigned char c) noexcept nogil:
    return 0x30 <= c <= 0x39


cdef inline bint is_letter(unsigned char c) noexcept nogil:
    return 0x41 <= (c & 0xDF) <= 0x5A


cdef inline Py_ssize_t redacted(unsigned char *out) noexcept nogil:
    memcpy(out, b"***", 3)
    return 3


cdef inline Py_ssize_t initial(Bytes p, Py_ssize_t size, bint ascii) noexcept nogil:
    """Bytes of the first character of a side of an address, 0 when the side is too short, -1 when not UTF-8."""
    cdef inline Py_ssize_t place = 0, count = 0, step
    if ascii:
        return 1 if size >= SHORTEST_PART else 0
    while place < size:
        step = character(p + place, size - place)
        if step == 0:
            return -1
        place += step
        count += 1
    return character(p, size) if count >= SHORTEST_PART else 0


cdef inline Py_ssize_t email_dot(Bytes p, Py_ssize_t size) noexcept nogil:
    """Where the dot before the top-level domain of an address is; 0 when `p` is none."""
    cdef Py_ssize_t at, dot, i
    cdef unsigned char blank = 0, ats = 0
    cdef Bytes found
    if size > LONGEST_EMAIL or size < 1:
        return 0
    found = <Bytes>memchr(p, 0x40, size)
    if found == NULL:
        return 0
    at = found - p
    dot = size - 1
    while dot > at and p[dot] != 0x2E:
        if not is_letter(p[dot]):
            return 0
        dot -= 1
    if at == 0 or dot <= at + 1 or not 2 <= size - dot - 1 <= LONGEST_TLD:
        return 0
    for i in range(size):  # without a branch, so that the compiler makes vectors of it; 254 fit in `ats`
        blank |= (p[i] <= 0x20) | (p[i] == 0x7F)
        ats += p[i] == 0x40
    return 0 if blank or ats != 1 else dot


cdef inline Py_ssize_t email(Bytes p, Py_ssize_t size, unsigned char *out) noexcept nogil:
    """Write the masked address; 0 when `p` is none."""
    cdef Py_ssize_t dot = email_dot(p, size), at, first, second, written, i
    cdef unsigned char high = 0
    if dot == 0:
        return 0
    at = <Bytes>memchr(p, 0x40, size) - p
    for i in range(size):
        high |= p[i]
    first = initial(p, at, high < 0x80)
    second = initial(p + at + 1, dot - at - 1, high < 0x80)
    if first < 0 or second < 0:
        return 0
    memcpy(out, p, first)
    written = first
    memcpy(out + written, b"***@", 4)
    written += 4
    memcpy(out + written, p + at + 1, second)
    written += second
    memcpy(out + written, b"***", 3)
    written += 3
    memcpy(out + written, p + dot, size - dot)
    return written + size - dot


cdef inline Py_ssize_t number(Bytes p, Py_ssize_t size, unsigned char *out) noexcept nogil:
    """Write the masked number; 0 when `p` is none."""
    cdef inline Py_ssize_t i, digits = 0, hidden
    if size < 1 or size > LONGEST_NUMBER:
        return 0
    for i in range(size):
        if is_digit(p[i]):
            digits += 1
        elif p[i] != 0x20 and p[i] != 0x2D and p[i] != 0x2B and p[i] != 0x28 and p[i] != 0x29:
            return 0
    if digits < FEWEST_DIGITS:
        return redacted(out)
    hidden = digits - SHOWN_DIGITS
    for i in range(size):
        if hidden and is_digit(p[i]):
            out[i] = 0x2A
            hidden -= 1
        else:
            out[i] = p[i]
    return size


cdef inline Py_ssize_t text(Bytes p, Py_ssize_t size, unsigned char *out) noexcept nogil:
    cdef inline Py_ssize_t place = 0, count = 0, first = 0, step
    while place < size and count <= MOST_STARS:
        step = character(p + place, size - place)
        if step == 0:
            return redacted(out)
        if count == 0:
            first = step
        place += step
        count += 1
    if count < SHORTEST_TEXT:
        return redacted(out)
    memcpy(out, p, first)
    memset(out + first, 0x2A, count - 1)
    return first + count - 1


cdef inline Py_ssize_t truncate(Bytes p, Py_ssize_t size, Py_ssize_t characters, unsigned char *out) noexcept nogil:
    """Write the first characters of a text that has more (`cells.truncate`)."""
    cdef Py_ssize_t place = 0, count = 0, kept = 0, step
    while size > 0 and p[size - 1] == 0x20:
        size -= 1
    while place < size and count <= characters:
        step = character(p + place, size - place)
        if step == 0:
            return redacted(out)
        if count == characters:
            kept = place
        place += step
        count += 1
    if count <= characters:
        return redacted(out)
    memcpy(out, p, kept)
    return kept


cdef inline Py_ssize_t partial(Bytes p, Py_ssize_t size, unsigned char *out) noexcept nogil:
    cdef inline Py_ssize_t written
    while size > 0 and p[size - 1] == 0x20:
        size -= 1
    written = email(p, size, out)
    if written == 0:
        written = number(p, size, out)
    if written == 0:
        written = text(p, size, out)
    return written
