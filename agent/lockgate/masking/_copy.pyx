# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Copied rows as DataRow messages and back, compiled. `copy_rows.py` says what it does: tests hold it to that.

A pass makes no Python object per row or cell: it writes into one bytes object, made large enough for the worst case of
the next row before that row is touched, and cut to size at the end.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport int32_t, uint32_t
from libc.string cimport memcmp, memcpy

cdef extern from "Python.h":
    PyObject *PyBytes_FromStringAndSize(const char *, Py_ssize_t) except NULL
    int _PyBytes_Resize(PyObject **, Py_ssize_t) except -1
    void Py_XDECREF(PyObject *)

ctypedef const unsigned char *Bytes

cdef enum:
    TEXT = 0
    CSV = 1
    BINARY = 2

cdef enum:
    MASKED = 1
    QUOTED = 2

cdef enum:
    COPY_DATA = 0x64
    DATA_ROW = 0x44
    LONGEST = 1024 * 1024 * 1024
    LF = 0x0A
    CR = 0x0D
    BACKSLASH = 0x5C

# Why the reading of a row stopped: the sign tells these from a length.
cdef enum:
    CUT = -1
    OTHER_COLUMNS = -2
    IMPOSSIBLE_VALUE = -3
    OPEN_ESCAPE = -4
    UNQUOTED = -5
    BEHIND_QUOTES = -6
    EMPTY_ESCAPE = -7

cdef struct Form:
    int kind
    unsigned char delimiter
    unsigned char quote
    unsigned char escape
    bint tells_null
    Bytes null
    Py_ssize_t null_size
    Bytes columns
    Py_ssize_t count


cdef inline uint32_t read32(Bytes p) noexcept nogil:
    return (<uint32_t>p[0] << 24) | (<uint32_t>p[1] << 16) | (<uint32_t>p[2] << 8) | p[3]


cdef inline void write32(unsigned char *p, uint32_t value) noexcept nogil:
    p[0] = <unsigned char>(value >> 24)
    p[1] = <unsigned char>(value >> 16)
    p[2] = <unsigned char>(value >> 8)
    p[3] = <unsigned char>value


cdef inline unsigned char unescaped(unsigned char letter) noexcept nogil:
    if letter == 0x62:
        return 0x08
    if letter == 0x66:
        return 0x0C
    if letter == 0x6E:
        return 0x0A
    if letter == 0x72:
        return 0x0D
    if letter == 0x74:
        return 0x09
    if letter == 0x76:
        return 0x0B
    return letter


cdef inline unsigned char escaped(unsigned char c, unsigned char delimiter) noexcept nogil:
    """What stands behind the backslash for `c`, 0 when it needs none."""
    if c == 0x08:
        return 0x62
    if c == 0x0C:
        return 0x66
    if c == 0x0A:
        return 0x6E
    if c == 0x0D:
        return 0x72
    if c == 0x09:
        return 0x74
    if c == 0x0B:
        return 0x76
    if c == BACKSLASH or c == delimiter:
        return c
    return 0


cdef inline bint is_null(Bytes p, Py_ssize_t size, Form *form) noexcept nogil:
    return size == form.null_size and memcmp(p, form.null, size) == 0


cdef Py_ssize_t take_text(
    Bytes p, Py_ssize_t size, Py_ssize_t start, Form *form, bint masked, unsigned char *out
) noexcept nogil:
    """Write length and value of the cell at `start`; the offset of what ends it, or why there is none."""
    cdef Py_ssize_t place = start, written = 4
    cdef unsigned char c, delimiter = form.delimiter
    while place < size:
        c = p[place]
        if c == delimiter or c == LF:
            if not masked:
                write32(out, <uint32_t>(place - start))
                memcpy(out + 4, p + start, place - start)
            elif form.tells_null and is_null(p + start, place - start, form):
                write32(out, <uint32_t>-1)
            else:
                write32(out, <uint32_t>(written - 4))
            return place
        if c == BACKSLASH:
            if place + 1 == size:
                return CUT
            if p[place + 1] == LF:
                return OPEN_ESCAPE
            if masked:
                out[written] = unescaped(p[place + 1])
                written += 1
            place += 2
        else:
            if masked:
                out[written] = c
                written += 1
            place += 1
    return CUT


cdef Py_ssize_t take_csv(
    Bytes p, Py_ssize_t size, Py_ssize_t start, Form *form, bint masked, unsigned char *out
) noexcept nogil:
    """As `take_text`."""
    cdef Py_ssize_t place = start, written = 4
    cdef unsigned char c, following, delimiter = form.delimiter, quote = form.quote, escape = form.escape
    if place < size and p[place] == quote:
        place += 1
        while size - place >= 2:
            c = p[place]
            following = p[place + 1]
            if c == escape and (following == quote or following == escape):
                if masked:
                    out[written] = following
                    written += 1
                place += 2
            elif c == quote:
                if following != delimiter and following != LF:
                    return BEHIND_QUOTES
                place += 1
                if masked:
                    write32(out, <uint32_t>(written - 4))
                else:
                    write32(out, <uint32_t>(place - start))
                    memcpy(out + 4, p + start, place - start)
                return place
            elif c == escape:
                return EMPTY_ESCAPE
            else:
                if masked:
                    out[written] = c
                    written += 1
                place += 1
        return CUT
    while place < size:
        c = p[place]
        if c == delimiter or c == LF:
            if masked and is_null(p + start, place - start, form):
                write32(out, <uint32_t>-1)
            else:
                write32(out, <uint32_t>(place - start))
                memcpy(out + 4, p + start, place - start)
            return place
        if c == quote or c == CR:
            return UNQUOTED
        place += 1
    return CUT


