"""node-postgres: parameters, named statements, cursors, COPY streams, notifications, a pool."""

from __future__ import annotations

import json
from pathlib import Path

from tests.clients.side_by_side import intercepted, same
from tests.support.stack import Stack

PROGRAM = Path(__file__).parent / "programs" / "node.js"
MODULES = Path(__file__).parents[2] / "build" / "clients" / "node_modules"
"""Put there by `make test`, as package-lock.json has them."""


def test_the_whole_of_it(stack: Stack) -> None:
    argv = ["node", str(PROGRAM), str(stack.server.port)]
    out = [json.loads(line) for line in same(stack, argv, environ={"NODE_PATH": str(MODULES)}).splitlines()]
    assert [[{"n": 42, "j": {"a": [1, 2]}, "a": ["x", "y"], "t": True}]] in out
    assert ["told", "news", "good"] in out
    assert ["1,a\n2,b\n"] in out


def test_columns_come_masked(stack: Stack) -> None:
    argv = ["node", str(PROGRAM), str(stack.server.port), "masked"]
    run = intercepted(stack, argv, environ={"NODE_PATH": str(MODULES)}, person="ann")
    assert [json.loads(line) for line in run.stdout.splitlines()] == [
        [{"id": 7, "email": "u***@e***.org", "ssn": "***", "born": None}],
        [[8, "u***@e***.org", "***", None]],
        ["42501", "lockgate: schema changes go through migrations"],
        [[{"one": 1}]],
    ], run.stderr
