"""From a command to what policy sees of it: which of the patterns that policies name its keys and channels match.

And which of the names in classification its keys may have values of, and the channels that it names messages.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from typing import Final

from lockgate.policy.bundle import Bundle
from lockgate.policy.generations import Generations
from lockgate.policy.globs import beginning, covers, disjoint
from lockgate.values.command import Call, ChannelUse
from lockgate.values.glob import compile_glob
from lockgate.values.selector import parse_name
from lockgate.values.statement import Effect, Place, Request, Statement, Touch

NAMES_KEPT: Final = 16384
"""Keys and channels of which is remembered what they match."""

NAME_KEPT_BYTES: Final = 256
"""The longest that is remembered: 4 MiB of names at most. Redis' own advice is to keep keys short; longer ones are
matched every time."""

MAYBE: Final = 3
"""Named patterns that a client's pattern may share channels with, and may not: each doubles what it touches. Beyond, it
touches anything."""

RESOLVED_KEPT: Final = 4096
"""Statements of which is remembered what they are with what they touch."""

SHAPE_KEPT: Final = 2048
"""Characters of the shape of one that is remembered: 8 MiB at most."""

HEARING: Final = frozenset(("SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "MONITOR"))
"""Commands behind which messages come. Others that are about channels tell of their names and numbers."""

Matches = Callable[[bytes], tuple[str, ...]]
_Touched = tuple[tuple[str, ...] | None, frozenset[Effect]]
Found = tuple[tuple[_Touched, ...], tuple[_Touched, ...]]
"""Patterns and effects of what is touched: of keys, and of channels."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """What statements of one shape that touch the same become."""

    before: tuple[Statement, ...]
    statements: tuple[Statement, ...]
    shape: str


class Patterns:
    """The patterns by which policies name keys and channels of one datastore. Not locked: it belongs to one event loop.

    Raises ValueError for a pattern that `compile_glob` refuses.
    """

    __slots__ = ("_channels", "channel", "kept", "key")

    def __init__(self, keys: Sequence[str] = (), channels: Sequence[str] = ()) -> None:
        self._channels = tuple(channels)
        self.key = _matching([(pattern, pattern.encode()) for pattern in keys])
        """A key -> the patterns that match it, in the order given."""
        self.channel = _matching([(pattern, pattern.encode()) for pattern in channels])
        self.kept: Generations[tuple[str, Found], _Kept] = Generations(RESOLVED_KEPT)

    @classmethod
    def of(cls, bundle: Bundle, datastore: str) -> Patterns:
        return cls(bundle.patterns(datastore, Place.KEY), bundle.patterns(datastore, Place.CHANNEL))

    def touched(self, call: Call) -> Found | None:
        """What a call touches, each once; None when it touches nothing."""
        if len(call.keys) == 1 and not call.channels and not call.anywhere:
            (one,) = call.keys
            return ((self.key(one.key), one.effects),), ()
        keys: dict[_Touched, None] = {}
        for one in call.keys:
            keys[self.key(one.key), one.effects] = None
        if call.anywhere:
            keys[None, call.anywhere] = None
        channels: dict[_Touched, None] = {}
        for channel in call.channels:
            ways = self.channels(channel.name) if channel.pattern else (self.channel(channel.name),)
            channels |= dict.fromkeys((way, channel.effects) for way in ways)
        return (tuple(keys), tuple(channels)) if keys or channels else None

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

    Patterns are to be those of the bundle that judges it: another one may name others. Raises ValueError where there
    are not as many calls as statements, which is nobody's doing but ours.
    """
    detail = request.detail
    if isinstance(detail, Call):
        found = patterns.touched(detail)
        if found is None:
            return request
        known = patterns.kept.get((request.shape, found))
        if known is not None and (known.before is request.statements or known.before == request.statements):
            return Request(request.language, request.text, known.shape, known.statements, detail)
        (statement,) = request.statements
        statements: tuple[Statement, ...] = (replace(statement, touches=_touches(found)),)
        shape = f"{request.shape}\0{_spelled((found,))}"
        if len(shape) <= SHAPE_KEPT:
            patterns.kept.put((request.shape, found), _Kept(request.statements, statements, shape))
        return Request(request.language, request.text, shape, statements, detail)
    each = [patterns.touched(call) for call in calls_of(request)]
    if not any(each):
        return request
    # of ten thousand commands in a transaction most are alike, and become the very same
    alike: dict[tuple[int, Found], Statement] = {}
    touching: list[Statement] = []
    for statement, found in zip(request.statements, each, strict=True):
        if found is not None:
            key = (id(statement), found)
            if key not in alike:
                alike[key] = replace(statement, touches=_touches(found))
            statement = alike[key]
        touching.append(statement)
    return replace(request, shape=f"{request.shape}\0{_spelled(each)}", statements=tuple(touching))


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
    """What a call touches, each once however many keys are alike: keys, what it doesn't name, channels."""
    found = patterns.touched(call)
    return () if found is None else _touches(found)


