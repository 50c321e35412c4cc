"""What a held statement locks, read from a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

from lockgate.approval.hold import Lock
from lockgate.config import Credential
from lockgate.proxy.postgresql import locks
from lockgate.proxy.postgresql.catalog_reader import CatalogReader
from lockgate.values.identity import Endpoint
from tests.support.postgres import Postgres

PLACE = ("postgres", "app")


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres() as running:
        running.psql(
            "CREATE ROLE app LOGIN; CREATE ROLE lockgate LOGIN; CREATE TABLE t (id int); INSERT INTO t VALUES (1);"
            " GRANT ALL ON t TO app"
        )
        yield running


async def connected(server: Postgres, user: str = "app") -> Any:
    connect: Any = asyncpg.connect
    return await connect(host="127.0.0.1", port=server.port, user=user, database="postgres", password="")


def test_the_locks_of_a_transaction_and_who_waits_behind_them(server: Postgres) -> None:
    async def use() -> None:
        reader, endpoint = CatalogReader(Credential(user="lockgate")), Endpoint("127.0.0.1", server.port)
        holder, other = await connected(server), await connected(server)
        try:
            pid = holder.get_server_pid()
            await holder.execute("BEGIN; UPDATE t SET id = 2")
            found = await locks.read(reader, endpoint, PLACE, pid)
            assert Lock("RowExclusiveLock", "public.t", 1) in found.held
            assert (found.waiting, found.unknown) == (0, None)
            blocked = asyncio.create_task(other.execute("UPDATE t SET id = 3"))
            for _ in range(100):
                if (await locks.read(reader, endpoint, PLACE, pid)).waiting == 1:
                    break
                await asyncio.sleep(0.05)
            else:
                raise AssertionError("nobody was seen waiting")
            await holder.execute("ROLLBACK")
            await blocked
        finally:
            holder.terminate()
            other.terminate()

    asyncio.run(use())


def test_a_backend_of_somebody_else_is_not_taken_for_the_client_s(server: Postgres) -> None:
    async def use() -> None:
        reader, endpoint = CatalogReader(Credential(user="lockgate")), Endpoint("127.0.0.1", server.port)
        other = await connected(server, "lockgate")
        try:
            found = await locks.read(reader, endpoint, PLACE, other.get_server_pid())
            assert (found.held, found.unknown) == ((), locks.NOT_OURS)
            for pid in (None, 2**31 - 1):
                assert (await locks.read(reader, endpoint, PLACE, pid)).unknown == locks.NOT_OURS
        finally:
            other.terminate()

    asyncio.run(use())


def test_without_a_reader_or_a_server_it_is_said() -> None:
    async def use() -> None:
        nowhere = Endpoint("127.0.0.1", 1)
        assert (await locks.read(None, nowhere, PLACE, 7)).unknown == locks.NO_READER
        found = await locks.read(CatalogReader(Credential(user="lockgate")), nowhere, PLACE, 7)
        assert "can't be read" in (found.unknown or "")

    asyncio.run(use())
