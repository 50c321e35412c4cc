"""The approvals queue, in the store: a hold is decided once, by somebody who may."""

from __future__ import annotations

from typing import Literal

import msgspec

from lockgate.approval.hold import HOLD_SECONDS, Decided, Hold, HoldState, NotAllowed, State, check_decision
from lockgate.collector.store import Store, Transaction
from lockgate.identity.tokens import SKEW, Approval
from lockgate.values.identity import Claims

WAITING_PER_HOST = 1000
"""Holds of one host that wait at once; as `limits.held_statements` of the agent."""
LISTED = 1000
"""Holds in one answer."""


class NoSuchHold(Exception):
    """There is no hold of that id that the caller may know of."""


class HoldConflict(Exception):
    """Another hold goes by that id, or this one is no longer waiting."""


class TooManyHolds(Exception):
    """A host has WAITING_PER_HOST holds that wait."""


class Holds:
    """Every method is one transaction; call them in the store's thread. `now` is seconds since the epoch."""

    def __init__(self, store: Store) -> None:
        self._db = store.db

    def post(self, hold: Hold, now: float) -> HoldState:
        """Takes a hold; the same hold again gives its state. Raises HoldConflict, TooManyHolds, NotAllowed."""
        if not hold.created <= hold.expires <= min(hold.created, now + SKEW) + HOLD_SECONDS:
            raise NotAllowed(f"a hold lasts at most {HOLD_SECONDS:.0f} seconds")
        with Transaction(self._db):
            self._expire(now)
            try:
                known = self._get(hold.id)
            except NoSuchHold:
                waiting = "SELECT count(*) FROM holds WHERE host = ? AND state = 'waiting'"
                if self._db.execute(waiting, (hold.host,)).fetchone()[0] >= WAITING_PER_HOST:
                    raise TooManyHolds(f"{hold.host} has {WAITING_PER_HOST} statements waiting already") from None
                state: State = "waiting" if now < hold.expires else "expired"
                self._db.execute(
                    "INSERT INTO holds VALUES (?, ?, ?, ?, ?, NULL)",
                    (hold.id, hold.host, state, hold.expires, msgspec.json.encode(hold).decode()),
                )
                return HoldState(hold=hold, state=state)
            if known.hold != hold:
                raise HoldConflict("another hold goes by this id")
            return known

    def get(self, identifier: str, now: float) -> HoldState:
        """Raises NoSuchHold."""
        with Transaction(self._db):
            self._expire(now)
            return self._get(identifier)

    def list(self, state: State, host: str | None, now: float) -> list[HoldState]:
        """Oldest first, at most LISTED, of one host or of all."""
        with Transaction(self._db):
            self._expire(now)
            rows = self._db.execute(
                "SELECT hold, state, decided FROM holds WHERE state = ? AND (? IS NULL OR host = ?)"
                " ORDER BY expires, rowid LIMIT ?",
                (state, host, host, LISTED),
            ).fetchall()
        return [_state(row) for row in rows]

    def decide(
        self, identifier: str, claims: Claims, approval: Approval, token: str, comment: str, now: float
    ) -> HoldState:
        """Takes the decision that `token` (whose verified content is `claims` and `approval`) signs.

        Raises NoSuchHold, NotAllowed, and HoldConflict when it was decided, cancelled or expired before: of two who
        decide at once exactly one does.
        """
        with Transaction(self._db):
            self._expire(now)
            known = self._get(identifier)
            check_decision(known.hold, claims, approval, now)
            if known.state != "waiting":
                raise HoldConflict(f"the hold is no longer waiting: it was {known.state}")
            outcome: Literal["approved", "denied"] = "approved" if approval.decision == "approve" else "denied"
            decided = Decided(
                outcome=outcome,
                principal=claims.principal,
                person=claims.person or "",
                host=claims.host,
                comment=comment,
                decided=now,
                token=token,
            )
            self._db.execute(
                "UPDATE holds SET state = ?, decided = ? WHERE id = ? AND state = 'waiting'",
                (outcome, msgspec.json.encode(decided).decode(), identifier),
            )
            return self._get(identifier)

    def cancel(self, identifier: str, now: float) -> HoldState:
        """The requester went away. A hold that was decided before stays decided. Raises NoSuchHold."""
        with Transaction(self._db):
            self._expire(now)
            self._db.execute("UPDATE holds SET state = 'cancelled' WHERE id = ? AND state = 'waiting'", (identifier,))
            return self._get(identifier)

    def _expire(self, now: float) -> None:
        self._db.execute("UPDATE holds SET state = 'expired' WHERE state = 'waiting' AND expires <= ?", (now,))

    def _get(self, identifier: str) -> HoldState:
        row = self._db.execute("SELECT hold, state, decided FROM holds WHERE id = ?", (identifier,)).fetchone()
        if row is None:
            raise NoSuchHold(f"there is no hold {identifier!r}")
        return _state(row)


def _state(row: tuple[str, State, str | None]) -> HoldState:
    hold, state, decided = row
    return HoldState(
        hold=msgspec.json.decode(hold, type=Hold),
        state=state,
        decided=msgspec.json.decode(decided, type=Decided) if decided else None,
    )
