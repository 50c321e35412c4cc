"""The approvals queue, in the store: a hold is decided once, by somebody who may."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from lockgate.approval.grant import granted
from lockgate.approval.hold import (
    HOLD_SECONDS,
    Became,
    Decided,
    Hold,
    HoldState,
    Locks,
    NotAllowed,
    State,
    check_decision,
    check_grant,
)
from lockgate.collector.grants import Grants
from lockgate.collector.store import Store, Transaction
from lockgate.identity.tokens import SKEW, Approval, Granting
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


@dataclass(frozen=True, slots=True)
class Signed:
    """A grant token and what it says, verified."""

    claims: Claims
    granting: Granting
    token: str


class Holds:
    """Every method is one transaction; call them in the store's thread. `now` is seconds since the epoch.

    `hosts` are those whose approvers count for holds of other hosts.
    """

    def __init__(self, store: Store, hosts: tuple[str, ...] = ()) -> None:
        self._db = store.db
        self._grants = Grants(store)
        self._hosts = hosts

    def post(self, hold: Hold, now: float) -> HoldState:
        """Takes a hold; the same hold again gives its state. One that was granted before is approved from the start.

        Raises HoldConflict, TooManyHolds, NotAllowed.
        """
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
                decided = self._grants.use(hold, self._hosts, now) if state == "waiting" else None
                if decided is not None:
                    state = "approved"
                self._db.execute(
                    "INSERT INTO holds VALUES (?, ?, ?, ?, ?, ?)",
                    (hold.id, hold.host, state, hold.expires, _json(hold), decided and _json(decided)),
                )
                return HoldState(hold=hold, state=state, decided=decided)
            if known.hold != hold:
                raise HoldConflict("another hold goes by this id")
            if self._granted_no_more(known, now):
                # its agent never had the answer, or it would not ask again: somebody is asked
                self._db.execute("UPDATE holds SET state = 'waiting', decided = NULL WHERE id = ?", (hold.id,))
                return self._get(hold.id)
            return known

    def _granted_no_more(self, known: HoldState, now: float) -> bool:
        """Whether a grant let it run that has ended, and nobody has said that it ran."""
        decided = known.decided
        if known.became is not None or decided is None or decided.by_grant is None or now >= known.hold.expires:
            return False
        return self._grants.ended(decided.by_grant, now)

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
                f"{_SELECT} WHERE state = ? AND (? IS NULL OR host = ?) ORDER BY expires, holds.rowid LIMIT ?",
                (state, host, host, LISTED),
            ).fetchall()
        return [_state(row) for row in rows]

    def decide(
        self,
        identifier: str,
        claims: Claims,
        approval: Approval,
        token: str,
        comment: str,
        now: float,
        grant: Signed | None = None,
    ) -> HoldState:
        """Takes the decision that `token` (whose verified content is `claims` and `approval`) signs, and `grant`.

        Raises NoSuchHold, NotAllowed, TooManyGrants, and HoldConflict when it was decided, cancelled or expired before:
        of two who decide at once exactly one does, and only that one's grant is taken.
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
                granted=None if grant is None else self._grant(known.hold, claims, approval, grant, comment, now),
            )
            self._db.execute(
                "UPDATE holds SET state = ?, decided = ? WHERE id = ? AND state = 'waiting'",
                (outcome, _json(decided), identifier),
            )
            return self._get(identifier)

    def _grant(self, hold: Hold, claims: Claims, approval: Approval, grant: Signed, comment: str, now: float) -> str:
        """Takes the grant; its id. Raises NotAllowed, TooManyGrants."""
        signer = grant.claims
        if approval.decision != "approve" or grant.granting.hold != hold.id:
            raise NotAllowed("the grant was signed for another decision")
        if (signer.principal, signer.person, signer.host) != (claims.principal, claims.person, claims.host):
            raise NotAllowed("the grant was signed by somebody else than the decision")
        check_grant(hold, signer, grant.granting, now)
        self._grants.make(granted(hold, signer, comment, now), signer, grant.token, now)
        return signer.token

    def locked(self, identifier: str, locks: Locks, now: float) -> HoldState:
        """What the transaction of a hold keeps locked; counts while it waits. Raises NoSuchHold."""
        with Transaction(self._db):
            self._expire(now)
            if self._get(identifier).state == "waiting":
                self._say(identifier, "locks", _json(locks))
            return self._get(identifier)

    def became(self, identifier: str, became: Became) -> HoldState:
        """What the agent made of an approval: its first word counts. Raises NoSuchHold, HoldConflict."""
        with Transaction(self._db):
            known = self._get(identifier)
            if known.state != "approved":
                raise HoldConflict(f"the hold was not approved: it is {known.state}")
            if known.became is None:
                self._say(identifier, "became", _json(became))
            return self._get(identifier)

    def _say(self, identifier: str, column: Literal["locks", "became"], word: str) -> None:
        self._db.execute(
            f"INSERT INTO hold_words (hold, {column}) VALUES (?, ?)"
            f" ON CONFLICT (hold) DO UPDATE SET {column} = excluded.{column}",
            (identifier, word),
        )

    def cancel(self, identifier: str, now: float) -> HoldState:
        """The requester went away. A hold that was decided before stays decided. Raises NoSuchHold."""
        with Transaction(self._db):
            self._expire(now)
            self._db.execute("UPDATE holds SET state = 'cancelled' WHERE id = ? AND state = 'waiting'", (identifier,))
            return self._get(identifier)

    def _expire(self, now: float) -> None:
        self._db.execute("UPDATE holds SET state = 'expired' WHERE state = 'waiting' AND expires <= ?", (now,))

    def _get(self, identifier: str) -> HoldState:
        row = self._db.execute(f"{_SELECT} WHERE id = ?", (identifier,)).fetchone()
        if row is None:
            raise NoSuchHold(f"there is no hold {identifier!r}")
        return _state(row)


_SELECT = (
    "SELECT holds.hold, state, decided, locks, became FROM holds LEFT JOIN hold_words AS words ON words.hold = holds.id"
)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _state(row: tuple[str, State, str | None, str | None, str | None]) -> HoldState:
    hold, state, decided, locks, became = row
    return HoldState(
        hold=msgspec.json.decode(hold, type=Hold),
        state=state,
        decided=msgspec.json.decode(decided, type=Decided) if decided else None,
        locks=msgspec.json.decode(locks, type=Locks) if locks else None,
        became=msgspec.json.decode(became, type=Became) if became else None,
    )
