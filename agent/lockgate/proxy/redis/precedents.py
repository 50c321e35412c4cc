"""Commands like others that were let pass before: they pass without being understood and judged once more.

A judgement of an ordinary command hangs on its name, the number of its arguments, which of the patterns that policies
name its keys match, and whether any of them is classified. `Precedents` remembers those of one connection on which
nothing was masked, held or waited for; whoever asks it sees to it that nothing else they were taken on has changed.

This is the reference: `_precedents.pyx` is the same, compiled, and what runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from lockgate.policy.touches import Matches
from lockgate.understand.redis.rendering import MAX_ARGUMENTS, MAX_CHARACTERS, spelt
from lockgate.wire.redis._resp import encode_command

KINDS: Final = 128
"""Kinds of commands of which judgements are remembered: as many as an application sends, several times over. All are
forgotten when one is too many."""

WAYS: Final = 64
"""Ways in which the keys of one of them match."""

BYTES: Final = 1 << 20
"""Of what is sent of commands that are followed at once: a longer one costs what its bytes do, however it passes."""

Args = tuple[bytes, ...]

Passing = tuple[int, Mapping[str, Any], str, bytes]
"""Commands that pass: how many, what their record says of them, their lines in it, and what the server is sent."""


@dataclass(slots=True)
class _Kind:
    """`places` are those of the keys, `same` what stands at others, `ways` the facts by what they match."""

    name: str
    places: tuple[int, ...]
    same: tuple[tuple[int, bytes], ...]
    ways: dict[tuple[tuple[str, ...], tuple[str, ...]], Mapping[str, Any]] = field(default_factory=dict)


class Precedents:
    """`key` tells which patterns match a key, of the policies in force, and `tried` of those that are only tried;
    `classified` which classified names do.
    """

    def __init__(self, key: Matches, tried: Matches, classified: Matches) -> None:
        self._key = key
        self._tried = tried
        self._classified = classified
        self._kinds: dict[tuple[bytes, int], list[_Kind]] = {}
        self._count = 0

    def learn(
        self, args: Args, name: str, places: tuple[int, ...], same: tuple[int, ...], facts: Mapping[str, Any]
    ) -> None:
        """A command was let pass with these facts, as all are of this name and number of arguments that have the same
        as it at `same`, and whose keys, which stand at `places`, match the same."""
        way = self._way(args, places)
        if way is None or len(args) > MAX_ARGUMENTS:
            return
        kind = self._kind(args)
        if kind is None:
            if self._count >= KINDS:
                self._kinds.clear()
                self._count = 0
            kind = _Kind(name, places, tuple((place, args[place]) for place in same))
            self._kinds.setdefault((args[0], len(args)), []).append(kind)
            self._count += 1
        if len(kind.ways) >= WAYS:
            kind.ways.clear()
        kind.ways[way] = facts

    def follow(self, commands: Sequence[Args], at: int, room: int, characters: int) -> Passing | None:
        """Those of `commands` from `at` on that pass as one like them did before, all with one facts; None where the
        first doesn't. `room` at most, with lines of so many `characters`, give or take one command's."""
        texts: list[str] = []
        sent: list[bytes] = []
        facts, length, size = None, 0, 0
        for args in commands[at : at + room]:
            kind = self._kind(args)
            way = None if kind is None else self._way(args, kind.places)
            told = None if kind is None or way is None else kind.ways.get(way)
            if kind is None or told is None or (facts is not None and told is not facts) or length >= characters:
                break
            text = " ".join([kind.name, *map(spelt, args[1:])])
            encoded = encode_command(args)
            size += len(encoded)
            if len(text) > MAX_CHARACTERS or size > BYTES:
                break
            texts.append(text)
            sent.append(encoded)
            facts = told
            length += len(text)
        return None if facts is None else (len(texts), facts, "\n".join(texts), b"".join(sent))

    def _kind(self, args: Args) -> _Kind | None:
        for kind in self._kinds.get((args[0], len(args)), ()):
            if all(args[place] == said for place, said in kind.same):
                return kind
        return None

    def _way(self, args: Args, places: tuple[int, ...]) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
        """What the keys match, None where they differ in that, or any is classified."""
        ways = {(self._key(args[place]), self._tried(args[place])) for place in places} or {((), ())}
        if len(ways) > 1 or any(self._classified(args[place]) for place in places):
            return None
        return ways.pop()
