"""The shapes that replies come in, and what in each of them is part of a masked value.

A shape is applied to a node of a reply, and edits what it masks through a `Work`. It is strict: a reply of another
shape than the table has (another version of the server, a module of the same name) raises `Unmaskable`. A null or an
error may stand in place of anything.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from lockgate.masking.partial import REDACTED
from lockgate.masking.plan import Unmaskable
from lockgate.masking.replies import resp
from lockgate.masking.replies.errors import shown_error
from lockgate.masking.replies.resp import Node, Tree
from lockgate.masking.replies.rules import Rule, Treatment
from lockgate.masking.replies.texts import TextMasker
from lockgate.masking.scan import Scan

_STREAM_ID: Final = re.compile(rb"[0-9]{1,20}-[0-9]{1,20}")
_SCORE: Final = re.compile(rb"-?(?:[0-9.]+(?:e[-+]?[0-9]+)?|inf|nan)", re.IGNORECASE)
_NULL2, _NULL3 = b"$-1\r\n", b"_\r\n"


class Work:
    """One reply on its way. `kinds` are the detectors' whose hints are in it; `resp3` says how a null is written.

    `guarded`: its errors may quote a masked value; `script`: a script may have written them.
    """

    __slots__ = ("cells", "data", "edits", "found", "guarded", "kinds", "resp3", "scan", "script")

    def __init__(self, data: bytes, scan: Scan | None, kinds: Sequence[int], *, resp3: bool) -> None:
        self.data = data
        self.scan = scan
        self.kinds = kinds
        self.resp3 = resp3
        self.guarded = False
        self.script = False
        self.cells = 0
        self.found: Counter[str] = Counter()
        self.edits: list[tuple[int, int, bytes]] = []

    def finished(self) -> bytes:
        """The reply with all edits made."""
        if not self.edits:
            return self.data
        parts: list[bytes] = []
        at = 0
        for start, end, shown in sorted(self.edits):
            parts += (self.data[at:start], shown)
            at = end
        parts.append(self.data[at:])
        return b"".join(parts)

    def value(self, node: Node, treatment: Treatment) -> None:
        """A leaf that is a masked value, or has masked places in it."""
        kind = node.kind
        if kind == resp.BLOB and treatment.masker is not None:
            self.masked(node, treatment.masker.shown(self.data[node.begin : node.stop]))
        elif kind == resp.NULL:
            if treatment.veils:
                self.write(node, REDACTED)
                self.cells += 1
        elif kind in resp.NUMBERS:
            if treatment.masker is not None:
                self.number(node)
        elif kind in resp.STRINGS:
            text = node.text(self.data)
            front = text[:4] if kind == resp.VERBATIM else b""
            shown, cells = treatment.shown(text[len(front) :])
            if cells:
                if treatment.masker is None and shown is not None and self.kinds:
                    shown = self._scanned(shown)
                self.write(node, shown)
                self.cells += cells
            else:
                self.kept(node)
        elif kind in resp.ERRORS:
            self.error(node)
        else:
            raise Unmaskable("the reply has more values where one is masked")

    def masked(self, node: Node, shown: bytes | None) -> None:
        """A string that is masked whole."""
        self.cells += 1
        if shown is None:
            self.edits.append((node.start, node.end, _NULL3 if self.resp3 else _NULL2))
        else:
            self.edits.append((node.start, node.end, b"$%d\r\n%b\r\n" % (len(shown), shown)))

    def number(self, node: Node) -> None:
        """A number that is part of a masked value: 0 in its place, in its type."""
        match node.kind:
            case resp.INTEGER | resp.DOUBLE | resp.BIG_NUMBER:
                self.edits.append((node.begin, node.stop, b"0"))
            case resp.BOOLEAN:
                self.edits.append((node.begin, node.stop, b"f"))
            case resp.NULL:
                return
            case resp.ERROR | resp.BLOB_ERROR:
                self.error(node)
                return
            case kind if kind in resp.STRINGS:
                self.write(node, b"0")
            case _:
                raise Unmaskable("the reply has more values where a number is masked")
        self.cells += 1

    def write(self, node: Node, text: bytes | None) -> None:
        """Another text in place of a leaf; None for null. A line stays one line."""
        if text is None:
            shown = _NULL3 if self.resp3 else _NULL2
        elif node.kind in (resp.SIMPLE, resp.ERROR):
            line = REDACTED if b"\r" in text or b"\n" in text else text
            shown = b"%c%b\r\n" % (node.kind, line)
        elif node.kind == resp.VERBATIM:
            text = self.data[node.begin : node.begin + 4] + text
            shown = b"=%d\r\n%b\r\n" % (len(text), text)
        else:
            kind = node.kind if node.kind == resp.BLOB_ERROR else resp.BLOB
            shown = b"%c%d\r\n%b\r\n" % (kind, len(text), text)
        self.edits.append((node.start, node.end, shown))

    def error(self, node: Node) -> None:
        """An error in place of a value."""
        text = node.text(self.data)
        if self.guarded:
            shown = shown_error(text, script=self.script)
            if shown != text:
                self.write(node, shown)
        elif self.kinds:
            self._look(node, text)

    def kept(self, node: Node) -> None:
        """What isn't masked, with all that is inside: looked through."""
        if node.kind in resp.ERRORS:
            self.error(node)
        elif node.kind in resp.AGGREGATES:
            for item in node.items:
                self.kept(item)
        elif self.kinds and node.kind in resp.STRINGS:
            text = node.text(self.data)
            self._look(node, text[4:] if node.kind == resp.VERBATIM else text)

    def _look(self, node: Node, text: bytes) -> None:
        assert self.scan is not None
        shown = self.scan.string(text, self.kinds, self.found)
        if shown != text:
            self.write(node, shown)

    def _scanned(self, text: bytes) -> bytes:
        assert self.scan is not None
        shown = self.scan.string(text, self.kinds, self.found)
        return REDACTED if shown is None else shown


