"""Replies as RESP2 and RESP3 have them, as a tree over the bytes they came in.

Every node says where in those bytes it stands, so what nobody touches leaves byte for byte. It is read strictly: what
two clients could read differently (a length with a plus sign or leading zeros, a line with a lone CR or LF) is no
reply. The source is https://github.com/redis/redis-specifications/blob/master/protocol/RESP3.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MOST_DEPTH: Final = 64
"""Aggregates inside one another. hiredis reads 9 levels; COMMAND DOCS has 10, and a script can make any number."""
MOST_NODES: Final = 1 << 20
"""Nodes of one reply: some 100 bytes of memory each, where the reply itself may spend 3 on one."""

SIMPLE: Final = ord("+")
ERROR: Final = ord("-")
INTEGER: Final = ord(":")
BLOB: Final = ord("$")
ARRAY: Final = ord("*")
NULL: Final = ord("_")
BOOLEAN: Final = ord("#")
DOUBLE: Final = ord(",")
BIG_NUMBER: Final = ord("(")
BLOB_ERROR: Final = ord("!")
VERBATIM: Final = ord("=")
MAP: Final = ord("%")
SET: Final = ord("~")
PUSH: Final = ord(">")
STREAMED: Final = ord(";")
"""The kind of a string that comes in chunks; its `items` are they."""
_ATTRIBUTE: Final = ord("|")
_END: Final = b".\r\n"

AGGREGATES: Final = frozenset({ARRAY, MAP, SET, PUSH})
NUMBERS: Final = frozenset({INTEGER, DOUBLE, BIG_NUMBER, BOOLEAN})
ERRORS: Final = frozenset({ERROR, BLOB_ERROR})
STRINGS: Final = frozenset({BLOB, SIMPLE, VERBATIM, STREAMED})
RESP3: Final = frozenset({NULL, BOOLEAN, DOUBLE, BIG_NUMBER, BLOB_ERROR, VERBATIM, MAP, SET, PUSH, STREAMED})
"""Kinds that no RESP2 server sends; NULL by its own type only."""

_STREAMABLE: Final = frozenset({ARRAY, MAP, SET})
_BLOBS: Final = frozenset({BLOB, BLOB_ERROR, VERBATIM})
_LINES: Final = {
    SIMPLE: re.compile(rb"[^\r\n]*"),
    ERROR: re.compile(rb"[^\r\n]*"),
    INTEGER: re.compile(rb"-?(?:0|[1-9][0-9]{0,18})"),
    NULL: re.compile(rb""),
    BOOLEAN: re.compile(rb"[tf]"),
    DOUBLE: re.compile(rb"-?(?:inf|nan|[0-9]{1,400}(?:\.[0-9]{0,400})?(?:[eE][+-]?[0-9]{1,5})?)"),
    BIG_NUMBER: re.compile(rb"[+-]?[0-9]+"),
}
_LENGTH: Final = re.compile(rb"0|[1-9][0-9]{0,18}")
_SHORT: Final = {b"%d" % size: size for size in range(1024)}
"""Lengths as they are written, of most strings that there are."""


class Malformed(ValueError):
    """These bytes are no reply; the message is one line and quotes nothing of them."""


class Node:
    """One value of a reply, at `data[start:end]`, attributes in front of it left out.

    `kind` is the type's byte, NULL for any null. What a leaf says is `data[begin:stop]` (of verbatim strings with the
    format in front, `txt:`). `items` are those of an aggregate, names and values in turn for a map, or the chunks of a
    streamed string; empty otherwise.
    """

    __slots__ = ("begin", "end", "items", "kind", "start", "stop")

    def __init__(self, kind: int, start: int, end: int, begin: int, stop: int, items: list[Node]) -> None:
        self.kind = kind
        self.start = start
        self.end = end
        self.begin = begin
        self.stop = stop
        self.items = items

    def text(self, data: bytes) -> bytes:
        """What a leaf says."""
        if self.kind == STREAMED:
            return b"".join(data[chunk.begin : chunk.stop] for chunk in self.items)
        return data[self.begin : self.stop]


@dataclass(frozen=True, slots=True)
class Tree:
    """A reply: its root, and the attributes of all its nodes (as maps). `resp3`: no RESP2 server would send it."""

    root: Node
    attributes: tuple[Node, ...]
    resp3: bool


def parse(data: bytes) -> Tree:
    """One whole reply or push, and nothing behind it. Raises Malformed, for one beyond the bounds above too."""
    reader = _Reader(data)
    root = reader.node(0, 0)
    if root.end != len(data):
        raise Malformed("bytes behind a reply")
    return Tree(root, tuple(reader.attributes), reader.resp3)


_NONE: Final[list[Node]] = []
"""The items of every leaf: nobody adds to it."""


class _Reader:
    __slots__ = ("attributes", "data", "left", "resp3")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.attributes: list[Node] = []
        self.left = MOST_NODES
        self.resp3 = False

    def node(self, at: int, depth: int) -> Node:
        data = self.data
        self.left -= 1
        if self.left < 0:
            raise Malformed(f"a reply of more than {MOST_NODES} values")
        end = data.find(b"\r\n", at)
        if end < 0 or end == at:
            raise Malformed("a reply that is cut")
        kind = data[at]
        if kind in _BLOBS:
            return self._blob(kind, at, end)
        if kind in AGGREGATES:
            return self._aggregate(kind, at, end, depth)
        if kind == _ATTRIBUTE:
            attribute = self._aggregate(MAP, at, end, depth)
            if attribute.kind == NULL or data[at + 1 : end] == b"?":
                raise Malformed("attributes without a number")
            self.attributes.append(attribute)
            self.resp3 = True
            # an attribute belongs to what follows: it counts as a level, so that many of them can't nest our calls
            return self.node(attribute.end, self._deeper(depth))
        form = _LINES.get(kind)
        if form is None:
            raise Malformed("a reply of an unknown type")
        if form.fullmatch(data, at + 1, end) is None:
            raise Malformed("a reply that is not written as its type is")
        if kind in RESP3:
            self.resp3 = True
        return Node(kind, at, end + 2, at + 1, end, _NONE)

    def _length(self, at: int, end: int) -> int:
        text = self.data[at:end]
        size = _SHORT.get(text)
        if size is None:
            if _LENGTH.fullmatch(text) is None:
                raise Malformed("a length that is none")
            size = int(text)
        return size

    def _blob(self, kind: int, at: int, end: int) -> Node:
        data = self.data
        if kind == BLOB and end - at <= 3:
            if data[at + 1 : end] == b"-1":
                return Node(NULL, at, end + 2, end, end, _NONE)
            if data[at + 1 : end] == b"?":
                return self._streamed(at, end + 2)
        size = self._length(at + 1, end)
        begin = end + 2
        stop = begin + size
        if data[stop : stop + 2] != b"\r\n":
            raise Malformed("a string that is cut, or longer than it says")
        if kind != BLOB:
            self.resp3 = True
            if kind == VERBATIM and data[begin + 3 : begin + 4] != b":":
                raise Malformed("a verbatim string without its format")
        return Node(kind, at, stop + 2, begin, stop, _NONE)

    def _streamed(self, start: int, at: int) -> Node:
        data = self.data
        self.resp3 = True
        chunks: list[Node] = []
        while True:
            end = data.find(b"\r\n", at)
            if data[at : at + 1] != b";" or end < 0:
                raise Malformed("a streamed string that is cut")
            size = self._length(at + 1, end)
            if not size:
                return Node(STREAMED, start, end + 2, start, end + 2, chunks)
            stop = end + 2 + size
            self.left -= 1
            if data[stop : stop + 2] != b"\r\n" or self.left < 0:
                raise Malformed("a streamed string that is cut, or in too many pieces")
            chunks.append(Node(BLOB, at, stop + 2, end + 2, stop, _NONE))
            at = stop + 2

    @staticmethod
    def _deeper(depth: int) -> int:
        if depth >= MOST_DEPTH:
            raise Malformed(f"a reply nested deeper than {MOST_DEPTH} levels")
        return depth + 1

    def _aggregate(self, kind: int, at: int, end: int, depth: int) -> Node:
        data = self.data
        start = at
        depth = self._deeper(depth)
        if kind != ARRAY:
            self.resp3 = True
        mark = data[at + 1 : end]
        at = end + 2
        items: list[Node] = []
        if mark == b"?" and kind in _STREAMABLE:
            self.resp3 = True
            while data[at : at + 3] != _END:
                item = self.node(at, depth)
                items.append(item)
                at = item.end
            if kind == MAP and len(items) % 2:
                raise Malformed("a map with a name that has no value")
            return Node(kind, start, at + 3, start, start, items)
        if mark == b"-1" and kind == ARRAY:
            return Node(NULL, start, at, start, start, _NONE)
        size = self._length(start + 1, end) * (2 if kind == MAP else 1)
        if size > self.left:
            raise Malformed(f"a reply of more than {MOST_NODES} values")
        find = data.find
        add = items.append
        for _ in range(size):
            # most of what there is: a short string
            if data[at : at + 1] == b"$":
                end = find(b"\r\n", at)
                length = _SHORT.get(data[at + 1 : end])
                if length is not None and end > 0:
                    begin = end + 2
                    stop = begin + length
                    if data[stop : stop + 2] != b"\r\n":
                        raise Malformed("a string that is cut, or longer than it says")
                    self.left -= 1
                    add(Node(BLOB, at, stop + 2, begin, stop, _NONE))
                    at = stop + 2
                    continue
            item = self.node(at, depth)
            add(item)
            at = item.end
        if self.left < 0:
            raise Malformed(f"a reply of more than {MOST_NODES} values")
        return Node(kind, start, at, start, start, items)