def _touches(found: Found) -> tuple[Touch, ...]:
    return (
        *(Touch(Place.KEY, patterns, effects) for patterns, effects in found[0]),
        *(Touch(Place.CHANNEL, patterns, effects) for patterns, effects in found[1]),
    )


def _spelled(each: Collection[Found | None]) -> str:
    # repr keeps apart what a separator in a pattern could run together: it has no control characters
    spelled = {
        found: repr(found and [[(patterns, *sorted(effects)) for patterns, effects in some] for some in found])
        for found in set(each)
    }
    return "\1".join([spelled[found] for found in each])


@dataclass(frozen=True, slots=True)
class Classified:
    """Which classified names a call may have to do with: each of its keys, in order, and keys that it doesn't name.

    `shown` are those of the keys whose values its reply, or what it writes elsewhere, may hold, and those of the
    channels whose messages it may bring.
    """

    keys: tuple[tuple[str, ...], ...]
    anywhere: tuple[str, ...]
    shown: tuple[str, ...]


class Names:
    """The classified names of one datastore: `secret:*`, `profile:*#email`, `doc:*#$.user.email`, `&news:*`."""

    __slots__ = ("_channels", "channel", "key", "keys", "names")

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        parsed = [(name, parse_name(name)) for name in names]
        keys = [(name, one.pattern) for name, one in parsed if one.place is Place.KEY]
        self.keys = tuple(name for name, _ in keys)
        """Those of them that are about keys."""
        self.key = _matching(keys)
        """A key -> the names whose pattern matches it."""
        self._channels = [(name, one.pattern) for name, one in parsed if one.place is Place.CHANNEL]
        self.channel = _matching(self._channels)

    def messages(self, use: ChannelUse) -> tuple[str, ...]:
        """The names that messages may be of: on a channel, or on any that a client's pattern matches."""
        if not use.pattern:
            return self.channel(use.name)
        return tuple(name for name, pattern in self._channels if not disjoint(pattern, use.name))


NOT_CLASSIFIED: Final = Classified(((),), (), ())
"""What most commands are: of one key, of which nothing is classified."""


def classified(call: Call, names: Names) -> Classified:
    """Which classified names the keys of a call match, and the channels that it listens to."""
    anywhere = names.keys if Effect.READ in call.anywhere else ()
    if not anywhere and len(call.keys) == 1 and not names.key(call.keys[0].key):
        return NOT_CLASSIFIED
    keys = tuple([names.key(key.key) for key in call.keys])
    shown = dict.fromkeys([name for key, found in zip(call.keys, keys, strict=True) if key.shows for name in found])
    shown |= dict.fromkeys(anywhere)
    if call.name in HEARING:
        shown |= dict.fromkeys([name for use in call.channels for name in names.messages(use)])
    return Classified(keys, anywhere, tuple(shown))


def _matching(patterns: Iterable[tuple[str, bytes]]) -> Matches:
    """What tells of a key which names match it; `patterns` are names with their patterns."""
    # a key that is new (in a store of sessions most are) is looked up by how it begins, once for each length of what
    # patterns begin with: however many patterns there are, that is few
    begun: dict[int, dict[bytes, list[tuple[int, str, Callable[[bytes], object] | None]]]] = {}
    for place, (name, pattern) in enumerate(patterns):
        begin, rest = beginning(pattern)
        further = None if rest and not rest.strip(b"*") else compile_glob(pattern).fullmatch
        begun.setdefault(len(begin), {}).setdefault(begin, []).append((place, name, further))
    if not begun:
        return lambda key: ()
    lengths = sorted(begun.items())

    def match(key: bytes) -> tuple[str, ...]:
        found = [
            (place, name)
            for length, begins in lengths
            for place, name, matches in begins.get(key[:length], ())
            if matches is None or matches(key)
        ]
        if len(found) > 1:
            found.sort()
        return tuple([name for _, name in found])

    kept = lru_cache(maxsize=NAMES_KEPT)(match)
    return lambda key: kept(key) if len(key) <= NAME_KEPT_BYTES else match(key)
