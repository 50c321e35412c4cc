"""The commands there are: built in, and as a running server tells them (COMMAND)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Final

from lockgate.understand.redis.keys import Count, Index, KeySpec, Keyword, Range

MAX_COMMANDS: Final = 4096
"""Commands that are taken from one server's answer, sub-commands too. Redis 8.2 with all its modules has some 600."""

MAX_SPECS: Final = 16
"""Key specifications of one command; Redis has at most three."""

_NAME = re.compile(rb"[a-z0-9_.:-]{1,64}", re.IGNORECASE)
_WORD = re.compile(rb"[A-Za-z0-9_-]{1,64}")
_FLAGS = {"write": "write", "readonly": "read", "admin": "admin"}
"""Flags that say what a category says as well; commands of modules may have no categories."""


@dataclass(frozen=True, slots=True)
class Command:
    """What a table says of a command. `name` is in capitals, with its sub-command (`CONFIG SET`).

    `arity` counts the name; a negative one is the least. `categories` are those of the server's access control, without
    their @. `container`: what follows is a sub-command, each with a Command of its own. `known`: the built-in table has
    it; else only the server vouches for it. `moving`: not all its keys need to be where `specs` tell. `module`: it is
    not the server's own.
    """

    name: str
    arity: int
    categories: frozenset[str]
    specs: tuple[KeySpec, ...]
    container: bool = False
    known: bool = True
    moving: bool = False
    module: bool = False

    def takes(self, count: int) -> bool:
        """Whether the server would run it with so many arguments, its name counted."""
        return count == self.arity if self.arity >= 0 else count >= -self.arity


class CommandTable:
    """The commands of a server. Immutable, and compared by identity: caches are kept by it."""

    __slots__ = ("_commands",)

    def __init__(self, commands: Mapping[bytes, Command]) -> None:
        self._commands = commands

    @staticmethod
    @cache
    def builtin() -> CommandTable:
        """Of Redis 7.0 to 8.4, Valkey 9 and the modules for search, JSON, time series and probabilistic data."""
        commands = {command.name.encode(): command for command in _built_in()}
        return CommandTable(_with_containers(commands))

    @staticmethod
    def from_server(reply: object) -> CommandTable:
        """The built-in table, and what a server's answer to COMMAND adds to it (RESP2 or RESP3, as hiredis reads it).

        Of a command that is built in, the answer can only add categories: nobody makes FLUSHALL a read. One that isn't
        is judged by its flags and categories. What doesn't read as a command is left out, and so is refused. Never
        raises.
        """
        commands = dict(CommandTable.builtin()._commands)
        left = MAX_COMMANDS
        for told in _told(reply, None):
            left -= 1
            if left < 0:
                break
            known = commands.get(told.name.encode())
            container, _, sub = told.name.partition(" ")
            above = commands.get(container.encode())
            if sub and above is not None and above.known and not above.container:
                continue  # GET has no sub-command: the word behind it is a key
            if known is None:
                commands[told.name.encode()] = told
            elif known.known:
                commands[told.name.encode()] = replace(known, categories=known.categories | told.categories)
        return CommandTable(_with_containers(commands))

    def find(self, args: tuple[bytes, ...]) -> Command | None:
        """The command that the server would run; a container where it is called without a sub-command.

        The server compares names up to a NUL, and finds them by a hash of all of them: `get` with a NUL behind is
        GET for one in some hundred servers. So no name with anything but its letters is one.
        """
        name = args[0].upper()
        if b" " in name:
            return None
        command = self._commands.get(name)
        if command is not None and command.container and len(args) > 1:
            sub = args[1].upper()
            return None if b" " in sub else self._commands.get(name + b" " + sub)
        return command

    def __iter__(self) -> Iterator[Command]:
        return iter(self._commands.values())

    def __len__(self) -> int:
        return len(self._commands)


def _with_containers(commands: dict[bytes, Command]) -> dict[bytes, Command]:
    for name in {name.partition(b" ")[0] for name in commands if b" " in name}:
        if name in commands:
            commands[name] = replace(commands[name], container=True)
    return commands


def _built_in() -> Iterator[Command]:
    for line in files(__package__).joinpath("commands.txt").read_text("ascii").splitlines():
        if line.startswith("#"):
            continue
        name, arity, categories, keys = line.split(" ")
        yield Command(
            name=name.upper().replace("|", " "),
            arity=int(arity),
            categories=frozenset() if categories == "-" else frozenset(categories.split(",")),
            specs=() if keys == "-" else tuple(map(_spec, keys.split(";"))),
        )


