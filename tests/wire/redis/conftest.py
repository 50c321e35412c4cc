"""Every transcript is played twice: with bytes as they are written here, and a byte at a time."""

from __future__ import annotations

import pytest

from tests.support.redis_playbook import Playbook, Split, bytewise, whole


@pytest.fixture(params=[whole, bytewise], ids=["whole", "bytewise"])
def split(request: pytest.FixtureRequest) -> Split:
    found: Split = request.param
    return found


@pytest.fixture
def new(split: Split) -> Playbook:
    """A connection of which nothing is known, with a gate that allows everything it isn't told otherwise of."""
    return Playbook(split=split)


@pytest.fixture
def play(new: Playbook) -> Playbook:
    """The same past its first command."""
    return new.begun()
