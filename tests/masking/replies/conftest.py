from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.masking.replies.server import Client, running
from tests.support.redis_servers import RELEASES


@pytest.fixture(scope="package", params=RELEASES, ids=str)
def server(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Path]:
    options = ("--enable-debug-command", "yes", "--rdbcompression", "no")
    with running(tmp_path_factory.mktemp("redis"), *options, release=request.param) as path:
        yield path


@pytest.fixture(params=[False, True], ids=["resp2", "resp3"])
def client(server: Path, request: pytest.FixtureRequest) -> Iterator[Client]:
    with contextlib.closing(Client(server, resp3=request.param)) as client:
        client.ask("FLUSHALL")
        client.ask("FUNCTION", "FLUSH")
        yield client
