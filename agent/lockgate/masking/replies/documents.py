"""Masks places of a JSON document. What is not masked stays as it is written, to the last space and digit.

A document is read strictly (RFC 8259), its names compared as what they say, not as they are written. Where a name
stands twice both are masked: which of them counts is the reader's choice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Final

from lockgate.masking.replies.texts import TextMasker, strictest
from lockgate.values.selector import Path, Step

MOST_DEPTH: Final = 128
"""Arrays and objects inside one another, as RedisJSON takes them. A deeper document is hidden whole."""

Place = tuple[Path, TextMasker]
"""A path from where one stands, and what masks what is there."""

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_STRING: Final = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"')
_ATOM: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null")


class _NotJson(Exception):
    pass


def mask_document(value: bytes, places: Sequence[Place]) -> tuple[bytes, int] | None:
    """The document with those places masked, and how many there were. None when it is no JSON."""
    try:
        document = _Document(value.decode())
        return document.masked(places)
    except (UnicodeDecodeError, _NotJson):
        return None


def below(path: Path, asked: Path) -> tuple[Path, ...]:
    """What is left of a path for one who stands where `asked` leads; () when it leads elsewhere.

    A path that is left empty says that all there is masked. Where it can't be told whether they meet, they do.
    `asked` has no steps that go to any depth.
    """
    paths: list[Path] = [path]
    for step in asked:
        following: list[Path] = []
        for one in paths:
            if not one:
                following.append(one)
                continue
            first = one[0]
            if first.deep:
                following.append(one)
            if _meet(first, step):
                following.append(one[1:])
        paths = list(dict.fromkeys(following))
    return tuple(paths)


def _meet(one: Step, other: Step) -> bool:
    if one.name is not None and other.name is not None:
        return one.name == other.name
    if one.index is not None and other.index is not None:
        return one.index == other.index
    # a name and an index never meet, anything else may
    return (one.name is None and one.index is None) or (other.name is None and other.index is None)


class _Document:
    __slots__ = ("_at", "_count", "_edits", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._count = 0
        self._edits: list[str] = []

    def masked(self, places: Sequence[Place]) -> tuple[bytes, int]:
        end = self._value(self._space(0), tuple(places), 0)
        if self._space(end) != len(self._text):
            raise _NotJson
        self._edits.append(self._text[self._at :])
        return "".join(self._edits).encode(), self._count

    def _space(self, at: int) -> int:
        match = _SPACE.match(self._text, at)
        return at if match is None else match.end()

    def _value(self, at: int, places: tuple[Place, ...], depth: int) -> int:
        """Reads what begins at `at`, and writes it if it is to be masked; where it ends."""
        whole = strictest([masker for path, masker in places if not path]) if places else None
        opening = self._text[at : at + 1]
        if opening in ("{", "["):
            if depth >= MOST_DEPTH:
                raise _NotJson
            read = self._object if opening == "{" else self._array
            end = read(at + 1, () if whole is not None else places, depth + 1)
            if whole is not None:
                self._replace(at, end, whole.blank)
            return end
        match = (_STRING if opening == '"' else _ATOM).match(self._text, at)
        if match is None:
            raise _NotJson
        if whole is not None and (match[0] != "null" or whole.veils):
            self._replace(at, match.end(), _shown(match[0], whole))
        return match.end()

    def _object(self, at: int, places: tuple[Place, ...], depth: int) -> int:
        at = self._space(at)
        if self._text[at : at + 1] == "}":
            return at + 1
        while True:
            match = _STRING.match(self._text, at)
            if match is None:
                raise _NotJson
            at = self._space(match.end())
            if self._text[at : at + 1] != ":":
                raise _NotJson
            inside = _inside(places, Step(name=_said(match[0]))) if places else ()
            at = self._space(self._value(self._space(at + 1), inside, depth))
            closing = self._text[at : at + 1]
            if closing == "}":
                return at + 1
            if closing != ",":
                raise _NotJson
            at = self._space(at + 1)

    def _array(self, at: int, places: tuple[Place, ...], depth: int) -> int:
        at = self._space(at)
        if self._text[at : at + 1] == "]":
            return at + 1
        index = 0
        while True:
            inside = _inside(places, Step(index=index)) if places else ()
            at = self._space(self._value(at, inside, depth))
            closing = self._text[at : at + 1]
            if closing == "]":
                return at + 1
            if closing != ",":
                raise _NotJson
            at = self._space(at + 1)
            index += 1

    def _replace(self, start: int, end: int, shown: bytes | None) -> None:
        self._edits.append(self._text[self._at : start])
        self._edits.append("null" if shown is None else json.dumps(shown.decode(), ensure_ascii=False))
        self._at = end
        self._count += 1


def _inside(places: tuple[Place, ...], step: Step) -> tuple[Place, ...]:
    return tuple((rest, masker) for path, masker in places for rest in below(path, (step,)))


def _said(token: str) -> str:
    return token[1:-1] if "\\" not in token else str(json.loads(token))


def _shown(token: str, masker: TextMasker) -> bytes | None:
    if not token.startswith('"'):
        return masker.shown(token.encode())
    try:
        return masker.shown(_said(token).encode())
    except UnicodeEncodeError:
        # half of a surrogate pair: no text
        return masker.blank
