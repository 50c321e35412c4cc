"""A Redis for all tests of a module, emptied before each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.redis import Redis


@pytest.fixture(scope="module")
def running() -> Iterator[Redis]:
    with Redis() as server:
        yield server


@pytest.fixture
def server(running: Redis) -> Redis:
    running.ask("FLUSHALL")
    running.ask("CONFIG", "RESETSTAT")
    return running
