"""The scanner of replies, as it was thought: `_resp.pyx` is the one that runs, and tests hold it to this one.

It finds where each reply ends, of RESP2 and RESP3, and keeps nothing of what passes. Stricter than clients are: a line
has neither CR nor LF in it, a push stands in nothing else, a length has the digits that Redis gives it. An attribute
belongs to the value behind it, and counts as no element.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from lockgate.wire.redis.frames import ATTRIBUTES, DEPTH, LINE_BYTES, QUEUED, integer

_TEXTS: Final = b"+-,("
_LINES: Final = {
    ord(":"): (re.compile(rb"[+-]?[0-9]+"), "an integer is none"),
    ord("#"): (re.compile(rb"[tf]"), "a boolean is none"),
    ord("_"): (re.compile(rb""), "a null or an end has something in it"),
    ord("."): (re.compile(rb""), "a null or an end has something in it"),
}
_NUMBERS: Final = {ord(","): b"0123456789+-.eEinfa", ord("("): b"0123456789+-"}
_STRINGS: Final = b"$=!;"
_AGGREGATES: Final = b"*~%>|"
_STREAMED: Final = b"$*~%>"


COMMON: Final = frozenset(b"+:$*_#,(=~%")
"""Types of replies that are what was asked for, and no errors. Without attributes: those come with another number."""


def ordinary(data: bytes, at: int, stops: Sequence[int], index: int, most: int) -> tuple[int, int]:
    """How many replies from `index` on (`most` at most) are ordinary answers, and where the last of them ends.

    `stops` are what `ReplyScanner.scan` found in `data`, of which the first here begins at `at`. An error is none, a
    push neither, nor what is said to a command inside MULTI.
    """
    count = 0
    for stop in stops[index : index + most]:
        if stop & 255 not in COMMON or data[at : stop >> 8] == QUEUED:
            break
        at = stop >> 8
        count += 1
    return count, at


class _Broken(Exception):
    pass


class _Level:
    """An aggregate that isn't whole. `left` is None where a dot ends it."""

    def __init__(self, kind: int, left: int | None) -> None:
        self.kind = kind
        self.left = left
        self.count = 0


class ReplyScanner:
    """`first` is the type of the reply that is being read, 0 before it is known (an attribute comes first).

    `broken` is why nothing more can be told. `between` says that no reply has begun which isn't whole.
    """

    def __init__(self) -> None:
        self.first = 0
        self.broken: str | None = None
        self._levels: list[_Level] = []
        self._owed = False
        """An attribute came: what it belongs to is still to come."""
        self._chunks = False
        """Within a streamed string."""
        self._attributed = False
        """Whether the reply that is being read began with attributes."""
        self._value: Iterator[None] | None = None
        """What takes the bytes of the value that is being read: it is resumed for each, which is then `_byte`."""
        self._byte = 0

    @property
    def between(self) -> bool:
        return self._value is None and not self._levels and not self._owed and not self._chunks

    def scan(self, data: bytes | memoryview, start: int, end: int) -> list[int]:
        """Go on with the bytes from `start` to `end`. The offset behind each reply that ends there, times 256, plus
        its type, plus ATTRIBUTES if it has some."""
        found: list[int] = []
        if self.broken is not None:
            return found
        for at in range(start, end):
            try:
                self._take(data[at])
            except _Broken as error:
                self.broken = str(error)
                break
            if self.between:
                found.append((at + 1) << 8 | self.first | (ATTRIBUTES if self._attributed else 0))
        return found

    def _take(self, byte: int) -> None:
        if self._value is None:
            if not (self._levels or self._owed or self._chunks):
                self.first = 0
                self._attributed = byte == ord("|")
            self._value = self._begin(byte)
        else:
            self._byte = byte
        try:
            next(self._value)
        except StopIteration:
            self._value = None

    def _begin(self, kind: int) -> Iterator[None]:
        if self._chunks and kind != ord(";"):
            raise _Broken("a streamed string goes on with something else")
        if not self._chunks and kind == ord(";"):
            raise _Broken("an unknown type")
        if kind == ord(".") and (not self._levels or self._levels[-1].left is not None or self._owed):
            raise _Broken("an end of what is not open")
        if kind == ord(">") and self._levels:
            raise _Broken("a push inside something else")
        if kind not in _TEXTS and kind not in _LINES and kind not in _STRINGS and kind not in _AGGREGATES:
            raise _Broken("an unknown type")
        if kind not in b"|.;":
            self._owed = False
            if not self._levels:
                self.first = kind
        return self._text(kind) if kind in _TEXTS else self._header(kind)

    def _text(self, kind: int) -> Iterator[None]:
        yield
        while self._byte != ord("\r"):
            if kind in _NUMBERS and self._byte not in _NUMBERS[kind]:
                raise _Broken("a number has something else in it")
            if self._byte == ord("\n"):
                raise _Broken("a line has LF in it")
            yield
        yield
        if self._byte != ord("\n"):
            raise _Broken("a line has CR in it")
        self._complete()

    def _header(self, kind: int) -> Iterator[None]:
        line = bytearray()
        yield
        while self._byte != ord("\n"):
            if len(line) == LINE_BYTES:
                raise _Broken("a length is too long")
            line.append(self._byte)
            yield
        if line[-1:] != b"\r":
            raise _Broken("a length ends without CR LF")
        said = bytes(line[:-1])
        if kind in _LINES:
            pattern, why = _LINES[kind]
            if not pattern.fullmatch(said):
                raise _Broken(why)
            if kind == ord("."):
                self._close()
            self._complete()
            return
        if said == b"?" and kind in _STREAMED:
            if kind == ord("$"):
                self._chunks = True
            else:
                self._nest(kind, None)
            return
        size = integer(said)
        if size is None:
            raise _Broken("a length is none")
        if size < 0 and (size != -1 or kind not in b"$*"):
            raise _Broken("a length is negative")
        if kind in _AGGREGATES:
            if size > 0:
                self._nest(kind, size * 2 if kind in b"%|" else size)
            elif kind == ord("|"):
                self._owed = True
            else:
                self._complete()
            return
        if kind == ord("=") and size < 4:
            raise _Broken("a verbatim string has no format")
        if size < 0:
            self._complete()
            return
        if kind == ord(";") and size == 0:
            self._chunks = False
            self._complete()
            return
        for _ in range(size):
            yield
        for byte in b"\r\n":
            yield
            if self._byte != byte:
                raise _Broken("a bulk is longer than it says")
        if kind != ord(";"):
            self._complete()

    def _close(self) -> None:
        level = self._levels.pop()
        if level.kind == ord("%") and level.count % 2:
            raise _Broken("a map ends behind a key")

    def _nest(self, kind: int, left: int | None) -> None:
        if len(self._levels) == DEPTH:
            raise _Broken("a reply is nested too deep")
        self._levels.append(_Level(kind, left))

    def _complete(self) -> None:
        """A value is whole, and with it what it is the last of."""
        while self._levels:
            level = self._levels[-1]
            level.count += 1
            if level.left is None or level.count < level.left:
                return
            self._levels.pop()
            if level.kind == ord("|"):
                self._owed = True
                return
