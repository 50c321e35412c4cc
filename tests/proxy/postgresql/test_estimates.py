"""Estimates from real planners, of release 15 and 18, and the ways in which there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from lockgate.config import Credential
from lockgate.proxy.postgresql import estimates as module
from lockgate.proxy.postgresql.catalog_reader import CatalogReader
from lockgate.proxy.postgresql.estimates import Estimates, rows_of
from lockgate.understand.postgresql import Understanding
from lockgate.values.catalog import Catalog
from lockgate.values.identity import Endpoint
from tests.support.postgres import Postgres, free_port
from tests.support.postgres18 import Postgres18

SCHEMA = """
CREATE ROLE reader LOGIN;
CREATE SCHEMA app;
CREATE TABLE app.orders (id int PRIMARY KEY, total int) WITH (autovacuum_enabled = off);
INSERT INTO app.orders SELECT i, i % 10 FROM generate_series(1, 1000) i;
ANALYZE app.orders;
CREATE TABLE app.secret (id int);
GRANT USAGE ON SCHEMA app TO reader; GRANT SELECT, DELETE, UPDATE ON app.orders TO reader;
"""


class Asked:
    """Asks one server; reads its catalog once."""

    def __init__(self, server: Postgres) -> None:
        self.endpoint = Endpoint("127.0.0.1", server.port)
        self.reader = CatalogReader(Credential(user="reader"))
        self.catalog: Catalog = asyncio.run(self.reader.read(self.endpoint, "postgres")).catalog

    def __call__(self, *texts: str) -> list[int | None]:
        async def ask() -> list[int | None]:
            estimates = Estimates(self.reader)
            requests = [Understanding().request(text) for text in texts]
            return [await estimates.estimate(self.endpoint, "postgres", one, self.catalog) for one in requests]

        return asyncio.run(ask())


@pytest.fixture(scope="module", params=[Postgres, Postgres18])
def server(request: pytest.FixtureRequest) -> Iterator[Postgres]:
    with request.param() as running:
        running.psql(SCHEMA)
        yield running


@pytest.fixture(scope="module")
def asked(server: Postgres) -> Asked:
    return Asked(server)


def test_rows_that_are_returned_or_changed(asked: Asked) -> None:
    assert asked("SELECT * FROM orders", "SELECT * FROM app.orders WHERE id = 7", "DELETE FROM orders") == [
        1000,
        1,
        1000,
    ]
    (updated,) = asked("UPDATE orders SET total = 1 WHERE total = 3 AND id <> (SELECT max(id) FROM orders)")
    assert updated is not None
    assert 80 <= updated <= 120


def test_more_rows_than_policy_can_count_are_the_most_it_can(asked: Asked) -> None:
    everything = ", ".join(f"orders o{n}" for n in range(7))
    assert asked(f"SELECT 1 FROM {everything}") == [2**63 - 1]


@pytest.mark.parametrize(
    "said", ["", "[]", "{}", '[{"Plan": {}}]', '[{"Plan": {"Node Type": "Result", "Plan Rows": "1"}}]', "[" * 9000]
)
def test_what_is_no_plan_is_no_estimate(said: str) -> None:
    assert rows_of(said) is None


def test_parameters_are_planned_for_whatever_they_will_be(asked: Asked) -> None:
    assert asked("SELECT * FROM orders WHERE id = $1", "SELECT * FROM orders WHERE total = $1 AND id > $2") == [1, 33]


def test_nothing_is_known_without_rights_or_of_what_is_not_plain(asked: Asked) -> None:
    assert asked(
        "SELECT * FROM secret", "SELECT nobody()", "SELECT 1/0 FROM nowhere", "SELECT 'x'::int FROM orders"
    ) == [
        None,
        None,
        None,
        None,
    ]


def test_nothing_is_changed(server: Postgres, asked: Asked) -> None:
    asked("DELETE FROM orders", "UPDATE orders SET total = -1")
    assert server.psql("SELECT count(*) FROM app.orders WHERE total >= 0").strip() == "1000"


def test_no_server_is_no_estimate(asked: Asked) -> None:
    async def ask() -> int | None:
        request = Understanding().request("SELECT * FROM orders")
        return await Estimates(asked.reader).estimate(Endpoint("127.0.0.1", free_port()), "x", request, asked.catalog)

    assert asyncio.run(ask()) is None


def test_an_estimate_counts_for_a_while(server: Postgres, asked: Asked) -> None:
    now = 0.0

    async def ask() -> list[int | None]:
        nonlocal now
        estimates = Estimates(asked.reader, clock=lambda: now)
        request = Understanding().request("SELECT * FROM orders WHERE total < 5")

        async def one() -> int | None:
            return await estimates.estimate(asked.endpoint, "postgres", request, asked.catalog)

        found = [await one()]
        server.psql("REVOKE SELECT ON app.orders FROM reader")
        found.append(await one())
        now = module.KEPT_SECONDS
        found.append(await one())
        server.psql("GRANT SELECT ON app.orders TO reader")
        return found

    first, kept, later = asyncio.run(ask())
    assert first is not None
    assert kept == first
    assert later is None