class Shape(Protocol):
    def apply(self, node: Node, work: Work) -> None: ...


@dataclass(frozen=True, slots=True)
class Kept:
    """Nothing in it is masked; detectors look through it."""

    def apply(self, node: Node, work: Work) -> None:
        work.kept(node)


@dataclass(frozen=True, slots=True)
class Names:
    """Names of keys and channels, and numbers: nobody looks through it, a name that is changed names nothing."""

    def apply(self, node: Node, work: Work) -> None:
        if node.kind in resp.ERRORS:
            work.error(node)
        for item in node.items if node.kind in resp.AGGREGATES else ():
            self.apply(item, work)


@dataclass(frozen=True, slots=True)
class Answer:
    """An integer, a boolean, OK or null, such as a write is answered with: anything else would be a value."""

    def apply(self, node: Node, work: Work) -> None:
        if node.kind in resp.ERRORS:
            work.error(node)
        elif (
            node.kind not in (resp.INTEGER, resp.BOOLEAN, resp.NULL) and work.data[node.start : node.end] != b"+OK\r\n"
        ):
            raise Unmaskable("the reply has a value where a write is answered")


@dataclass(frozen=True, slots=True)
class Number:
    """A number that is the value: of RESP2 a string that says it."""

    def apply(self, node: Node, work: Work) -> None:
        work.number(node)


@dataclass(frozen=True, slots=True)
class StreamIds:
    """Identifiers of a stream's entries: one, or an array."""

    def apply(self, node: Node, work: Work) -> None:
        if node.kind in resp.AGGREGATES:
            for item in node.items:
                self.apply(item, work)
        elif node.kind in resp.ERRORS:
            work.error(node)
        elif node.kind != resp.NULL and _STREAM_ID.fullmatch(node.text(work.data)) is None:
            raise Unmaskable("the reply has something else where an entry's identifier stands")


