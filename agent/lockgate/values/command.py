"""One command of a key-value datastore, as its understanding tells it to whoever judges, masks or records it."""

from __future__ import annotations

from dataclasses import dataclass

from lockgate.values.statement import Effect


@dataclass(frozen=True, slots=True)
class KeyUse:
    """A key that a command names. `place` is its position in `Call.args`.

    `effects` are read and write, as far as they are about this key. `shows` says that the command's reply, or what it
    writes elsewhere, may hold (or be computed from) the key's value, not only whether there is one or how large it is.
    """

    key: bytes
    place: int
    effects: frozenset[Effect]
    shows: bool


@dataclass(frozen=True, slots=True)
class ChannelUse:
    """A channel that is published or listened to; with `pattern`, every channel that `name` matches as a glob."""

    name: bytes
    place: int
    effects: frozenset[Effect]
    pattern: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A command and its arguments.

    `name` is in capitals, with its sub-command if it has one (`GET`, `CONFIG SET`). `args` has everything that was
    sent, the name too. `anywhere` are the effects on keys that it doesn't name (`FLUSHALL`, `SCAN`, an undeclared key
    of a script), empty when it touches none. `script` is the SHA-1 in hexadecimal digits of the script that it runs,
    or `library.function`, None when it runs none. `secrets` are the places of arguments that hold a password.
    `values` are the places of arguments that are, or become part of, the value of a key.
    """

    name: str
    args: tuple[bytes, ...]
    keys: tuple[KeyUse, ...] = ()
    anywhere: frozenset[Effect] = frozenset()
    channels: tuple[ChannelUse, ...] = ()
    script: str | None = None
    secrets: tuple[int, ...] = ()
    values: tuple[int, ...] = ()
