# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The compiled reader of commands and scanner of replies. `requests.py` and `replies.py` say what they do: tests hold
these to them."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t
from libc.string cimport memchr, memcmp, memcpy

from lockgate.wire.redis._framing cimport header
from lockgate.wire.redis.frames import ARGUMENTS, INLINE_BYTES, QUEUED, split_inline, unexpected
from lockgate.wire.redis.replies import COMMON

cdef enum:
    DIGITS = 18  # the most that a length may have: string2ll takes one more, and no server or client has use for it
    LINE = 24  # and the line it stands in
    DEPTH = 128
    ROOM = 40

# What became of a number that ends with CR LF.
cdef enum:
    DONE = 0
    MORE = 1
    BAD = 2
    LONG = 3

cdef Py_ssize_t _arguments = ARGUMENTS
cdef Py_ssize_t _inline_bytes = INLINE_BYTES


cdef int _digits(const unsigned char *at, Py_ssize_t size, int64_t *value) noexcept:
    """Redis's string2ll: no sign but a minus, no zero in front."""
    cdef Py_ssize_t i = 0
    cdef int64_t found = 0
    cdef bint negative = False
    if size and at[0] == c"-":
        negative = True
        i = 1
    if size - i < 1 or size - i > DIGITS:
        return BAD
    if at[i] == c"0" and (size - i > 1 or negative):
        return BAD
    while i < size:
        if not c"0" <= at[i] <= c"9":
            return BAD
        found = found * 10 + (at[i] - c"0")
        i += 1
    value[0] = -found if negative else found
    return DONE


cdef int _number(const unsigned char *at, Py_ssize_t size, int64_t *value, Py_ssize_t *length) noexcept:
    """The number that stands at `at`, and how long it is with its CR LF."""
    cdef Py_ssize_t i = 0
    while i < size and i < LINE and at[i] != c"\r":
        i += 1
    if i == LINE:
        return LONG
    if i + 1 >= size:
        return MORE
    if at[i + 1] != c"\n":
        return BAD
    length[0] = i + 2
    return _digits(at, i, value)


