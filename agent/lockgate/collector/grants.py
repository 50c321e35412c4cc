"""Reusable grants, in the store: each use asks here, so that the end of one counts from the moment it is said."""

from __future__ import annotations

import sqlite3
from typing import Literal

import msgspec

from lockgate.approval.grant import Grant, GrantState, Revoked, check_revocation
from lockgate.approval.hold import Decided, Hold, NotAllowed, check_grant
from lockgate.collector.store import Store, Transaction
from lockgate.identity.tokens import Granting, Revocation
from lockgate.values.identity import Claims

GRANTS_PER_HOST = 1000
"""Grants for statements of one host that are in force at once."""
LISTED = 1000
"""Grants in one answer."""

Which = Literal["live", "ended", "all"]


class NoSuchGrant(Exception):
    """There is no grant of that id that the caller may know of."""


class GrantEnded(Exception):
    """The grant is over already: expired or revoked."""


class TooManyGrants(Exception):
    """A host has GRANTS_PER_HOST grants in force."""


class Grants:
    """`make` and `use` are parts of a transaction of the holds, the others are one each; call them in the store's
    thread. `now` is seconds since the epoch."""

    def __init__(self, store: Store) -> None:
        self._db = store.db

    def make(self, grant: Grant, claims: Claims, token: str, now: float) -> None:
        """Takes a grant that was checked. Raises TooManyGrants, and NotAllowed for a token that made one already."""
        live = "SELECT count(*) FROM grants WHERE host = ? AND revoked IS NULL AND until > ?"
        if self._db.execute(live, (grant.host, now)).fetchone()[0] >= GRANTS_PER_HOST:
            raise TooManyGrants(f"{grant.host} has {GRANTS_PER_HOST} grants in force already")
        try:
            self._db.execute(
                "INSERT INTO grants VALUES (?, ?, ?, ?, 0, NULL, NULL, ?, ?, ?)",
                (grant.id, grant.host, grant.fingerprint, grant.until, _json(grant), _json(claims), token),
            )
        except sqlite3.IntegrityError:
            raise NotAllowed("the token has made a grant before") from None

    def use(self, hold: Hold, hosts: tuple[str, ...], now: float) -> Decided | None:
        """What lets `hold` run without asking, counted as a use; None when nobody granted it.

        `hosts` are those whose approvers count for other hosts, beside the hold's own.
        """
        if hold.fingerprint is None:
            return None
        rows = self._db.execute(
            "SELECT id, claims, token, granted FROM grants"
            " WHERE host = ? AND fingerprint = ? AND revoked IS NULL AND until > ? ORDER BY until DESC",
            (hold.host, hold.fingerprint, now),
        ).fetchall()
        for identifier, claims, token, granted in rows:
            approver = msgspec.json.decode(claims, type=Claims)
            made = msgspec.json.decode(granted, type=Grant)
            if approver.host != hold.host and approver.host not in hosts:
                continue
            try:
                check_grant(hold, approver, Granting(made.hold, made.fingerprint), now)
            except NotAllowed:
                continue  # the policy is another by now: somebody is asked again
            self._db.execute("UPDATE grants SET uses = uses + 1, last_used = ? WHERE id = ?", (now, identifier))
            return Decided(
                outcome="approved",
                principal=approver.principal,
                person=approver.person or "",
                host=approver.host,
                comment=made.comment,
                decided=now,
                token=token,
                by_grant=identifier,
            )
        return None

    def ended(self, identifier: str, now: float) -> bool:
        """Whether there was such a grant, and it is over."""
        over = "SELECT count(*) FROM grants WHERE id = ? AND NOT (revoked IS NULL AND until > ?)"
        return bool(self._db.execute(over, (identifier, now)).fetchone()[0])

    def get(self, identifier: str) -> GrantState:
        """Raises NoSuchGrant."""
        rows = self._db.execute(f"{_SELECT} WHERE id = ?", (identifier,)).fetchall()
        if not rows:
            raise NoSuchGrant(f"there is no grant {identifier!r}")
        return _state(rows[0])

    def list(self, which: Which, host: str | None, now: float) -> list[GrantState]:
        """The one that ends first on top, at most LISTED, for statements of one host or of all."""
        condition = {
            "live": "revoked IS NULL AND until > :now",
            "ended": "NOT (revoked IS NULL AND until > :now)",
            "all": "TRUE",
        }[which]
        rows = self._db.execute(
            f"{_SELECT} WHERE {condition} AND (:host IS NULL OR host = :host) ORDER BY until, rowid LIMIT :limit",
            {"now": now, "host": host, "limit": LISTED},
        ).fetchall()
        return [_state(row) for row in rows]

    def revoke(self, identifier: str, claims: Claims, revocation: Revocation, comment: str, now: float) -> GrantState:
        """Ends a grant, from this moment. Raises NoSuchGrant, NotAllowed, GrantEnded."""
        with Transaction(self._db):
            state = self.get(identifier)
            if revocation.grant != identifier:
                raise NotAllowed("the revocation was signed for another grant")
            check_revocation(state.grant, claims)
            if state.revoked is not None or now >= state.grant.until:
                raise GrantEnded(f"the grant was {'revoked' if state.revoked else 'over'} already")
            revoked = Revoked(
                principal=claims.principal, person=claims.person or "", host=claims.host, comment=comment, at=now
            )
            self._db.execute("UPDATE grants SET revoked = ? WHERE id = ?", (_json(revoked), identifier))
            return self.get(identifier)


_SELECT = "SELECT granted, uses, last_used, revoked FROM grants"


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _state(row: tuple[str, int, float | None, str | None]) -> GrantState:
    granted, uses, last_used, revoked = row
    return GrantState(
        grant=msgspec.json.decode(granted, type=Grant),
        uses=uses,
        last_used=last_used,
        revoked=msgspec.json.decode(revoked, type=Revoked) if revoked else None,
    )