cdef Py_ssize_t take_row(Bytes p, Py_ssize_t size, Form *form, unsigned char *out, Py_ssize_t *written) noexcept nogil:
    """Write the row at `p` as a DataRow, at most 7 + 4 * columns + size bytes; its length, or why there is none."""
    cdef Py_ssize_t place = 0, column, end, made = 7
    cdef int32_t length
    cdef bint masked
    if form.kind == BINARY:
        if size < 2 or (p[0] == 0xFF and p[1] == 0xFF):  # the end of the binary format
            return CUT
        if ((<Py_ssize_t>p[0] << 8) | p[1]) != form.count:
            return OTHER_COLUMNS
        place = 2
        for column in range(form.count):
            if size - place < 4:
                return CUT
            length = <int32_t>read32(p + place)
            place += 4
            if length < -1:
                return IMPOSSIBLE_VALUE
            if length > size - place:
                return CUT
            if length > 0:
                place += length
        memcpy(out + 5, p, place)
        made = 5 + place
    else:
        for column in range(form.count):
            masked = form.columns[column] & MASKED
            if form.kind == CSV:
                end = take_csv(p, size, place, form, masked, out + made)
            else:
                end = take_text(p, size, place, form, masked, out + made)
            if end < 0:
                return end
            if (p[end] == LF) != (column == form.count - 1):
                return OTHER_COLUMNS
            length = <int32_t>read32(out + made)
            made += 4 + (length if length > 0 else 0)
            place = end + 1
        out[5] = <unsigned char>(form.count >> 8)
        out[6] = <unsigned char>form.count
    out[0] = DATA_ROW
    write32(out + 1, <uint32_t>(made - 1))
    written[0] = made
    return place


cdef Py_ssize_t put_cell(Bytes p, Py_ssize_t size, unsigned char column, Form *form, unsigned char *out) noexcept nogil:
    """Write one masked value; the bytes written, at most 2 * size + 2."""
    cdef Py_ssize_t i, written = 0
    cdef unsigned char c, letter
    cdef bint quoted
    if form.kind == TEXT:
        for i in range(size):
            letter = escaped(p[i], form.delimiter)
            if letter:
                out[written] = BACKSLASH
                out[written + 1] = letter
                written += 2
            else:
                out[written] = p[i]
                written += 1
        return written
    quoted = (column & QUOTED) or is_null(p, size, form) or (form.count == 1 and size == 2 and memcmp(p, b"\\.", 2) == 0)
    if not quoted:
        for i in range(size):
            c = p[i]
            if c == form.delimiter or c == form.quote or c == LF or c == CR:
                quoted = True
                break
    if not quoted:
        memcpy(out, p, size)
        return size
    out[0] = form.quote
    written = 1
    for i in range(size):
        c = p[i]
        if c == form.quote or c == form.escape:
            out[written] = form.escape
            written += 1
        out[written] = c
        written += 1
    out[written] = form.quote
    return written + 1


cdef Py_ssize_t put_row(Bytes row, Py_ssize_t size, Form *form, unsigned char *out) noexcept nogil:
    """Write a whole DataRow of `size` bytes as CopyData, at most 2 * size + columns * (NULL + 3) bytes; OTHER_COLUMNS."""
    cdef Py_ssize_t place = 7, written = 5, column
    cdef int32_t length
    if size < 7:
        return OTHER_COLUMNS
    if form.kind == BINARY:
        memcpy(out, row, size)
        out[0] = COPY_DATA
        return size
    for column in range(form.count):
        if size - place < 4:
            return OTHER_COLUMNS
        length = <int32_t>read32(row + place)
        place += 4
        if length > size - place:
            return OTHER_COLUMNS
        if length < 0:
            memcpy(out + written, form.null, form.null_size)
            written += form.null_size
        else:
            if form.columns[column] & MASKED:
                written += put_cell(row + place, length, form.columns[column], form, out + written)
            else:
                memcpy(out + written, row + place, length)
                written += length
            place += length
        out[written] = form.delimiter if column < form.count - 1 else LF
        written += 1
    if place != size:
        return OTHER_COLUMNS
    out[0] = COPY_DATA
    write32(out + 1, <uint32_t>(written - 1))
    return written


