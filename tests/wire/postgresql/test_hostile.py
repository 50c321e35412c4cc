"""Whatever a client does, what runs was judged and what is masked stays masked: `hostile.py` says what must hold."""

from __future__ import annotations

from random import Random

import pytest

from tests.wire.postgresql.hostile import Client, Observed, Turned, World, holds, smallest

SCRIPTS = 250
"""Scripts a test; `tests/fuzz/fuzz_session.py` plays them for as long as one likes."""


@pytest.mark.parametrize("seed", range(8))
def test_no_client_gets_around_the_gate(seed: int) -> None:
    random = Random(seed)
    for _ in range(SCRIPTS):
        script, slow = Client(random).script(random.choice([5, 15, 30, 60])), random.choice([0, 0, 1, 3])
        if not holds(script, slow):
            World(slow).play(smallest(script, slow))


@pytest.mark.parametrize("seed", range(8, 12))
def test_nor_around_one_whose_session_began_observed(seed: int) -> None:
    """Enforced is enforced: what it may pass on unread, it may no more."""
    random = Random(seed)
    for _ in range(SCRIPTS):
        script, slow = Client(random).script(random.choice([5, 15, 30, 60])), random.choice([0, 0, 1, 3])
        if not holds(script, slow, Turned):
            Turned(slow).play(smallest(script, slow, Turned))


@pytest.mark.parametrize("seed", range(12, 16))
def test_observing_changes_nothing_whatever_a_client_does(seed: int) -> None:
    random = Random(seed)
    for _ in range(SCRIPTS):
        script, slow = Client(random).script(random.choice([5, 15, 30, 60])), random.choice([0, 0, 1, 3])
        if not holds(script, slow, Observed):
            Observed(slow).play(smallest(script, slow, Observed))
