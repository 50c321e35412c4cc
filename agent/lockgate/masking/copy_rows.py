"""Copied rows as DataRow messages and back: the reference that `_copy.pyx` is held against.

PostgreSQL sends one row a CopyData message (`d`, Int32 length, the row). Written as a DataRow, any row of a COPY can be
masked by the kernel that masks results. A column that is kept goes there and back as it stands, escapes and quotes
included, so that the client gets the server's own bytes; one that is masked is unescaped before and escaped after, as
CopyAttributeOutText and CopyAttributeOutCSV in PostgreSQL's src/backend/commands/copyto.c do it.

`lockgate.masking` runs the compiled functions of the same names; this module is read and tested, not run in the agent.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from lockgate.values.copying import CopyKind

LONGEST: Final = 1024 * 1024 * 1024
"""The largest length a CopyData may claim, in bytes: the server builds one in a StringInfo, which ends below 1 GiB."""

MASKED, QUOTED = 1, 2
"""Bits of a column in `Layout.columns`: its values are unescaped, and in csv quoted whatever is in them."""

TRAILER: Final = b"\xff\xff"
"""What ends the binary format, where a row has the number of its columns."""

_HEADER = struct.Struct("!cI")
_COUNT = struct.Struct("!H")
_LENGTH = struct.Struct("!i")
_LF, _CR, _BACKSLASH = b"\n", b"\r", b"\\"
_ESCAPED: Final = {b"\b": b"b", b"\f": b"f", b"\n": b"n", b"\r": b"r", b"\t": b"t", b"\v": b"v"}
_UNESCAPED: Final = {letter: control for control, letter in _ESCAPED.items()}


@dataclass(frozen=True, slots=True)
class Layout:
    """How the rows of one COPY are written: `kind` a CopyKind, `delimiter`, `quote` and `escape` one byte each.

    `columns` is a byte a column, of MASKED and QUOTED. Where `tells_null` is False, a value may be written as NULL is
    (text format, with another NULL than `\\N`), so that no NULL is taken for one. Raises ValueError without columns.
    """

    kind: int
    delimiter: bytes
    null: bytes
    quote: bytes
    escape: bytes
    columns: bytes
    tells_null: bool

    def __post_init__(self) -> None:
        if not self.columns:
            # in text a row of none is an empty line, in which nothing is to be masked
            raise ValueError("no columns: there is nothing to mask")


Buffer = bytes | bytearray | memoryview


def unpack(buffer: Buffer, start: int, end: int, layout: Layout) -> tuple[bytes, int, int]:
    """The rows of the complete CopyData messages that follow one another from `start`, as DataRow messages.

    Returns them, the offset reached and the number of rows. It stops at `end`, an incomplete message, another one, and
    one that is not exactly one row. Raises ValueError for lengths and rows that no server writes.
    """
    if not 0 <= start <= end <= len(buffer):
        raise ValueError("offsets outside the buffer")
    data = bytes(buffer)
    result = bytearray()
    offset, rows = start, 0
    while end - offset >= 5 and data[offset : offset + 1] == b"d":
        length = _HEADER.unpack_from(data, offset)[1]
        if not 4 <= length <= LONGEST:
            raise ValueError("CopyData of an impossible length")
        stop = offset + 1 + length
        if stop > end:
            break
        found = _row(data[offset + 5 : stop], layout)
        if found is None or found[1] != length - 4:
            break
        body = _COUNT.pack(len(layout.columns)) + b"".join(map(_cell, found[0]))
        result += _HEADER.pack(b"D", 4 + len(body)) + body
        offset, rows = stop, rows + 1
    return bytes(result), offset, rows


def row_end(data: Buffer, start: int, end: int, layout: Layout) -> int:
    """The offset behind the row at `start` of what is copied, -1 when its end isn't there yet. Raises ValueError."""
    if not 0 <= start <= end <= len(data):
        raise ValueError("offsets outside the buffer")
    found = _row(bytes(data[start:end]), layout)
    return -1 if found is None else start + found[1]


def pack(rows: bytes, layout: Layout) -> bytes:
    """DataRow messages as `unpack` makes them, masked since -> CopyData messages. Raises ValueError."""
    result = bytearray()
    offset = 0
    while offset < len(rows):
        length = _HEADER.unpack_from(rows, offset)[1]
        body = rows[offset + 5 : offset + 1 + length]
        written = body if layout.kind == CopyKind.BINARY else _line(_cells(body, layout), layout)
        result += _HEADER.pack(b"d", 4 + len(written)) + written
        offset += 1 + length
    return bytes(result)


def _cell(value: bytes | None) -> bytes:
    return _LENGTH.pack(-1) if value is None else _LENGTH.pack(len(value)) + value


