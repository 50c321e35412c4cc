"""Servers to hold against what is understood of its commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.redis_servers import RELEASES, Release
from tests.understand.redis.server import Server


@pytest.fixture(scope="package", params=RELEASES, ids=str)
def running(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Server]:
    release: Release = request.param
    with Server(Path(tmp_path_factory.mktemp("redis", numbered=True)), release) as server:
        yield server


@pytest.fixture
def server(running: Server) -> Server:
    """One for all tests of a release, empty."""
    running.ask(b"FLUSHALL")
    return running
