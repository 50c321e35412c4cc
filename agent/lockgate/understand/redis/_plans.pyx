# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Requests of planned calls, compiled. `plans.py` says what it does: tests hold it to that.

The values are made without running their `__init__`, which costs a frozen dataclass ten times what it sets.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject, PyObject_GenericSetAttr
from cpython.unicode cimport PyUnicode_DecodeASCII

from lockgate.understand.redis.plans import LANGUAGE, recordable
from lockgate.understand.redis.rendering import HIDDEN, MAX_BYTES, PLAIN, PLAIN_FIRST, spelt
from lockgate.values.command import Call, ChannelUse, KeyUse
from lockgate.values.statement import Request

cdef extern from "Python.h":
    object PyType_GenericNew(type, object, PyObject *)

cdef type _call = Call, _channel = ChannelUse, _key = KeyUse, _request = Request
cdef Py_ssize_t _longest = MAX_BYTES
cdef unsigned char _plain[256]
cdef unsigned char _plain_first[256]
for _byte in range(256):
    _plain[_byte] = _byte in PLAIN
    _plain_first[_byte] = _byte in PLAIN_FIRST


cdef inline object _new(type kind):
    return PyType_GenericNew(kind, (), NULL)


cdef bint is_plain(bytes argument) noexcept:
    """Whether it is spelt as it is."""
    cdef const unsigned char *at = <const unsigned char *>PyBytes_AS_STRING(argument)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(argument)
    cdef Py_ssize_t place
    if size == 0 or size > _longest or not _plain_first[at[0]]:
        return False
    for place in range(1, size):
        if not _plain[at[place]]:
            return False
    return True


cdef str _spelt(bytes argument):
    if is_plain(argument):
        return PyUnicode_DecodeASCII(PyBytes_AS_STRING(argument), PyBytes_GET_SIZE(argument), NULL)
    return spelt(argument)


cdef object _key_use(tuple told, tuple args):
    use = _new(_key)
    PyObject_GenericSetAttr(use, "key", args[<Py_ssize_t>told[0]])
    PyObject_GenericSetAttr(use, "place", told[0])
    PyObject_GenericSetAttr(use, "effects", told[1])
    PyObject_GenericSetAttr(use, "shows", told[2])
    return use


cdef object _channel_use(tuple told, tuple args):
    use = _new(_channel)
    PyObject_GenericSetAttr(use, "name", args[<Py_ssize_t>told[0]])
    PyObject_GenericSetAttr(use, "place", told[0])
    PyObject_GenericSetAttr(use, "effects", told[1])
    PyObject_GenericSetAttr(use, "pattern", told[2])
    return use


def made(plan, tuple args):
    cdef tuple keys = plan.keys, channels = plan.channels
    cdef list parts
    call = _new(_call)
    PyObject_GenericSetAttr(call, "name", plan.name)
    PyObject_GenericSetAttr(call, "args", args)
    PyObject_GenericSetAttr(call, "keys", tuple([_key_use(told, args) for told in keys]) if keys else ())
    PyObject_GenericSetAttr(call, "anywhere", plan.anywhere)
    PyObject_GenericSetAttr(
        call, "channels", tuple([_channel_use(told, args) for told in channels]) if channels else ()
    )
    PyObject_GenericSetAttr(call, "script", None)
    PyObject_GenericSetAttr(call, "secrets", ())
    PyObject_GenericSetAttr(call, "values", plan.values)
    cdef object places = plan.written
    if places is None:
        written = recordable(call)
    else:
        parts = [plan.name]
        for place in <tuple>places:
            parts.append(_spelt(args[<Py_ssize_t>place]) if place else HIDDEN)
        written = " ".join(parts)
    request = _new(_request)
    PyObject_GenericSetAttr(request, "language", LANGUAGE)
    PyObject_GenericSetAttr(request, "text", written)
    PyObject_GenericSetAttr(request, "shape", plan.shape)
    PyObject_GenericSetAttr(request, "statements", plan.statements)
    PyObject_GenericSetAttr(request, "detail", call)
    return request
