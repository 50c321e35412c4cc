"""A real server of some release, and a client that keeps what it is sent as it was sent."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import hiredis

from lockgate.values.command import Call, KeyUse
from lockgate.values.statement import Effect
from tests.support.redis_servers import DEBIAN, Release

_START_SECONDS: Final = 20
_NAMES: Final = b"ACL CLIENT CLUSTER COMMAND CONFIG FUNCTION LATENCY MEMORY MODULE OBJECT PUBSUB SCRIPT SLOWLOG"
_CONTAINERS: Final = frozenset([*_NAMES.split(), b"XINFO", b"XGROUP"])
_MORE: Final = object()
"""What a reader says that has not all of a reply: `False` is one."""
_READ: Final = frozenset({Effect.READ})
_ANY: Final = frozenset({Effect.READ, Effect.WRITE, Effect.UNKNOWN})


@contextlib.contextmanager
def running(folder: Path, *options: str, release: Release = DEBIAN) -> Iterator[Path]:
    """A server that answers on a Unix socket in `folder`, whose path is given; it is gone afterwards."""
    path = folder / "redis.sock"
    laid = release.laid(folder)
    arguments = [str(laid.program), "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(folder)]
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen([*arguments, *options, *laid.options()], stdout=log, stderr=log)
    try:
        until = time.monotonic() + _START_SECONDS
        while not _answers(path):
            assert process.poll() is None, (folder / "redis.log").read_text()
            assert time.monotonic() < until, "redis-server doesn't answer"
            time.sleep(0.02)
        yield path
    finally:
        process.kill()
        process.wait()


def _answers(path: Path) -> bool:
    try:
        with contextlib.closing(Client(path)) as client:
            return client.ask("PING") == b"+PONG\r\n"
    except OSError:
        return False


def encode(args: tuple[bytes, ...]) -> bytes:
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in args)


def parsed(reply: bytes) -> Any:
    """What hiredis reads, errors as values; it has to be one reply and no more."""
    reader = hiredis.Reader(notEnoughData=_MORE)
    reader.feed(reply)
    found = reader.gets()
    assert found is not _MORE, reply
    assert not reader.has_data(), reply
    return found


class Client:
    """One connection; `resp3` says what it speaks."""

    def __init__(self, path: Path, *, resp3: bool = False) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(10)
        self.resp3 = resp3
        try:
            self._socket.connect(str(path))
            if resp3:
                self.ask("HELLO", "3")
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def ask(self, *args: str | bytes) -> bytes:
        """The reply, all of it, in the server's own bytes."""
        self.send(*args)
        return self.receive()

    def send(self, *args: str | bytes) -> None:
        self._socket.sendall(encode(as_bytes(args)))

    def receive(self) -> bytes:
        reader = hiredis.Reader(notEnoughData=_MORE)
        reply = b""
        while reader.gets() is _MORE:
            data = self._socket.recv(1 << 16)
            if not data:
                raise ConnectionError("the server has closed the connection")
            reply += data
            reader.feed(data)
        return reply

    def call(self, *args: str | bytes, reviewed: bool = False) -> Call:
        """The command as understanding would tell it, going by what the server says of its keys."""
        sent = as_bytes(args)
        name = sent[0].upper()
        if name in _CONTAINERS and len(sent) > 1:
            name += b" " + sent[1].upper()
        found = parsed(self.ask("COMMAND", "GETKEYS", *sent)) if len(sent) > 1 else []
        keys: list[KeyUse] = []
        for key in found if isinstance(found, list) else []:
            place = next(p for p, arg in enumerate(sent) if p and arg == key and all(use.place != p for use in keys))
            keys.append(KeyUse(key, place, _ANY, True))
        script = name.startswith((b"EVAL", b"FCALL"))
        anywhere = _ANY if script and not reviewed else _READ if name in (b"SORT", b"SCAN", b"KEYS") else frozenset()
        return Call(name.decode(), sent, tuple(keys), anywhere, script="0" * 40 if script else None)


def as_bytes(args: tuple[str | bytes, ...]) -> tuple[bytes, ...]:
    return tuple(arg.encode() if isinstance(arg, str) else arg for arg in args)