@dataclass(frozen=True, slots=True)
class Elements:
    """A string, or an array or set of them, each of which is treated; None leaves them as they are."""

    treatment: Treatment | None

    def apply(self, node: Node, work: Work) -> None:
        if self.treatment is None:
            work.kept(node)
        elif node.kind in resp.AGGREGATES:
            treatment, value = self.treatment, work.value
            masker = treatment.masker
            if masker is None:
                for item in node.items:
                    value(item, treatment)
                return
            for item in node.items:
                if item.kind == resp.BLOB:
                    work.masked(item, masker.shown(work.data[item.begin : item.stop]))
                else:
                    value(item, treatment)
        else:
            work.value(node, self.treatment)


@dataclass(frozen=True, slots=True)
class Each:
    """An array, or a null in its place, of things of one shape."""

    shape: Shape

    def apply(self, node: Node, work: Work) -> None:
        for item in _items(node, work):
            self.shape.apply(item, work)


@dataclass(frozen=True, slots=True)
class Items:
    """An array whose first things have these shapes; what comes behind is of the last one."""

    shapes: tuple[Shape, ...]

    def apply(self, node: Node, work: Work) -> None:
        for place, item in enumerate(_items(node, work)):
            self.shapes[min(place, len(self.shapes) - 1)].apply(item, work)


@dataclass(frozen=True, slots=True)
class InTurn:
    """An array of as many things, each of its own shape."""

    shapes: tuple[Shape, ...]

    def apply(self, node: Node, work: Work) -> None:
        items = _items(node, work)
        if items and len(items) != len(self.shapes):
            raise Unmaskable("the reply has not as many values as were asked for")
        for shape, item in zip(self.shapes, items, strict=False):
            shape.apply(item, work)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Names of fields and their values: a map, an array of both in turn, or one of arrays of two."""

    rule: Rule

    def apply(self, node: Node, work: Work) -> None:
        name_treatment = self.rule.name
        for name, value in _pairs(node, work):
            if name.kind not in resp.STRINGS:
                raise Unmaskable("the reply has something else where a field's name stands")
            treatment = self.rule.named(name.text(work.data))
            if name_treatment is not None:
                work.value(name, name_treatment)
            else:
                work.kept(name)
            if treatment is not None:
                work.value(value, treatment)
            else:
                work.kept(value)


@dataclass(frozen=True, slots=True)
class Fields:
    """Values of fields that the command named, in its order."""

    rule: Rule
    names: tuple[bytes, ...]

    def apply(self, node: Node, work: Work) -> None:
        InTurn(tuple(Elements(self.rule.named(name)) for name in self.names)).apply(node, work)


@dataclass(frozen=True, slots=True)
class Scored:
    """Members and their scores: an array of both in turn, or one of arrays of two."""

    rule: Rule

    def apply(self, node: Node, work: Work) -> None:
        member_shape = Elements(self.rule.element)
        for member, score in _pairs(node, work):
            if member.kind in resp.AGGREGATES:
                raise Unmaskable("the reply has more values where a member stands")
            member_shape.apply(member, work)
            if score.kind in resp.STRINGS and _SCORE.fullmatch(score.text(work.data)) is None:
                raise Unmaskable("the reply has something else where a score stands")
            if self.rule.whole is not None:
                work.number(score)
            else:
                work.kept(score)


@dataclass(frozen=True, slots=True)
class Entries:
    """Entries of a stream: identifiers, fields and values (null for one that is deleted), numbers of deliveries."""

    rule: Rule

    def apply(self, node: Node, work: Work) -> None:
        Each(Entry(self.rule)).apply(node, work)


@dataclass(frozen=True, slots=True)
class Entry:
    """One of them."""

    rule: Rule

    def apply(self, node: Node, work: Work) -> None:
        items = _items(node, work)
        if items:
            if len(items) < 2 or any(item.kind in resp.AGGREGATES for item in items[2:]):
                raise Unmaskable("the reply has no entry of a stream where one stands")
            StreamIds().apply(items[0], work)
            Pairs(self.rule).apply(items[1], work)


@dataclass(frozen=True, slots=True)
class ByKey:
    """A key's name, and behind it what is shaped by it: `[key, things...]`, or for each of several keys, or a map."""

    shapes: Mapping[bytes, Shape]
    many: bool = False

    def apply(self, node: Node, work: Work) -> None:
        if self.many and node.kind == resp.ARRAY:
            for item in _items(node, work):
                self._one(_items(item, work), work)
        elif self.many:
            for pair in _pairs(node, work):
                self._one(pair, work)
        else:
            self._one(_items(node, work), work)

    def _one(self, items: Sequence[Node], work: Work) -> None:
        if not items:
            return
        name, *values = items
        shape = self.shapes.get(name.text(work.data)) if name.kind in resp.STRINGS else None
        if shape is None or len(values) != 1:
            raise Unmaskable("the reply is about a key that the command doesn't name")
        shape.apply(values[0], work)


