"""A pass-through in front of a server that keeps what was sent to it: what the agent let through, byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

from lockgate.values.identity import Endpoint
from tests.support.tap import Tap

SECONDS = 20.0


class Overheard:
    """What was sent to the server behind `port`, connection by connection, those of one role left out."""

    def __init__(self, tap: Tap, ignored: str) -> None:
        self.port = tap.endpoint.port
        self._tap = tap
        self._ignored = f"user\0{ignored}\0".encode()

    def mark(self) -> tuple[int, ...]:
        """Where each connection is now, for `since`."""
        return tuple(len(said) for said in self._tap.heard)

    def since(self, mark: tuple[int, ...]) -> bytes:
        """Everything sent since then."""
        heard = list(self._tap.heard)
        starts = mark + (0,) * (len(heard) - len(mark))
        return b"".join(
            said[start:] for said, start in zip(heard, starts, strict=True) if self._ignored not in said[:200]
        )


@contextlib.contextmanager
def overheard(port: int, ignored: str) -> Iterator[Overheard]:
    """Listen in front of 127.0.0.1:`port`, in a thread. `ignored` is a role whose connections don't count."""
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    taps: list[Tap] = []
    started = threading.Event()

    async def main() -> None:
        async with Tap(Endpoint("127.0.0.1", port)) as tap:
            taps.append(tap)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
    thread.start()
    try:
        if not started.wait(SECONDS):
            raise RuntimeError("nothing listens")
        yield Overheard(taps[0], ignored)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(SECONDS)
        loop.close()
