"""The snapshots of catalogs that the agent keeps, and when one is too old to be judged by."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from lockgate.masking import Classified, Held, Place, resolve
from lockgate.proxy.postgresql.catalog_reader import CatalogError, CatalogReader
from lockgate.values.catalog import Catalog
from lockgate.values.identity import Endpoint

TTL_SECONDS: Final = 60.0
"""The oldest a snapshot may be: the longest that a change made past the agent goes unseen."""
MISS_SECONDS: Final = 1.0
"""The least time between two readings of one database, however often something in it turns out to be unknown."""
PACE: Final = 2
"""How many times as long as a reading took is waited before the next, after the catalog has changed: a migration whose
every statement changes it costs the database a third of one connection's time."""
SNAPSHOTS: Final = 64
"""Databases whose snapshot is kept; the least recently used goes first. One of 300 relations takes some 0.6 MB."""
DATABASES: Final = 4096
"""Databases whose classified columns are remembered by number, which nothing may push out."""
MISSING_TOLD: Final = 20
"""Names in one warning about a classification."""

log = logging.getLogger(__name__)
_numbers = itertools.count(1)
SEVERAL: Final = object()
"""More than one connection, or nobody in particular."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What lineage (`catalog`), the choice of maskers (`columns`) and the plan (`text_types`) need to know.

    `number` is its own alone, so that what was made of it can be kept under it without keeping it alive.
    """

    catalog: Catalog
    columns: Classified
    text_types: frozenset[int]
    number: int = field(default_factory=_numbers.__next__, compare=False)


@dataclass(slots=True)
class _Entry:
    """One database. `started` is when its last reading began, `since` when that of its snapshot did; a snapshot from
    before `changed` is not to be used; `missing` is what the operator was last told protects nothing."""

    snapshot: Snapshot | None = None
    since: float = -math.inf
    started: float = -math.inf
    changed: float = -math.inf
    changed_by: object = None
    """Who has changed it since the snapshot was read, if only one has; SEVERAL otherwise."""
    took: float = math.inf
    """Seconds that the last reading took."""
    sticky: Mapping[Place, Held] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    running: asyncio.Task[Snapshot] | None = None
    queued: asyncio.Task[Snapshot] | None = None


