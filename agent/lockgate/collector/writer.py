"""The store's one thread, seen from the event loop: SQLite never blocks the loop, and commits are shared."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from lockgate.collector.entry import Entry, parse_all
from lockgate.collector.store import Store

P = ParamSpec("P")
R = TypeVar("R")


class Writer:
    """Runs the store's methods one after another in a thread of its own."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.ingested = 0
        """Records stored since the start, without those that were already there."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._waiting: list[list[Entry]] = []
        self._next: asyncio.Task[None] | None = None
        self._committing = asyncio.Lock()

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Calls `function` in the store's thread; whatever it raises is raised here."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: function(*args, **kwargs))

    async def ingest(self, records: tuple[bytes, ...]) -> None:
        """Returns once the records are durable. Raises RecordError for bytes that are no records, sqlite3.Error."""
        entries = await asyncio.to_thread(parse_all, records)
        self._waiting.append(entries)
        if self._next is None:
            self._next = asyncio.create_task(self._commit())
        # shielded: a connection that goes away must not take the commit of others with it
        await asyncio.shield(self._next)

    async def _commit(self) -> None:
        # what arrives while one commit is under way shares the next: a hundred agents don't wait for a hundred syncs
        async with self._committing:
            group, self._waiting, self._next = self._waiting, [], None
            self.ingested += await self.run(self.store.ingest, group)

    async def close(self) -> None:
        """Waits for what is under way and closes the store."""
        async with self._committing:
            await self.run(self.store.close)
        self._thread.shutdown()
