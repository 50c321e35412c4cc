"""Whatever the policies say: one forbid more never lets more through, shows more, or lets more people approve."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.masking import parse_masker
from lockgate.policy.decide import Engine
from lockgate.policy.inference import Uses
from lockgate.values.identity import Asker
from lockgate.values.statement import Statement
from lockgate.values.use import Use
from lockgate.values.verdict import Decision, Verdict
from tests.policy.given import CITY, EMAIL, SSN, bundle, request, statement, who

SCOPES = ("principal", 'principal in Group::"engineers"', 'principal == Principal::"ann"')
WHEN = ("", "when { principal has person }", 'unless { principal in Group::"dba" }')
BROKEN = "when { 9223372036854775807 + 1 > 0 }"
ON_STATEMENTS = (
    "",
    'when { context.effects.contains("write") }',
    "unless { context has estimated_rows && context.estimated_rows < 100 }",
    'when { context.user == "app" }',
    BROKEN,
)
HOLDS = (
    '@approvers("dba")',
    '@approvers("dba,leads") @timeout("30s") @grant("1h")',
    '@approvers("leads") @grant("8h")',
)
MASKS = ("", '@mask("partial")', '@mask("null")', '@mask("truncate:4")')
COLUMNS = ("resource", 'resource in Tag::"pii"', f'resource == Column::"orders.{SSN}"')


def policies(effect: str) -> list[str]:
    found = [f"{effect} ({who}, action, resource) {when};" for who, when in product(SCOPES, WHEN)]
    for action in ("execute", "execute_alone"):
        scope = f'action == Action::"{action}", resource'
        found += [f"{effect} ({who}, {scope}) {when};" for who, when in product(SCOPES, ON_STATEMENTS)]
    found += [
        f'{effect} ({who}, action == Action::"approve", resource) {when};' for who in SCOPES for when in ("", BROKEN)
    ]
    annotations = MASKS if effect == "forbid" else ("",)
    for mask, what, when in product(annotations, COLUMNS, (*WHEN, BROKEN)):
        found.append(f'{mask} {effect} (principal, action == Action::"reveal", {what}) {when};')
    for mask, what in product(annotations, ("resource", 'resource == Detector::"card"')):
        found.append(f'{mask} {effect} (principal, action == Action::"reveal_detected", {what});')
    for action, what in product(('== Action::"infer"', 'in [Action::"infer", Action::"infer_equal"]'), COLUMNS):
        found.append(f"{effect} (principal, action {action}, {what});")
    if effect == "forbid":
        held = product(HOLDS, SCOPES, ON_STATEMENTS)
        found += [f'{a} forbid ({w}, action == Action::"execute_alone", resource) {when};' for a, w, when in held]
    return found


RUN = 'permit (principal, action in [Action::"execute", Action::"execute_alone"], resource);'
STARTS: tuple[list[str], ...] = ([], [RUN], ["permit (principal, action, resource);"])
"""What all policies stand behind: without one of the last two most of what is tried would be denied either way."""
PERMITS, FORBIDS = policies("permit"), policies("forbid")
STATEMENTS = (statement("SELECT", "read"), statement("DELETE", "read", "write"), statement("DROP TABLE", "ddl"))
ASKERS = tuple(who("ann", *groups) for groups in ((), ("engineers",), ("engineers", "dba")))
APPROVERS = (who("bea", "dba"), who("lea", "leads", "dba"), who("ann-2", "dba", person="ann"))
USES: tuple[Uses | None, ...] = (None, {}, {EMAIL: {Use.ORDER}}, {SSN: {Use.EQUAL}, CITY: {Use.JOIN}})
RANK = {Decision.ALLOW: 0, Decision.HOLD: 1, Decision.DENY: 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("policies")


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(STARTS),
    st.lists(st.sampled_from(PERMITS), max_size=4),
    st.lists(st.sampled_from(FORBIDS), max_size=3),
    st.sampled_from(FORBIDS),
    st.data(),
)
def test_one_forbid_more_lets_nothing_more_through(
    folder: Path, start: list[str], permits: list[str], forbids: list[str], further: str, data: st.DataObject
) -> None:
    here = Asker(data.draw(st.sampled_from(ASKERS)), "orders", "shop", data.draw(st.sampled_from(("app", "root"))))
    asked = data.draw(st.lists(st.sampled_from(STATEMENTS), min_size=1, max_size=2))
    columns = data.draw(st.sampled_from(((), (EMAIL,), (EMAIL, SSN, CITY))))
    rows = data.draw(st.sampled_from((None, 5, 500)))
    # the further one stands last, so that the others keep their names
    base = [*start, *permits, *forbids] or [RUN]
    before, after = (Engine(bundle(folder, "\n".join(text))) for text in (base, [*base, further]))
    old, new = (engine.decide(here, request(*asked), columns, rows=rows) for engine in (before, after))
    assert RANK[new.decision] >= RANK[old.decision]
    if new.decision is not Decision.DENY:
        shows_no_more(old, new)
        for uses in USES:
            if before.inferred(here, old.masks, uses) is not None:
                assert after.inferred(here, new.masks, uses) is not None
    if old.decision is new.decision is Decision.HOLD:
        assert set(new.approvers) <= set(old.approvers)
        assert new.timeout <= old.timeout
        assert new.timeout_in_transaction <= old.timeout_in_transaction
        assert new.grant <= old.grant
        approved_by_no_more(before, after, here, (old, new), asked)


def shows_no_more(old: Verdict, new: Verdict) -> None:
    hidden = {mask.column: parse_masker(mask.masker).strictness for mask in new.masks}
    found = {detect.kind: parse_masker(detect.masker).strictness for detect in new.detects}
    assert all(hidden[mask.column] >= parse_masker(mask.masker).strictness for mask in old.masks)
    assert all(found[detect.kind] >= parse_masker(detect.masker).strictness for detect in old.detects)


def approved_by_no_more(
    before: Engine, after: Engine, here: Asker, verdicts: tuple[Verdict, Verdict], asked: list[Statement]
) -> None:
    old, new = verdicts
    for approver in APPROVERS:
        if after.may_approve(approver, here.claims, new, "orders", request(*asked)).granted:
            assert before.may_approve(approver, here.claims, old, "orders", request(*asked)).granted
