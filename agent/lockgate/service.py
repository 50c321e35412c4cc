"""What a service manager is told and keeps: ready, alive, stopping, and sockets that outlive a restart.

sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3), and FileDescriptorStoreMax= in systemd.service(5).
"""

from __future__ import annotations

import array
import asyncio
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Final

_MICROSECONDS: Final = 1_000_000
_FIRST: Final = 3
"""SD_LISTEN_FDS_START."""


class ServiceManager:
    """systemd, as this process was started by it; where it wasn't, everything here does nothing.

    `environment` is what it was started with. Raises ValueError for a NOTIFY_SOCKET that no such manager sets.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        if self._address and self._address[0] not in "/@":
            raise ValueError(f"NOTIFY_SOCKET={self._address}: neither a path nor an abstract socket")
        ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        asked = environment.get("WATCHDOG_USEC", "")
        self.watchdog_seconds = int(asked) / _MICROSECONDS if self._address and ours and asked.isdecimal() else 0.0
        """How long it waits for a sign of life; 0 when it doesn't."""
        count = environment.get("LISTEN_FDS", "") if environment.get("LISTEN_PID") == str(os.getpid()) else ""
        names = environment.get("LISTEN_FDNAMES", "").split(":")
        self._kept_names = names[: int(count)] if count.isdecimal() else []

    def ready(self, status: str) -> None:
        """What was started serves. `status` is a line for `systemctl status`. Raises OSError."""
        self._tell(f"READY=1\nSTATUS={_line(status)}")

    def status(self, status: str) -> None:
        """A new line for `systemctl status`. Raises OSError."""
        self._tell(f"STATUS={_line(status)}")

    def stopping(self) -> None:
        """From here on it ends. Raises OSError."""
        self._tell("STOPPING=1")

    def keep(self, name: str, sockets: Sequence[socket.socket]) -> None:
        """Have it hold `sockets` as well, for the process that comes after this one. Raises OSError.

        `name` is ASCII, printable, without `:`, of at most 255 characters.
        """
        self._tell(f"FDSTORE=1\nFDNAME={name}", [one.fileno() for one in sockets])

    def let_go(self, name: str) -> None:
        """It need hold none of that name any more. Raises OSError."""
        self._tell(f"FDSTOREREMOVE=1\nFDNAME={name}")

    def kept(self) -> list[tuple[str, socket.socket]]:
        """What a process before this one had it keep, with its name; the caller's from now on. Call it once.

        Raises OSError for a descriptor that is no socket.
        """
        found: list[tuple[str, socket.socket]] = []
        for descriptor, name in enumerate(self._kept_names, _FIRST):
            os.set_inheritable(descriptor, False)
            found.append((name, socket.socket(fileno=descriptor)))
        return found

    @property
    def kept_names(self) -> list[str]:
        """The names of what it keeps, without taking it."""
        return list(dict.fromkeys(self._kept_names))

    async def stay_alive(self) -> None:
        """Say so for as long as the event loop turns, twice as often as it is asked for. Raises OSError."""
        while self.watchdog_seconds:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_seconds / 2)

    def _tell(self, message: str, descriptors: Sequence[int] = ()) -> None:
        if not self._address:
            return
        address = f"\0{self._address[1:]}" if self._address[0] == "@" else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as told:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
            told.sendmsg([message.encode()], rights, 0, address)


def _line(text: str) -> str:
    return " ".join(text.split())
