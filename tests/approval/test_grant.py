"""What a grant lets run, who may make one, and who may end it."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from lockgate.approval.grant import check_revocation, granted
from lockgate.approval.hold import NotAllowed, check_grant
from lockgate.identity.tokens import Granting
from lockgate.values.identity import Claims
from tests.collector.chains import hold

PRINT = "f" * 64
HOLD = hold(fingerprint=PRINT, grant=7200.0, covers="DELETE FROM orders", created=1000.0, expires=1900.0)
BOB = Claims("jti-0001", "bob", "bob", ("dba",), "host-1", 1000, 1000 + 7200)
GRANT = Granting("hold-0000", PRINT)


def test_it_lets_what_it_was_made_for_run_until_its_end() -> None:
    check_grant(HOLD, BOB, GRANT, 8199.0)


@pytest.mark.parametrize(
    ("change", "claims", "granting", "now", "why"),
    [
        ({}, BOB, replace(GRANT, fingerprint="e" * 64), 1001.0, "other statements"),
        ({"fingerprint": None}, BOB, GRANT, 1001.0, "other statements"),
        ({"fingerprint": "e" * 64}, BOB, GRANT, 1001.0, "other statements"),
        ({}, BOB, GRANT, 8200.0, "expired"),
        # the policy changed since: shorter, none, other approvers
        ({"grant": 7199.0}, BOB, GRANT, 1001.0, "at most 7199 s"),
        ({"grant": 0.0}, BOB, GRANT, 1001.0, "each one is approved"),
        ({"approvers": ("security",)}, BOB, GRANT, 1001.0, "none of the approving groups"),
        # law 3
        ({}, replace(BOB, principal="ann-admin", person="ann"), GRANT, 1001.0, "second person"),
        ({}, replace(BOB, person=None), GRANT, 1001.0, "not a person"),
        ({"principal": "billing", "person": "bob"}, BOB, GRANT, 1001.0, "second person"),
    ],
)
def test_it_lets_nothing_else_run(
    change: dict[str, object], claims: Claims, granting: Granting, now: float, why: str
) -> None:
    with pytest.raises(NotAllowed, match=why):
        check_grant(msgspec.structs.replace(HOLD, **change), claims, granting, now)


def test_it_is_described_by_the_hold_it_was_made_with() -> None:
    made = granted(HOLD, BOB, "the night of the migration", 1001.0)
    assert (made.id, made.hold, made.fingerprint, made.until) == ("jti-0001", HOLD.id, PRINT, 8200.0)
    assert (made.principal, made.by_person, made.covers) == ("ann", "bob", "DELETE FROM orders")
    with pytest.raises(NotAllowed, match="several relations"):
        granted(msgspec.structs.replace(HOLD, fingerprint=None, covers="several relations"), BOB, "", 1001.0)


def test_who_made_it_and_whoever_could_have_may_end_it() -> None:
    made = granted(HOLD, BOB, "", 1001.0)
    for who in (
        replace(BOB, groups=()),
        replace(BOB, principal="eve", person="eve"),
        replace(BOB, principal="ann", person="ann"),
    ):
        check_revocation(made, who)
    for who in (
        replace(BOB, principal="eve", person="eve", groups=("engineers",)),
        replace(BOB, person=None),
        replace(BOB, groups=("lockgate:agent", "dba")),
    ):
        with pytest.raises(NotAllowed):
            check_revocation(made, who)
