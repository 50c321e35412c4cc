"""node-redis in both protocol versions: commands, pipelines, transactions, scripts, blocking, messages, a pool."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.clients.side_by_side import intercepted, same
from tests.support.redis_stack import RedisStack

PROGRAM = Path(__file__).parent / "programs" / "redis.js"
MODULES = Path(__file__).parents[2] / "build" / "clients" / "node_modules"
"""Put there by `make test`, as package-lock.json has them."""


@pytest.mark.parametrize("version", ["2", "3"])
def test_the_whole_of_it(cache: RedisStack, version: str) -> None:
    argv = ["node", str(PROGRAM), str(cache.redis.port), version]
    out = [json.loads(line) for line in same(cache, argv, environ={"NODE_PATH": str(MODULES)}).splitlines()]
    assert [124750] in out
    assert [1, {"key": "n:queue", "element": "job"}] in out
    assert [[["n:news", "good"], ["n:news", "good"], ["n:nothing", "else"]]] in out
    assert [True, 1] in out


@pytest.mark.parametrize("version", ["2", "3"])
def test_values_come_masked(cache: RedisStack, version: str) -> None:
    argv = ["node", str(PROGRAM), str(cache.redis.port), version, "masked"]
    run = intercepted(cache, argv, environ={"NODE_PATH": str(MODULES)}, person="ann")
    assert [json.loads(line) for line in run.stdout.splitlines()] == [
        ["***", ["session 1", "***"]],
        [{"name": "name1", "email": "***", "age": "1"}, "u***@e***.org"],
        [{"to": "name1", "email": "u***@e***.org"}],
        [["***", "session 3"]],
        ["NOPERM", True],
        [["session 4", "refused", "session 5"]],
    ], run.stderr
