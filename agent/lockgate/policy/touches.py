"""From a command to what policy sees of it: which of the patterns that policies name its keys and channels match.

And which of the names in classification its keys may have values of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from typing import Final

from lockgate.policy.bundle import Bundle
from lockgate.policy.globs import covers, disjoint
from lockgate.values.command import Call, ChannelUse
from lockgate.values.glob import compile_glob
from lockgate.values.key_name import key_name
from lockgate.values.statement import Effect, Place, Request, Statement, Touch

NAMES_KEPT: Final = 16384
"""Keys and channels of which is remembered what they match."""

NAME_KEPT_BYTES: Final = 256
"""The longest that is remembered: 4 MiB of names at most. Redis' own advice is to keep keys short; longer ones are
matched every time."""

MAYBE: Final = 3
"""Named patterns that a client's pattern may share channels with, and may not: each doubles what it touches. Beyond, it
touches anything."""

Matches = Callable[[bytes], tuple[str, ...]]


class Patterns:
    """The patterns by which policies name keys and channels of one datastore. Not locked: it belongs to one event loop.

    Raises ValueError for a pattern that `compile_glob` refuses.
    """

    __slots__ = ("_channels", "channel", "key")

    def __init__(self, keys: Sequence[str] = (), channels: Sequence[str] = ()) -> None:
        self._channels = tuple(channels)
        self.key = _matching([(pattern, pattern) for pattern in keys])
        """A key -> the patterns that match it, in the order given."""
        self.channel = _matching([(pattern, pattern) for pattern in channels])

    @classmethod
    def of(cls, bundle: Bundle, datastore: str) -> Patterns:
        return cls(bundle.patterns(datastore, Place.KEY), bundle.patterns(datastore, Place.CHANNEL))

    def channels(self, pattern: bytes) -> tuple[tuple[str, ...] | None, ...]:
        """What of the named patterns a channel may match that a client's matches: every way, or (None,) for anything.

        A named pattern is left out only where no channel can match both, and is in all of them only where every
        channel that the client's matches, it matches too.
        """
        always: list[str] = []
        maybe: list[str] = []
        for named in self._channels:
            other = named.encode()
            if covers(other, pattern):
                always.append(named)
            elif not disjoint(other, pattern):
                maybe.append(named)
        if len(maybe) > MAYBE:
            return (None,)
        ways = (some for size in range(len(maybe) + 1) for some in combinations(maybe, size))
        return tuple(tuple(name for name in self._channels if name in always or name in some) for some in ways)


def resolved(request: Request, patterns: Patterns) -> Request:
    """The request with the touches of its statements, of which `detail` has the calls: one Call, or one a statement.

    Its shape tells them apart too: what is granted, or was judged, for the keys of one pattern is not for another's. A
    request that is no command is returned as it is.

    Patterns are to be those of the bundle that judges it: another one may name others.
    """
    calls = calls_of(request)
    if not calls:
        return request
    found = [touches(call, patterns) for call in calls]
    if not any(found):
        return request
    statements = tuple(_with(statement, touched) for statement, touched in zip(request.statements, found, strict=True))
    return replace(request, shape=f"{request.shape}\0{_spelled(found)}", statements=statements)


def calls_of(request: Request) -> tuple[Call, ...]:
    """The calls that a request is made of, one a statement; empty for one that is no command (or none to be judged)."""
    detail = request.detail
    if isinstance(detail, Call):
        return (detail,)
    return detail if isinstance(detail, tuple) and all(isinstance(one, Call) for one in detail) else ()


def unresolved(request: Request) -> bool:
    """Whether a command that touches something comes without it: then nothing is known of what it touches."""
    return any(
        not statement.touches and (call.keys or call.anywhere or call.channels)
        for statement, call in zip(request.statements, calls_of(request), strict=False)
    )


def touches(call: Call, patterns: Patterns) -> tuple[Touch, ...]:
    """What a call touches, each once however many keys are alike, in the order of its arguments."""
    found: dict[tuple[Place, tuple[str, ...] | None, frozenset[Effect]], None] = {}
    for key in call.keys:
        found[Place.KEY, patterns.key(key.key), key.effects] = None
    if call.anywhere:
        found[Place.KEY, None, call.anywhere] = None
    for channel in call.channels:
        for matched in _listened(channel, patterns):
            found[Place.CHANNEL, matched, channel.effects] = None
    return tuple(Touch(*one) for one in found)


def _listened(channel: ChannelUse, patterns: Patterns) -> tuple[tuple[str, ...] | None, ...]:
    return patterns.channels(channel.name) if channel.pattern else (patterns.channel(channel.name),)


def _with(statement: Statement, touched: tuple[Touch, ...]) -> Statement:
    return replace(statement, touches=touched) if touched else statement


def _spelled(found: Iterable[tuple[Touch, ...]]) -> str:
    # repr keeps apart what a separator in a pattern could run together
    return repr([[(t.place.value, t.patterns, sorted(t.effects)) for t in touched] for touched in found])


@dataclass(frozen=True, slots=True)
class Classified:
    """Which classified names a call may have values of: each of its keys, in order, and what it doesn't name."""

    keys: tuple[tuple[str, ...], ...]
    anywhere: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*(name for names in self.keys for name in names), *self.anywhere)))


class Names:
    """The classified names of one datastore: `secret:*`, `profile:*#email`, `doc:*#$.user.email`."""

    __slots__ = ("key", "names")

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.key = _matching([(name, key_name(name).pattern) for name in names])
        """A key -> the names whose pattern matches it."""


def classified(call: Call, names: Names) -> Classified:
    """Which classified names each key of a call may match, whether or not it shows its value."""
    anywhere = names.names if Effect.READ in call.anywhere else ()
    return Classified(tuple(names.key(key.key) for key in call.keys), anywhere)


def _matching(patterns: Iterable[tuple[str, str]]) -> Matches:
    """What tells of a key which names match it; `patterns` are names with their patterns."""
    compiled = [(name, compile_glob(pattern.encode()).fullmatch) for name, pattern in patterns]
    if not compiled:
        return lambda key: ()

    def match(key: bytes) -> tuple[str, ...]:
        return tuple([name for name, matches in compiled if matches(key)])

    kept = lru_cache(maxsize=NAMES_KEPT)(match)
    return lambda key: kept(key) if len(key) <= NAME_KEPT_BYTES else match(key)
