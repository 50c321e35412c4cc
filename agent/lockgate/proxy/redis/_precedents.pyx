# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Commands like others that were let pass before, compiled. `precedents.py` says what it does: tests hold it to that."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.string cimport memcpy

from lockgate.proxy.redis.precedents import BYTES, KINDS, WAYS
from lockgate.understand.redis._plans cimport is_plain
from lockgate.understand.redis.rendering import MAX_ARGUMENTS, MAX_CHARACTERS, spelt
from lockgate.wire.redis._framing cimport HEADER, header

cdef enum:
    KEEP = 1 << 20  # of a buffer that was needed once, as much is kept

cdef Py_ssize_t _most_arguments = MAX_ARGUMENTS, _most_characters = MAX_CHARACTERS
cdef Py_ssize_t _bytes = BYTES, _kinds = KINDS, _ways = WAYS


cdef class _Buffer:
    cdef char *at
    cdef Py_ssize_t size, room

    def __cinit__(self):
        self.at = NULL
        self.size = self.room = 0

    def __dealloc__(self):
        PyMem_Free(self.at)

    cdef int begin(self) except -1:
        self.size = 0
        if self.room > KEEP:
            PyMem_Free(self.at)
            self.at = NULL
            self.room = 0
        return 0

    cdef int need(self, Py_ssize_t more) except -1:
        cdef Py_ssize_t room
        cdef char *at
        if self.size + more > self.room:
            room = 2 * (self.size + more) + 256
            at = <char *>PyMem_Realloc(self.at, room)
            if at == NULL:
                raise MemoryError
            self.at = at
            self.room = room
        return 0

    cdef int put(self, const char *data, Py_ssize_t size) except -1:
        self.need(size)
        memcpy(self.at + self.size, data, size)
        self.size += size
        return 0

    cdef int header(self, char kind, Py_ssize_t number) except -1:
        self.need(HEADER)
        self.size = header(self.at + self.size, kind, number) - self.at
        return 0


# of all connections: what is in them is taken before anything else can follow
cdef _Buffer _text = _Buffer(), _sent = _Buffer()


cdef class _Kind:
    cdef bytes name
    cdef tuple places, same
    cdef dict ways

    def __init__(self, name, places, same):
        self.same = same
        self.name = name.encode("ascii")
        self.places = places
        self.ways = {}


cdef class Precedents:
    cdef object _key, _tried, _classified
    cdef dict _kinds
    cdef Py_ssize_t _count

    def __init__(self, key, tried, classified):
        self._key = key
        self._tried = tried
        self._classified = classified
        self._kinds = {}
        self._count = 0

    def learn(self, tuple args, str name, tuple places, tuple same, facts):
        cdef _Kind kind
        way = self._way(args, places)
        if way is None or len(args) > _most_arguments:
            return
        kind = self._kind(args)
        if kind is None:
            if self._count >= _kinds:
                self._kinds.clear()
                self._count = 0
            kind = _Kind(name, places, tuple([(place, args[place]) for place in same]))
            self._kinds.setdefault(args[0], {}).setdefault(len(args), []).append(kind)
            self._count += 1
        if len(kind.ways) >= _ways:
            kind.ways.clear()
        kind.ways[way] = facts

    def follow(self, list commands, Py_ssize_t at, Py_ssize_t room, Py_ssize_t characters):
        cdef Py_ssize_t count = len(commands), taken = 0, text, sent
        cdef tuple args
        cdef _Kind kind
        cdef object facts = None, told, way
        _text.begin()
        _sent.begin()
        # of the text all but the ends of lines
        while at < count and taken < room and _text.size - taken < characters:
            args = <tuple>commands[at]
            kind = self._kind(args)
            if kind is None:
                break
            way = self._way(args, kind.places)
            if way is None:
                break
            told = kind.ways.get(way)
            if told is None or (taken and told is not facts):
                break
            text, sent = _text.size, _sent.size
            if not self._write(kind, args):
                _text.size, _sent.size = text, sent
                break
            _text.put(b"\n", 1)
            facts = told
            taken += 1
            at += 1
        if taken == 0:
            return None
        return (
            taken,
            facts,
            PyUnicode_DecodeASCII(_text.at, _text.size - 1, NULL),
            PyBytes_FromStringAndSize(_sent.at, _sent.size),
        )

    cdef bint _write(self, _Kind kind, tuple args) except -1:
        """The command, and its line. False where either gets too long."""
        cdef Py_ssize_t begun = _text.size, size, i, count = len(args)
        cdef bytes arg
        cdef const char *at
        _text.put(PyBytes_AS_STRING(kind.name), PyBytes_GET_SIZE(kind.name))
        _sent.header(c"*", count)
        for i in range(count):
            arg = <bytes>args[i]
            at = PyBytes_AS_STRING(arg)
            size = PyBytes_GET_SIZE(arg)
            _sent.header(c"$", size)
            if _sent.size + size + 2 > _bytes:
                return False
            _sent.put(at, size)
            _sent.put(b"\r\n", 2)
            if i:
                _text.put(b" ", 1)
                if not is_plain(arg):
                    arg = (<str>spelt(arg)).encode("ascii")
                _text.put(PyBytes_AS_STRING(arg), PyBytes_GET_SIZE(arg))
                if _text.size - begun > _most_characters:
                    return False
        return True

    cdef _Kind _kind(self, tuple args):
        cdef object counts = self._kinds.get(args[0]), kinds
        cdef _Kind kind
        cdef bint like
        if counts is None:
            return None
        kinds = (<dict>counts).get(len(args))
        if kinds is None:
            return None
        for one in <list>kinds:
            kind = <_Kind>one
            like = True
            for place, said in kind.same:
                if args[<Py_ssize_t>place] != said:
                    like = False
                    break
            if like:
                return kind
        return None

    cdef object _way(self, tuple args, tuple places):
        """What the keys match, None where they differ in that, or any is classified."""
        cdef object found = (), tried = (), one, other, key
        cdef Py_ssize_t i
        for i in range(len(places)):
            key = args[<Py_ssize_t>places[i]]
            if self._classified(key):
                return None
            one = self._key(key)
            other = self._tried(key)
            if i == 0:
                found, tried = one, other
            elif (found is not one and found != one) or (tried is not other and tried != other):
                return None
        return found, tried