cdef int refuse(Py_ssize_t why) except -1:
    if why == OTHER_COLUMNS:
        raise ValueError("a copied row with another number of columns than announced")
    if why == IMPOSSIBLE_VALUE:
        raise ValueError("a copied value of an impossible length")
    if why == OPEN_ESCAPE:
        raise ValueError("a copied row that ends inside an escape")
    if why == UNQUOTED:
        raise ValueError("a copied value that should have been quoted")
    if why == BEHIND_QUOTES:
        raise ValueError("a copied value that goes on behind its quotes")
    raise ValueError("a copied value with an escape of nothing")


cdef Form form_of(layout, bytes null, bytes columns) except *:
    """`null` and `columns` are the layout's own: whoever calls keeps them alive."""
    cdef Form form
    form.kind = layout.kind
    form.delimiter = layout.delimiter[0]
    form.quote = layout.quote[0]
    form.escape = layout.escape[0]
    form.tells_null = layout.tells_null
    form.null = <Bytes>PyBytes_AS_STRING(null)
    form.null_size = PyBytes_GET_SIZE(null)
    form.columns = <Bytes>PyBytes_AS_STRING(columns)
    form.count = PyBytes_GET_SIZE(columns)
    return form


def unpack(buffer, Py_ssize_t start, Py_ssize_t end, layout):
    """See `lockgate.masking.copy_rows.unpack`."""
    cdef bytes null = layout.null, columns = layout.columns
    cdef Form form = form_of(layout, null, columns)
    cdef Py_buffer view
    cdef Py_ssize_t offset = start, rows = 0, written = 0, step = 0, capacity, needed, made = 0
    cdef uint32_t length
    cdef Bytes data
    cdef PyObject *out = NULL
    PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE)
    try:
        if not 0 <= start <= end <= view.len:
            raise ValueError("offsets outside the buffer")
        data = <Bytes>view.buf
        capacity = end - start + 7 + 4 * form.count
        out = PyBytes_FromStringAndSize(NULL, capacity)
        while end - offset >= 5 and data[offset] == COPY_DATA:
            length = read32(data + offset + 1)
            if length < 4 or length > <uint32_t>LONGEST:
                raise ValueError("CopyData of an impossible length")
            if end - offset <= <Py_ssize_t>length:
                break
            needed = written + 7 + 4 * form.count + length
            if needed > capacity:
                capacity = needed + (end - offset) + capacity // 4
                _PyBytes_Resize(&out, capacity)
            step = take_row(
                data + offset + 5, <Py_ssize_t>length - 4, &form,
                <unsigned char *>PyBytes_AS_STRING(<object>out) + written, &made,
            )
            if step < CUT:
                refuse(step)
            if step != <Py_ssize_t>length - 4:
                break
            written += made
            offset += 1 + length
            rows += 1
        _PyBytes_Resize(&out, written)
        return <object>out, offset, rows
    finally:
        Py_XDECREF(out)
        PyBuffer_Release(&view)


def row_end(data, Py_ssize_t start, Py_ssize_t end, layout):
    """See `lockgate.masking.copy_rows.row_end`."""
    cdef bytes null = layout.null, columns = layout.columns
    cdef Form form = form_of(layout, null, columns)
    cdef Py_buffer view
    cdef Py_ssize_t step, made = 0
    cdef bytes scratch
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        if not 0 <= start <= end <= view.len:
            raise ValueError("offsets outside the buffer")
        scratch = bytes(7 + 4 * form.count + end - start)
        step = take_row(
            <Bytes>view.buf + start, end - start, &form, <unsigned char *>PyBytes_AS_STRING(scratch), &made
        )
        if step < CUT:
            refuse(step)
        return -1 if step == CUT else start + step
    finally:
        PyBuffer_Release(&view)


def pack(bytes rows not None, layout):
    """See `lockgate.masking.copy_rows.pack`."""
    cdef bytes null = layout.null, columns = layout.columns
    cdef Form form = form_of(layout, null, columns)
    cdef Bytes data = <Bytes>PyBytes_AS_STRING(rows)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(rows), offset = 0, written = 0, step, capacity, needed, fixed
    cdef uint32_t length
    cdef PyObject *out = NULL
    fixed = form.count * (form.null_size + 3)
    capacity = size + fixed + size // 8
    try:
        out = PyBytes_FromStringAndSize(NULL, capacity)
        while offset < size:
            length = read32(data + offset + 1) if size - offset >= 7 else 0
            if length < 6 or size - offset <= <Py_ssize_t>length:
                raise ValueError("a masked row of another form")
            needed = written + 2 * (<Py_ssize_t>length + 1) + fixed
            if needed > capacity:
                capacity = needed + (size - offset) + capacity // 4
                _PyBytes_Resize(&out, capacity)
            step = put_row(
                data + offset, 1 + <Py_ssize_t>length, &form,
                <unsigned char *>PyBytes_AS_STRING(<object>out) + written,
            )
            if step < 0:
                raise ValueError("a masked row of another form")
            written += step
            offset += 1 + length
        _PyBytes_Resize(&out, written)
        return <object>out
    finally:
        Py_XDECREF(out)
