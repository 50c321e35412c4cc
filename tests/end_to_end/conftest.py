from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.stack import Stack


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Everything, started once a file: tests of one file leave the tables as they found them."""
    with Stack() as running:
        yield running
