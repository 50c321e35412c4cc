from __future__ import annotations

import asyncio

import pytest

from lockgate.config import Credential
from lockgate.masking import Held
from lockgate.proxy.postgresql import catalog as module
from lockgate.proxy.postgresql.catalog import Catalogs, Snapshot
from lockgate.proxy.postgresql.catalog_reader import CatalogError, CatalogReader, Reading
from lockgate.values.catalog import Catalog
from lockgate.values.identity import Endpoint
from tests.proxy.postgresql.catalogs import named, run
from tests.support.postgres import Postgres

EMAIL = Held(plain=frozenset({"public.customers.email"}))


# --- snapshots


class CountingReader(CatalogReader):
    """The real reader, counted; `pause` is waited for before it begins."""

    def __init__(self, user: str = "open") -> None:
        super().__init__(Credential(user=user))
        self.readings = 0
        self.pause = asyncio.Event()
        self.pause.set()

    async def read(self, endpoint: Endpoint, database: str) -> Reading:
        self.readings += 1
        await self.pause.wait()
        return await super().read(endpoint, database)


class Clock:
    """Moved by hand, beside a bound of no real time between readings."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MISS_SECONDS", 0.0)


NAMES = ("public.customers.email",)


def test_one_reading_serves_everyone_until_it_is_too_old(endpoint: Endpoint, at_once: None) -> None:
    async def journey() -> None:
        reader, clock = CountingReader(), Clock()
        catalogs = Catalogs(reader, NAMES, clock=clock)
        assert catalogs.cached(endpoint, "postgres") is None
        first, *others = await asyncio.gather(*(catalogs.get(endpoint, "postgres") for _ in range(20)))
        assert reader.readings == 1
        assert all(other is first for other in others)
        clock.now += module.TTL_SECONDS - 1
        assert await catalogs.get(endpoint, "postgres") is catalogs.cached(endpoint, "postgres") is first
        clock.now += 1
        assert catalogs.cached(endpoint, "postgres") is None
        assert await catalogs.get(endpoint, "postgres") is not first
        assert reader.readings == 2
        await catalogs.get(endpoint, "template1")
        assert reader.readings == 3
        await catalogs.close()

    run(journey())


def test_a_refresh_sees_what_was_there_when_it_was_asked_for(server: Postgres, endpoint: Endpoint, database: str,
                                                             at_once: None) -> None:  # fmt: skip
    async def journey() -> None:
        reader = CountingReader()
        catalogs = Catalogs(reader, NAMES)
        reader.pause.clear()
        slow = asyncio.create_task(catalogs.get(endpoint, database))
        await asyncio.sleep(0.01)
        # two ask while a reading is under way, which may be too old for them: they share the next
        asked = [asyncio.create_task(catalogs.refresh(endpoint, database)) for _ in range(2)]
        await asyncio.sleep(0.01)
        server.psql("CREATE TABLE customers (email text)", database)
        reader.pause.set()
        one, other = await asyncio.gather(*asked)
        assert one is other
        assert "customers" in one.catalog.by_name
        assert one is not await slow
        assert reader.readings == 2
        await catalogs.close()

    run(journey())


def test_an_expired_snapshot_is_not_given_out_nor_one_being_read(endpoint: Endpoint, at_once: None) -> None:
    async def journey() -> None:
        reader, clock = CountingReader(), Clock()
        catalogs = Catalogs(reader, NAMES, clock=clock)
        catalogs.expire(endpoint, "postgres")
        reader.pause.clear()
        slow = asyncio.create_task(catalogs.get(endpoint, "postgres"))
        await asyncio.sleep(0.01)
        clock.now += 1
        catalogs.expire(endpoint, "postgres")
        clock.now += 1
        asked = asyncio.create_task(catalogs.get(endpoint, "postgres"))
        await asyncio.sleep(0.01)
        reader.pause.set()
        assert await asked is not await slow
        assert reader.readings == 2
        assert await catalogs.get(endpoint, "postgres") is await asked
        clock.now += 1
        catalogs.expire(endpoint, "postgres")
        assert catalogs.cached(endpoint, "postgres") is None
        await catalogs.close()

    run(journey())


def test_readings_are_a_second_apart(endpoint: Endpoint) -> None:
    async def journey() -> None:
        reader = CountingReader()
        catalogs = Catalogs(reader, NAMES)
        began = asyncio.get_running_loop().time()
        await catalogs.get(endpoint, "postgres")
        await asyncio.gather(*(catalogs.refresh(endpoint, "postgres") for _ in range(50)))
        assert reader.readings == 2
        assert asyncio.get_running_loop().time() - began >= module.MISS_SECONDS
        await catalogs.close()

    run(journey())


def test_who_leaves_does_not_take_the_reading_away(endpoint: Endpoint, at_once: None) -> None:
    async def journey() -> None:
        reader = CountingReader()
        catalogs = Catalogs(reader, NAMES)
        reader.pause.clear()
        leaves, stays = (asyncio.create_task(catalogs.get(endpoint, "postgres")) for _ in range(2))
        await asyncio.sleep(0.01)
        leaves.cancel()
        reader.pause.set()
        assert isinstance(await stays, Snapshot)
        assert reader.readings == 1
        await catalogs.close()

    run(journey())


def test_a_failed_reading_does_not_make_an_old_snapshot_young(server: Postgres, endpoint: Endpoint,
                                                              at_once: None) -> None:  # fmt: skip
    async def journey() -> None:
        clock = Clock()
        server.psql("CREATE ROLE leaves LOGIN")
        catalogs = Catalogs(CountingReader("leaves"), NAMES, clock=clock)
        first = await catalogs.get(endpoint, "postgres")
        server.psql("DROP ROLE leaves")
        clock.now += module.TTL_SECONDS - 1
        with pytest.raises(CatalogError, match="leaves"):
            await catalogs.refresh(endpoint, "postgres")
        assert catalogs.cached(endpoint, "postgres") is first
        clock.now += 1
        with pytest.raises(CatalogError, match="leaves"):
            await catalogs.get(endpoint, "postgres")
        await catalogs.close()

    run(journey())


def test_close_ends_what_is_being_read(endpoint: Endpoint) -> None:
    async def journey() -> None:
        reader = CountingReader()
        catalogs = Catalogs(reader, NAMES)
        reader.pause.clear()
        waiting = asyncio.create_task(catalogs.get(endpoint, "postgres"))
        await asyncio.sleep(0.01)
        await catalogs.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    run(journey())


def test_snapshots_go_but_what_was_classified_is_remembered(
    server: Postgres, endpoint: Endpoint, database: str, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SNAPSHOTS", 1)
    monkeypatch.setattr(module, "DATABASES", 2)
    server.psql("CREATE TABLE customers (id int, email text)", database)

    async def journey() -> None:
        catalogs = Catalogs(CountingReader(), NAMES)
        first = await catalogs.get(endpoint, database)
        oid = named(first.catalog, "customers").oid
        server.psql("ALTER TABLE customers RENAME TO people; ALTER TABLE people RENAME email TO mail", database)
        await catalogs.get(endpoint, "postgres")
        assert catalogs.cached(endpoint, database) is None
        # a third database pushes out one that has nothing to be remembered
        await catalogs.get(endpoint, "template1")
        again = await catalogs.get(endpoint, database)
        source = again.columns.source(oid, 2)
        assert source is not None
        assert (source.name, source.held) == ("public.people.mail", EMAIL)
        await catalogs.close()

    run(journey())


def test_databases_with_classified_columns_are_bounded_and_none_is_forgotten(
    server: Postgres, endpoint: Endpoint, database: str, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DATABASES", 1)
    server.psql("CREATE TABLE customers (id int, email text)", database)

    async def journey() -> None:
        catalogs = Catalogs(CountingReader(), NAMES)
        await catalogs.get(endpoint, database)
        with pytest.raises(CatalogError, match="more than 1"):
            await catalogs.get(endpoint, "postgres")
        await catalogs.close()

    run(journey())


def test_what_a_client_can_do_to_a_classified_column(server: Postgres, endpoint: Endpoint, database: str,
                                                     at_once: None) -> None:  # fmt: skip
    """On the real server, by the numbers that it puts into RowDescription."""
    import psycopg

    server.psql(
        """
        CREATE TABLE customers (id int, email text, folded text GENERATED ALWAYS AS (lower(email)) STORED)
          PARTITION BY RANGE (id);
        CREATE TABLE customers_1 PARTITION OF customers FOR VALUES FROM (0) TO (10);
        INSERT INTO customers (id, email) VALUES (1, 'Ann@example.org');
        """,
        database,
    )

    async def journey() -> None:
        catalogs = Catalogs(CountingReader(), NAMES)

        async def look(*sql: str) -> tuple[str, Held]:
            with psycopg.connect(
                host="127.0.0.1", port=server.port, user="postgres", dbname=database, autocommit=True
            ) as client:
                for statement in sql[:-1]:
                    client.execute(statement.encode())
                result = client.execute(sql[-1].encode()).pgresult
                assert result is not None
                columns = (await catalogs.refresh(endpoint, database)).columns
                source = columns.source(result.ftable(0), result.ftablecol(0))
                return ("", Held()) if source is None else (source.name, source.held)

        from_email = Held(derived=EMAIL.plain)
        assert await look("SELECT email FROM customers") == ("public.customers.email", EMAIL)
        assert await look("SELECT x FROM (SELECT email FROM customers) AS s (x)") == ("public.customers.email", EMAIL)
        assert await look("SELECT email FROM customers_1") == ("public.customers_1.email", EMAIL)
        assert await look("SELECT folded FROM customers_1") == ("public.customers_1.folded", from_email)
        assert await look("SELECT id FROM customers") == ("public.customers.id", Held())
        assert await look("ALTER TABLE customers RENAME email TO m", "SELECT m FROM customers") == (
            "public.customers.m",
            EMAIL,
        )
        assert await look("ALTER TABLE customers DETACH PARTITION customers_1", "SELECT m FROM customers_1") == (
            "public.customers_1.m",
            EMAIL,
        )
        assert await look(
            "CREATE SCHEMA attic",
            "ALTER TABLE customers_1 SET SCHEMA attic",
            "ALTER TABLE attic.customers_1 RENAME TO x",
            "ALTER TABLE attic.x ALTER folded DROP EXPRESSION",
            "SELECT folded FROM attic.x",
        ) == ("attic.x.folded", from_email)
        # an expression has no column of its own: lineage's to tell
        assert await look("SELECT lower(m) FROM attic.x") == ("", Held())
        await catalogs.close()

    run(journey())


# --- what it tells


def test_names_that_no_column_has_are_told_once_and_again_when_they_change(caplog: pytest.LogCaptureFixture) -> None:
    class Fixed(CatalogReader):
        async def read(self, endpoint: Endpoint, database: str) -> Reading:
            return Reading(Catalog(database, {}, {}), {}, {}, frozenset())

    async def use() -> None:
        now = [0.0]
        catalogs = Catalogs(Fixed(Credential(user="x")), ["public.nowhere.email"], clock=lambda: now[0])
        first = await catalogs.get(Endpoint("::1", 1), "shop")
        now[0] += 100
        second = await catalogs.get(Endpoint("::1", 1), "shop")
        assert (len(caplog.records), "public.nowhere.email" in caplog.text) == (1, True)
        assert first.number != second.number
        now[0] += 1
        catalogs.reclassify(["public.nowhere.email", "public.nowhere.ssn"])
        assert catalogs.cached(Endpoint("::1", 1), "shop") is None
        now[0] += 100
        await catalogs.get(Endpoint("::1", 1), "shop")
        assert (len(caplog.records), "public.nowhere.ssn" in caplog.text) == (2, True)

    run(use())


def test_the_same_classification_again_costs_no_reading() -> None:
    class Fixed(CatalogReader):
        async def read(self, endpoint: Endpoint, database: str) -> Reading:
            return Reading(Catalog(database, {}, {}), {}, {}, frozenset())

    async def use() -> None:
        catalogs = Catalogs(Fixed(Credential(user="x")), ["a.b.c"])
        found = await catalogs.get(Endpoint("::1", 1), "shop")
        catalogs.reclassify(["a.b.c"])
        assert catalogs.cached(Endpoint("::1", 1), "shop") is found

    run(use())


def test_who_changes_the_catalog_in_a_transaction_goes_on_with_the_snapshot_from_before(endpoint: Endpoint) -> None:
    async def journey() -> None:
        clock, me, other = Clock(), object(), object()
        catalogs = Catalogs(CountingReader(), NAMES, clock=clock)
        first = await catalogs.get(endpoint, "postgres")
        for _ in range(3):
            clock.now += 1
            catalogs.expire(endpoint, "postgres", by=me)
            assert catalogs.cached(endpoint, "postgres") is None
            assert catalogs.cached(endpoint, "postgres", own=other) is None
            assert catalogs.cached(endpoint, "postgres", own=me) is first
        catalogs.expire(endpoint, "postgres", by=other)
        assert catalogs.cached(endpoint, "postgres", own=me) is None
        catalogs.expire(endpoint, "postgres", by=me)
        assert catalogs.cached(endpoint, "postgres", own=me) is None
        clock.now += 1
        second = await catalogs.get(endpoint, "postgres")
        clock.now += 1
        catalogs.expire(endpoint, "postgres", by=me)
        assert catalogs.cached(endpoint, "postgres", own=me) is second
        catalogs.reclassify(("public.customers.ssn",))
        assert catalogs.cached(endpoint, "postgres", own=me) is None
        await catalogs.close()

    run(journey())


def test_a_change_is_read_at_a_pace_of_its_own_and_a_miss_later(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def journey() -> None:
        monkeypatch.setattr(module, "MISS_SECONDS", 30.0)
        monkeypatch.setattr(module, "PACE", 0.1)
        reader = CountingReader()
        catalogs = Catalogs(reader, NAMES)
        async with asyncio.timeout(20):
            for _ in range(4):
                await catalogs.get(endpoint, "postgres")
                catalogs.expire(endpoint, "postgres", by=reader)
            await catalogs.get(endpoint, "postgres")
        assert reader.readings == 5
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await catalogs.refresh(endpoint, "postgres")
        assert reader.readings == 5
        await catalogs.close()
        # however long a reading takes
        monkeypatch.setattr(module, "PACE", 1e9)
        monkeypatch.setattr(module, "MISS_SECONDS", 0.3)
        catalogs = Catalogs(reader, NAMES)
        async with asyncio.timeout(20):
            for _ in range(2):
                await catalogs.get(endpoint, "postgres")
                catalogs.expire(endpoint, "postgres")
        assert reader.readings == 7
        await catalogs.close()

    run(journey())


def test_who_cant_wait_asks_for_it_and_takes_the_last_there_was(endpoint: Endpoint, at_once: None) -> None:
    async def journey() -> None:
        reader, clock = CountingReader(), Clock()
        catalogs = Catalogs(reader, NAMES, clock=clock)
        assert catalogs.last(endpoint, "postgres") is None
        for _ in range(5):
            catalogs.ask(endpoint, "postgres")
        first = await catalogs.get(endpoint, "postgres")
        assert reader.readings == 1
        catalogs.ask(endpoint, "postgres")
        clock.now += 1
        catalogs.expire(endpoint, "postgres")
        assert catalogs.cached(endpoint, "postgres") is None
        assert catalogs.last(endpoint, "postgres") is first
        assert reader.readings == 1
        catalogs.ask(endpoint, "postgres")
        assert await catalogs.get(endpoint, "postgres") is not first
        assert reader.readings == 2
        await catalogs.close()

    run(journey())


def test_asking_for_one_database_too_many_asks_for_nothing(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, at_once: None
) -> None:
    monkeypatch.setattr(module, "DATABASES", 0)

    async def journey() -> None:
        catalogs = Catalogs(CountingReader(), NAMES)
        catalogs.ask(endpoint, "postgres")
        with pytest.raises(CatalogError):
            await catalogs.get(endpoint, "postgres")
        await catalogs.close()

    run(journey())
