# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Records that are alike but for a few fields, compiled; and the frame that a record is kept in. `forms.py` and
`segment.py` say what they do: tests hold these to them."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from zlib import crc32

from lockgate.audit.record import encoder

cdef enum:
    MOST = 16  # fields that differ
    OWN = 3  # of them the spool's own: prev, seq, time
    FRAME = 8  # bytes of a frame before its payload
    PREFIX = 11  # and of the payload before the record

cdef int64_t _second = 1_000_000_000


cdef inline char *_big(char *out, uint64_t number, int size) noexcept:
    cdef int i
    for i in range(size):
        out[size - 1 - i] = <char>(number & 0xFF)
        number >>= 8
    return out + size


cdef inline char *_typed(char *out, unsigned char kind, uint64_t number, int size) noexcept:
    out[0] = <char>kind
    return _big(out + 1, number, size)


cdef char *_number(char *out, uint64_t number) noexcept:
    if number < 0x80:
        out[0] = <char>number
        return out + 1
    if number <= 0xFF:
        return _typed(out, 0xCC, number, 1)
    if number <= 0xFFFF:
        return _typed(out, 0xCD, number, 2)
    if number <= 0xFFFFFFFF:
        return _typed(out, 0xCE, number, 4)
    return _typed(out, 0xCF, number, 8)


cdef char *_text(char *out, const char *data, Py_ssize_t size) noexcept:
    if size < 32:
        out[0] = <char>(0xA0 | size)
        out += 1
    elif size <= 0xFF:
        out = _typed(out, 0xD9, size, 1)
    elif size <= 0xFFFF:
        out = _typed(out, 0xDA, size, 2)
    else:
        out = _typed(out, 0xDB, size, 4)
    memcpy(out, data, size)
    return out + size


cdef char *_bytes(char *out, const char *data, Py_ssize_t size) noexcept:
    if size <= 0xFF:
        out = _typed(out, 0xC4, size, 1)
    elif size <= 0xFFFF:
        out = _typed(out, 0xC5, size, 2)
    else:
        out = _typed(out, 0xC6, size, 4)
    memcpy(out, data, size)
    return out + size


cdef class Form:
    cdef list _parts
    """What stands before each of the fields that differ, its name too, and behind the last."""
    cdef int _places[MOST]
    """Where the value of each is found: among those of the caller, and behind them the spool's own."""
    cdef int _count
    cdef Py_ssize_t _size

    def __init__(self, fields, tuple varying):
        cdef bytearray part = bytearray()
        cdef tuple differing = (*varying, "prev", "seq", "time")
        cdef dict whole = {**fields, **dict.fromkeys(differing)}
        cdef int at = 0
        if len(differing) > MOST or len(set(differing)) != len(differing):
            raise ValueError(f"{len(differing)} fields that differ: {MOST} at most, and each once")
        self._count = len(differing)
        # an empty map is 0x80; what is in a map of one stands behind one byte
        part += encoder.encode(dict.fromkeys(map(str, range(len(whole)))))[: 1 if len(whole) < 16 else 3]
        self._parts = []
        for name in sorted(whole):
            if name in differing:
                part += encoder.encode(name)
                self._parts.append(bytes(part))
                part.clear()
                self._places[at] = differing.index(name)
                at += 1
            else:
                part += encoder.encode({name: whole[name]})[1:]
        self._parts.append(bytes(part))
        self._size = sum(map(len, self._parts))

    def record(self, tuple values, bytes prev, uint64_t seq, uint64_t time):
        cdef Py_ssize_t size = self._size + 9 * self._count, length = 0
        cdef const char *texts[MOST]
        cdef Py_ssize_t lengths[MOST]
        cdef uint64_t numbers[MOST]
        cdef int i, place, given = self._count - OWN
        cdef object value
        cdef bytes part, made
        cdef char *begin
        cdef char *out
        if len(values) != given:
            raise ValueError(f"{len(values)} values for {given} fields")
        for i in range(given):
            value = values[i]
            if type(value) is str:
                texts[i] = PyUnicode_AsUTF8AndSize(value, &length)
                lengths[i] = length
                numbers[i] = 1
                size += length
            elif type(value) is bytes:
                texts[i] = PyBytes_AS_STRING(value)
                lengths[i] = PyBytes_GET_SIZE(value)
                numbers[i] = 0
                size += lengths[i]
            else:
                texts[i] = NULL
                numbers[i] = value
        texts[given] = PyBytes_AS_STRING(prev)
        lengths[given] = PyBytes_GET_SIZE(prev)
        numbers[given] = 0
        texts[given + 1] = texts[given + 2] = NULL
        numbers[given + 1] = seq
        numbers[given + 2] = time
        size += lengths[given]
        made = PyBytes_FromStringAndSize(NULL, size)
        begin = out = PyBytes_AS_STRING(made)
        for i in range(self._count + 1):
            part = <bytes>self._parts[i]
            length = PyBytes_GET_SIZE(part)
            memcpy(out, PyBytes_AS_STRING(part), length)
            out += length
            if i < self._count:
                place = self._places[i]
                if texts[place] == NULL:
                    out = _number(out, numbers[place])
                elif numbers[place]:
                    out = _text(out, texts[place], lengths[place])
                else:
                    out = _bytes(out, texts[place], lengths[place])
        return PyBytes_FromStringAndSize(begin, out - begin)


def framed(bytes record, int64_t time):
    cdef Py_ssize_t size = PyBytes_GET_SIZE(record)
    cdef bytes payload = PyBytes_FromStringAndSize(NULL, PREFIX + size), made
    cdef char *out = PyBytes_AS_STRING(payload)
    cdef uint32_t checksum
    out[0] = <char>0x92
    out[1] = <char>0xD7
    out[2] = 0
    out = _big(out + 3, <uint32_t>(time // _second), 4)
    out = _big(out, time % _second, 4)
    memcpy(out, PyBytes_AS_STRING(record), size)
    checksum = crc32(payload)
    made = PyBytes_FromStringAndSize(NULL, FRAME + PREFIX + size)
    out = _big(PyBytes_AS_STRING(made), PREFIX + size, 4)
    out = _big(out, checksum, 4)
    memcpy(out, PyBytes_AS_STRING(payload), PREFIX + size)
    return made
