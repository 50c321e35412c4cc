"""What enforcing would do, and where a bundle that is tried comes to another end."""

from __future__ import annotations

import pytest

from lockgate.proxy.outlook import Outlook
from lockgate.values.verdict import Decision, Detect, Mask, Verdict
from lockgate.wire.gate import Refusal

MASKED = Verdict(
    Decision.ALLOW, "p", "because", 3, masks=(Mask("s.t.c", "redact", "m"),), detects=(Detect("card", "partial", "d"),)
)
PLAIN = Outlook(Decision.ALLOW, "p", "because")


def test_what_would_be_masked_is_of_what_would_be_sent() -> None:
    assert Outlook.of(MASKED, None).masks == (("s.t.c", "redact"),)
    assert Outlook.of(MASKED, None).detects == (("card", "partial"),)
    assert Outlook.of(MASKED, Refusal("42501", "lockgate: no")) == Outlook(Decision.DENY, "lockgate:refused", "no")


@pytest.mark.parametrize(
    "other",
    [
        Outlook(Decision.HOLD, "p", "because"),
        Outlook(Decision.ALLOW, "q", "because"),
        Outlook(Decision.ALLOW, "p", "because", (("s.t.c", "null"),)),
        Outlook(Decision.ALLOW, "p", "because", (), (("card", "null"),)),
    ],
)
def test_another_end_is_another_decision_policy_or_mask(other: Outlook) -> None:
    told = other.beside(PLAIN, 7)
    assert told is not None
    assert (told["would"], told["policy"], told["epoch"]) == (other.would, other.policy, 7)
    assert told.get("masks", []) == [list(mask) for mask in other.masks]
    assert told.get("detects", []) == [list(detect) for detect in other.detects]


def test_other_words_are_not_another_end() -> None:
    assert Outlook(Decision.ALLOW, "p", "in other words").beside(PLAIN, 7) is None
