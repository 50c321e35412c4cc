"""Every transcript is played twice: with bytes as they are written here, and a byte at a time."""

from __future__ import annotations

import pytest

from tests.support.playbook import Playbook, Split, bytewise, whole


@pytest.fixture(params=[whole, bytewise], ids=["whole", "bytewise"])
def split(request: pytest.FixtureRequest) -> Split:
    found: Split = request.param
    return found


@pytest.fixture
def play(split: Split) -> Playbook:
    """A connection past start-up, with a gate that allows everything it isn't told otherwise of."""
    return Playbook(split=split).begun()
