"""Everything, once a file: ann sees masked columns, bob may do whatever there is, and sees what the server says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.side_by_side import POLICIES
from tests.support.redis_stack import CACHE, RedisStack
from tests.support.stack import SCHEMA, Stack

OWNED = "GRANT ALL ON DATABASE postgres TO app; ALTER ROLE app CREATEDB;"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(policies=POLICIES, schema=SCHEMA + OWNED) as running:
        yield running


UNHELD = CACHE.replace(
    'when { context.effects.contains("write") };',
    'when { context.effects.contains("write") } unless { principal in Group::"dba" };',
)
"""A script may write anywhere, and so where that takes two."""


@pytest.fixture(scope="module")
def cache() -> Iterator[RedisStack]:
    """The same before Redis."""
    with RedisStack(policies=POLICIES + UNHELD) as running:
        yield running
