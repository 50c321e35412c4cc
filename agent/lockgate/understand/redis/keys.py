"""Where the keys of a command stand, as the server's key specifications tell it (db.c, `getKeysUsingKeySpecs`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from lockgate.values.statement import Effect

READ = frozenset({Effect.READ})
WRITE = frozenset({Effect.WRITE})
BOTH = READ | WRITE

MOST: Final = 65_536
"""Keys that one command may name. Each is matched with every pattern, some 20 us in all, and meanwhile nobody else's
commands are: clients that delete by the million do it by the thousand (UNLINK's own advice)."""

_CHANGES = frozenset({"insert", "update", "delete"})


class Unreadable(Exception):
    """What was sent isn't that command as the server reads it. The message says why, in the server's words."""


@dataclass(frozen=True, slots=True)
class Index:
    """The keys begin at argument `place`; the name is 0."""

    place: int


@dataclass(frozen=True, slots=True)
class Keyword:
    """They begin behind `word`, looked for from argument `start` on; from the end backwards where that is negative."""

    word: bytes
    start: int


@dataclass(frozen=True, slots=True)
class Range:
    """Every `step`-th argument up to `last`: counted from the first key, or from the end of what was sent if negative.

    With a `limit` of n > 1 only the first n-th of the remaining arguments are keys.
    """

    last: int
    step: int
    limit: int


@dataclass(frozen=True, slots=True)
class Count:
    """The argument `number` says how many; the first is `first`, then each `step`. Both count from where they begin."""

    number: int
    first: int
    step: int


@dataclass(frozen=True, slots=True)
class KeySpec:
    """Keys that a command names. `begin` is None where the server itself can't say where they stand."""

    begin: Index | Keyword | None
    find: Range | Count | None
    flags: frozenset[str]

    @property
    def fixed(self) -> bool:
        """Whether the number of arguments alone tells where the keys are."""
        return isinstance(self.begin, Index) and isinstance(self.find, Range)

    @property
    def whole(self) -> bool:
        """Whether these are all the keys of their kind."""
        return self.begin is not None and self.find is not None and "incomplete" not in self.flags

    def effects(self, *, read_only: bool) -> frozenset[Effect]:
        """What happens to such a key.

        `read_only`: the server lets the command run where nothing may be changed. (PFCOUNT has its keys marked as
        written, since it may store them another way.)
        """
        read = not self.flags.isdisjoint({"RO", "access"})
        write = "RO" not in self.flags and not read_only
        return (READ if read or not write else frozenset()) | (WRITE if write else frozenset())

    @property
    def shows(self) -> bool:
        return "access" in self.flags

    def places(self, args: Sequence[bytes]) -> range:
        """Where such keys stand in `args`. Raises Unreadable where they can't stand there."""
        if isinstance(self.begin, Index):
            first = self.begin.place
        elif isinstance(self.begin, Keyword):
            found = _behind(self.begin, args)
            if found is None:
                return range(0)
            first = found
        else:
            return range(0)
        match self.find:
            case Range(last, step, limit):
                if last >= 0:
                    end = first + last
                elif limit > 1:
                    end = first + (len(args) - first) // limit + last
                else:
                    end = len(args) + last
            case Count(number, offset, step):
                if first + number >= len(args):
                    raise Unreadable("syntax error")
                count = whole_number(args[first + number])
                first += offset
                end = first + (count - 1) * step
                if count == 0:
                    return range(0)
                if end >= len(args):
                    raise Unreadable("Number of keys can't be greater than number of args")
            case None:
                return range(0)
        if end < first or end >= len(args):
            raise Unreadable("syntax error")
        return bounded(range(first, end + 1, step))


def word(argument: bytes) -> bytes:
    """An option as the server reads it: in capitals, and only up to a NUL (strcasecmp)."""
    return argument.partition(b"\0")[0].upper()


def whole_number(argument: bytes) -> int:
    """A number of keys, as util.c's string2ll takes it. Raises Unreadable for anything else, also below zero."""
    if len(argument) < 10 and argument.isdigit() and (argument[0] != ord("0") or argument == b"0"):
        return int(argument)
    raise Unreadable("value is not an integer or out of range")


def bounded(places: range) -> range:
    """The places of keys. Raises Unreadable where they are more than MOST."""
    if len(places) > MOST:
        raise Unreadable(f"lockgate: more than {MOST} keys in one command")
    return places


def _behind(keyword: Keyword, args: Sequence[bytes]) -> int | None:
    tried = range(keyword.start, len(args) - 1) if keyword.start > 0 else range(len(args) + keyword.start, 1, -1)
    return next((place + 1 for place in tried if word(args[place]) == keyword.word), None)
