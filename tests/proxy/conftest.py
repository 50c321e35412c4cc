"""A PostgreSQL whose catalog is read, and a database of its own for each test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lockgate.values.identity import Endpoint
from tests.support.postgres import Postgres

HBA = """
local all all trust
host all lockgate all scram-sha-256
host all all all trust
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres(hba=HBA) as running:
        running.psql("CREATE ROLE lockgate LOGIN PASSWORD 's3cret'; CREATE ROLE open LOGIN")
        yield running


@pytest.fixture
def database(server: Postgres, request: pytest.FixtureRequest) -> str:
    name: str = request.node.name
    server.psql(f'CREATE DATABASE "{name}"')
    return name


@pytest.fixture
def endpoint(server: Postgres) -> Endpoint:
    return Endpoint("127.0.0.1", server.port)
