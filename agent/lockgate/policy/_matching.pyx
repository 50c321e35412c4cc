# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Which of many patterns match a key, compiled. `globs.py` says what it does: tests hold it to that.

A key is compared with what the patterns begin with whose first byte is its own, and with those that begin with no byte
in particular: no memory of keys is needed, and one that is new costs what any does.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp

from lockgate.policy.globs import beginning
from lockgate.values.glob import compile_glob

cdef enum:
    ANY = 256  # the group of patterns that begin with no byte in particular
    KEPT = 4096  # sets of patterns of which the tuple is kept


cdef class Matching:
    cdef tuple _names, _alone
    cdef list _begins, _further
    cdef dict _several
    cdef int _starts[ANY + 2]
    cdef int *_order
    cdef int *_found

    def __cinit__(self):
        self._order = self._found = NULL

    def __init__(self, patterns):
        cdef list given = list(patterns), groups = [[] for _ in range(ANY + 1)]
        cdef int group, count = 0
        self._names = tuple([name for name, _ in given])
        self._alone = tuple([(name,) for name in self._names])
        self._begins, self._further, self._several = [], [], {}
        for place, (_, pattern) in enumerate(given):
            begin, rest = beginning(pattern)
            glob = compile_glob(pattern)
            self._begins.append(begin)
            # None: a key that begins so is matched; a pattern without a star is its own length
            self._further.append(None if rest and not rest.strip(b"*") else glob.fullmatch)
            groups[(<bytes>begin)[0] if begin else ANY].append(place)
        free(self._order)
        free(self._found)
        self._order = <int *>malloc((len(given) + 1) * sizeof(int))
        self._found = <int *>malloc((len(given) + 1) * sizeof(int))
        if self._order == NULL or self._found == NULL:
            raise MemoryError
        for group in range(ANY + 1):
            self._starts[group] = count
            for place in groups[group]:
                self._order[count] = place
                count += 1
        self._starts[ANY + 1] = count

    def __dealloc__(self):
        free(self._order)
        free(self._found)

    def match(self, bytes key):
        cdef const char *at = PyBytes_AS_STRING(key)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(key)
        cdef int count = 0
        if size:
            count = self._group(<unsigned char>at[0], key, at, size, count)
        count = self._group(ANY, key, at, size, count)
        if count == 0:
            return ()
        if count == 1:
            return self._alone[self._found[0]]
        return self._together(count)

    cdef int _group(self, int group, bytes key, const char *at, Py_ssize_t size, int count) except -1:
        cdef int place, i
        cdef bytes begin
        cdef Py_ssize_t length
        for i in range(self._starts[group], self._starts[group + 1]):
            place = self._order[i]
            begin = <bytes>self._begins[place]
            length = PyBytes_GET_SIZE(begin)
            if length > size or memcmp(PyBytes_AS_STRING(begin), at, length) != 0:
                continue
            further = self._further[place]
            if further is None or further(key) is not None:
                self._found[count] = place
                count += 1
        return count

    cdef tuple _together(self, int count):
        cdef list places = sorted([self._found[i] for i in range(count)])
        cdef tuple key = tuple(places)
        names = self._several.get(key)
        if names is None:
            if len(self._several) >= KEPT:
                self._several.clear()
            names = self._several[key] = tuple([self._names[place] for place in places])
        return names