@dataclass(frozen=True, slots=True)
class Popped:
    """`[key, member, score]` of a blocking pop."""

    rules: Mapping[bytes, Rule]

    def apply(self, node: Node, work: Work) -> None:
        items = _items(node, work)
        if not items:
            return
        rule = self.rules.get(items[0].text(work.data)) if items[0].kind in resp.STRINGS else None
        if rule is None or len(items) != 3:
            raise Unmaskable("the reply is about a key that the command doesn't name")
        Elements(rule.element).apply(items[1], work)
        if rule.whole is not None:
            work.number(items[2])


@dataclass(frozen=True, slots=True)
class Named:
    """A map of what each thing is called; one that `shapes` doesn't have, as of a later release, may be a number."""

    shapes: Mapping[bytes, Shape]

    def apply(self, node: Node, work: Work) -> None:
        for name, value in _pairs(node, work):
            shape = self.shapes.get(name.text(work.data))
            if shape is not None:
                shape.apply(value, work)
            elif value.kind not in (*resp.NUMBERS, resp.NULL):
                raise Unmaskable("the reply has a thing in it that isn't known")


@dataclass(frozen=True, slots=True)
class Every:
    """All that it holds may be of a masked value, computed at that: strings are masked and numbers 0, but for OK."""

    masker: TextMasker

    def apply(self, node: Node, work: Work) -> None:
        if node.kind in resp.AGGREGATES:
            for item in node.items:
                self.apply(item, work)
        elif work.data[node.start : node.end] != b"+OK\r\n":
            work.value(node, Treatment(self.masker))


def apply(shape: Shape, tree: Tree, work: Work, hidden: TextMasker | None) -> None:
    """To a whole reply. What its attributes say of masked values is masked too, all of it, with `hidden`."""
    for attribute in tree.attributes:
        if hidden is None:
            work.kept(attribute)
        else:
            Every(hidden).apply(attribute, work)
    shape.apply(tree.root, work)


def _items(node: Node, work: Work) -> Sequence[Node]:
    """Those of an array; none of a null or an error."""
    if node.kind in (resp.ARRAY, resp.SET, resp.PUSH):
        return node.items
    if node.kind in resp.ERRORS:
        work.error(node)
    elif node.kind != resp.NULL:
        raise Unmaskable("the reply has something else where an array stands")
    return ()


def _pairs(node: Node, work: Work) -> Sequence[tuple[Node, Node]]:
    if node.kind == resp.MAP:
        items: Sequence[Node] = node.items
    else:
        items = _items(node, work)
        if items and items[0].kind == resp.ARRAY:
            if any(item.kind != resp.ARRAY or len(item.items) != 2 for item in items):
                raise Unmaskable("the reply has something else where pairs stand")
            return [(item.items[0], item.items[1]) for item in items]
    if len(items) % 2:
        raise Unmaskable("the reply has a name without a value")
    return list(zip(items[::2], items[1::2], strict=True))
