"""What may be seen of a result, whatever the statement."""

from __future__ import annotations

from pathlib import Path

from lockgate.masking.detectors import KINDS
from lockgate.policy.annotations import describe
from lockgate.policy.source import Piece
from lockgate.values.verdict import Decision, Detect
from tests.policy.given import CITY, DELETE, EMAIL, FOUR_QUESTIONS, READ, SSN, decide, engine, who

ANN = who("ann", "engineers")
RUN = 'permit (principal, action in [Action::"execute", Action::"execute_alone"], resource);\n'
MILD = '@id("mild") @mask("partial") forbid (principal, action == Action::"reveal", resource);\n'
REVEAL = 'permit (principal, action == Action::"reveal", resource in Tag::"{}");\n'


def test_a_mild_mask_shows_nothing_that_no_policy_permits_to_be_seen(tmp_path: Path) -> None:
    judge = engine(tmp_path, RUN + REVEAL.format("email") + MILD)
    masks = decide(judge, ANN, READ, columns=(EMAIL, SSN, CITY)).masks
    assert [(m.column, m.masker, m.policy) for m in masks] == [
        (EMAIL, "partial", "mild"),
        (SSN, "redact", "default-deny"),
        (CITY, "redact", "default-deny"),
    ]


def test_a_strict_mask_needs_no_permit(tmp_path: Path) -> None:
    judge = engine(tmp_path, RUN + MILD.replace("partial", "null"))
    (mask,) = decide(judge, ANN, READ, columns=(EMAIL,)).masks
    assert (mask.masker, mask.policy) == ("null", "mild")


def test_a_permit_that_cannot_be_evaluated_permits_nothing(tmp_path: Path) -> None:
    broken = REVEAL.format("email").replace(";", " when { 9223372036854775807 + 1 > 0 };")
    assert decide(engine(tmp_path, RUN + broken + MILD), ANN, READ, columns=(EMAIL,)).policy == (
        "lockgate:evaluation-error"
    )


def test_answers_are_kept_for_other_statements_of_the_same_asker(tmp_path: Path) -> None:
    judge = engine(tmp_path, RUN + MILD)
    first = decide(judge, ANN, READ, columns=(EMAIL,)).masks[0]
    assert decide(judge, ANN, READ, READ, columns=(EMAIL, SSN)).masks[0] is first
    assert decide(judge, who("bob"), READ, columns=(EMAIL,)).masks[0] is not first


# --- detectors

CARDS = """@id("cards") @mask("partial")
forbid (principal, action == Action::"reveal_detected", resource == Detector::"card")
unless { principal in Group::"fraud" };
"""
KEYS = """@id("keys")
forbid (principal, action == Action::"reveal_detected", resource)
when { [Detector::"cloud_key", Detector::"private_key"].contains(resource) };
"""


def test_a_detector_is_on_when_a_forbid_says_so(tmp_path: Path) -> None:
    judge = engine(tmp_path, FOUR_QUESTIONS + CARDS + KEYS)
    expected = (
        Detect("card", "partial", "cards"),
        Detect("cloud_key", "redact", "keys"),
        Detect("private_key", "redact", "keys"),
    )
    assert set(decide(judge, ANN, READ).detects) == set(expected)
    # whatever waits for approval shows no more than what doesn't
    assert decide(judge, ANN, DELETE).detects == decide(judge, ANN, READ).detects
    assert [d.kind for d in decide(judge, who("eve", "engineers", "fraud"), READ).detects] == [
        "cloud_key",
        "private_key",
    ]


def test_policies_on_columns_turn_no_detector_on(tmp_path: Path) -> None:
    hidden = 'forbid (principal, action == Action::"reveal", resource);\n'
    tagged = 'forbid (principal, action, resource in Tag::"pii");\n'
    assert decide(engine(tmp_path, FOUR_QUESTIONS + hidden + tagged), ANN, READ, columns=(EMAIL,)).detects == ()


def test_detectors_are_on_in_one_datastore_and_off_in_the_next(tmp_path: Path) -> None:
    text = """permit (principal, action, resource);
        forbid (principal, action == Action::"reveal_detected", resource in Datastore::"orders");"""
    judge = engine(tmp_path, text)
    assert tuple(d.kind for d in decide(judge, ANN, READ).detects) == KINDS
    assert decide(judge, ANN, READ, datastore="billing").detects == ()


def test_the_strictest_mask_of_a_detector_wins(tmp_path: Path) -> None:
    every = '@id("all") @mask("null") forbid (principal, action == Action::"reveal_detected", resource);'
    found = {d.kind: d for d in decide(engine(tmp_path, FOUR_QUESTIONS + CARDS + every), ANN, READ).detects}
    assert found["card"] == Detect("card", "null", "all")


def test_one_forbid_may_mask_columns_and_findings_alike() -> None:
    actions = frozenset(("reveal", "reveal_detected"))
    assert describe(Piece(Path("p"), 1, ""), "forbid", actions, {"mask": "partial"}).mask == "partial"


def test_a_detector_that_cannot_be_asked_about_lets_nothing_pass(tmp_path: Path) -> None:
    broken = CARDS.replace("unless { principal", "when { 9223372036854775807 + 1 > 0 } unless { principal")
    verdict = decide(engine(tmp_path, FOUR_QUESTIONS + broken), ANN, READ)
    assert (verdict.decision, verdict.policy) == (Decision.DENY, "lockgate:evaluation-error")