cdef class CommandReader:
    cdef readonly object error
    cdef Py_ssize_t _message_bytes
    cdef bytearray _rest
    cdef list _args
    cdef Py_ssize_t _count, _wanted, _bulk, _used

    def __init__(self, message_bytes):
        self.error = None
        self._message_bytes = message_bytes
        self._rest = bytearray()
        self._args = []
        self._count = 0
        self._wanted = 0
        self._bulk = -1
        self._used = 0

    @property
    def held(self):
        cdef Py_ssize_t taken = 0
        if self._wanted:
            taken = self._used - (self._bulk + 2 if self._bulk >= 0 else 0)
        return PyByteArray_GET_SIZE(self._rest) + taken

    def feed(self, data):
        cdef Py_buffer view
        cdef list commands = []
        cdef Py_ssize_t reached
        if self.error is not None:
            return commands
        if PyByteArray_GET_SIZE(self._rest):
            self._rest += data
            if self._bulk >= 0 and PyByteArray_GET_SIZE(self._rest) < self._bulk + 2:
                return commands
            reached = self._read(<const unsigned char *>PyByteArray_AS_STRING(self._rest),
                                 PyByteArray_GET_SIZE(self._rest), commands)
            del self._rest[:reached]
            return commands
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            reached = self._read(<const unsigned char *>view.buf, view.len, commands)
            if reached < view.len:
                self._rest += (<const char *>view.buf)[reached : view.len]
        finally:
            PyBuffer_Release(&view)
        return commands

    cdef Py_ssize_t _read(self, const unsigned char *buf, Py_ssize_t size, list commands) except -1:
        cdef Py_ssize_t pos = 0, length = 0, end
        cdef const unsigned char *newline
        cdef int64_t value = 0
        cdef int how
        while pos < size:
            if self._wanted == 0:
                if buf[pos] != c"*":
                    newline = <const unsigned char *>memchr(buf + pos, c"\n", size - pos)
                    end = size if newline == NULL else newline - buf
                    if memchr(buf + pos, 0, min(end - pos, _inline_bytes)) != NULL:
                        return self._refuse("NUL in an inline request", pos)
                    if end - pos > _inline_bytes:
                        return self._refuse("too big inline request", pos)
                    if newline == NULL:
                        break
                    args = split_inline((<const char *>buf)[pos : end - (end > pos and buf[end - 1] == c"\r")])
                    if args is None:
                        return self._refuse("unbalanced quotes in request", pos)
                    pos = end + 1
                    if args:
                        commands.append(tuple(args))
                    continue
                how = _number(buf + pos + 1, size - pos - 1, &value, &length)
                if how == MORE:
                    break
                if how == LONG:
                    return self._refuse("too big mbulk count string", pos)
                if how == BAD or value > 0x7FFFFFFF:
                    return self._refuse("invalid multibulk length", pos)
                pos += length + 1
                if value <= 0:
                    continue
                if value > _arguments:
                    return self._refuse(f"more than {ARGUMENTS} arguments", pos)
                self._count = self._wanted = value
                self._used = length + 1
                self._args = []
                continue
            if self._bulk < 0:
                if buf[pos] != c"$":
                    return self._refuse(unexpected(buf[pos]), pos)
                how = _number(buf + pos + 1, size - pos - 1, &value, &length)
                if how == MORE:
                    break
                if how == LONG:
                    return self._refuse("too big bulk count string", pos)
                if how == BAD or value < 0:
                    return self._refuse("invalid bulk length", pos)
                self._used += length + 1 + value + 2
                if self._used > self._message_bytes:
                    return self._refuse(f"a command of more than {self._message_bytes} bytes", pos)
                pos += length + 1
                self._bulk = value
            if size - pos < self._bulk + 2:
                break
            end = pos + self._bulk
            if buf[end] != c"\r" or buf[end + 1] != c"\n":
                return self._refuse("a bulk is longer than it says", pos)
            self._args.append(PyBytes_FromStringAndSize(<const char *>buf + pos, self._bulk))
            pos = end + 2
            self._bulk = -1
            self._wanted -= 1
            if self._wanted == 0:
                commands.append(tuple(self._args))
        return pos

    cdef Py_ssize_t _refuse(self, str why, Py_ssize_t pos) except -1:
        self.error = why
        return pos

    def take(self):
        cdef bytes taken = b""
        if self._wanted:
            taken = b"*%d\r\n" % self._count + b"".join([b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in self._args])
            if self._bulk >= 0:
                taken += b"$%d\r\n" % self._bulk
        taken += bytes(self._rest)
        self._rest.clear()
        self._args = []
        self._wanted = 0
        self._bulk = -1
        return taken


def encode_command(tuple args):
    """One command as an array of bulks: what a server is sent."""
    cdef Py_ssize_t size = ROOM
    cdef bytes arg, made
    cdef char *out
    cdef char *begin
    for arg in args:
        size += PyBytes_GET_SIZE(arg) + ROOM
    made = PyBytes_FromStringAndSize(NULL, size)
    begin = out = PyBytes_AS_STRING(made)
    out = header(out, c"*", len(args))
    for arg in args:
        size = PyBytes_GET_SIZE(arg)
        out = header(out, c"$", size)
        memcpy(out, PyBytes_AS_STRING(arg), size)
        out += size
        out[0] = c"\r"
        out[1] = c"\n"
        out += 2
    return PyBytes_FromStringAndSize(begin, out - begin)


cdef unsigned char _common[256]
for _byte in range(256):
    _common[_byte] = _byte in COMMON
cdef bytes _queued = QUEUED


def ordinary(bytes data, Py_ssize_t at, list stops, Py_ssize_t index, Py_ssize_t most):
    cdef const char *begin = PyBytes_AS_STRING(data)
    cdef const char *queued = PyBytes_AS_STRING(_queued)
    cdef Py_ssize_t length = PyBytes_GET_SIZE(_queued)
    cdef Py_ssize_t count = 0, code, stop, end = min(len(stops), index + most)
    while index < end:
        code = <object>stops[index]
        stop = code >> 8
        if not _common[code & 255] or (stop - at == length and memcmp(begin + at, queued, length) == 0):
            break
        at = stop
        count += 1
        index += 1
    return count, at


