"""What classification calls values of a key-value datastore: `secret:*`, `profile:*#email`, `doc:*#$.user.email`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from lockgate.values.glob import compile_glob

STEPS: Final = 32
"""How deep a path may go. RedisJSON itself takes documents 128 deep."""

_STEP: Final = re.compile(r"\.(?:\*|[^\s.*\[\]\"'#$@()?,:\\]+)|\[(?:\*|0|[1-9][0-9]{0,8})\]")

Step = str | int | None
"""A name in an object, a place in an array; None is any (`.*`, `[*]`)."""


@dataclass(frozen=True, slots=True)
class KeyName:
    """`pattern` is the glob of the keys. Of their values all is meant, or what `field` or `path` says.

    `field` is the glob of the fields of a hash or stream. `path` leads into a JSON text: `$.items[*].card` is
    ("items", None, "card").
    """

    pattern: str
    field: str | None = None
    path: tuple[Step, ...] | None = None


def key_name(name: str) -> KeyName:
    """The name read. The first `#` that no backslash stands before ends the pattern. Raises ValueError, saying why."""
    pattern, mark, rest = _cut(name)
    if not pattern:
        raise ValueError(f"{name!r} has no pattern of keys")
    compile_glob(pattern.encode())
    if not mark:
        return KeyName(pattern)
    if rest.startswith("$"):
        return KeyName(pattern, path=_path(rest))
    if not rest:
        raise ValueError(f"{name!r}: there is nothing behind the #: a field, or a path as in #$.user.email")
    compile_glob(rest.encode())
    return KeyName(pattern, field=rest)


def _cut(name: str) -> tuple[str, str, str]:
    at = 0
    while at < len(name) and name[at] != "#":
        at += 2 if name[at] == "\\" else 1
    return name[:at], name[at : at + 1], name[at + 1 :]


def _path(text: str) -> tuple[Step, ...]:
    steps: list[Step] = []
    at = 1
    while at < len(text) and (found := _STEP.match(text, at)):
        word = found[0].strip(".[]")
        steps.append(None if word == "*" else int(word) if found[0][0] == "[" else word)
        at = found.end()
    if at < len(text) or not steps:
        raise ValueError(f"{text!r} is not a path such as $.user.email, $.cards[*].number, $[0] or $.*")
    if len(steps) > STEPS:
        raise ValueError(f"a path of more than {STEPS} steps")
    return tuple(steps)
