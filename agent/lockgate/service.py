"""What a service manager is told: ready, alive, stopping (sd_notify(3), sd_watchdog_enabled(3))."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from typing import Final

_MICROSECONDS: Final = 1_000_000


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

    def ready(self, status: str) -> None:
        """What was started serves. `status` is a line for `systemctl status`. Raises OSError."""
        self._tell(f"READY=1\nSTATUS={_line(status)}")

    def status(self, status: str) -> None:
        """A new line for `systemctl status`. Raises OSError."""
        self._tell(f"STATUS={_line(status)}")

    def stopping(self) -> None:
        """From here on it ends. Raises OSError."""
        self._tell("STOPPING=1")

    async def stay_alive(self) -> None:
        """Say so for as long as the event loop turns, twice as often as it is asked for. Raises OSError."""
        while self.watchdog_seconds:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_seconds / 2)

    def _tell(self, message: str) -> None:
        if not self._address:
            return
        address = f"\0{self._address[1:]}" if self._address[0] == "@" else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as told:
            told.sendto(message.encode(), address)


def _line(text: str) -> str:
    return " ".join(text.split())
