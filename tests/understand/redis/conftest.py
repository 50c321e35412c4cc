"""A server to hold against what is understood of its commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.understand.redis.server import Server


@pytest.fixture(scope="package")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(Path(tmp_path_factory.mktemp("redis", numbered=True))) as server:
        yield server


@pytest.fixture
def server(running: Server) -> Server:
    """The same server for all, empty."""
    running.ask(b"FLUSHALL")
    return running
