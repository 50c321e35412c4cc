"""The loop stays free while the store writes, and those who wait share a commit."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from lockgate.audit.record import RecordError
from lockgate.collector.store import Store, database
from lockgate.collector.writer import Writer
from tests.collector.chains import Host


class Slow(Store):
    """A store on a slow disk that counts its commits."""

    commits = 0

    def ingest(self, batches: Any) -> int:
        self.commits += 1
        time.sleep(0.05)
        return super().ingest(batches)


def test_those_who_wait_share_a_commit(tmp_path: Path) -> None:
    store = Slow(database(tmp_path))

    async def run() -> None:
        writer = Writer(store)
        hosts = [Host(f"host-{number}") for number in range(20)]
        for host in hosts:
            host.statement("SELECT 1")
        beats = 0

        async def beat() -> None:
            nonlocal beats
            while True:
                await asyncio.sleep(0.005)
                beats += 1

        heart = asyncio.create_task(beat())
        await asyncio.gather(*(writer.ingest(tuple(host.records)) for host in hosts))
        heart.cancel()
        assert writer.ingested == 40
        assert store.commits < 20
        assert beats > 5
        await writer.close()

    asyncio.run(run())


def test_bytes_that_are_no_record_fail_only_their_sender(tmp_path: Path) -> None:
    async def run() -> None:
        writer = Writer(Store(database(tmp_path)))
        host = Host()
        host.statement("SELECT 1")
        results = await asyncio.gather(
            writer.ingest((b"\x80",)), writer.ingest(tuple(host.records)), return_exceptions=True
        )
        assert isinstance(results[0], RecordError)
        assert results[1] is None
        await writer.close()

    asyncio.run(run())


def test_an_error_of_the_store_reaches_all_who_wait_and_the_next_commit_works(tmp_path: Path) -> None:
    async def run() -> None:
        store = Store(database(tmp_path))
        writer = Writer(store)
        one, two = Host("host-1"), Host("host-2")
        one.statement("SELECT 1")
        two.statement("SELECT 2")
        await writer.run(store.db.execute, "ALTER TABLE records RENAME TO elsewhere")
        for result in await asyncio.gather(
            writer.ingest(tuple(one.records)), writer.ingest(tuple(two.records)), return_exceptions=True
        ):
            assert isinstance(result, sqlite3.OperationalError)
        await writer.run(store.db.execute, "ALTER TABLE elsewhere RENAME TO records")
        await writer.ingest(tuple(one.records))
        assert writer.ingested == 2
        await writer.close()

    asyncio.run(run())


def test_a_sender_that_goes_away_does_not_take_the_others_with_it(tmp_path: Path) -> None:
    async def run() -> None:
        writer = Writer(Slow(database(tmp_path)))
        one, two = Host("host-1"), Host("host-2")
        one.statement("SELECT 1")
        two.statement("SELECT 2")
        gone = asyncio.create_task(writer.ingest(tuple(one.records)))
        stays = asyncio.create_task(writer.ingest(tuple(two.records)))
        await asyncio.sleep(0.02)
        gone.cancel()
        await stays
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert writer.ingested == 4
        await writer.close()

    asyncio.run(run())