class Catalogs:
    """The snapshots of one datastore's databases, by address and name.

    `classification` has the datastore's `schema.table.column` names (`config.load_classification`). What was once
    seen classified is remembered for as long as this object lives. Call `close` when done.
    """

    def __init__(
        self, reader: CatalogReader, classification: Iterable[str], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.reader = reader
        self._names = tuple(classification)
        self._clock = clock
        self._entries: OrderedDict[tuple[Endpoint, str], _Entry] = OrderedDict()

    def cached(self, endpoint: Endpoint, database: str, *, own: object = None) -> Snapshot | None:
        """The snapshot of `get` if it can be had without waiting.

        With `own`, who has changed the catalog in a transaction that is still open, also one from before these changes.
        """
        entry = self._entries.get((endpoint, database))
        if entry is None or entry.snapshot is None:
            return None
        if entry.since < entry.changed and (own is None or entry.changed_by is not own):
            return None
        if self._clock() - entry.since >= TTL_SECONDS:
            return None
        self._entries.move_to_end((endpoint, database))
        return entry.snapshot

    def ask(self, endpoint: Endpoint, database: str) -> None:
        """Have it read where `cached` has none, for who can't wait for it later."""
        if self.cached(endpoint, database) is None:
            try:
                entry = self._entry(endpoint, database)
            except CatalogError:
                return  # there is no room for another: whoever needs it is told
            if entry.running is None or entry.started < entry.changed:
                self._queue(entry, endpoint, database)

    def last(self, endpoint: Endpoint, database: str) -> Snapshot | None:
        """The newest snapshot, however old: for who only observes, and can't wait."""
        entry = self._entries.get((endpoint, database))
        return None if entry is None else entry.snapshot

    async def get(self, endpoint: Endpoint, database: str) -> Snapshot:
        """A snapshot at most TTL_SECONDS old, read if need be. Raises CatalogError."""
        snapshot = self.cached(endpoint, database)
        if snapshot is not None:
            return snapshot
        entry = self._entry(endpoint, database)
        running = entry.running if entry.started >= entry.changed else None
        return await asyncio.shield(running or self._queue(entry, endpoint, database))

    async def refresh(self, endpoint: Endpoint, database: str) -> Snapshot:
        """A snapshot whose reading began after this call: for something that the last one doesn't have.

        All callers until then share it. One reading begins at least MISS_SECONDS after the one before, so this may
        wait as long. Raises CatalogError; the old snapshot then stays for `get` until it is too old.
        """
        return await asyncio.shield(self._queue(self._entry(endpoint, database), endpoint, database))

    def expire(self, endpoint: Endpoint, database: str, *, by: object = None) -> None:
        """Something has changed the database's catalog: no older snapshot is given out, but to `by` (see `cached`)."""
        entry = self._entries.get((endpoint, database))
        if entry is not None:
            alone = entry.changed < entry.since or entry.changed_by is by
            entry.changed_by = by if alone and by is not None else SEVERAL
            entry.changed = self._clock()

    def reclassify(self, classification: Iterable[str]) -> None:
        """Other columns are classified from now on: no snapshot from before is given out."""
        names = tuple(classification)
        if names != self._names:
            self._names = names
            now = self._clock()
            for entry in self._entries.values():
                entry.changed, entry.changed_by = now, SEVERAL

    async def close(self) -> None:
        """End what is being read. Those waiting for it are cancelled."""
        tasks = [task for e in self._entries.values() for task in (e.running, e.queued) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _entry(self, endpoint: Endpoint, database: str) -> _Entry:
        key = (endpoint, database)
        entry = self._entries.get(key)
        if entry is None:
            if len(self._entries) >= DATABASES:
                self._forget_unclassified()
            entry = self._entries[key] = _Entry()
        self._entries.move_to_end(key)
        return entry

    def _forget_unclassified(self) -> None:
        """Make room for one more, from those that nothing has to be remembered of. Raises CatalogError."""
        for key, entry in self._entries.items():
            if not entry.sticky and entry.running is None and entry.queued is None:
                del self._entries[key]
                return
        raise CatalogError(f"more than {DATABASES} databases have classified columns")

    def _queue(self, entry: _Entry, endpoint: Endpoint, database: str) -> asyncio.Task[Snapshot]:
        if entry.queued is None:
            entry.queued = asyncio.create_task(self._run(entry, endpoint, database))
            entry.queued.add_done_callback(_seen)
        return entry.queued

    async def _run(self, entry: _Entry, endpoint: Endpoint, database: str) -> Snapshot:
        if entry.running is not None:
            await asyncio.wait((entry.running,))
        pause = MISS_SECONDS if entry.since >= entry.changed else min(MISS_SECONDS, PACE * entry.took)
        await asyncio.sleep(max(0.0, entry.started + pause - self._clock()))
        entry.running, entry.queued = entry.queued, None
        started = entry.started = self._clock()
        try:
            reading = await self.reader.read(endpoint, database)
            columns = resolve(self._names, reading.catalog, reading.parents, reading.generated, entry.sticky)
            entry.sticky = columns.sticky
            if columns.missing != entry.missing:
                entry.missing = columns.missing
                _tell_missing(columns.missing, endpoint, database)
            entry.since, entry.took = started, self._clock() - started
            entry.snapshot = Snapshot(reading.catalog, columns, reading.text_types)
            self._trim()
            return entry.snapshot
        finally:
            entry.running = None

    def _trim(self) -> None:
        kept = [entry for entry in self._entries.values() if entry.snapshot is not None]
        for entry in kept[: max(0, len(kept) - SNAPSHOTS)]:
            entry.snapshot = None


def _tell_missing(names: tuple[str, ...], endpoint: Endpoint, database: str) -> None:
    """Once for a database: a name that no column has protects nothing, whatever its author believes."""
    if names:
        log.warning(
            "the classification names %d columns that database %r at %s does not have: %s",
            len(names), database, endpoint, ", ".join(names[:MISSING_TOLD]),
        )  # fmt: skip


def _seen(task: asyncio.Task[Snapshot]) -> None:
    """Everyone who waited may have gone: their error is nobody's then, and not one to be logged as forgotten."""
    if not task.cancelled():
        task.exception()
