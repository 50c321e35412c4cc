"""A connection of a person's process, to say on it whatever the protocol does or doesn't allow."""

from __future__ import annotations

import socket
import subprocess
import sys
from types import TracebackType

from lockgate.wire.postgresql import frames
from tests.support.stack import Stack, environment

SECONDS = 15.0

_CONNECT = """
import socket, sys
pair = socket.socket(fileno=int(sys.argv[1]))
connection = socket.create_connection((sys.argv[2], int(sys.argv[3])))
socket.send_fds(pair, [b"x"], [connection.fileno()])
pair.recv(1)  # who asks has to live: its token is renewed only then
"""


class Raw:
    """`with Raw(stack, "ann") as raw:` is connected, by a process of ann's, and has said nothing yet."""

    def __init__(self, stack: Stack, person: str, host: str = "127.0.0.1", port: int | None = None) -> None:
        self.heard = b""
        self._pair, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                stack.command(person, [sys.executable, "-IS", "-c", _CONNECT, str(theirs.fileno()),
                host, str(port or stack.server.port)]),
                pass_fds=[theirs.fileno()], env=environment(), cwd="/",
            )  # fmt: skip
        self._pair.settimeout(SECONDS)
        _, (descriptor,), _, _ = socket.recv_fds(self._pair, 1, 1)
        self._socket = socket.socket(fileno=descriptor)
        self._socket.settimeout(SECONDS)
        self._rest = b""

    def start(self, **parameters: str) -> list[tuple[str, bytes]]:
        """Introduce itself; the messages up to the first ReadyForQuery, or to the end."""
        self.send(frames.startup({"user": "app", "database": "postgres"} | parameters))
        return self.until()

    def send(self, *messages: bytes) -> None:
        self._socket.sendall(b"".join(messages))

    def until(self, kind: str = "Z", times: int = 1) -> list[tuple[str, bytes]]:
        """Messages (type, payload) up to and with the `times`-th of this type, or up to the end of the connection."""
        found: list[tuple[str, bytes]] = []
        while times:
            while len(self._rest) < 5 or len(self._rest) <= int.from_bytes(self._rest[1:5], "big"):
                try:
                    piece = self._socket.recv(65536)
                except ConnectionResetError:
                    piece = b""
                if not piece:
                    return found
                self.heard += piece
                self._rest += piece
            length = int.from_bytes(self._rest[1:5], "big")
            found.append((chr(self._rest[0]), self._rest[5 : length + 1]))
            self._rest = self._rest[length + 1 :]
            times -= found[-1][0] == kind
        return found

    def __enter__(self) -> Raw:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        self._pair.close()
        self._process.wait(SECONDS)