@cache
def _spec(text: str) -> KeySpec:
    start, where, flags = text.split(":")
    begin: Index | Keyword | None = None
    if "@" in start:
        word, _, place = start.partition("@")
        begin = Keyword(word.encode(), int(place))
    elif start != "?":
        begin = Index(int(start))
    find: Range | Count | None = None
    if where.startswith("#"):
        find = Count(*map(int, where[1:].split(",")))
    elif where != "?":
        find = Range(*map(int, where.split(",")))
    return KeySpec(begin, find, frozenset(flags.split(",")))


def _told(reply: object, parent: str | None) -> Iterator[Command]:
    """The commands of a server's answer, each with its sub-commands behind it."""
    if not isinstance(reply, list | tuple):
        return
    for entry in reply:
        if not isinstance(entry, list | tuple) or len(entry) < 6:
            continue
        command = _command(entry, parent)
        if command is None:
            continue
        yield command
        if parent is None and len(entry) > 9:
            yield from _told(entry[9], command.name)


def _command(entry: list[object] | tuple[object, ...], parent: str | None) -> Command | None:
    name, arity = entry[0], entry[1]
    if not isinstance(name, bytes) or not isinstance(arity, int) or isinstance(arity, bool):
        return None
    if parent is not None:
        container, _, name = name.partition(b"|")
        if container.upper() != parent.encode():
            return None
    if _NAME.fullmatch(name) is None:
        return None
    flags = _words(entry[2])
    categories = {word.removeprefix("@") for word in _words(entry[6] if len(entry) > 6 else (), b"@")}
    if "scripting" not in categories:
        categories |= {category for flag, category in _FLAGS.items() if flag in flags}
    try:
        specs = _specs(entry[8]) if len(entry) > 8 else _first_last_step(entry[3:6], flags)
    except (LookupError, TypeError, ValueError):
        return None
    plain = name.decode().upper()
    return Command(
        name=plain if parent is None else f"{parent} {plain}",
        arity=arity,
        categories=frozenset(categories),
        specs=specs,
        known=False,
        module="module" in flags,
        moving="module" in flags or "movablekeys" in flags or not specs or not all(spec.whole for spec in specs),
    )


def _words(told: object, before: bytes = b"") -> set[str]:
    if not isinstance(told, list | tuple | set | frozenset):
        return set()
    kept = (word.removeprefix(before) for word in told if isinstance(word, bytes))
    return {word.decode() for word in kept if _WORD.fullmatch(word)}


def _first_last_step(told: Iterable[object], flags: set[str]) -> tuple[KeySpec, ...]:
    """How servers before 7.0 tell where keys are."""
    first, last, step = map(_number, told)
    if first == 0:
        return ()
    usage = {"RO", "access"} if "readonly" in flags else {"RW", "access", "update"}
    return (KeySpec(Index(_place(first)), Range(last if last < 0 else last - first, _step(step), 0), frozenset(usage)),)


def _specs(told: object) -> tuple[KeySpec, ...]:
    """Raises LookupError, TypeError or ValueError for what isn't a list of key specifications."""
    if not isinstance(told, list | tuple) or len(told) > MAX_SPECS:
        raise TypeError("no list of key specifications")
    return tuple(spec for spec in map(_told_spec, told) if "not_key" not in spec.flags)


def _told_spec(told: object) -> KeySpec:
    spec = _map(told)
    flags = frozenset(_words(spec[b"flags"]))
    begin, find = _map(spec[b"begin_search"]), _map(spec[b"find_keys"])
    at, among = _map(begin[b"spec"]), _map(find[b"spec"])
    start: Index | Keyword | None = None
    if begin[b"type"] == b"index":
        start = Index(_place(at[b"index"]))
    elif begin[b"type"] == b"keyword":
        keyword = at[b"keyword"]
        if not isinstance(keyword, bytes):
            raise TypeError("no keyword")
        start = Keyword(keyword.upper(), _number(at[b"startfrom"]))
    where: Range | Count | None = None
    if find[b"type"] == b"range":
        where = Range(_number(among[b"lastkey"]), _step(among[b"keystep"]), _number(among[b"limit"]))
    elif find[b"type"] == b"keynum":
        where = Count(_number(among[b"keynumidx"]), _number(among[b"firstkey"]), _step(among[b"keystep"]))
        if where.number < 0 or where.first < 0:
            raise ValueError("a place before the first")
    return KeySpec(start, where, flags)


def _map(told: object) -> Mapping[object, object]:
    if isinstance(told, dict):
        return told
    if not isinstance(told, list | tuple):
        raise TypeError("no map")
    return dict(zip(told[::2], told[1::2], strict=True))


def _number(told: object) -> int:
    if not isinstance(told, int) or not -0x8000 <= told < 0x8000:
        raise ValueError("no number that counts arguments")
    return told


def _place(told: object) -> int:
    if (place := _number(told)) < 1:
        raise ValueError("no place behind the name")
    return place


def _step(told: object) -> int:
    if (step := _number(told)) < 1:
        raise ValueError("no step forward")
    return step
