from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.masking.replies.server import Client, running


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with running(tmp_path_factory.mktemp("redis"), "--enable-debug-command", "yes", "--rdbcompression", "no") as path:
        yield path


@pytest.fixture(params=[False, True], ids=["resp2", "resp3"])
def client(server: Path, request: pytest.FixtureRequest) -> Iterator[Client]:
    with contextlib.closing(Client(server, resp3=request.param)) as client:
        client.ask("FLUSHALL")
        client.ask("FUNCTION", "FLUSH")
        yield client
