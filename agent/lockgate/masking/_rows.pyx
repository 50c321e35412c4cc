# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The compiled row kernel. `rows.py` says what it does, and `maskers.py` what a mask is: tests hold it to both.

A pass makes no Python object per row or cell: it writes into one bytes object, made large enough for the worst case of
the next row before that row is touched, and cut to size at the end.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport int32_t, uint32_t
from libc.string cimport memchr, memcpy, memset

cdef extern from "Python.h":
    PyObject *PyBytes_FromStringAndSize(const char *, Py_ssize_t) except NULL
    int _PyBytes_Resize(PyObject **, Py_ssize_t) except -1
    void Py_XDECREF(PyObject *)

ctypedef const unsigned char *Bytes

cdef enum:
    KEEP = 0
    NULLED = 1
    REDACT = 2
    PARTIAL = 3
    REDACT_JSON = 4
    REDACT_JSONB = 5

cdef enum:
    DATA_ROW = 0x44
    LEAST = 6
    LONGEST_ROW = 1024 * 1024 * 1024
    SHORTEST_TEXT = 4
    SHORTEST_PART = 3
    MOST_STARS = 12
    LONGEST_EMAIL = 254
    LONGEST_TLD = 8
    LONGEST_NUMBER = 32
    FEWEST_DIGITS = 9
    SHOWN_DIGITS = 4
    LONGEST_MASK = 32  # the most bytes any masked value has: LONGEST_NUMBER; an address has 24, a text 16

# Why a walk stopped short of its end: the sign tells these from a length.
cdef enum:
    STOP = 0
    IMPOSSIBLE_LENGTH = -1
    OTHER_COLUMNS = -2
    SHORT_ROW = -3
    IMPOSSIBLE_COLUMN = -4
    LONG_ROW = -5
    UNKNOWN_ACTION = -6


cdef inline uint32_t read32(Bytes p) noexcept nogil:
    return (<uint32_t>p[0] << 24) | (<uint32_t>p[1] << 16) | (<uint32_t>p[2] << 8) | p[3]


cdef inline void write32(unsigned char *p, uint32_t value) noexcept nogil:
    p[0] = <unsigned char>(value >> 24)
    p[1] = <unsigned char>(value >> 16)
    p[2] = <unsigned char>(value >> 8)
    p[3] = <unsigned char>value


cdef inline Py_ssize_t row_length(Bytes p, Py_ssize_t left) noexcept nogil:
    """The length field of the complete row at `p`, STOP where none is, IMPOSSIBLE_LENGTH."""
    cdef uint32_t length
    if left < 5 or p[0] != DATA_ROW:
        return STOP
    length = read32(p + 1)
    if length < LEAST or length > <uint32_t>LONGEST_ROW:
        return IMPOSSIBLE_LENGTH
    return <Py_ssize_t>length if left > <Py_ssize_t>length else STOP


cdef inline Py_ssize_t character(Bytes p, Py_ssize_t left) noexcept nogil:
    """Bytes of the UTF-8 character at `p`, 0 when there is none that is valid (Unicode 15, table 3-7)."""
    cdef unsigned char lead = p[0], low = 0x80, high = 0xBF
    cdef Py_ssize_t size, i
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


cdef Py_ssize_t initial(Bytes p, Py_ssize_t size, bint ascii) noexcept nogil:
    """Bytes of the first character of a side of an address, 0 when the side is too short, -1 when not UTF-8."""
    cdef Py_ssize_t place = 0, count = 0, step
    if ascii:
        return 1 if size >= SHORTEST_PART else 0
    while place < size:
        step = character(p + place, size - place)
        if step == 0:
            return -1
        place += step
        count += 1
    return character(p, size) if count >= SHORTEST_PART else 0


cdef Py_ssize_t email(Bytes p, Py_ssize_t size, unsigned char *out) noexcept nogil:
    """Write the masked address; 0 when `p` is none."""
    cdef Py_ssize_t at, dot, i, first, second, written
    cdef unsigned char blank = 0, high = 0, ats = 0
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
        high |= p[i]
    if blank or ats != 1:
        return 0
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


cdef Py_ssize_t number(Bytes p, Py_ssize_t size, unsigned char *out) noexcept nogil:
    """Write the masked number; 0 when `p` is none."""
    cdef Py_ssize_t i, digits = 0, hidden
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


cdef Py_ssize_t text(Bytes p, Py_ssize_t size, unsigned char *out) noexcept nogil:
    cdef Py_ssize_t place = 0, count = 0, first = 0, step
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


cdef Py_ssize_t partial(Bytes p, Py_ssize_t size, unsigned char *out) noexcept nogil:
    cdef Py_ssize_t written
    while size > 0 and p[size - 1] == 0x20:
        size -= 1
    written = email(p, size, out)
    if written == 0:
        written = number(p, size, out)
    if written == 0:
        written = text(p, size, out)
    return written


