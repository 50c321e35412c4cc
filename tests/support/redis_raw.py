"""A connection of a person's process to Redis, to say on it whatever the protocol does or doesn't allow."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from types import TracebackType
from typing import Final

import hiredis

from tests.support.raw import SECONDS, Raw
from tests.support.redis import Redis
from tests.support.redis_stack import RedisStack

Word = str | bytes | int
Reply = object
"""As hiredis has it: bytes, int, None, a list, a dict, a hiredis.ReplyError, a hiredis.PushNotification, ..."""

MORE: Final = object()
"""What a reader says that has not all of a reply: False is one."""

QUIET_SECONDS: Final = 0.3
"""How long nothing may come until it counts as nothing."""


def encoded(*words: Word) -> bytes:
    """A command as clients send it."""
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


class Talk:
    """Commands, and their replies as hiredis reads them; `heard` has the bytes."""

    heard: bytes
    _socket: socket.socket
    _reader: hiredis.Reader

    def send(self, *data: bytes) -> None:
        self._socket.sendall(b"".join(data))

    def ask(self, *words: Word) -> Reply:
        """The reply to one command."""
        self.send(encoded(*words))
        return self.replies(1)[0]

    def all(self, *commands: Sequence[Word]) -> list[Reply]:
        """The replies to commands that are sent in one go."""
        self.send(*(encoded(*command) for command in commands))
        return self.replies(len(commands))

    def replies(self, count: int) -> list[Reply]:
        """So many of them, pushes too. Fewer when the connection ends. Raises TimeoutError."""
        found: list[Reply] = []
        while len(found) < count:
            while len(found) < count and (reply := self._reader.gets()) is not MORE:
                found.append(reply)
            if len(found) < count and not self._receive():
                return found
        return found

    def ended(self) -> bool:
        """Whether the connection ends, with whatever is still said before. Raises TimeoutError when it doesn't."""
        while self._receive():
            pass
        return True

    def quiet(self, seconds: float = QUIET_SECONDS) -> bool:
        """Whether nothing is said for so long."""
        before = self._socket.gettimeout()
        self._socket.settimeout(seconds)
        try:
            self._receive()
        except TimeoutError:
            return not self._reader.has_data()
        finally:
            self._socket.settimeout(before)
        return False

    def _receive(self) -> bool:
        try:
            piece = self._socket.recv(65536)
        except ConnectionResetError:
            return False
        self.heard += piece
        self._reader.feed(piece)
        return bool(piece)


class RedisRaw(Talk, Raw):
    """`with RedisRaw(stack, "ann") as raw:` is connected to the cache and has said nothing yet."""

    def __init__(self, stack: RedisStack, person: str, host: str = "127.0.0.1", port: int | None = None) -> None:
        super().__init__(stack, person, host, port or stack.redis.port)
        self._reader = hiredis.Reader(notEnoughData=MORE)

    def __enter__(self) -> RedisRaw:
        return self


class Straight(Talk):
    """The same to a server, by nobody whom the agent sees: what it says is the server's own."""

    def __init__(self, server: Redis, seconds: float = SECONDS) -> None:
        self.heard = b""
        self._socket = socket.create_connection(("127.0.0.1", server.port), seconds)
        self._reader = hiredis.Reader(notEnoughData=MORE)

    def __enter__(self) -> Straight:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
