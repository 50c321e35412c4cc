"""The rows of one COPY on their way out, masked, wherever the messages that carry them are cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from lockgate.masking._copy import pack, row_end, unpack
from lockgate.masking.copy_rows import TRAILER, Buffer, Layout
from lockgate.values.copying import CopyKind

_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0"
_FIXED: Final = len(_SIGNATURE) + 8
"""Bytes of the binary format's header before its extension: the signature, flags and the extension's length."""
_COPY_DATA: Final = ord("d")

Mask = Callable[[bytes], tuple[bytes, int]]
"""DataRow messages -> the same, masked, and the number of cells that were."""


class CopyStream:
    """Masks the CopyData messages of one COPY TO STDOUT.

    PostgreSQL sends a row a message, the binary header in front of the first. What comes otherwise is put together
    and leaves in that form. `header` says that a line of column names comes first, which is passed on as it is.
    """

    __slots__ = ("_ended", "_held", "_layout", "_mask", "_opening", "_prefix", "_worthwhile")

    def __init__(self, layout: Layout, mask: Mask, *, header: bool) -> None:
        self._layout = layout
        self._mask = mask
        self._held = bytearray()
        """The beginning of a row, or of the header."""
        self._worthwhile = 0
        """How many bytes have to be held before they are looked at again: twice those that were not enough, so that
        a row in many pieces isn't read as many times."""
        self._prefix = b""
        """The binary header, until the first row takes it along."""
        self._opening = header or layout.kind == CopyKind.BINARY
        self._ended = False

    @property
    def held(self) -> int:
        """Bytes that wait for the rest of their row."""
        return len(self._held)

    def feed(self, buffer: Buffer, start: int, end: int) -> tuple[bytes, int, int]:
        """Take the complete CopyData messages from `start`, a message's boundary.

        Returns the messages to send in their place, the offset of the first byte that is not part of one, and the
        cells masked. Raises ValueError for what no server writes.
        """
        parts: list[bytes] = []
        cells, pos = 0, start
        while True:
            if not (self._held or self._opening or self._prefix or self._ended):
                rows, pos, count = unpack(buffer, pos, end, self._layout)
                if count:
                    masked, hidden = self._mask(rows)
                    parts.append(pack(masked, self._layout))
                    cells += hidden
            if end - pos < 5 or buffer[pos] != _COPY_DATA:
                break
            stop = pos + 1 + int.from_bytes(buffer[pos + 1 : pos + 5], "big")
            if stop > end:
                break
            if stop < pos + 5:
                raise ValueError("CopyData of an impossible length")
            self._held += buffer[pos + 5 : stop]
            pos = stop
            if len(self._held) >= self._worthwhile:
                written, hidden = self._take()
                parts.append(written)
                cells += hidden
        return b"".join(parts), pos, cells

    def finish(self) -> tuple[bytes, int]:
        """That was all, the server says: what is left, and the cells masked in it. Raises ValueError if it is cut."""
        written, cells = self._take()
        if self._held or self._opening or self._ended is not (self._layout.kind == CopyKind.BINARY):
            raise ValueError("what is copied ends in the middle")
        return written, cells

    def _take(self) -> tuple[bytes, int]:
        """Whatever is whole of what is held, in messages of a row each."""
        parts: list[bytes] = []
        cells, pos, end = 0, 0, len(self._held)
        held = bytes(self._held)
        if self._opening:
            pos = self._open(held, parts)
        while not self._opening and pos < end:
            if self._layout.kind == CopyKind.BINARY and (self._ended or held.startswith(TRAILER, pos)):
                if self._ended or end - pos != len(TRAILER):
                    raise ValueError("copied data behind its end")
                self._ended = True
                parts.append(self._message(TRAILER))
                pos = end
                break
            stop = row_end(held, pos, end, self._layout)
            if stop < 0:
                break
            message = _framed(held[pos:stop])
            rows, _, _ = unpack(message, 0, len(message), self._layout)
            masked, hidden = self._mask(rows)
            parts.append(self._message(pack(masked, self._layout)[5:]))
            cells += hidden
            pos = stop
        del self._held[:pos]
        self._worthwhile = 2 * len(self._held)
        return b"".join(parts), cells

    def _open(self, held: bytes, parts: list[bytes]) -> int:
        """Read what stands before the first row; the offset behind it, 0 while it isn't all there."""
        if self._layout.kind != CopyKind.BINARY:
            stop = row_end(held, 0, len(held), self._layout)
            if stop < 0:
                return 0
            parts.append(_framed(held[:stop]))
            self._opening = False
            return stop
        if not _SIGNATURE.startswith(held[: len(_SIGNATURE)]):
            raise ValueError("what is copied is not PostgreSQL's binary format")
        if len(held) < _FIXED:
            return 0
        flags, extension = held[len(_SIGNATURE) : _FIXED - 4], int.from_bytes(held[_FIXED - 4 : _FIXED], "big")
        if any(flags) or extension:
            raise ValueError("copied data in a binary format that is not known")
        self._prefix, self._opening = held[:_FIXED], False
        return _FIXED

    def _message(self, payload: bytes) -> bytes:
        prefix, self._prefix = self._prefix, b""
        return _framed(prefix + payload)


def _framed(payload: bytes) -> bytes:
    return b"d" + (4 + len(payload)).to_bytes(4, "big") + payload
