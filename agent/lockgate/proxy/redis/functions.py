"""Which code the functions of a server have: FCALL names a function, and what that is FUNCTION LOAD may change."""

from __future__ import annotations

import hashlib
from typing import Final

LIST: Final = (b"FUNCTION", b"LIST", b"WITHCODE")

RUNNING: Final = frozenset(("FCALL", "FCALL_RO"))


def digests(answer: list[object]) -> dict[str, str]:
    """What a server answers to LIST, in RESP2: function, in lower case as it is found in any, -> the SHA-256 of its
    library's code. Raises ValueError for what isn't that."""
    found: dict[str, str] = {}
    for library in answer:
        fields = _fields(library)
        code, functions = fields.get(b"library_code"), fields.get(b"functions")
        if not isinstance(code, bytes) or not isinstance(functions, list):
            raise ValueError("a library without code or functions")
        digest = hashlib.sha256(code).hexdigest()
        for function in functions:
            name = _fields(function).get(b"name")
            if not isinstance(name, bytes):
                raise ValueError("a function without a name")
            found[name.decode("latin-1").lower()] = digest
    return found


def _fields(listed: object) -> dict[object, object]:
    if not isinstance(listed, list) or len(listed) % 2 or not all(isinstance(name, bytes) for name in listed[::2]):
        raise ValueError("not a list of fields")
    return dict(zip(listed[::2], listed[1::2], strict=True))
