"""What a name on the server stands for, when the answer is still on its way.

Prepared statements, portals and cursors are named by the client and live on the server. A client may send "make `a`"
and "run `a`" in one breath; whether the first succeeded is known later. So a name stands for every value it may stand
for at the time the server reads the second message, and a run must be judged on all of them. Two rules narrow it:

- messages between two synchronisation points (a *segment*) run in order and stop at the first error, so a name used
  in the segment that made it stands for that value alone: had the making failed, the use would be skipped;
- a making that the server confirmed is the only value.

A making by text (`PREPARE`, `DECLARE`) belongs to no segment: when it fails, what stands behind it may run anyway.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

V = TypeVar("V")

NO_SEGMENT: Final = -1
"""The segment of what is not sure to be skipped when something before it fails. It narrows nothing, not even itself."""


@dataclass(slots=True, eq=False)
class Entry(Generic[V]):
    """One making (or, with `value` None, unmaking) of a name."""

    name: str
    value: V | None
    segment: int
    confirmed: bool = False
    doubted: bool = False


LIGHT: Final = 8192
"""What a value may weigh without being counted: `limit` of them are bound enough."""


class Names(Generic[V]):
    """One namespace of one connection.

    `limit` bounds the names; adding more raises OverflowError. So does adding a value of more than LIGHT where all of
    them together, as `weigh` has it, are over `heaviest`.
    """

    __slots__ = ("_entries", "_heaviest", "_limit", "_weigh")

    def __init__(self, limit: int, weigh: Callable[[V], int], heaviest: int) -> None:
        self._entries: dict[str, list[Entry[V]]] = {}
        self._limit = limit
        self._weigh = weigh
        self._heaviest = heaviest

    def make(self, name: str, value: V | None, segment: int) -> Entry[V]:
        """The message that makes (or with None unmakes) `name` is about to be sent."""
        if value is not None and (weight := self._weigh(value)) > LIGHT and weight + self._weight() > self._heaviest:
            raise OverflowError(f"what stands for names takes more than {self._heaviest} characters")
        entry = Entry(name, value, segment)
        entries = self._entries.get(name)
        if entries is None:
            if len(self._entries) >= self._limit:
                raise OverflowError(f"more than {self._limit} names")
            self._entries[name] = [entry]
        else:
            if len(entries) >= self._limit:
                raise OverflowError(f"more than {self._limit} unanswered uses of one name")
            entries.append(entry)
        return entry

    def confirm(self, entry: Entry[V]) -> list[V]:
        """The server did what `entry` says: what was before is gone (and returned), what came after stays open."""
        entry.confirmed = True
        entries = self._entries.get(entry.name)
        if entries is None or entry not in entries:
            return []
        place = entries.index(entry)
        if entry.value is None and place == len(entries) - 1:
            del self._entries[entry.name]
        else:
            self._entries[entry.name] = entries[place:]
        return [old.value for old in entries[:place] if old.value is not None]

    def withdraw(self, entry: Entry[V]) -> None:
        """The server refused or skipped it: the name stands for what it stood for before."""
        entries = self._entries.get(entry.name)
        if entries is not None and entry in entries:
            entries.remove(entry)
            if not entries:
                del self._entries[entry.name]

    def doubt(self, entry: Entry[V]) -> None:
        """The server answered with an error, but may have done it first: it stays one of the values."""
        entry.doubted = True
        entries = self._entries.get(entry.name)
        if entries is not None and entry in entries:
            entries[:] = [e for e in entries if e is entry or not (e.doubted and e.value == entry.value)]

    def candidates(self, name: str, segment: int) -> list[V]:
        """Everything `name` may stand for when a message of `segment` is read. Empty: the server has no such name."""
        found: list[V] = []
        for entry in reversed(self._entries.get(name, ())):
            if entry.value is not None:
                found.append(entry.value)
            if entry.confirmed or entry.segment == segment != NO_SEGMENT:
                break
        return found

    def _weight(self) -> int:
        every = (entry.value for entries in self._entries.values() for entry in entries)
        return sum(self._weigh(value) for value in every if value is not None)

    def clear(self) -> None:
        """The server dropped every name."""
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)
