"""What masked columns may do to results that don't show them: only what no forbid names."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockgate.policy.decide import Engine
from lockgate.policy.inference import ANY_USE, Uses
from lockgate.values.identity import Asker
from lockgate.values.use import Use
from lockgate.values.verdict import Decision, Verdict
from tests.policy.given import CITY, EMAIL, FOUR_QUESTIONS, READ, SSN, decide, engine, who

ANN = who("ann", "engineers")
HERE = Asker(ANN, "orders", "shop", "app")
NO_INFERENCE = '@id("no-inference") forbid (principal, action == Action::"infer", resource in Tag::"pii");\n'


def asked(judge: Engine, uses: Uses | None, *, here: Asker = HERE) -> Verdict | None:
    masks = decide(judge, here.claims, READ, columns=(EMAIL, SSN, CITY)).masks
    return judge.inferred(here, masks, uses)


def test_policies_that_never_heard_of_inference_forbid_none(tmp_path: Path) -> None:
    judge = engine(tmp_path)
    assert not judge.infers
    assert asked(judge, None) is None


@pytest.mark.parametrize("use", sorted(ANY_USE - {Use.EQUAL}))
def test_every_use_but_equality_is_inference(tmp_path: Path, use: Use) -> None:
    judge = engine(tmp_path, FOUR_QUESTIONS + NO_INFERENCE)
    assert judge.infers
    refused = asked(judge, {EMAIL: {use}})
    assert refused is not None
    assert (refused.decision, refused.policy) == (Decision.DENY, "no-inference")
    assert refused.reason.startswith(f"{EMAIL} is masked for you, and you may not ")


def test_the_refusal_names_column_and_use_in_one_line(tmp_path: Path) -> None:
    text = NO_INFERENCE.replace("forbid", '@reason("ask the support team") forbid')
    refused = asked(engine(tmp_path, FOUR_QUESTIONS + text), {SSN: {Use.ORDER, Use.JOIN, Use.EQUAL}})
    assert refused is not None
    assert refused.reason == f"{SSN} is masked for you, and you may not sort by it or join by it: ask the support team"


def test_equality_is_a_question_of_its_own(tmp_path: Path) -> None:
    assert asked(engine(tmp_path, FOUR_QUESTIONS + NO_INFERENCE), {EMAIL: {Use.EQUAL}}) is None
    for scope in ('action == Action::"infer_equal"', 'action in [Action::"infer", Action::"infer_equal"]', "action"):
        text = f'@id("x") forbid (principal, {scope}, resource == Column::"orders.{EMAIL}");'
        refused = asked(engine(tmp_path, FOUR_QUESTIONS + text), {EMAIL: {Use.EQUAL}})
        assert refused is not None
        assert refused.reason == f"{EMAIL} is masked for you, and you may not look it up"


def test_what_cannot_be_told_counts_as_every_use_of_every_masked_column(tmp_path: Path) -> None:
    for text in (NO_INFERENCE, NO_INFERENCE.replace('"infer"', '"infer_equal"')):
        refused = asked(engine(tmp_path, FOUR_QUESTIONS + text), None)
        assert refused is not None
        assert "and it can't be told that this does not " in refused.reason


def test_what_is_seen_plain_may_be_used_as_well(tmp_path: Path) -> None:
    judge = engine(tmp_path, FOUR_QUESTIONS + NO_INFERENCE)
    reader = Asker(who("rae", "engineers", "pii-readers"), "orders", "shop", "app")
    assert asked(judge, {EMAIL: ANY_USE}, here=reader) is None
    assert asked(judge, None, here=reader) is None
    # city is classified, and nothing masks it
    assert asked(judge, {CITY: ANY_USE}) is None


def test_a_forbid_may_speak_of_uses_and_of_where(tmp_path: Path) -> None:
    only = """forbid (principal, action == Action::"infer", resource)
        when { context.uses.containsAny(["order", "range"]) } unless { context.user == "support" };"""
    judge = engine(tmp_path, FOUR_QUESTIONS + only)
    assert asked(judge, {EMAIL: {Use.GROUP, Use.PATTERN}}) is None
    assert asked(judge, {EMAIL: {Use.GROUP, Use.RANGE}}) is not None
    assert asked(judge, {EMAIL: {Use.RANGE}}, here=Asker(ANN, "orders", "shop", "support")) is None


def test_a_forbid_that_cannot_be_evaluated_forbids(tmp_path: Path) -> None:
    broken = NO_INFERENCE.replace(";", " when { 9223372036854775807 + 1 > 0 };")
    refused = asked(engine(tmp_path, FOUR_QUESTIONS + broken), {EMAIL: {Use.ORDER}})
    assert refused is not None
    assert refused.policy == "lockgate:evaluation-error"
