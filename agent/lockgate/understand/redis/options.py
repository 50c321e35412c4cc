"""Commands whose options say which arguments are keys, or what is done to them: read as the server's own parsers do.

The server's key specifications don't tell enough of these, or tell something else than what is run: the keyword
STREAMS is the first that stands there, be it the name of a consumer. An option that nobody knows is a syntax error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from hashlib import sha1
from typing import Final

from lockgate.understand.redis.keys import BOTH, READ, WRITE, Unreadable, bounded, whole_number, word
from lockgate.values.command import ChannelUse, KeyUse
from lockgate.values.statement import Effect

Args = tuple[bytes, ...]
Effects = frozenset[Effect]

NOTHING: Effects = frozenset()

ANY_CHANNEL = b"*"
"""As a pattern it is every channel."""

PATTERNS: Final = 256
"""Patterns of channels in one command: each is compared with every one that policies name, byte by byte."""

PATTERN_BYTES: Final = 1024
"""The longest of them: as long as one of a policy may be."""

_SHA = re.compile(rb"[0-9a-f]{40}")
_FUNCTION = re.compile(rb"[A-Za-z0-9_]{1,128}")

EXPIRES = frozenset({b"EX", b"PX", b"EXAT", b"PXAT"})


@dataclass(frozen=True, slots=True)
class Found:
    """What the arguments of one call say. `anywhere` is beside what the command itself does to keys it doesn't name.

    `values` is None where it is as for every call of the command. `script` as in `Call`, `settings` and `functions` as
    in `Statement`.
    """

    keys: tuple[KeyUse, ...] = ()
    anywhere: Effects = NOTHING
    channels: tuple[ChannelUse, ...] = ()
    script: str | None = None
    functions: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    values: tuple[int, ...] | None = None


def _use(args: Args, place: int, effects: Effects, *, shows: bool) -> KeyUse:
    return KeyUse(args[place], place, effects, shows)


def _options(args: Args, place: int, known: dict[bytes, int]) -> Iterable[tuple[bytes, int]]:
    """The options from `place` on, and where what belongs to each begins. `known` has how many arguments that is."""
    while place < len(args):
        option = word(args[place])
        count = known.get(option)
        if count is None or place + count >= len(args):
            raise Unreadable("syntax error")
        yield option, place + 1
        place += 1 + count


_SORT_OPTIONS = {b"ASC": 0, b"DESC": 0, b"ALPHA": 0, b"LIMIT": 2, b"STORE": 1, b"BY": 1, b"GET": 1}


def _sort(args: Args) -> Found:
    """BY and GET read keys whose names are made of what is sorted, unless their pattern has no star.

    Of several keys to store to the server takes the last; all of them are told, here and below.
    """
    keys = [_use(args, 1, READ, shows=True)]
    anywhere = NOTHING
    for option, at in _options(args, 2, _SORT_OPTIONS):
        if option == b"STORE":
            if word(args[0]) == b"SORT_RO":
                raise Unreadable("syntax error")
            keys.append(_use(args, at, WRITE, shows=False))
        elif option in (b"BY", b"GET") and b"*" in args[at]:
            anywhere = READ
    return Found(tuple(keys), anywhere)


_RADIUS_OPTIONS = {
    b"WITHDIST": 0,
    b"WITHHASH": 0,
    b"WITHCOORD": 0,
    b"ANY": 0,
    b"ASC": 0,
    b"DESC": 0,
    b"COUNT": 1,
    b"STORE": 1,
    b"STOREDIST": 1,
}


def _radius(first: int) -> Callable[[Args], Found]:
    """GEORADIUS and its like, the options of which begin at `first`."""

    def read(args: Args) -> Found:
        keys = [_use(args, 1, READ, shows=True)]
        for option, at in _options(args, first, _RADIUS_OPTIONS):
            if option in (b"STORE", b"STOREDIST"):
                keys.append(_use(args, at, WRITE, shows=False))
        return Found(tuple(keys))

    return read


_COMPARISONS = frozenset({b"IFEQ", b"IFNE", b"IFDEQ", b"IFDNE"})


def _set(args: Args) -> Found:
    """GET returns what was there; a comparison tells whether it was what was guessed."""
    reads = any(word(argument) == b"GET" or word(argument) in _COMPARISONS for argument in args[3:])
    return Found((_use(args, 1, BOTH if reads else WRITE, shows=reads),))


def _bitfield(args: Args) -> Found:
    changes = False
    for option, _ in _options(args, 2, {b"GET": 2, b"SET": 3, b"INCRBY": 3, b"OVERFLOW": 1}):
        changes = changes or option != b"GET"
    return Found((_use(args, 1, BOTH if changes else READ, shows=True),))


def _getex(args: Args) -> Found:
    changes = len(args) > 2
    return Found((_use(args, 1, BOTH if changes else READ, shows=True),))


def _streams(known: dict[bytes, int], effects: Effects) -> Callable[[Args], Found]:
    """XREAD and XREADGROUP: the first half of what is behind STREAMS."""

    def read(args: Args) -> Found:
        for option, at in _options(args, 1, {**known, b"STREAMS": 1}):
            if option == b"STREAMS":
                rest = len(args) - at
                if rest % 2:
                    raise Unreadable("unbalanced list of streams: for each stream key an ID must be specified")
                return Found(
                    tuple(_use(args, place, effects, shows=True) for place in bounded(range(at, at + rest // 2)))
                )
        raise Unreadable("syntax error")

    return read


def _migrate(args: Args) -> Found:
    """One key, or what is behind KEYS where that one is empty. An empty one without KEYS is a key as well."""
    places = range(3, 4)
    options = {b"COPY": 0, b"REPLACE": 0, b"AUTH": 1, b"AUTH2": 2, b"KEYS": 1}
    for option, at in _options(args, 6, options):
        if option == b"KEYS":
            if args[3]:
                raise Unreadable("the key argument must be set to the empty string with KEYS")
            places = bounded(range(at, len(args)))
            break
    return Found(tuple(_use(args, place, BOTH, shows=True) for place in places))


def _declared(args: Args, effects: Effects) -> tuple[KeyUse, ...]:
    """The keys of a script, as many as it says."""
    count = whole_number(args[2])
    if count > len(args) - 3:
        raise Unreadable("Number of keys can't be greater than number of args")
    return tuple(_use(args, place, effects, shows=True) for place in bounded(range(3, 3 + count)))


def _script(read_only: bool, *, digest: bool) -> Callable[[Args], Found]:
    def read(args: Args) -> Found:
        script = args[1].lower() if digest else sha1(args[1], usedforsecurity=False).hexdigest().encode()
        if _SHA.fullmatch(script) is None:
            raise Unreadable("a script is named by its SHA-1")
        return _running(args, script.decode(), f"script:{script.decode()}", READ if read_only else BOTH)

    return read


def _function(read_only: bool) -> Callable[[Args], Found]:
    def read(args: Args) -> Found:
        if _FUNCTION.fullmatch(args[1]) is None:
            raise Unreadable("Function not found")
        name = args[1].decode().lower()  # the server finds it in any case
        return _running(args, name, f"function:{name}", READ if read_only else BOTH)

    return read


def _running(args: Args, script: str, function: str, effects: Effects) -> Found:
    keys = _declared(args, effects)
    behind = tuple(range(3 + len(keys), len(args)))
    channels = (ChannelUse(ANY_CHANNEL, 0, WRITE, pattern=True),) if effects is BOTH else ()
    return Found(keys, NOTHING, channels, script, (function,), values=behind)


def _script_load(args: Args) -> Found:
    return Found(functions=(f"script:{sha1(args[2], usedforsecurity=False).hexdigest()}",))


def _script_debug(args: Args) -> Found:
    if word(args[2]) != b"NO":
        raise Unreadable("scripts can't be debugged through here")
    return Found()


def _channels(effects: Effects, first: int, *, only: bool = False) -> Callable[[Args], Found]:
    """The channels from `first` on; with `only`, that one."""

    def read(args: Args) -> Found:
        places = range(first, first + 1 if only else len(args))
        return Found(channels=tuple(ChannelUse(args[place], place, effects) for place in places))

    return read


_KEYSPACE = re.compile(rb"__keyspace@[0-9]+__:(.*)", re.DOTALL)
_NOTIFIED = (b"__key", b"__subkey")
_WILD = re.compile(rb"[*?\[\\]")


def _listening(args: Args, *, pattern: bool) -> Found:
    """SUBSCRIBE, and PSUBSCRIBE with `pattern`: some channels tell what becomes of keys.

    Keyspace notifications (documentation of that name): of one key, or the names of all to which something happens.
    """
    if pattern and (len(args) > 1 + PATTERNS or any(len(argument) > PATTERN_BYTES for argument in args[1:])):
        raise Unreadable(f"lockgate: more than {PATTERNS} patterns in one command, or one of {PATTERN_BYTES} bytes")
    keys: list[KeyUse] = []
    anywhere = NOTHING
    for place in range(1, len(args)):
        begin, *wild = _WILD.split(args[place], maxsplit=1) if pattern else (args[place],)
        if not wild and (told := _KEYSPACE.fullmatch(begin)) is not None:
            keys.append(KeyUse(told[1], place, READ, False))
        elif begin.startswith(_NOTIFIED) or (wild and any(one.startswith(begin) for one in _NOTIFIED)):
            anywhere = READ
    channels = tuple(ChannelUse(args[place], place, READ, pattern) for place in range(1, len(args)))
    return Found(tuple(keys), anywhere, channels)


def _channel_names(args: Args) -> Found:
    """PUBSUB CHANNELS: which ones of a pattern somebody listens to."""
    if len(args) > 3:
        raise Unreadable("wrong number of arguments")
    if len(args) == 3 and len(args[2]) <= PATTERN_BYTES:
        return Found(channels=(ChannelUse(args[2], 2, READ, pattern=True),))
    return _every_channel(args)


def _every_channel(_: Args) -> Found:
    return Found(channels=(ChannelUse(ANY_CHANNEL, 0, READ, pattern=True),))


def _tracking(args: Args) -> Found:
    """With BCAST a client is told the names of all keys that change."""
    if any(word(argument) == b"REDIRECT" for argument in args[3:]):
        raise Unreadable("lockgate: CLIENT TRACKING with REDIRECT is refused: nobody can tell whom it speaks to")
    return Found(anywhere=READ if any(word(argument) == b"BCAST" for argument in args[3:]) else NOTHING)


_PARAMETER = re.compile(rb"[A-Za-z0-9._-]{1,64}")


def _config_set(args: Args) -> Found:
    if len(args) % 2:
        raise Unreadable("wrong number of arguments for 'config|set' command")
    return Found(
        settings=tuple(a.decode().lower() if _PARAMETER.fullmatch(a) else "?" for a in dict.fromkeys(args[2::2]))
    )


READERS: Final[dict[str, Callable[[Args], Found]]] = {
    "SORT": _sort,
    "SORT_RO": _sort,
    "GEORADIUS": _radius(6),
    "GEORADIUSBYMEMBER": _radius(5),
    "SET": _set,
    "GETEX": _getex,
    "BITFIELD": _bitfield,
    "XREAD": _streams({b"BLOCK": 1, b"COUNT": 1}, READ),
    "XREADGROUP": _streams({b"BLOCK": 1, b"COUNT": 1, b"GROUP": 2, b"NOACK": 0, b"CLAIM": 1}, BOTH),
    "MIGRATE": _migrate,
    "EVAL": _script(False, digest=False),
    "EVAL_RO": _script(True, digest=False),
    "EVALSHA": _script(False, digest=True),
    "EVALSHA_RO": _script(True, digest=True),
    "FCALL": _function(False),
    "FCALL_RO": _function(True),
    "SCRIPT LOAD": _script_load,
    "SCRIPT DEBUG": _script_debug,
    "SUBSCRIBE": partial(_listening, pattern=False),
    "SSUBSCRIBE": _channels(READ, 1),
    "PSUBSCRIBE": partial(_listening, pattern=True),
    "PUBLISH": _channels(WRITE, 1, only=True),
    "SPUBLISH": _channels(WRITE, 1, only=True),
    "PUBSUB CHANNELS": _channel_names,
    "PUBSUB SHARDCHANNELS": _channel_names,
    "PUBSUB NUMSUB": _channels(READ, 2),
    "PUBSUB SHARDNUMSUB": _channels(READ, 2),
    "MONITOR": _every_channel,
    "CLIENT TRACKING": _tracking,
    "CONFIG SET": _config_set,
}

PLAIN_COUNTS: Final = {"SET": 3, "GETEX": 2, "SORT": 2, "PUBLISH": 3, "SPUBLISH": 3}
"""How many arguments they have without any option: all such calls are alike."""

_FLAGS = frozenset({b"NX", b"XX", b"GET", b"KEEPTTL"})


def set_options(args: Args) -> tuple[bytes, ...] | None:
    """The options of SET that stand for all of what such a call does; None where there are others, or it isn't one."""
    found = []
    place = 3
    while place < len(args):
        option = word(args[place])
        found.append(option)
        if option in EXPIRES:
            place += 1
        elif option not in _FLAGS:
            return None
        place += 1
    return tuple(found) if place == len(args) else None


def option_places(args: Args) -> tuple[int, ...]:
    """Where the words stand that `set_options` found."""
    places = []
    place = 3
    while place < len(args):
        places.append(place)
        place += 2 if word(args[place]) in EXPIRES else 1
    return tuple(places)


OPTIONAL_WRITES: Final = frozenset({"SORT", "GEORADIUS", "GEORADIUSBYMEMBER", "BITFIELD", "GETEX"})
"""Counted among @write for what their options may do: what was sent tells whether it writes."""
