from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.stack import Stack


@pytest.fixture
def stack() -> Iterator[Stack]:
    """Everything, started for one test, which may break what it likes."""
    with Stack() as running:
        yield running