# Where a scanner is.
cdef enum:
    TYPE = 0
    HEADER = 1
    TEXT = 2
    TEXT_END = 3
    BULK = 4
    BULK_CR = 5
    BULK_LF = 6

# What ends an aggregate: a count, or a dot behind an even number of elements, or an odd one.
cdef enum:
    OPEN = -1
    OPEN_MAP = -2
    OPEN_MAP_ODD = -3

cdef enum:
    ATTRIBUTES = 128


cdef class ReplyScanner:
    cdef readonly int first
    cdef readonly object broken
    cdef int _state, _kind, _depth, _filled
    cdef bint _owed, _chunks, _attributed
    cdef int64_t _left
    cdef int64_t _levels[DEPTH]
    cdef bint _attributes[DEPTH]
    cdef unsigned char _line[LINE]

    def __init__(self):
        self.first = 0
        self.broken = None
        self._state = TYPE
        self._depth = self._filled = 0
        self._owed = self._chunks = self._attributed = False

    @property
    def between(self):
        return self._state == TYPE and self._depth == 0 and not self._owed and not self._chunks

    def scan(self, data, Py_ssize_t start, Py_ssize_t end):
        cdef Py_buffer view
        cdef list found = []
        cdef Py_ssize_t pos = start
        if self.broken is not None:
            return found
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            while pos < end:
                pos = self._advance(<const unsigned char *>view.buf, pos, end)
                if pos == 0:
                    break
                if self._state == TYPE and self._depth == 0 and not self._owed and not self._chunks:
                    found.append(pos << 8 | self.first | (ATTRIBUTES if self._attributed else 0))
        finally:
            PyBuffer_Release(&view)
        return found

    cdef Py_ssize_t _advance(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t end) noexcept:
        """Up to the end of a reply, or of the data; 0 when it is broken."""
        cdef unsigned char c
        cdef const unsigned char *found
        cdef Py_ssize_t step
        while pos < end:
            if self._state == TYPE:
                c = buf[pos]
                pos += 1
                if self._depth == 0 and not self._owed and not self._chunks:
                    self.first = 0
                    self._attributed = c == c"|"
                if not self._begin(c):
                    return 0
            elif self._state == HEADER:
                c = buf[pos]
                pos += 1
                if c == c"\n":
                    if self._filled == 0 or self._line[self._filled - 1] != c"\r":
                        return self._break("a length ends without CR LF")
                    self._filled -= 1
                    if not self._headed():
                        return 0
                    if self._ended():
                        return pos
                elif self._filled == LINE:
                    return self._break("a length is too long")
                else:
                    self._line[self._filled] = c
                    self._filled += 1
            elif self._state == TEXT:
                if self._kind == c"," or self._kind == c"(":
                    step = pos
                    while step < end and (c"0" <= buf[step] <= c"9" or buf[step] == c"-" or buf[step] == c"+"
                                          or (self._kind == c"," and buf[step] in b".eEinfa")):
                        step += 1
                    if step < end and buf[step] != c"\r":
                        return self._break("a number has something else in it")
                else:
                    found = <const unsigned char *>memchr(buf + pos, c"\r", end - pos)
                    step = end if found == NULL else found - buf
                    if memchr(buf + pos, c"\n", step - pos) != NULL:
                        return self._break("a line has LF in it")
                pos = step
                if step < end:
                    pos = step + 1
                    self._state = TEXT_END
            elif self._state == TEXT_END:
                if buf[pos] != c"\n":
                    return self._break("a line has CR in it")
                pos += 1
                self._complete()
                if self._ended():
                    return pos
            elif self._state == BULK:
                step = min(end - pos, self._left)
                pos += step
                self._left -= step
                if self._left == 0:
                    self._state = BULK_CR
            elif self._state == BULK_CR:
                if buf[pos] != c"\r":
                    return self._break("a bulk is longer than it says")
                pos += 1
                self._state = BULK_LF
            else:
                if buf[pos] != c"\n":
                    return self._break("a bulk is longer than it says")
                pos += 1
                if self._chunks:
                    self._state = TYPE
                else:
                    self._complete()
                    if self._ended():
                        return pos
        return pos

    cdef inline bint _ended(self) noexcept:
        return self._state == TYPE and self._depth == 0 and not self._owed and not self._chunks

    cdef bint _begin(self, unsigned char c) noexcept:
        """A value begins with `c`. False when it can't."""
        self._kind = c
        self._filled = 0
        if self._chunks:
            if c != c";":
                self._break("a streamed string goes on with something else")
                return False
            self._state = HEADER
            return True
        if c == c".":
            if self._depth == 0 or self._levels[self._depth - 1] >= 0 or self._owed:
                self._break("an end of what is not open")
                return False
            self._state = HEADER
            return True
        if c == c">" and self._depth:
            self._break("a push inside something else")
            return False
        if c == c"+" or c == c"-" or c == c"," or c == c"(":
            self._state = TEXT
        elif c in b":$=!*~%>|#_":
            self._state = HEADER
        else:
            self._break("an unknown type")
            return False
        if c != c"|":
            self._owed = False
            if self._depth == 0:
                self.first = c
        return True

    cdef bint _headed(self) noexcept:
        """The line of a header is there. False when it makes no sense."""
        cdef int64_t number = 0
        cdef int kind = self._kind, how
        if kind == c":":
            if self._filled > 1 and (self._line[0] == c"-" or self._line[0] == c"+"):
                how = 1
            else:
                how = 0
            if self._filled == how:
                return self._break("an integer is none")
            while how < self._filled:
                if not c"0" <= self._line[how] <= c"9":
                    return self._break("an integer is none")
                how += 1
            self._complete()
            return True
        if kind == c"#":
            if self._filled != 1 or (self._line[0] != c"t" and self._line[0] != c"f"):
                return self._break("a boolean is none")
            self._complete()
            return True
        if kind == c"_" or kind == c".":
            if self._filled:
                return self._break("a null or an end has something in it")
            if kind == c".":
                if self._levels[self._depth - 1] == OPEN_MAP_ODD:
                    return self._break("a map ends behind a key")
                self._depth -= 1
            self._complete()
            return True
        if self._filled == 1 and self._line[0] == c"?":
            return self._open(kind)
        if _digits(self._line, self._filled, &number) != DONE:
            return self._break("a length is none")
        if number < 0 and (number != -1 or (kind != c"$" and kind != c"*")):
            return self._break("a length is negative")
        if kind == c"$" or kind == c"=" or kind == c"!" or kind == c";":
            if kind == c"=" and number < 4:
                return self._break("a verbatim string has no format")
            if number < 0:
                self._complete()
            elif kind == c";" and number == 0:
                self._chunks = False
                self._complete()
            else:
                self._left = number
                self._state = BULK if number else BULK_CR
            return True
        if number <= 0:
            if kind == c"|":
                self._owed = True
                self._state = TYPE
            else:
                self._complete()
            return True
        return self._nest(number * 2 if kind == c"%" or kind == c"|" else number, kind == c"|")

    cdef bint _open(self, int kind) noexcept:
        if kind == c"$":
            self._chunks = True
            self._state = TYPE
            return True
        if kind == c"*" or kind == c"~" or kind == c">":
            return self._nest(OPEN, False)
        if kind == c"%":
            return self._nest(OPEN_MAP, False)
        return self._break("a length is none")

    cdef bint _nest(self, int64_t level, bint attribute) noexcept:
        if self._depth == DEPTH:
            return self._break("a reply is nested too deep")
        self._levels[self._depth] = level
        self._attributes[self._depth] = attribute
        self._depth += 1
        self._state = TYPE
        return True

    cdef void _complete(self) noexcept:
        """A value is whole, and with it what it is the last of."""
        cdef int64_t level
        self._state = TYPE
        while self._depth:
            level = self._levels[self._depth - 1]
            if level < 0:
                if level == OPEN_MAP:
                    self._levels[self._depth - 1] = OPEN_MAP_ODD
                elif level == OPEN_MAP_ODD:
                    self._levels[self._depth - 1] = OPEN_MAP
                return
            self._levels[self._depth - 1] = level - 1
            if level > 1:
                return
            self._depth -= 1
            if self._attributes[self._depth]:
                self._owed = True
                return

    cdef int _break(self, str why) noexcept:
        self.broken = why
        return 0
