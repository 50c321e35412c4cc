from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.adversity.attacks.world import attacked
from tests.support.attacks import Attacker
from tests.support.postgres import Postgres
from tests.support.stack import Stack


@pytest.fixture(scope="package")
def ann() -> Iterator[Attacker]:
    """ann, before everything that is to be attacked."""
    with attacked(Postgres()) as attacker:
        yield attacker


@pytest.fixture(scope="package")
def stack(ann: Attacker) -> Stack:
    return ann.stack
