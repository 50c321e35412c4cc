"""Each release is what it is called, and runs where its files can't be read by its account."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.redis import Redis
from tests.support.redis_servers import DEBIAN, REDIS_8, RELEASES, STACK, VALKEY, Release

VERSIONS = {
    DEBIAN: b"redis_version:7.0.15",
    STACK: b"redis_version:7.4.1",
    REDIS_8: b"redis_version:8.2.3",
    VALKEY: b"valkey_version:9.1.2",
}
MODULES = {STACK: {b"bf", b"ReJSON", b"search", b"timeseries"}, REDIS_8: {b"vectorset"}, VALKEY: {b"lua"}}


@pytest.mark.parametrize("release", RELEASES, ids=str)
def test_it_runs_and_is_what_it_is_called(release: Release) -> None:
    with Redis(release=release) as server:
        assert VERSIONS[release] in server.ask("INFO", "server").split(b"\r\n")
        assert {module[b"name"] for module in server.ask("MODULE", "LIST")} == MODULES.get(release, set())
        server.renew()
        assert server.ask("SET", "a", "1") == b"OK"


def test_what_is_not_there_says_how_to_have_it(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="redis-9 is not installed: make servers"):
        Release("redis-9", tmp_path / "redis-server").laid(tmp_path)
