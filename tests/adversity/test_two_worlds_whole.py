"""Through the whole product: where policy lets nobody infer anything of what is masked, no answer tells anything of it.

Random statements go to two databases that differ in their classified values only, by every way that a client has.
Whatever comes back, rows, order, tags, errors, notices, refusals, has to be the same from both, and nothing of a value
may be in it, or in a record.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support import both_worlds
from tests.support.both_worlds import MARK, WAYS
from tests.support.postgres import Postgres
from tests.support.postgres18 import Postgres18
from tests.support.random_schema import Schema, random_schema
from tests.support.random_sql import Writer
from tests.support.stack import Stack, environment

POLICIES = """
@id("all-may-work")
permit (principal, action in [Action::"execute", Action::"execute_alone"], resource);
@id("nobody-sees") @mask("redact")
forbid (principal, action == Action::"reveal", resource);
@id("nobody-guesses")
forbid (principal, action in [Action::"infer", Action::"infer_equal"], resource);
"""
STATEMENTS = 100
LONGEST = 4000
"""Characters of a statement: longer ones mostly run into the time limit."""

SERVERS = {"oldest": Postgres, "newest": Postgres18}


def start(server: str, seed: int) -> Stack:
    """The product in front of the databases `world_0` and `world_1`, of one schema."""
    schema = random_schema(seed)
    return Stack(
        policies=POLICIES,
        schema="create role app login; create role lockgate login; alter role app set statement_timeout = '200ms'; "
        "alter role app set max_parallel_workers_per_gather = 0; "
        "create database world_0;",
        classification={"orders": {name: ["pii"] for name in schema.classified}},
        server=SERVERS[server]({"autovacuum": "off"}),
    )


def fill(stack: Stack, schema: Schema) -> None:
    """One is a copy of the other, so that types have the same numbers."""
    stack.server.psql(schema.ddl + "grant all on all tables in schema public to app;", "world_0")
    stack.server.psql("create database world_1 template world_0")
    for world in (0, 1):
        stack.server.psql(schema.fill(world), f"world_{world}")


def statements(schema: Schema, seeds: Sequence[int], *, newest: bool) -> list[tuple[str, str]]:
    """A way and a statement for each seed."""
    found = []
    for seed in seeds:
        rng = random.Random(seed)
        writer = Writer(rng, schema.tables, chooses=seed % 4 == 0, stored=schema.stored, newest=newest)
        text = writer.statement()
        if len(text) <= LONGEST:
            found.append((rng.choice(list(WAYS)), text))
    return found


def differing(stack: Stack, asked: Sequence[tuple[str, str]]) -> tuple[list[str], int]:
    """What is wrong with the answers, and how many statements were answered with a result in both worlds."""
    source = Path(both_worlds.__file__).read_text()
    argv = [sys.executable, "-c", source, "127.0.0.1", str(stack.server.port), "world_0", "world_1"]
    run = subprocess.run(
        stack.command("ann", argv), input="\n".join(map(json.dumps, asked)), capture_output=True, text=True,
        check=False, timeout=60 + len(asked), env=environment(), cwd="/",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    told = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(told) == len(asked)
    wrong = [
        "\n".join((*one, *answer["answers"])) for one, answer in zip(asked, told, strict=True) if answer["answers"]
    ]
    return wrong, sum(not answer["failed"] for answer in told)


@pytest.mark.parametrize(("server", "seed"), [("oldest", 0), ("newest", 1)])
def test_no_answer_tells_anything_of_a_classified_value(server: str, seed: int) -> None:
    schema = random_schema(seed)
    with start(server, seed) as stack:
        fill(stack, schema)
        asked = statements(schema, range(seed * STATEMENTS, (seed + 1) * STATEMENTS), newest=server == "newest")
        wrong, answered = differing(stack, asked)
        assert wrong == []
        assert answered > STATEMENTS // 8
        kept = json.dumps(stack.records(), default=str) + stack.log("agent") + stack.log("collector")
        assert MARK.search(kept.encode()) is None