def _cells(body: bytes, layout: Layout) -> list[bytes | None]:
    found: list[bytes | None] = []
    place = 2
    for _ in layout.columns:
        (length,) = _LENGTH.unpack_from(body, place)
        place += 4
        found.append(None if length < 0 else body[place : place + length])
        place += max(length, 0)
    if place != len(body):
        raise ValueError("a masked row of another form")
    return found


# a row -> its cells and its length; None when it isn't all there


def _row(data: bytes, layout: Layout) -> tuple[list[bytes | None], int] | None:
    if layout.kind == CopyKind.BINARY:
        return _binary(data, layout)
    take = _csv if layout.kind == CopyKind.CSV else _text
    cells: list[bytes | None] = []
    place = 0
    while len(cells) < len(layout.columns):
        found = take(data, place, layout, masked=bool(layout.columns[len(cells)] & MASKED))
        if found is None:
            return None
        value, place = found
        cells.append(value)
        if (data[place : place + 1] == _LF) != (len(cells) == len(layout.columns)):
            raise ValueError("a copied row with another number of columns than announced")
        place += 1
    return cells, place


def _binary(data: bytes, layout: Layout) -> tuple[list[bytes | None], int] | None:
    if len(data) < 2 or data.startswith(TRAILER):
        return None
    if _COUNT.unpack_from(data)[0] != len(layout.columns):
        raise ValueError("a copied row with another number of columns than announced")
    cells: list[bytes | None] = []
    place = 2
    for _ in layout.columns:
        if len(data) - place < 4:
            return None
        (length,) = _LENGTH.unpack_from(data, place)
        place += 4
        if length < -1:
            raise ValueError("a copied value of an impossible length")
        if length > len(data) - place:
            return None
        cells.append(None if length < 0 else data[place : place + length])
        place += max(length, 0)
    return cells, place


def _text(data: bytes, start: int, layout: Layout, *, masked: bool) -> tuple[bytes | None, int] | None:
    """The value at `start`, as it stands where it is kept, and the offset of what ends it."""
    place = start
    value = bytearray()
    while place < len(data):
        byte = data[place : place + 1]
        if byte in (layout.delimiter, _LF):
            raw = data[start:place]
            if not masked:
                return raw, place
            return (None if layout.tells_null and raw == layout.null else bytes(value)), place
        if byte == _BACKSLASH:
            escaped = data[place + 1 : place + 2]
            if escaped == _LF:
                raise ValueError("a copied row that ends inside an escape")
            value += _UNESCAPED.get(escaped, escaped)
            place += 2
        else:
            value += byte
            place += 1
    return None


def _csv(data: bytes, start: int, layout: Layout, *, masked: bool) -> tuple[bytes | None, int] | None:
    if data[start : start + 1] == layout.quote:
        return _quoted(data, start, layout, masked=masked)
    place = start
    while place < len(data):
        byte = data[place : place + 1]
        if byte in (layout.delimiter, _LF):
            raw = data[start:place]
            return (None if masked and raw == layout.null else raw), place
        if byte in (layout.quote, _CR):
            raise ValueError("a copied value that should have been quoted")
        place += 1
    return None


def _quoted(data: bytes, start: int, layout: Layout, *, masked: bool) -> tuple[bytes | None, int] | None:
    place = start + 1
    value = bytearray()
    while len(data) - place >= 2:
        byte, following = data[place : place + 1], data[place + 1 : place + 2]
        if byte == layout.escape and following in (layout.quote, layout.escape):
            value += following
            place += 2
        elif byte == layout.quote:
            if following not in (layout.delimiter, _LF):
                raise ValueError("a copied value that goes on behind its quotes")
            return (bytes(value) if masked else data[start : place + 1]), place + 1
        elif byte == layout.escape:
            raise ValueError("a copied value with an escape of nothing")
        else:
            value += byte
            place += 1
    return None


# cells -> a row


def _line(cells: list[bytes | None], layout: Layout) -> bytes:
    return layout.delimiter.join(
        _written(cell, column, layout) for cell, column in zip(cells, layout.columns, strict=True)
    ) + _LF  # fmt: skip


def _written(value: bytes | None, column: int, layout: Layout) -> bytes:
    if value is None:
        return layout.null
    if not column & MASKED:
        return value
    single = [value[place : place + 1] for place in range(len(value))]
    if layout.kind == CopyKind.TEXT:
        special = {**_ESCAPED, _BACKSLASH: _BACKSLASH}
        if layout.delimiter not in _ESCAPED:
            special[layout.delimiter] = layout.delimiter
        return b"".join(_BACKSLASH + special[byte] if byte in special else byte for byte in single)
    plain = not column & QUOTED and value != layout.null
    plain = plain and not any(byte in (layout.delimiter, layout.quote, _LF, _CR) for byte in single)
    if plain and not (len(layout.columns) == 1 and value == rb"\."):  # would be taken for the end of what is copied
        return value
    doubled = (layout.quote, layout.escape)
    return layout.quote + b"".join(layout.escape + byte if byte in doubled else byte for byte in single) + layout.quote
