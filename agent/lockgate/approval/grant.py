"""Grants: an approver's choice to let statements of one kind run for a while without being asked again."""

from __future__ import annotations

from typing import Annotated

import msgspec

from lockgate.approval.hold import Comment, Digest, Hold, HoldId, Name, NotAllowed, Text, same_person
from lockgate.identity.tokens import AGENT_GROUP
from lockgate.values.identity import Claims

GRANT_SECONDS_MIN = 60
"""The shortest grant: below that an approval of the one statement is what is meant."""
GRANT_SECONDS_MAX = 24 * 3600
"""The longest, as for policies: what is wanted for longer than a day is a policy."""


class Grant(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What was granted, to whom, by whom, until when (seconds since the epoch).

    `id` is that of the approver's token, `hold` the one it was decided with. What counts is `fingerprint`; the rest is
    for people to read, as it stood in that hold.
    """

    id: HoldId
    hold: HoldId
    fingerprint: Digest
    host: Name
    principal: Name
    person: Name | None
    datastore: Name
    database: str
    user: str
    policy: Name
    statement: Text
    covers: Text
    approvers: tuple[Name, ...]
    by_principal: Name
    by_person: Name
    by_host: Name
    comment: Comment
    granted: float
    until: float


class Revoked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who ended it, and when."""

    principal: str
    person: str
    host: str
    comment: Comment
    at: float


class GrantState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the collector answers about a grant. `last_used` is None while `uses` is 0."""

    grant: Grant
    uses: Annotated[int, msgspec.Meta(ge=0)]
    last_used: float | None = None
    revoked: Revoked | None = None


def granted(hold: Hold, claims: Claims, comment: str, now: float) -> Grant:
    """The grant that the bearer of `claims`, a verified grant token, makes while deciding on `hold`.

    Raises NotAllowed for a hold that nothing can be granted with.
    """
    if hold.fingerprint is None or claims.person is None:
        raise NotAllowed(hold.covers or "nothing can be granted with this hold")
    return Grant(
        id=claims.token,
        hold=hold.id,
        fingerprint=hold.fingerprint,
        host=hold.host,
        principal=hold.principal,
        person=hold.person,
        datastore=hold.datastore,
        database=hold.database,
        user=hold.user,
        policy=hold.policy,
        statement=hold.statement,
        covers=hold.covers,
        approvers=hold.approvers,
        by_principal=claims.principal,
        by_person=claims.person,
        by_host=claims.host,
        comment=comment,
        granted=now,
        until=float(claims.expires_at),
    )


def check_revocation(grant: Grant, claims: Claims) -> None:
    """Whether the bearer of `claims` may end `grant`: who made it, or anybody of its approving groups.

    Also who asked: to end it only closes the gate. Raises NotAllowed.
    """
    if claims.person is None or AGENT_GROUP in claims.groups:
        raise NotAllowed(f"{claims.principal} is not a person: only people revoke")
    if not same_person(claims.person, grant.by_person) and not set(claims.groups) & set(grant.approvers):
        raise NotAllowed(
            f"{claims.person} neither made this grant nor is in one of its groups: {', '.join(grant.approvers)}"
        )
