"""Refusals in PostgreSQL's own words. Codes: PostgreSQL documentation, appendix "PostgreSQL Error Codes"."""

from __future__ import annotations

from lockgate.wire.gate import Refusal
from lockgate.wire.postgresql.frames import frame, parse_error

INSUFFICIENT_PRIVILEGE = "42501"
QUERY_CANCELED = "57014"
ADMIN_SHUTDOWN = "57P01"
CANNOT_CONNECT = "08001"
PROTOCOL_VIOLATION = "08P01"
FEATURE_NOT_SUPPORTED = "0A000"
SYNTAX_ERROR = "42601"
NO_SUCH_STATEMENT = "26000"
NO_SUCH_PORTAL = "34000"
CHARACTER_NOT_IN_REPERTOIRE = "22021"
PROGRAM_LIMIT_EXCEEDED = "54000"
IO_ERROR = "58030"
INTERNAL_ERROR = "XX000"
TOO_MANY_CONNECTIONS = "53300"

VALUELESS_CLASSES = frozenset(("00", "01", "02", "08", "0A", "25", "26", "34", "40", "42", "53", "54", "57", "58"))
"""SQLSTATE classes whose message names objects and states, never values of rows."""

WITHHELD = "the statement failed; its message is withheld because it may quote masked columns"


def error_response(refusal: Refusal, severity: str = "ERROR") -> bytes:
    """An ErrorResponse."""
    return frame(b"E", _fields(severity, refusal.code, refusal.message, refusal.detail, refusal.hint))


def fatal(code: str, message: str) -> bytes:
    """An ErrorResponse after which the connection is closed."""
    return frame(b"E", _fields("FATAL", code, message, None, None))


def notice_response(message: str, hint: str | None = None) -> bytes:
    """A NoticeResponse: may stand between any two messages."""
    return frame(b"N", _fields("NOTICE", "00000", message, None, hint))


def without_values(kind: bytes, payload: bytes) -> bytes:
    """An ErrorResponse or NoticeResponse rewritten so that no value of a row can be in it.

    DETAIL, CONTEXT and the internal query always go; the message stays only in classes that never quote values.
    """
    fields = parse_error(payload)
    code = fields.get("C", "XX000")
    message = fields.get("M", "") if code[:2] in VALUELESS_CLASSES and kind == b"E" else WITHHELD
    return frame(kind, _fields(fields.get("V") or fields.get("S") or "ERROR", code, message, None, None))


def _fields(severity: str, code: str, message: str, detail: str | None, hint: str | None) -> bytes:
    parts = [("S", severity), ("V", severity), ("C", code), ("M", message), ("D", detail), ("H", hint)]
    clean = ((name, text.replace("\0", " ")) for name, text in parts if text is not None)
    return b"".join(name.encode() + text.encode("utf-8", "replace") + b"\0" for name, text in clean) + b"\0"
