"""Nothing of a classified value reaches a client that sees it masked: random SQL in two databases that differ in their
classified values only.

What a client learns is what differs between the two. So nothing of a masked result may, neither cells nor rows nor
their order, unless the statement is known to have used a classified column to choose them; then no value may appear in
any cell. And a statement that refers to nothing classified is never masked, refused or said to use any of it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.postgres import Postgres
from tests.support.postgres18 import Postgres18
from tests.support.random_schema import Schema, random_schema
from tests.support.random_sql import Writer
from tests.support.worlds import Seen, World, Worlds

SCHEMAS = 4
EXAMPLES = 60
LONGEST = 4000
"""Characters of a statement: longer ones mostly run into the time limit."""
TIMED_OUT = "statement timeout"
MARK = re.compile(rb"mkt\d|\dtkm", re.IGNORECASE)
"""In every classified text, and in none other; turned around too."""

Pairs = list[tuple[Schema, World, World]]


def pairs(server: Postgres) -> Iterator[Pairs]:
    found: Pairs = []
    worlds = []
    try:
        for seed in range(SCHEMAS):
            schema = random_schema(seed)
            both = Worlds(server, f"schema{seed}", schema)
            worlds.append(both)
            found.append((schema, *both.both))
        yield found
    finally:
        for both in worlds:
            both.close()


@pytest.fixture(scope="module")
def old() -> Iterator[Pairs]:
    with Postgres() as server:
        yield from pairs(server)


@pytest.fixture(scope="module")
def new() -> Iterator[Pairs]:
    with Postgres18() as server:
        yield from pairs(server)


def run(pairs: Pairs, seed: int, newest: bool, classified: bool) -> None:
    schema, one, other = pairs[seed % SCHEMAS]
    writer = Writer(
        random.Random(seed), schema.tables, classified=classified, chooses=seed % 3 == 0, stored=schema.stored,
        newest=newest,
    )  # fmt: skip
    text = writer.statement()
    if len(text) > LONGEST:
        return
    binary = seed % 2 == 0
    seen = one.see(text, binary=binary)
    if seen.error is not None and not classified:
        return  # a random text that means nothing
    if classified:
        assert_told_apart_by_nothing(one, text, seen, other.see(text, binary=binary))
    else:
        assert (seen.refused, seen.masks, one.used(text)) == (None, 0, frozenset()), text


def assert_told_apart_by_nothing(one: World, text: str, here: Seen, there: Seen) -> None:
    if here.error is not None or there.error is not None:
        # nor may it fail in one only, but for the time it takes
        same = here.error == there.error or TIMED_OUT in f"{here.error}{there.error}"
        assert same or one.used(text) != frozenset(), (text, here.error, there.error)
        return
    assert here.refused == there.refused, text
    if here.refused is None and one.used(text) == frozenset():
        assert here.rows == there.rows, text
    for seen in (here, there):
        for row in seen.rows:
            for cell in row:
                assert cell is None or not MARK.search(cell), (text, cell)


SEEDS = st.integers(min_value=0, max_value=2**40)
given_seeds = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


@given_seeds
@given(SEEDS)
def test_classified_values_are_told_by_nothing_on_the_oldest_server(old: Pairs, seed: int) -> None:
    run(old, seed, newest=False, classified=True)


@given_seeds
@given(SEEDS)
def test_classified_values_are_told_by_nothing_on_the_newest_server(new: Pairs, seed: int) -> None:
    run(new, seed, newest=True, classified=True)


@given_seeds
@given(SEEDS)
def test_what_is_not_classified_is_let_alone_on_the_oldest_server(old: Pairs, seed: int) -> None:
    run(old, seed, newest=False, classified=False)


@given_seeds
@given(SEEDS)
def test_what_is_not_classified_is_let_alone_on_the_newest_server(new: Pairs, seed: int) -> None:
    run(new, seed, newest=True, classified=False)
