"""The PostgreSQL frontend/backend protocol 3, as bytes.

Source: PostgreSQL documentation, chapters "Message Formats" and "Message Flow".
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from lockgate.wire.gate import ProtocolError

PROTOCOL_3 = 3 << 16
SSL_REQUEST = 80877103
GSSENC_REQUEST = 80877104
CANCEL_REQUEST = 80877102

REQUEST_BYTES = 8
"""A request for encryption: a length and a code."""

STARTUP_BYTES = 10_000
"""The largest start-up packet: PostgreSQL's own bound, MAX_STARTUP_PACKET_LENGTH."""

NAME_BYTES = 63
"""The longest name of a role or a database: NAMEDATALEN - 1."""

KNOWN_FIELDS = 128
"""Results whose columns are remembered, of all connections: the same come again and again."""
KNOWN_BYTES = 4096
"""The longest description that is: 128 of them, parsed, take some 4 MB."""

_INT32 = struct.Struct("!i")
_UINT16 = struct.Struct("!H")
_COLUMN = struct.Struct("!IhIhih")
_HEAD = struct.Struct("!ci")


@dataclass(frozen=True, slots=True)
class Field:
    """One column of a RowDescription. `format` is 0 for text and 1 for binary."""

    name: str
    table_oid: int
    column_number: int
    type_oid: int
    format: int
    type_modifier: int = -1


def frame(kind: bytes, payload: bytes = b"") -> bytes:
    """A message with its type byte and its length, which counts itself but not the type."""
    return _HEAD.pack(kind, len(payload) + 4) + payload


def startup(parameters: Mapping[str, str], minor: int = 0) -> bytes:
    """A StartupMessage."""
    body = b"".join(k.encode() + b"\0" + v.encode() + b"\0" for k, v in parameters.items()) + b"\0"
    return _INT32.pack(len(body) + 8) + _INT32.pack(PROTOCOL_3 | minor) + body


def parse_startup(body: bytes) -> dict[str, str]:
    """The parameters of a StartupMessage after the version. Raises ProtocolError."""
    if not body.endswith(b"\0"):
        raise ProtocolError("start-up packet is not terminated")
    parts = body[:-1].split(b"\0")
    if parts[-1] != b"" or len(parts) % 2 == 0:
        raise ProtocolError("start-up packet does not hold pairs of names and values")
    parameters: dict[str, str] = {}
    try:
        for name, value in zip(parts[:-1:2], parts[1::2], strict=True):
            key = name.decode()
            if not key or key in parameters:
                raise ProtocolError(f"start-up parameter {key!r} is empty or given twice")
            parameters[key] = value.decode()
    except UnicodeDecodeError:
        raise ProtocolError("start-up packet is not UTF-8") from None
    return parameters


def ssl_request() -> bytes:
    return _INT32.pack(8) + _INT32.pack(SSL_REQUEST)


def cancel_request(process: int, secret: bytes) -> bytes:
    return _INT32.pack(12 + len(secret)) + _INT32.pack(CANCEL_REQUEST) + struct.pack("!I", process) + secret


def negotiate_protocol_version(unknown: Sequence[str], minor: int = 0) -> bytes:
    """ "I speak 3.`minor` and don't know these options": NegotiateProtocolVersion.

    The version is whole, as PostgreSQL sends it (`SendNegotiateProtocolVersion`): libpq 18 refuses a bare minor.
    """
    names = b"".join(name.encode() + b"\0" for name in unknown)
    return frame(b"v", _INT32.pack(PROTOCOL_3 | minor) + _INT32.pack(len(unknown)) + names)


def key_data(process: int, secret: bytes) -> bytes:
    """A BackendKeyData."""
    return frame(b"K", struct.pack("!I", process) + secret)


def password(answer: bytes) -> bytes:
    """A PasswordMessage: the password, or its md5 form. Neither holds a NUL."""
    return frame(b"p", answer + b"\0")


def sasl_initial(mechanism: str, data: bytes) -> bytes:
    """A SASLInitialResponse."""
    return frame(b"p", mechanism.encode() + b"\0" + _INT32.pack(len(data)) + data)


def sasl_response(data: bytes) -> bytes:
    """A SASLResponse."""
    return frame(b"p", data)


def query(text: str) -> bytes:
    return frame(b"Q", text.encode() + b"\0")


def parse(name: str, text: str) -> bytes:
    return frame(b"P", name.encode() + b"\0" + text.encode() + b"\0\0\0")


def describe_portal(name: bytes) -> bytes:
    return frame(b"D", b"P" + name + b"\0")


def execute(portal: str) -> bytes:
    return frame(b"E", portal.encode() + b"\0\0\0\0\0")


def copy_fail(why: str) -> bytes:
    return frame(b"f", why.encode() + b"\0")


FLUSH = frame(b"H")


def ready_for_query(status: int) -> bytes:
    """`status` is ord of I (idle), T (in a transaction) or E (in a failed one)."""
    return frame(b"Z", bytes((status,)))


def cstring(payload: bytes, start: int) -> tuple[bytes, int]:
    """The NUL-terminated string at `start` and the offset behind it. Raises ProtocolError."""
    end = payload.find(b"\0", start)
    if end < 0:
        raise ProtocolError("string in message is not terminated")
    return payload[start:end], end + 1


def parse_fields(payload: bytes) -> Sequence[Field]:
    """The columns of a RowDescription's payload. Raises ProtocolError."""
    return _known_fields(payload) if len(payload) <= KNOWN_BYTES else _parse_fields(payload)


def _parse_fields(payload: bytes) -> tuple[Field, ...]:
    fields: list[Field] = []
    try:
        (count,) = _UINT16.unpack_from(payload, 0)
        offset = 2
        for _ in range(count):
            name, offset = cstring(payload, offset)
            table, number, kind, _, modifier, fmt = _COLUMN.unpack_from(payload, offset)
            offset += 18
            fields.append(Field(name.decode("utf-8", "replace"), table, number, kind, fmt, modifier))
    except struct.error:
        raise ProtocolError("RowDescription is cut short") from None
    if offset != len(payload):
        raise ProtocolError("RowDescription has bytes left over")
    return tuple(fields)


_known_fields = lru_cache(maxsize=KNOWN_FIELDS)(_parse_fields)


def parse_parameters(payload: bytes, start: int) -> tuple[bytes, list[bytes | None]]:
    """The format codes (raw, two bytes each) and the values of a Bind, from behind its two names.

    Raises ProtocolError, also when the result formats that follow don't end where the message does.
    """
    values: list[bytes | None] = []
    try:
        (formats,) = _UINT16.unpack_from(payload, start)
        offset = start + 2 + 2 * formats
        codes = payload[start + 2 : offset]
        (count,) = _UINT16.unpack_from(payload, offset)
        offset += 2
        for _ in range(count):
            (length,) = _INT32.unpack_from(payload, offset)
            offset += 4
            if length == -1:
                values.append(None)
                continue
            if not 0 <= length <= len(payload) - offset:
                raise ProtocolError("Bind holds a value of an impossible length")
            values.append(payload[offset : offset + length])
            offset += length
        (results,) = _UINT16.unpack_from(payload, offset)
    except struct.error:
        raise ProtocolError("Bind is cut short") from None
    if offset + 2 + 2 * results != len(payload):
        raise ProtocolError("Bind has bytes left over, or too few")
    return codes, values


def parse_error(payload: bytes) -> dict[str, str]:
    """The fields of an ErrorResponse or NoticeResponse, by their one-letter code."""
    return {part[:1].decode("latin-1"): part[1:].decode("utf-8", "replace") for part in payload.split(b"\0") if part}
