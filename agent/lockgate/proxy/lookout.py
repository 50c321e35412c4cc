"""Looking at what a held statement keeps locked, as often as somebody wants to know and not more often."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from lockgate.approval.hold import Locks

LOCKS_SECONDS: Final = 5.0
"""The least time between two looks at the locks of one held statement."""
LOOKS: Final = 4
"""Looks at once, of all held statements of an agent: each is a connection to the datastore."""


class Lookout:
    """Looks at the locks of one held statement whenever somebody asks, and not more often than LOCKS_SECONDS.

    `look` reads, `tell` passes on. `async with Lookout(...)` while it waits; `asked` may be called at any time.
    """

    def __init__(
        self, look: Callable[[], Awaitable[Locks]], tell: Callable[[Locks], Awaitable[None]], places: asyncio.Semaphore
    ) -> None:
        self._look = look
        self._tell = tell
        self._places = places
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def asked(self) -> None:
        """Somebody looks at the hold."""
        self._wanted.set()

    async def __aenter__(self) -> Lookout:
        self._task = asyncio.get_running_loop().create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            # what it failed with, if anything, is for the agent's log and not for the statement
            await asyncio.wait((self._task,))

    async def _watch(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            async with self._places:
                locks = await self._look()
            await self._tell(locks)
            await asyncio.sleep(LOCKS_SECONDS)
