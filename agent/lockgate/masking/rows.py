"""Walk and rewrite PostgreSQL DataRow messages: the reference that `_rows.pyx` is held against.

A DataRow is `D`, Int32 length (of itself and what follows), Int16 number of columns and, for each column, Int32 length
(-1 for NULL) and that many bytes (PostgreSQL documentation, "Message Formats"). `lockgate.masking` offers the compiled
functions of the same names; but for `replace_cells` this module is read and tested, not run in the agent.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from lockgate.masking.cells import Action, Cell, mask_value

LONGEST_ROW: Final = 1024 * 1024 * 1024
"""The largest length a DataRow may claim, in bytes: the server builds one in a StringInfo, which ends below 1 GiB."""

_DATA_ROW: Final = 0x44
_LEAST: Final = 6  # the length itself and the number of columns
_HEADER = struct.Struct("!BI")
_COUNT = struct.Struct("!H")
_LENGTH = struct.Struct("!i")


def skip_rows(buffer: bytes | bytearray | memoryview, start: int, end: int) -> tuple[int, int]:
    """Walk over the complete DataRow messages that follow one another from `start`.

    Returns the offset of the first byte that is not part of one (another message, an incomplete row, `end`) and the
    number of rows. Raises ValueError when a length is below 6 or above LONGEST_ROW, or the offsets are outside the
    buffer.
    """
    data = _view(buffer, start, end)
    offset, rows = start, 0
    while (length := _row_length(data, offset, end)) is not None:
        offset += 1 + length
        rows += 1
    return offset, rows


def mask_rows(
    buffer: bytes | bytearray | memoryview, start: int, end: int, cells: Sequence[Cell]
) -> tuple[bytes, int, int, int]:
    """The same walk, with each row rewritten by `cells`, one a column; the compiled function takes a `Program` of them.

    Returns (the rewritten messages, the offset reached, rows, masked cells). A NULL stays NULL and is not counted,
    but for cells that say otherwise.
    Raises ValueError as `skip_rows` does, and when a row has not as many columns as `cells`, a column's length is
    below -1 or leaves the row, or bytes follow the last column. Nothing is returned then:
    the caller closes the connection.
    """
    data = _view(buffer, start, end)
    result = bytearray()
    offset, rows, count = start, 0, 0
    while (length := _row_length(data, offset, end)) is not None:
        body, masked = _mask_row(data[offset + 5 : offset + 1 + length], cells)
        result += _HEADER.pack(_DATA_ROW, 4 + len(body)) + body
        offset += 1 + length
        rows += 1
        count += masked
    return bytes(result), offset, rows, count


def touched_cells(data: bytes, columns: bytes, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int, int, int]]:
    """The values of complete rows that some of `spans` touches, in the columns whose byte in `columns` isn't 0.

    `spans` are in order and apart. Returns (offset of the row, of the value, behind the value, column) each.
    """
    found: list[tuple[int, int, int, int]] = []
    view = _view(data, 0, len(data))
    offset = 0
    while (length := _row_length(view, offset, len(data))) is not None:
        if _COUNT.unpack_from(data, offset + 5)[0] != len(columns):
            raise ValueError("DataRow with another number of columns than announced")
        place = offset + 7
        for column, watched in enumerate(columns):
            (size,) = _LENGTH.unpack_from(data, place)
            place += 4
            if size > 0:
                if watched and any(start < place + size and end > place for start, end in spans):
                    found.append((offset, place, place + size, column))
                place += size
        offset += 1 + length
    return found


def replace_cells(data: bytes, cells: Sequence[tuple[int, int, int, bytes | None]]) -> bytes:
    """Complete rows with some values replaced: (offset of the row, of the value, behind it, what is to be there) each,
    in order; None for NULL."""
    parts: list[bytes] = []
    at, head, growth, row = 0, -1, 0, -1
    for where, start, end, shown in cells:
        if where != row:
            if head >= 0:
                parts[head] = _head(data, row, growth)
            parts += data[at:where], b""
            at, head, growth, row = where + 5, len(parts) - 1, 0, where
        parts += data[at : start - 4], _LENGTH.pack(-1 if shown is None else len(shown)), shown or b""
        growth += len(shown or b"") - (end - start)
        at = end
    if head >= 0:
        parts[head] = _head(data, row, growth)
    parts.append(data[at:])
    return b"".join(parts)


def _head(data: bytes, row: int, growth: int) -> bytes:
    kind, length = _HEADER.unpack_from(data, row)
    return _HEADER.pack(kind, length + growth)


def _view(buffer: bytes | bytearray | memoryview, start: int, end: int) -> memoryview:
    data = memoryview(buffer)
    if not 0 <= start <= end <= len(data):
        raise ValueError("offsets outside the buffer")
    return data


def _row_length(data: memoryview, offset: int, end: int) -> int | None:
    """The length field of the complete row at `offset`, None where none is."""
    if end - offset < 5 or data[offset] != _DATA_ROW:
        return None
    length: int = _HEADER.unpack_from(data, offset)[1]
    if not _LEAST <= length <= LONGEST_ROW:
        raise ValueError("DataRow of an impossible length")
    return length if end - offset > length else None


def _mask_row(row: memoryview, cells: Sequence[Cell]) -> tuple[bytes, int]:
    """`row` from its number of columns on -> the same, rewritten, and the number of cells masked."""
    (count,) = _COUNT.unpack_from(row)
    if count != len(cells):
        raise ValueError("DataRow with another number of columns than announced")
    result = bytearray(row[:2])
    place, masked = 2, 0
    for cell in cells:
        if len(row) - place < 4:
            raise ValueError("DataRow ends inside a column")
        (length,) = _LENGTH.unpack_from(row, place)
        place += 4
        if length < -1 or length > len(row) - place:
            raise ValueError("DataRow column of an impossible length")
        if length == -1 and not cell.null:
            result += _LENGTH.pack(-1)
            continue
        value = bytes(row[place : place + max(length, 0)])
        place += len(value)
        shown = mask_value(cell, value)
        result += _LENGTH.pack(-1) if shown is None else _LENGTH.pack(len(shown)) + shown
        masked += cell.action is not Action.KEEP
    if place != len(row):
        raise ValueError("DataRow goes on behind its last column")
    return bytes(result), masked
