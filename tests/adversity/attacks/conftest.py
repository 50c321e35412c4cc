from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.adversity.attacks.world import OLDER, attacked
from tests.support.attacks import Attacker
from tests.support.postgres import Postgres
from tests.support.stack import Stack


@pytest.fixture(scope="package")
def ann() -> Iterator[Attacker]:
    """ann, before everything that is to be attacked."""
    with attacked(Postgres(), OLDER) as attacker:
        yield attacker


@pytest.fixture(scope="package")
def stack(ann: Attacker) -> Stack:
    return ann.stack


@pytest.fixture(scope="package")
def bob(ann: Attacker) -> Iterator[Attacker]:
    """bob, who may not use what he doesn't see, and for whom detectors look through the rest."""
    attacker = Attacker(ann.stack, ann.upstream, "bob")
    yield attacker
    attacker.close()
