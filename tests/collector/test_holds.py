"""The approvals queue: one decision, by somebody who may, while it waits."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from lockgate.approval.hold import HOLD_SECONDS, Hold, NotAllowed
from lockgate.collector import holds as holds_module
from lockgate.collector.holds import HoldConflict, Holds, NoSuchHold, TooManyHolds
from lockgate.collector.store import Store, StoreError, database
from lockgate.identity.tokens import Approval
from lockgate.values.identity import Claims
from tests.collector.chains import hold

NOW = 1_800_000_000.0
HOLD = hold(created=NOW, expires=NOW + 900)
BOB = Claims("jti-1", "bob", "bob", ("dba",), "host-1", 1, 2)
EVE = Claims("jti-2", "eve", "eve", ("dba",), "host-1", 1, 2)
YES = Approval("hold-0001", "d" * 64, "approve")
NO = replace(YES, decision="deny")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(database(tmp_path)) as opened:
        yield opened


@pytest.fixture
def holds(store: Store) -> Holds:
    return Holds(store)


def test_a_hold_waits_until_somebody_approves(holds: Holds) -> None:
    assert holds.post(HOLD, NOW).state == "waiting"
    assert holds.get(HOLD.id, NOW + 1).hold == HOLD
    assert [s.hold.id for s in holds.list("waiting", None, NOW + 1)] == [HOLD.id]
    state = holds.decide(HOLD.id, BOB, YES, "token of bob", "looks right", NOW + 2)
    assert state.state == "approved"
    assert state.decided is not None
    assert (state.decided.person, state.decided.token, state.decided.comment) == ("bob", "token of bob", "looks right")
    assert holds.get(HOLD.id, NOW + 3) == state
    assert holds.list("waiting", None, NOW + 3) == []


def test_posting_again_changes_nothing(holds: Holds) -> None:
    holds.post(HOLD, NOW)
    assert holds.post(HOLD, NOW + 1).state == "waiting"
    holds.decide(HOLD.id, BOB, NO, "t", "", NOW + 2)
    assert holds.post(HOLD, NOW + 3).state == "denied"
    with pytest.raises(HoldConflict):
        holds.post(msgspec.structs.replace(HOLD, statement="SELECT 1"), NOW + 3)


def test_a_decision_is_taken_once(holds: Holds) -> None:
    holds.post(HOLD, NOW)
    holds.decide(HOLD.id, BOB, NO, "t", "", NOW + 1)
    for again in (YES, NO):
        with pytest.raises(HoldConflict, match="was denied"):
            holds.decide(HOLD.id, EVE, again, "t", "", NOW + 2)


def test_of_two_approvers_at_once_exactly_one_decides(tmp_path: Path) -> None:
    # two processes would be two stores on one file; the transaction decides, not the thread
    path = database(tmp_path)
    with Store(path) as one, Store(path) as two:
        for number in range(20):
            hold = msgspec.structs.replace(HOLD, id=f"hold-race-{number}")
            Holds(one).post(hold, NOW)
            barrier = threading.Barrier(2)

            def decide(store: Store, who: Claims, hold: Hold = hold, barrier: threading.Barrier = barrier) -> str:
                barrier.wait()
                try:
                    Holds(store).decide(hold.id, who, replace(YES, hold=hold.id), "t", "", NOW + 1)
                except HoldConflict:
                    return "too late"
                return "decided"

            with ThreadPoolExecutor(2) as pool:
                outcomes = list(pool.map(decide, (one, two), (BOB, EVE)))
            assert sorted(outcomes) == ["decided", "too late"]


def test_who_asked_can_not_decide_with_another_account(holds: Holds) -> None:
    holds.post(HOLD, NOW)
    with pytest.raises(NotAllowed, match="second person"):
        holds.decide(HOLD.id, replace(BOB, principal="ann-admin", person="ann"), YES, "t", "", NOW + 1)
    assert holds.get(HOLD.id, NOW + 2).state == "waiting"


def test_a_decision_on_what_was_not_seen_does_not_count(holds: Holds) -> None:
    holds.post(HOLD, NOW)
    with pytest.raises(NotAllowed, match="another statement"):
        holds.decide(HOLD.id, BOB, replace(YES, digest="e" * 64), "t", "", NOW + 1)


def test_time_runs_out(holds: Holds) -> None:
    holds.post(HOLD, NOW)
    with pytest.raises(NotAllowed, match="expired"):
        holds.decide(HOLD.id, BOB, YES, "t", "", NOW + 900)
    assert holds.get(HOLD.id, NOW + 900).state == "expired"
    assert holds.post(msgspec.structs.replace(HOLD, id="hold-late"), NOW + 901).state == "expired"


def test_a_cancelled_hold_can_not_be_approved(holds: Holds) -> None:
    holds.post(HOLD, NOW)
    assert holds.cancel(HOLD.id, NOW + 1).state == "cancelled"
    with pytest.raises(HoldConflict, match="was cancelled"):
        holds.decide(HOLD.id, BOB, YES, "t", "", NOW + 2)


def test_cancelling_too_late_changes_nothing(holds: Holds) -> None:
    holds.post(HOLD, NOW)
    holds.decide(HOLD.id, BOB, YES, "t", "", NOW + 1)
    assert holds.cancel(HOLD.id, NOW + 2).state == "approved"


def test_unknown_holds_are_said_to_be(holds: Holds) -> None:
    with pytest.raises(NoSuchHold):
        holds.get("hold-none", NOW)
    with pytest.raises(NoSuchHold):
        holds.cancel("hold-none", NOW)
    with pytest.raises(NoSuchHold):
        holds.decide("hold-none", BOB, YES, "t", "", NOW)


def test_no_hold_waits_for_ever(holds: Holds) -> None:
    for wrong in (
        {"expires": NOW + HOLD_SECONDS + 1},
        {"created": NOW + 10_000, "expires": NOW + HOLD_SECONDS + 5_000},
        {"expires": NOW - 1},
        {"expires": float("inf")},
    ):
        with pytest.raises(NotAllowed, match="at most"):
            holds.post(msgspec.structs.replace(HOLD, **wrong), NOW)


def test_a_host_can_not_fill_the_queue_of_others(holds: Holds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holds_module, "WAITING_PER_HOST", 2)
    for number in (1, 2):
        holds.post(msgspec.structs.replace(HOLD, id=f"hold-{number:04}"), NOW)
    with pytest.raises(TooManyHolds):
        holds.post(msgspec.structs.replace(HOLD, id="hold-0003"), NOW)
    other = msgspec.structs.replace(HOLD, id="hold-0004", host="host-2")
    assert holds.post(other, NOW).state == "waiting"
    assert [s.hold.id for s in holds.list("waiting", "host-2", NOW)] == ["hold-0004"]
    holds.cancel("hold-0001", NOW)
    holds.post(msgspec.structs.replace(HOLD, id="hold-0003"), NOW)


def test_the_queue_survives_a_restart(tmp_path: Path) -> None:
    with Store(database(tmp_path)) as store:
        Holds(store).post(HOLD, NOW)
    with Store(database(tmp_path)) as store:
        assert Holds(store).get(HOLD.id, NOW).hold == HOLD
    with pytest.raises(StoreError):
        Store(tmp_path / database(tmp_path).name / "below a file")
