"""A small Redis: strings, MULTI, subscriptions, both versions, and an ACL that refuses whatever commands it is told.

What it runs it writes down: `ran` has each command that was executed, and whether by EXEC.
"""

from __future__ import annotations

from collections.abc import Callable

from lockgate.values.glob import compile_glob
from lockgate.wire.redis.requests import CommandReader
from tests.support.redis_playbook import (
    ABORTED,
    HELLO_2,
    HELLO_3,
    NOTHING,
    OK,
    PONG,
    QUEUED,
    RESET,
    array,
    bulk,
    confirmed,
    error,
    message,
    push,
)

SECRET = "s3cret"
_AT_ONCE = (b"EXEC", b"DISCARD", b"MULTI", b"WATCH", b"RESET")
_SUBSCRIBED = (b"SUBSCRIBE", b"UNSUBSCRIBE", b"PSUBSCRIBE", b"PUNSUBSCRIBE", b"PING", b"RESET")


class Model:
    """`refuses` are the names that its ACL doesn't allow. `old`: an EXEC that is refused changes nothing (6.0)."""

    def __init__(self, refuses: frozenset[bytes] = frozenset(), *, old: bool = False) -> None:
        self.refuses = refuses
        self.old = old
        self.ran: list[tuple[tuple[bytes, ...], bool]] = []
        self._reader = CommandReader(1 << 20)
        self._resp = 2
        self._queue: list[tuple[bytes, ...]] | None = None
        self._dirty = False
        self._channels: dict[bytes, None] = {}
        self._patterns: dict[bytes, None] = {}

    def feed(self, data: bytes) -> bytes:
        """What it answers."""
        replies = [self._process(args) for args in self._reader.feed(data)]
        assert self._reader.error is None
        return b"".join(replies)

    def publish(self, channel: str) -> bytes:
        """Somebody else publishes; what this client hears of it."""
        text = SECRET if channel == "secret" else "news"
        found = [message(channel, text, self._pushed)] if channel.encode() in self._channels else []
        matching = [pattern.decode() for pattern in self._patterns if compile_glob(pattern).fullmatch(channel.encode())]
        found += [self._pushed(bulk("pmessage"), bulk(one), bulk(channel), bulk(text)) for one in matching]
        return b"".join(found)

    @property
    def _listening(self) -> int:
        return len(self._channels) + len(self._patterns)

    @property
    def _pushed(self) -> Callable[..., bytes]:
        return push if self._resp == 3 else array

    def _process(self, args: tuple[bytes, ...]) -> bytes:
        name = args[0].upper()
        if name in self.refuses:
            self._dirty = True
            if name == b"EXEC" and not self.old:
                self._queue = None
                return error("EXECABORT Transaction discarded because of: NOPERM")
            return error("NOPERM no")
        if self._listening and self._resp == 2 and name not in _SUBSCRIBED:
            self._dirty = True
            return error("ERR Can't execute")
        if self._queue is not None and name not in _AT_ONCE:
            self._queue.append(args)
            return QUEUED
        return self._execute(name, args, by_exec=False)

    def _execute(self, name: bytes, args: tuple[bytes, ...], *, by_exec: bool) -> bytes:
        self.ran.append((args, by_exec))
        match name:
            case b"MULTI":
                if self._queue is not None:
                    return error("ERR MULTI calls can not be nested")
                self._queue, self._dirty = [], False
            case b"EXEC":
                queue, self._queue = self._queue, None
                if queue is None:
                    return error("ERR EXEC without MULTI")
                if self._dirty:
                    return ABORTED
                return array(*(self._execute(queued[0].upper(), queued, by_exec=True) for queued in queue))
            case b"DISCARD":
                if self._queue is None:
                    return error("ERR DISCARD without MULTI")
                self._queue = None
            case b"RESET":
                self._queue, self._resp = None, 2
                self._channels.clear()
                self._patterns.clear()
                return RESET
            case b"HELLO":
                self._resp = int(args[1])
                return HELLO_3 if self._resp == 3 else HELLO_2
            case b"SUBSCRIBE" | b"PSUBSCRIBE":
                kind = self._channels if name == b"SUBSCRIBE" else self._patterns
                found = []
                for channel in args[1:]:
                    kind[channel] = None
                    found.append(confirmed(name.decode().lower(), channel.decode(), self._listening, self._pushed))
                return b"".join(found)
            case b"UNSUBSCRIBE" | b"PUNSUBSCRIBE":
                kind = self._channels if name == b"UNSUBSCRIBE" else self._patterns
                names = args[1:] or tuple(kind)
                for channel in names:
                    kind.pop(channel, None)
                shown: list[str | None] = [channel.decode() for channel in names]
                word = name.decode().lower()
                return b"".join(confirmed(word, one, self._listening, self._pushed) for one in shown or [None])
            case b"PING":
                return array(bulk("pong"), bulk("")) if self._listening and self._resp == 2 else PONG
            case b"GET":
                return bulk(SECRET) if args[1] == b"secret" else bulk(b"of " + args[1])
            case b"NIL":
                return NOTHING if self._resp == 2 else b"_\r\n"
        return OK
