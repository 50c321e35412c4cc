"""A scratch server of some release on a unix socket, asked without any reading of replies but the protocol's."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import hiredis

from tests.support.redis_servers import DEBIAN, Release

Reply = Any
"""bytes, int, list, None; an error is a hiredis.ReplyError."""


class Server:
    def __init__(self, folder: Path, release: Release = DEBIAN) -> None:
        self.folder = folder
        self.release = release
        self.socket = folder / "s"
        self._reader = hiredis.Reader()
        self._connection = socket.socket(socket.AF_UNIX)

    def __enter__(self) -> Server:
        laid = self.release.laid(self.folder)
        self._process = subprocess.Popen(
            [laid.program, "--port", "0", "--unixsocket", self.socket, "--save", "", "--dir", self.folder,
             "--enable-debug-command", "yes", "--logfile", self.folder / "log", *laid.options()],
        )  # fmt: skip
        try:
            self._connect()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._stop()

    def _connect(self) -> None:
        end = time.monotonic() + 30
        while True:
            try:
                self._connection.connect(str(self.socket))
                self._connection.settimeout(30)
                return
            except (FileNotFoundError, ConnectionRefusedError):
                assert time.monotonic() < end, "it doesn't start"
                assert self._process.poll() is None, "it has ended"
                time.sleep(0.02)

    def _stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def ask(self, *args: bytes) -> Reply:
        """The reply to one command that has one."""
        self._connection.sendall(b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%b\r\n" % (len(a), a) for a in args))
        while (reply := self._reader.gets()) is False:
            received = self._connection.recv(1 << 16)
            assert received, "the server has gone"
            self._reader.feed(received)
        return reply

    def keys(self, *args: bytes) -> dict[bytes, set[str]] | None:
        """What COMMAND GETKEYSANDFLAGS says of a call: each key with all that is said of it. None for an error."""
        reply = self.ask(b"COMMAND", b"GETKEYSANDFLAGS", *args)
        if isinstance(reply, Exception):
            if "no key arguments" in str(reply):
                return {}
            return None
        found: dict[bytes, set[str]] = {}
        for key, flags in reply:
            found.setdefault(key, set()).update(flag.decode() for flag in flags)
        return found
