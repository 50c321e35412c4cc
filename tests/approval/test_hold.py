"""Law 3 and law 4: who may turn the second key, and of which statement."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from lockgate.approval.hold import Hold, NotAllowed, check_decision, same_person
from lockgate.identity.tokens import Approval
from lockgate.values.identity import Claims
from tests.collector.chains import hold

HOLD = hold(created=1000.0, expires=1900.0)
BOB = Claims("jti-1", "bob", "bob", ("dba",), "host-1", 1000, 1300)
YES = Approval("hold-0001", "d" * 64, "approve")


def test_another_person_in_an_approving_group_may_decide() -> None:
    check_decision(HOLD, BOB, YES, 1001.0)
    check_decision(HOLD, BOB, replace(YES, decision="deny"), 1001.0)
    check_decision(msgspec.structs.replace(HOLD, principal="billing", person=None), BOB, YES, 1001.0)


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        (replace(BOB, principal="ann", person="ann"), "second person"),
        (replace(BOB, principal="ann-admin", person="ann"), "second person"),
        (replace(BOB, principal="ann-admin", person="Ann"), "second person"),
        (replace(BOB, principal="ann-admin", person="ａnn"), "second person"),
        (replace(BOB, principal="ann", person="bob"), "second person"),
        (replace(BOB, principal="root", person=None), "not a person"),
        (replace(BOB, principal="host:host-1", person=None, groups=("lockgate:agent", "dba")), "not a person"),
        (replace(BOB, groups=("lockgate:agent", "dba")), "not a person"),
        (replace(BOB, groups=("engineers",)), "none of the approving groups"),
        (replace(BOB, groups=()), "none of the approving groups"),
    ],
)
def test_nobody_else_may(claims: Claims, why: str) -> None:
    with pytest.raises(NotAllowed, match=why):
        check_decision(HOLD, claims, YES, 1001.0)


def test_a_service_account_named_as_a_person_does_not_make_two_people() -> None:
    hold = msgspec.structs.replace(HOLD, principal="bob", person=None)
    with pytest.raises(NotAllowed, match="second person"):
        check_decision(hold, replace(BOB, principal="bob-admin"), YES, 1001.0)


def test_root_is_no_approver_even_where_a_policy_names_the_group() -> None:
    hold = msgspec.structs.replace(HOLD, approvers=("lockgate:operator",))
    with pytest.raises(NotAllowed, match="none of the approving groups"):
        check_decision(hold, replace(BOB, groups=("lockgate:operator",)), YES, 1001.0)


@pytest.mark.parametrize("approval", [replace(YES, hold="hold-0002"), replace(YES, digest="e" * 64)])
def test_a_decision_on_another_statement_does_not_count(approval: Approval) -> None:
    with pytest.raises(NotAllowed, match="another statement"):
        check_decision(HOLD, BOB, approval, 1001.0)


def test_a_decision_after_the_end_does_not_count() -> None:
    with pytest.raises(NotAllowed, match="expired"):
        check_decision(HOLD, BOB, YES, 1900.0)


def test_unknown_people_are_not_the_same() -> None:
    assert not same_person(None, None)
    assert not same_person("ann", None)
    assert not same_person("ann", "anne")


@pytest.mark.parametrize(
    "change", [{"id": "x"}, {"digest": "D" * 64}, {"approvers": []}, {"principal": ""}, {"more": 1}, {"created": "now"}]
)
def test_a_hold_from_the_wire_is_checked(change: dict[str, object]) -> None:
    body = {**msgspec.to_builtins(HOLD), **change}
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(body), type=Hold)
    assert msgspec.json.decode(msgspec.json.encode(HOLD), type=Hold) == HOLD
