"""Grants in the store: used while they last, ended at once, never by anybody they weren't made for."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lockgate.approval.hold import Became, Hold, NotAllowed
from lockgate.collector import grants as grants_module
from lockgate.collector.grants import GrantEnded, Grants, NoSuchGrant, TooManyGrants
from lockgate.collector.holds import HoldConflict, Holds, Signed
from lockgate.collector.store import Store, database
from lockgate.identity.tokens import Approval, Granting, Revocation
from lockgate.values.identity import Claims
from tests.collector.chains import hold

NOW = 1_800_000_000.0
PRINT = "f" * 64
BOB = Claims("grant-0001", "bob", "bob", ("dba",), "host-1", int(NOW), int(NOW) + 3600)


def waiting(identifier: str = "hold-0001", **more: Any) -> Hold:
    fields = {"created": NOW, "expires": NOW + 900, "fingerprint": PRINT, "grant": 7200.0, "covers": "constants"}
    return hold(identifier=identifier, **{**fields, **more})


def signed(claims: Claims = BOB, of: str = "hold-0001", fingerprint: str = PRINT) -> Signed:
    return Signed(claims, Granting(of, fingerprint), "token of bob")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(database(tmp_path)) as opened:
        yield opened


@pytest.fixture
def holds(store: Store) -> Holds:
    return Holds(store)


def approve(holds: Holds, grant: Signed | None = None, of: str = "hold-0001", now: float = NOW + 1) -> Any:
    yes = Approval(of, "d" * 64, "approve")
    return holds.decide(of, replace(BOB, token="jti-1"), yes, "t", "the night", now, grant or signed(of=of))


def test_what_was_granted_is_approved_from_the_start_and_counted(store: Store, holds: Holds) -> None:
    holds.post(waiting(), NOW)
    decided = approve(holds).decided
    assert (decided.granted, decided.by_grant) == ("grant-0001", None)
    again = holds.post(waiting("hold-0002"), NOW + 2)
    assert again.state == "approved"
    assert again.decided is not None
    assert (again.decided.by_grant, again.decided.token, again.decided.person) == ("grant-0001", "token of bob", "bob")
    assert holds.post(waiting("hold-0002"), NOW + 3) == again, "told again it is no second use"
    (state,) = Grants(store).list("live", None, NOW + 3)
    assert (state.uses, state.last_used, state.grant.comment) == (1, NOW + 2, "the night")


@pytest.mark.parametrize(
    ("change", "now"),
    [
        ({"fingerprint": "e" * 64}, NOW + 2),
        ({"fingerprint": None}, NOW + 2),
        ({"host": "host-2"}, NOW + 2),
        ({"grant": 3599.0}, NOW + 2),
        ({"grant": 0.0}, NOW + 2),
        ({"approvers": ("security",)}, NOW + 2),
        ({"principal": "bob", "person": None}, NOW + 2),
        ({"expires": NOW + 9000}, NOW + 3600),
    ],
)
def test_what_was_not_granted_waits(holds: Holds, change: dict[str, Any], now: float) -> None:
    holds.post(waiting(), NOW)
    approve(holds)
    assert holds.post(waiting("hold-0002", **change), now).state == "waiting"


@pytest.mark.parametrize(
    ("grant", "why"),
    [
        (signed(of="hold-0009"), "another decision"),
        (signed(fingerprint="e" * 64), "other statements"),
        (signed(replace(BOB, principal="eve", person="eve")), "somebody else"),
        (signed(replace(BOB, host="host-2")), "somebody else"),
        (signed(replace(BOB, expires_at=int(NOW) + 7201)), "at most 7200 s"),
        (signed(replace(BOB, expires_at=int(NOW))), "expired"),
    ],
)
def test_a_grant_that_does_not_fit_leaves_the_hold_as_it_is(
    store: Store, holds: Holds, grant: Signed, why: str
) -> None:
    holds.post(waiting(), NOW)
    with pytest.raises(NotAllowed, match=why):
        approve(holds, grant)
    assert holds.get("hold-0001", NOW + 1).state == "waiting"
    assert Grants(store).list("all", None, NOW) == []


def test_a_denial_grants_nothing_and_a_token_grants_once(store: Store, holds: Holds) -> None:
    holds.post(waiting(), NOW)
    with pytest.raises(NotAllowed, match="another decision"):
        holds.decide("hold-0001", BOB, Approval("hold-0001", "d" * 64, "deny"), "t", "", NOW + 1, signed())
    approve(holds)
    holds.post(waiting("hold-0002", fingerprint="e" * 64), NOW)
    with pytest.raises(NotAllowed, match="made a grant before"):
        approve(holds, signed(of="hold-0002", fingerprint="e" * 64), "hold-0002")


def test_an_approver_s_host_that_is_no_longer_trusted_grants_nothing(store: Store) -> None:
    admin = replace(BOB, host="admin-1")
    trusting = Holds(store, ("admin-1",))
    trusting.post(waiting(), NOW)
    yes = Approval("hold-0001", "d" * 64, "approve")
    trusting.decide("hold-0001", admin, yes, "t", "", NOW + 1, signed(admin))
    assert Holds(store).post(waiting("hold-0002"), NOW + 2).state == "waiting"
    assert trusting.post(waiting("hold-0003"), NOW + 2).state == "approved"


def test_revoked_it_is_over_from_that_moment(store: Store, holds: Holds) -> None:
    holds.post(waiting(), NOW)
    approve(holds)
    grants = Grants(store)
    for who, revocation in (
        (replace(BOB, principal="cyd", person="cyd", groups=("engineers",)), Revocation("grant-0001")),
        (BOB, Revocation("grant-0002")),
    ):
        with pytest.raises(NotAllowed):
            grants.revoke("grant-0001", who, revocation, "", NOW + 2)
    ended = grants.revoke("grant-0001", replace(BOB, groups=()), Revocation("grant-0001"), "over", NOW + 2)
    assert ended.revoked is not None
    assert (ended.revoked.person, ended.revoked.comment) == ("bob", "over")
    assert holds.post(waiting("hold-0002"), NOW + 2).state == "waiting"
    assert grants.list("live", None, NOW + 2) == []
    assert grants.list("ended", "host-1", NOW + 2) == [ended]
    assert grants.list("all", "host-2", NOW + 2) == []
    with pytest.raises(GrantEnded):
        grants.revoke("grant-0001", BOB, Revocation("grant-0001"), "", NOW + 3)
    with pytest.raises(NoSuchGrant):
        grants.get("grant-0009")


def test_an_answer_that_never_arrived_is_not_good_for_longer_than_its_grant(store: Store, holds: Holds) -> None:
    """An agent that is told again has not sent the statement: somebody could have kept the answer from it."""
    holds.post(waiting(), NOW)
    approve(holds)
    for identifier in ("hold-0002", "hold-0003"):
        assert holds.post(waiting(identifier), NOW + 2).state == "approved"
    holds.became("hold-0003", Became(outcome="released", at=NOW + 2))
    Grants(store).revoke("grant-0001", BOB, Revocation("grant-0001"), "", NOW + 3)
    again = holds.post(waiting("hold-0002"), NOW + 4)
    assert (again.state, again.decided) == ("waiting", None)
    assert holds.get("hold-0002", NOW + 4).state == "waiting"
    assert holds.post(waiting("hold-0003"), NOW + 4).state == "approved", "what ran has run"


def test_of_two_who_grant_at_once_one_does(store: Store, holds: Holds) -> None:
    holds.post(waiting(), NOW)
    with ThreadPoolExecutor(1) as thread:  # as the collector's writer: one after the other
        both = [thread.submit(approve, holds, signed(replace(BOB, token=f"grant-000{n}"))) for n in (1, 2)]
        errors = [each.exception() for each in both]
    assert [type(error) for error in errors] == [type(None), HoldConflict]
    assert len(Grants(store).list("all", None, NOW)) == 1


def test_so_many_are_in_force_for_a_host(holds: Holds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grants_module, "GRANTS_PER_HOST", 1)
    holds.post(waiting(), NOW)
    approve(holds)
    other = waiting("hold-0002", fingerprint="e" * 64)
    holds.post(other, NOW)
    with pytest.raises(TooManyGrants):
        approve(holds, signed(replace(BOB, token="grant-0002"), "hold-0002", "e" * 64), "hold-0002")
    assert holds.get("hold-0002", NOW + 1).state == "waiting", "and not approved without what was asked for"


def test_a_grant_is_read_back_as_it_was_made(store: Store, holds: Holds) -> None:
    holds.post(waiting(), NOW)
    approve(holds)
    state = Grants(store).get("grant-0001")
    assert msgspec.json.decode(msgspec.json.encode(state), type=type(state)) == state
    assert state.grant.until == NOW + 3600
