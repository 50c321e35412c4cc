"""What of a key-value datastore is classified, as `classification.yaml` names it.

    secret:*               the whole value of every key that the pattern matches
    profile:*#email        of a hash or a stream the fields of that name, which may be a pattern too
    doc:*#$.user.email     a place in a value that is JSON
    &news:*                the whole message on every channel that the pattern matches
    &events:*#$.user.email a place in a message that is JSON

Redis' own access lists write a key `~pattern` and a channel `&pattern` (ACL documentation), and so may one here; what
begins with neither is a key's. A key's pattern that itself begins so is `~&odd:*`, `~~odd:*`, or `\\&odd:*`.

The first `#` ends the pattern; one that belongs to it is written `\\#`. Patterns are Redis's
(`lockgate.values.glob`). Of JSONPath (RFC 9535) there are `.name`, `['any name']`, `[0]`, `.*`, `[*]` and `..name`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from lockgate.values.glob import compile_glob
from lockgate.values.statement import Place

MOST_STEPS: Final = 32
"""Of a JSON path: documents that anybody classifies are not nested deeper."""

_STEP: Final = re.compile(
    r"(?:(?P<deep>\.\.)|\.)(?P<name>[A-Za-z_\x80-\U0010ffff][\w\-]*|\*)"
    r"|(?P<far>\.\.)?\[(?:(?P<index>0|[1-9][0-9]{0,8})|(?P<any>\*)|'(?P<single>[^'\\\x00-\x1f]+)'|\"(?P<double>[^\"\\\x00-\x1f]+)\")\]"
)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_MARKS: Final = {"~": Place.KEY, "&": Place.CHANNEL}


@dataclass(frozen=True, slots=True)
class Step:
    """One step into a JSON document: to a member by name, to an element by index, or with neither to each of all.

    `deep`: at any depth below where it is taken from.
    """

    name: str | None = None
    index: int | None = None
    deep: bool = False


Path = tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Whole:
    """All of a value: the members of a set and their scores, the fields of a hash and their names. Or a message."""


@dataclass(frozen=True, slots=True)
class Field:
    """The values of those fields of a hash or a stream whose names a glob matches."""

    pattern: bytes


@dataclass(frozen=True, slots=True)
class Document:
    """Places in each string of a value, or in a message: each is then to be a JSON document."""

    path: Path


Selector = Whole | Field | Document


@dataclass(frozen=True, slots=True)
class ClassifiedName:
    """`pattern` is a glob over keys, or over channels, of which none has a `Field`."""

    pattern: bytes
    selector: Selector
    place: Place = Place.KEY


def parse_name(text: str) -> ClassifiedName:
    """What `classification.yaml` calls it, without the datastore. Raises ValueError, whose message is one line."""
    if _CONTROL.search(text):
        raise ValueError(f"{text!r} has a control character")
    place = _MARKS.get(text[:1])
    pattern, marked, rest = _split(text if place is None else text[1:])
    place = place or Place.KEY
    if not pattern:
        front = " in front of `#`" if marked else ""
        raise ValueError(f"{text!r} has no pattern of {place}s{front}" if text else "a pattern of keys is empty")
    return ClassifiedName(_glob(text, pattern), _selector(text, rest, place) if marked else Whole(), place)


def _selector(text: str, rest: str, place: Place) -> Selector:
    """What stands behind the `#`."""
    if rest.startswith("$"):
        try:
            path = parse_path(rest)
        except ValueError as error:
            raise ValueError(f"{text!r}: {error}") from None
        if not path:
            whole = "message" if place is Place.CHANNEL else "value"
            raise ValueError(f"{text!r}: `#$` is the whole {whole}, which the pattern alone says")
        return Document(path)
    if not rest:
        raise ValueError(f"{text!r} names no field behind `#`")
    if place is Place.CHANNEL:
        raise ValueError(f"{text!r}: a message has no fields (`#$.name` is a place in one that is JSON)")
    return Field(_glob(text, rest))


def parse_path(text: str) -> Path:
    """A JSON path, `$` in front; () for `$` alone. Raises ValueError, whose message is one line."""
    if not text.startswith("$"):
        raise ValueError("a JSON path begins with `$`")
    steps: list[Step] = []
    at = 1
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None:
            raise ValueError(f"no JSON path that is understood, from {text[at:]!r} on (there are .name, [0], [*], ..)")
        name = match["name"] or match["single"] or match["double"]
        index = None if match["index"] is None else int(match["index"])
        steps.append(Step(None if match["name"] == "*" else name, index, bool(match["deep"] or match["far"])))
        at = match.end()
    if len(steps) > MOST_STEPS:
        raise ValueError(f"a JSON path of more than {MOST_STEPS} steps")
    return tuple(steps)


def _split(text: str) -> tuple[str, bool, str]:
    at = 0
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == "#":
            return text[:at], True, text[at + 1 :]
        at += 1
    return text, False, ""


def _glob(text: str, pattern: str) -> bytes:
    found = pattern.encode("utf-8", "surrogatepass")
    try:
        compile_glob(found)
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from None
    return found
