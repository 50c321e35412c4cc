# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The compiled row kernel. `rows.py` says what it does, and `cells.py` what a mask is: tests hold it to both.

A pass makes no Python object per row or cell: it writes into one bytes object, made large enough for the worst case of
the next row before that row is touched, and cut to size at the end.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport int32_t, int64_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from lockgate.masking._dates cimport shift_date, shift_time, truncate_date, truncate_time
from lockgate.masking._keyed cimport HASH_DIGITS, blake2b_key, blake2b_prepare, write_pseudonym
from lockgate.masking._partial cimport partial, redacted, truncate
from lockgate.masking._tokens cimport token_integer, token_numeric, token_text, token_uuid

from lockgate.masking.cells import Action
from lockgate.masking.keyed import HASH_BYTES, KEY_BYTES

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
    TRUNCATE = 6
    HASH = 7
    HASH_JSON = 8
    HASH_JSONB = 9
    TOKEN_TEXT = 10
    TOKEN_INTEGER = 11
    TOKEN_NUMERIC = 12
    TOKEN_UUID = 13
    SHIFT_DATE = 14
    SHIFT_TIME = 15
    TRUNCATE_DATE = 16
    TRUNCATE_TIME = 17
    TRUNCATE_TIME_WITH_ZONE = 18

cdef enum:
    DATA_ROW = 0x44
    LEAST = 6
    LONGEST_ROW = 1024 * 1024 * 1024
    GROWTH = 64  # the most bytes a masked value has more than the value: a pseudonym as jsonb has 35, a number 64

# Why a walk stopped short of its end: the sign tells these from a length.
cdef enum:
    STOP = 0
    IMPOSSIBLE_LENGTH = -1
    OTHER_COLUMNS = -2
    SHORT_ROW = -3
    IMPOSSIBLE_COLUMN = -4
    LONG_ROW = -5


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


cdef struct Rule:
    int action
    bint binary
    bint null
    int64_t number
    blake2b_key key


cdef class Program:
    """The cells of a plan, as the kernel takes them. `masks` is False when every column is kept."""

    cdef Rule *rules
    cdef Py_ssize_t columns
    cdef Py_ssize_t masked

    def __cinit__(self, cells):
        cdef Py_ssize_t i
        cdef bytes key
        cells = tuple(cells)
        self.rules = <Rule *>calloc(max(len(cells), 1), sizeof(Rule))
        if self.rules == NULL:
            raise MemoryError
        self.columns = len(cells)
        for i in range(self.columns):
            cell = cells[i]
            self.rules[i].action = Action(cell.action)
            self.rules[i].binary = cell.binary
            self.rules[i].null = cell.null
            self.rules[i].number = cell.number
            key = cell.key
            if HASH <= self.rules[i].action <= TOKEN_UUID:
                if len(key) != KEY_BYTES:
                    raise ValueError(f"a key has {KEY_BYTES} bytes")
                size = HASH_BYTES if self.rules[i].action <= HASH_JSONB else 64
                blake2b_prepare(&self.rules[i].key, <Bytes>PyBytes_AS_STRING(key), size)
            self.masked += self.rules[i].action != KEEP

    def __dealloc__(self):
        free(self.rules)

    @property
    def masks(self):
        return self.masked > 0


cdef inline Py_ssize_t pseudonym(const Rule *rule, Bytes p, Py_ssize_t size, unsigned char *out) noexcept nogil:
    cdef Py_ssize_t lead = 0
    if rule.action == HASH:
        while size > 0 and p[size - 1] == 0x20:
            size -= 1
        write_pseudonym(&rule.key, p, size, out)
        return HASH_DIGITS
    if rule.action == HASH_JSONB:
        out[0] = 1
        lead = 1
        if size > 0:
            p += 1
            size -= 1
    out[lead] = 0x22
    write_pseudonym(&rule.key, p, size, out + lead + 1)
    out[lead + 1 + HASH_DIGITS] = 0x22
    return lead + HASH_DIGITS + 2


cdef Py_ssize_t shown(const Rule *rule, Bytes p, Py_ssize_t size, unsigned char *out) noexcept nogil:
    """Write what stands for a value, at most `size` + GROWTH bytes; below 0 for NULL."""
    cdef Py_ssize_t written
    cdef int action = rule.action
    if action == REDACT:
        return redacted(out)
    if action == PARTIAL:
        return partial(p, size, out)
    if action == TRUNCATE:
        return truncate(p, size, rule.number, out)
    if HASH <= action <= HASH_JSONB:
        return pseudonym(rule, p, size, out)
    if action == REDACT_JSON:
        memcpy(out, b'"***"', 5)
        return 5
    if action == REDACT_JSONB:
        memcpy(out, b'\x01"***"', 6)
        return 6
    if action == TOKEN_TEXT:
        written = token_text(&rule.key, p, size, out)
        return written if written >= 0 else redacted(out)
    if action == TOKEN_INTEGER:
        return token_integer(&rule.key, p, size, rule.binary, <int>rule.number, out)
    if action == TOKEN_NUMERIC:
        return token_numeric(&rule.key, p, size, rule.binary, out)
    if action == TOKEN_UUID:
        return token_uuid(&rule.key, p, size, rule.binary, out)
    if action == SHIFT_DATE:
        return shift_date(p, size, rule.binary, rule.number, out)
    if action == SHIFT_TIME:
        return shift_time(p, size, rule.binary, rule.number, out)
    if action == TRUNCATE_DATE:
        return truncate_date(p, size, rule.binary, rule.number, out)
    if action == TRUNCATE_TIME or action == TRUNCATE_TIME_WITH_ZONE:
        return truncate_time(p, size, rule.binary, rule.number, action == TRUNCATE_TIME_WITH_ZONE, out)
    return -1


