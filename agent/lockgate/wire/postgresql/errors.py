"""Refusals in PostgreSQL's own words. Codes: PostgreSQL documentation, appendix "PostgreSQL Error Codes"."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from lockgate.wire.gate import Refusal, Why
from lockgate.wire.postgresql.frames import frame, parse_error

INVALID_AUTHORIZATION = "28000"
INSUFFICIENT_PRIVILEGE = "42501"
QUERY_CANCELED = "57014"
ADMIN_SHUTDOWN = "57P01"
CANNOT_CONNECT = "08001"
PROTOCOL_VIOLATION = "08P01"
FEATURE_NOT_SUPPORTED = "0A000"
NO_SUCH_STATEMENT = "26000"
NO_SUCH_PORTAL = "34000"
CHARACTER_NOT_IN_REPERTOIRE = "22021"
PROGRAM_LIMIT_EXCEEDED = "54000"
IO_ERROR = "58030"
INTERNAL_ERROR = "XX000"
TOO_MANY_CONNECTIONS = "53300"
IN_FAILED_TRANSACTION = "25P02"

_CODES: Final[Mapping[str, str]] = {
    Why.DENIED: INSUFFICIENT_PRIVILEGE,
    Why.NO_ROLE: INVALID_AUTHORIZATION,
    Why.UNREACHABLE: CANNOT_CONNECT,
    Why.TOO_MANY: TOO_MANY_CONNECTIONS,
    Why.TOO_LARGE: PROGRAM_LIMIT_EXCEEDED,
    Why.UNRECORDED: IO_ERROR,
    Why.CANCELLED: QUERY_CANCELED,
    Why.STOPPING: ADMIN_SHUTDOWN,
    Why.FAILED: INTERNAL_ERROR,
}

_VALUELESS_CLASSES: Final = frozenset(("23", "25", "26", "40"))
"""SQLSTATE classes whose messages name constraints and states, never values: those are in DETAIL."""

_VALUELESS_CODES: Final = frozenset((INSUFFICIENT_PRIVILEGE, QUERY_CANCELED, ADMIN_SHUTDOWN, "53200", "53300", "55P03",
                                     "57P02", "57P03", "57P05"))  # fmt: skip
"""Single conditions of that kind. Not class 42: `ssn::regclass` says 'relation "123-45-6789" does not exist'."""

_PLACES: Final = "PFLR"
"""The position in the client's text, and the place in PostgreSQL's source."""
_NAMES: Final = _PLACES + "stcdn"
"""Fields that quote nothing: these, and names of schema objects."""

_TEXTS: Final = frozenset("MDHWq")
"""Message, detail, hint, context and the internal query: where values may stand."""

WITHHELD = "the message is withheld because it may quote masked columns"


def native(code: str) -> str:
    """The SQLSTATE of a refusal's `code`."""
    return _CODES.get(code, code)


def error_response(refusal: Refusal, severity: str = "ERROR") -> bytes:
    """An ErrorResponse; after one of severity FATAL the connection is closed."""
    return frame(b"E", _fields(severity, native(refusal.code), refusal.message, refusal.detail, refusal.hint))


def notice_response(message: str, hint: str | None = None) -> bytes:
    """A NoticeResponse: may stand between any two messages."""
    return frame(b"N", _fields("NOTICE", "00000", message, None, hint))


def without_values(kind: bytes, payload: bytes) -> bytes:
    """An ErrorResponse or NoticeResponse rewritten so that no value of a row can be in it.

    DETAIL, HINT, CONTEXT and the internal query always go. The message stays where it is about the client's own text
    (it has a position in it, which errors met while running never do) or of a kind that quotes no values. Neither it
    nor names of objects stay where it comes out of a function: RAISE puts what it likes into any of them.
    """
    fields = parse_error(payload)
    code = fields.get("C", INTERNAL_ERROR)
    severity = fields.get("V") or fields.get("S") or "ERROR"
    inside = "W" in fields
    telling = not inside and ("P" in fields or code[:2] in _VALUELESS_CLASSES or code in _VALUELESS_CODES)
    message = fields.get("M", "") if telling and kind == b"E" else WITHHELD
    kept = b"".join(f"{name}{fields[name]}\0".encode() for name in (_PLACES if inside else _NAMES) if name in fields)
    return frame(kind, _fields(severity, code, message, None, None)[:-1] + kept + b"\0")


def with_texts(kind: bytes, payload: bytes, said: Callable[[str], str | None]) -> bytes | None:
    """An ErrorResponse or NoticeResponse whose texts `said` has gone over; None when it changed nothing."""
    fields = parse_error(payload)
    shown = {name: said(text) if name in _TEXTS else text for name, text in fields.items()}
    if shown == fields:
        return None
    return frame(kind, b"".join(f"{name}{text or WITHHELD}\0".encode() for name, text in shown.items()) + b"\0")


def _fields(severity: str, code: str, message: str, detail: str | None, hint: str | None) -> bytes:
    parts = [("S", severity), ("V", severity), ("C", code), ("M", message), ("D", detail), ("H", hint)]
    clean = ((name, text.replace("\0", " ")) for name, text in parts if text is not None)
    return b"".join(name.encode() + text.encode("utf-8", "replace") + b"\0" for name, text in clean) + b"\0"
