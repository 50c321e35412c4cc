"""Who is at the other end of a unix socket, told so that a reused pid can't stand in for the one that connected."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from pathlib import Path
from types import TracebackType
from typing import Final

SO_PEERPIDFD: Final = 77
"""asm-generic/socket.h, Linux 6.5; Python has no name for it yet."""

_UCRED: Final = struct.Struct("3i")
_START_FIELD: Final = 22


class PeerGone(Exception):
    """The process that connected has ended, or can't be seen from here."""


class Peer:
    """The process that called connect(2) on a socket: `pid`, and `uid` and `gid` as they were at that moment.

    `with Peer(sock) as peer:` ... `peer.check()` after everything was read about `peer.pid`: what was read is of that
    very process. Before Linux 6.5 the start time in /proc tells, read first here and again by `check`.
    """

    def __init__(self, sock: socket.socket, proc: Path = Path("/proc")) -> None:
        """Raises PeerGone."""
        self.pid, self.uid, self.gid = _UCRED.unpack(
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        )
        if self.pid <= 0:
            raise PeerGone("the caller is in another pid namespace")
        self._proc = proc
        self._pidfd = _peer_pidfd(sock)
        self._start = None if self._pidfd is not None else self._started()

    def check(self) -> None:
        """Raises PeerGone when `pid` no longer is the process that connected."""
        if self._pidfd is not None:
            # a pidfd becomes readable when its process has ended (pidfd_open(2))
            gone = bool(select.select([self._pidfd], [], [], 0)[0])
        else:
            gone = self._started() != self._start
        if gone:
            raise PeerGone(f"pid {self.pid} has ended")

    def close(self) -> None:
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _started(self) -> bytes:
        try:
            stat = (self._proc / str(self.pid) / "stat").read_bytes()
        except OSError as error:
            raise PeerGone(f"pid {self.pid} has ended") from error
        # the name, in parentheses, may itself hold parentheses and spaces
        return stat.rpartition(b")")[2].split()[_START_FIELD - 3]


def _peer_pidfd(sock: socket.socket) -> int | None:
    """A pidfd of the process that connected, None on a kernel without it. Raises PeerGone."""
    try:
        return sock.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD)
    except ProcessLookupError as error:
        raise PeerGone("the caller has ended") from error
    except OSError as error:
        if error.errno == errno.ENOPROTOOPT:
            return None
        raise PeerGone(f"the caller can't be told: {error.strerror}") from error