cdef inline Py_ssize_t replace(const Rule *rule, Bytes p, Py_ssize_t size, unsigned char *out) noexcept nogil:
    """Write length and value of a masked column."""
    cdef Py_ssize_t written = -1 if rule.action == NULLED else shown(rule, p, size, out + 4)
    if written < 0:
        write32(out, <uint32_t>-1)
        return 4
    write32(out, <uint32_t>written)
    return 4 + written


cdef Py_ssize_t mask_row(
    Bytes row, Py_ssize_t size, const Rule *rules, Py_ssize_t columns, unsigned char *out, Py_ssize_t *cells
) noexcept nogil:
    """Rewrite one whole message of `size` bytes into `out`; the bytes written, or why not.

    Columns that are kept are copied in runs: `copied` is where the one not yet copied begins.
    """
    cdef Py_ssize_t place = 7, copied = 5, written = 5, column, start
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
            if not rules[column].null:
                continue
            length = 0
        if length < 0 or length > size - place:
            return IMPOSSIBLE_COLUMN
        place += length
        if rules[column].action == KEEP:
            continue
        memcpy(out + written, row + copied, start - copied)
        written += start - copied
        copied = place
        written += replace(&rules[column], row + start + 4, length, out + written)
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
    raise ValueError("DataRow goes on behind its last column")


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


def mask_value(Program program not None, Py_ssize_t column, bytes value not None):
    """See `lockgate.masking.cells.mask_value`."""
    cdef Rule *rule
    cdef Py_ssize_t size = PyBytes_GET_SIZE(value), written
    cdef PyObject *out = NULL
    if not 0 <= column < program.columns:
        raise IndexError("no such column")
    rule = program.rules + column
    if rule.action == KEEP:
        return value
    if rule.action == NULLED:
        return None
    try:
        out = PyBytes_FromStringAndSize(NULL, size + GROWTH)
        written = shown(
            rule, <Bytes>PyBytes_AS_STRING(value), size, <unsigned char *>PyBytes_AS_STRING(<object>out)
        )
        if written < 0:
            return None
        _PyBytes_Resize(&out, written)
        return <object>out
    finally:
        Py_XDECREF(out)


def mask_rows(buffer, Py_ssize_t start, Py_ssize_t end, Program program not None):
    """See `lockgate.masking.rows.mask_rows`."""
    cdef Py_buffer view
    cdef Py_ssize_t offset = start, rows = 0, cells = 0, length, written = 0, step, capacity, needed
    cdef Py_ssize_t growth = program.masked * GROWTH
    cdef Bytes data
    cdef PyObject *out = NULL
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
                data + offset, 1 + length, program.rules, program.columns,
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


def touched_cells(bytes data not None, bytes columns not None, list spans not None):
    """See `lockgate.masking.rows.touched_cells`."""
    cdef Bytes p = <Bytes>PyBytes_AS_STRING(data)
    cdef Bytes watched = <Bytes>PyBytes_AS_STRING(columns)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data), width = PyBytes_GET_SIZE(columns), count = len(spans)
    cdef Py_ssize_t offset = 0, place, length, column, number = 0, start, end
    cdef int32_t cell
    found = []
    if count == 0:
        return found
    start, end = spans[0]
    while True:
        length = row_length(p + offset, size - offset)
        if length <= 0:
            break
        # rows before the next span are passed at once
        if offset + 1 + length > start:
            if length < LEAST or ((<Py_ssize_t>p[offset + 5] << 8) | p[offset + 6]) != width:
                refuse(OTHER_COLUMNS)
            place = offset + 7
            for column in range(width):
                if offset + 1 + length - place < 4:
                    refuse(SHORT_ROW)
                cell = <int32_t>read32(p + place)
                place += 4
                if cell == -1 or cell == 0:
                    continue
                if cell < 0 or cell > offset + 1 + length - place:
                    refuse(IMPOSSIBLE_COLUMN)
                while end <= place:
                    number += 1
                    if number == count:
                        return found
                    start, end = spans[number]
                if watched[column] and start < place + cell:
                    found.append((offset, place, place + cell, column))
                place += cell
        offset += 1 + length
    return found