cdef Py_ssize_t replace(int action, Bytes p, Py_ssize_t size, unsigned char *out) noexcept nogil:
    """Write length and value of a masked column, at most 4 + LONGEST_MASK bytes; UNKNOWN_ACTION."""
    cdef Py_ssize_t written
    if action == REDACT:
        written = redacted(out + 4)
    elif action == PARTIAL:
        written = partial(p, size, out + 4)
    elif action == NULLED:
        write32(out, <uint32_t>-1)
        return 4
    elif action == REDACT_JSON:
        memcpy(out + 4, b'"***"', 5)
        written = 5
    elif action == REDACT_JSONB:
        memcpy(out + 4, b'\x01"***"', 6)
        written = 6
    else:
        return UNKNOWN_ACTION
    write32(out, <uint32_t>written)
    return 4 + written


cdef Py_ssize_t mask_row(
    Bytes row, Py_ssize_t size, Bytes actions, Py_ssize_t columns, unsigned char *out, Py_ssize_t *cells
) noexcept nogil:
    """Rewrite one whole message of `size` bytes into `out`; the bytes written, or why not.

    Columns that are kept are copied in runs: `copied` is where the one not yet copied begins.
    """
    cdef Py_ssize_t place = 7, copied = 5, written = 5, column, start, step
    cdef int32_t length
    if ((<Py_ssize_t>row[5] << 8) | row[6]) != columns:
        return OTHER_COLUMNS
    for column in range(columns):
        if size - place < 4:
            return SHORT_ROW
        length = <int32_t>read32(row + place)
        start = place
        place += 4
        if length == -1:
            continue
        if length < 0 or length > size - place:
            return IMPOSSIBLE_COLUMN
        place += length
        if actions[column] == KEEP:
            continue
        memcpy(out + written, row + copied, start - copied)
        written += start - copied
        copied = place
        step = replace(actions[column], row + start + 4, length, out + written)
        if step < 0:
            return step
        written += step
        cells[0] += 1
    if place != size:
        return LONG_ROW
    memcpy(out + written, row + copied, size - copied)
    written += size - copied
    out[0] = DATA_ROW
    write32(out + 1, <uint32_t>(written - 1))
    return written


cdef int refuse(Py_ssize_t why) except -1:
    if why == IMPOSSIBLE_LENGTH:
        raise ValueError("DataRow of an impossible length")
    if why == OTHER_COLUMNS:
        raise ValueError("DataRow with another number of columns than announced")
    if why == SHORT_ROW:
        raise ValueError("DataRow ends inside a column")
    if why == IMPOSSIBLE_COLUMN:
        raise ValueError("DataRow column of an impossible length")
    if why == LONG_ROW:
        raise ValueError("DataRow goes on behind its last column")
    raise ValueError("unknown masking action")


cdef int check(Py_ssize_t start, Py_ssize_t end, Py_ssize_t size) except -1:
    if not 0 <= start <= end <= size:
        raise ValueError("offsets outside the buffer")
    return 0


def skip_rows(buffer, Py_ssize_t start, Py_ssize_t end):
    """See `lockgate.masking.rows.skip_rows`."""
    cdef Py_buffer view
    cdef Py_ssize_t offset = start, rows = 0, length
    cdef Bytes data
    PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE)
    try:
        check(start, end, view.len)
        data = <Bytes>view.buf
        while True:
            length = row_length(data + offset, end - offset)
            if length <= 0:
                break
            offset += 1 + length
            rows += 1
        if length < 0:
            refuse(length)
    finally:
        PyBuffer_Release(&view)
    return offset, rows


def mask_rows(buffer, Py_ssize_t start, Py_ssize_t end, bytes actions not None):
    """See `lockgate.masking.rows.mask_rows`."""
    cdef Py_buffer view
    cdef Py_ssize_t offset = start, rows = 0, cells = 0, length, written = 0, step, capacity, columns, growth = 0, needed, i
    cdef Bytes data, plan = <Bytes>PyBytes_AS_STRING(actions)
    cdef PyObject *out = NULL
    columns = PyBytes_GET_SIZE(actions)
    for i in range(columns):
        growth += plan[i] != KEEP
    growth *= LONGEST_MASK
    PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE)
    try:
        check(start, end, view.len)
        data = <Bytes>view.buf
        capacity = end - start + growth
        out = PyBytes_FromStringAndSize(NULL, capacity)
        while True:
            length = row_length(data + offset, end - offset)
            if length <= 0:
                break
            needed = written + 1 + length + growth
            if needed > capacity:
                capacity = needed + (end - offset) + capacity // 4
                _PyBytes_Resize(&out, capacity)
            step = mask_row(
                data + offset, 1 + length, plan, columns,
                <unsigned char *>PyBytes_AS_STRING(<object>out) + written, &cells,
            )
            if step < 0:
                length = step
                break
            written += step
            offset += 1 + length
            rows += 1
        if length < 0:
            refuse(length)
        _PyBytes_Resize(&out, written)
        return <object>out, offset, rows, cells
    finally:
        Py_XDECREF(out)
        PyBuffer_Release(&view)
