from __future__ import annotations

import dataclasses

import pytest

from lockgate.values.statement import Request
from lockgate.wire.gate import Asked, Refusal, Ruling, Run
from tests.support.playbook import Masked, understand


def test_a_ruling_lets_pass_unless_it_refuses_and_a_refusal_cannot_be_changed() -> None:
    assert Ruling().refusal is None
    with pytest.raises(dataclasses.FrozenInstanceError):
        Refusal("42501", "no").code = "00000"  # type: ignore[misc]


def test_a_request_without_parameters_has_none() -> None:
    asked = Asked(understand("SELECT 1"))
    assert list(asked.parameters()) == []
    assert asked.candidates == ()


def test_runs_of_one_request_are_counted_apart() -> None:
    request: Request = understand("SELECT 1")
    one, other = Run(request, Ruling(masking=Masked())), Run(request, Ruling())
    one.rows += 1
    assert (one.rows, other.rows, other.outcome) == (1, 0, "running")
