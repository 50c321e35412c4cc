"""What may be seen of a result, whatever the statement."""

from __future__ import annotations

from pathlib import Path

from tests.policy.given import CITY, EMAIL, READ, SSN, decide, engine, who

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
