"""Valid calls of every command of a server, made of what COMMAND DOCS says of its arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any, Protocol

_REPEATED = 3


class Asks(Protocol):
    """A server to which one says a command, and has what hiredis reads of its reply."""

    def ask(self, *args: bytes) -> Any: ...


def _map(pairs: Any) -> dict[bytes, Any]:
    return dict(zip(pairs[::2], pairs[1::2], strict=True))


def grammar(server: Asks) -> dict[str, list[dict[bytes, Any]]]:
    """The arguments of each command, `CONFIG SET` for a sub-command."""
    found: dict[str, list[dict[bytes, Any]]] = {}

    def add(told: Any) -> None:
        for name, documents in _map(told).items():
            documented = _map(documents)
            if b"subcommands" in documented:
                add(documented[b"subcommands"])
            else:
                found[name.decode().upper().replace("|", " ")] = [_map(a) for a in documented.get(b"arguments", ())]

    add(server.ask(b"COMMAND", b"DOCS"))
    return found


class Caller:
    """Makes calls. Every key that it makes is `key:N`; nothing else looks like that."""

    def __init__(self, random: Random, name: str, arguments: list[dict[bytes, Any]]) -> None:
        self._random = random
        self._name = name
        self._arguments = arguments
        self._keys = 0

    def call(self) -> tuple[bytes, ...]:
        self._keys = 0
        made = [part for argument in self._arguments for part in self._argument(argument)]
        return (*self._name.encode().split(b" "), *made)

    def _argument(self, argument: dict[bytes, Any]) -> list[bytes]:
        flags = {flag.decode() for flag in argument.get(b"flags", ())}
        if "optional" in flags and self._random.random() < 0.5:
            return []
        token = argument.get(b"token")
        made: list[bytes] = []
        for round_ in range(self._random.randint(1, _REPEATED) if "multiple" in flags else 1):
            if token is not None and (round_ == 0 or "multiple_token" in flags):
                made.append(token)
            made += self._value(argument)
        return made

    def _value(self, argument: dict[bytes, Any]) -> list[bytes]:
        match argument[b"type"]:
            case b"pure-token":
                return []
            case b"oneof":
                return self._argument(_map(self._random.choice(argument[b"arguments"])))
            case b"block":
                return [part for one in argument[b"arguments"] for part in self._argument(_map(one))]
            case b"key":
                self._keys += 1
                return [b"key:%d" % self._keys]
            case b"integer" | b"double" | b"unix-time":
                return [b"%d" % self._random.randint(1, 9)]
            case _:
                return [b"word%d" % self._random.randint(1, 9)]


def counted(name: str, call: tuple[bytes, ...]) -> tuple[bytes, ...] | None:
    """The call with a number of keys that is true, where it says how many there are; None where it has none at all."""
    place = NUMBERED.get(name)
    if place is None:
        return call
    if len(call) <= place:
        return None
    keys = 0
    while place + 1 + keys < len(call) and call[place + 1 + keys].startswith(b"key:"):
        keys += 1
    return (*call[:place], b"%d" % keys, *call[place + 1 :])


NUMBERED = {
    **dict.fromkeys(("ZUNION", "ZINTER", "ZDIFF", "ZINTERCARD", "SINTERCARD", "LMPOP", "ZMPOP"), 1),
    **dict.fromkeys(("ZUNIONSTORE", "ZINTERSTORE", "ZDIFFSTORE", "BLMPOP", "BZMPOP"), 2),
    **dict.fromkeys(("EVAL", "EVAL_RO", "EVALSHA", "EVALSHA_RO", "FCALL", "FCALL_RO"), 2),
}


def streams(call: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """XREAD and XREADGROUP with an ID for each key."""
    at = max(place for place, part in enumerate(call) if part == b"STREAMS")
    keys = [part for part in call[at + 1 :] if part.startswith(b"key:")]
    return (*call[: at + 1], *keys, *([b"0"] * len(keys)))


def digest(call: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """EVALSHA with what could be the SHA-1 of a script."""
    return (call[0], b"0123456789abcdefABCDEF0123456789abcdef01", *call[2:])


def calls(server: Asks, random: Random, each: int) -> Iterator[tuple[str, tuple[bytes, ...]]]:
    """`each` calls of every command, with its name."""
    fix: dict[str, Callable[[tuple[bytes, ...]], tuple[bytes, ...]]] = {
        **dict.fromkeys(("XREAD", "XREADGROUP"), streams),
        **dict.fromkeys(("EVALSHA", "EVALSHA_RO"), digest),
    }
    for name, arguments in grammar(server).items():
        caller = Caller(random, name, arguments)
        for _ in range(each):
            made = counted(name, caller.call())
            if made is not None:
                yield name, fix[name](made) if name in fix else made
