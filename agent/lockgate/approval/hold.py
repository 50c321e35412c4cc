"""A held statement, as agent, collector and approver see it, and the rules of who may turn the second key."""

from __future__ import annotations

import unicodedata
from typing import Annotated, Literal

import msgspec

from lockgate.identity.tokens import AGENT_GROUP, Approval, Granting
from lockgate.values.identity import Claims

HOLD_SECONDS = 24 * 3600.0
"""The longest a statement may wait."""
COMMENT_CHARACTERS = 1000
TEXT_CHARACTERS = 1024 * 1024
"""A statement as approvers see it; the agent cuts longer ones and says so with `truncated`."""

LOCKS_SHOWN = 100
"""Kinds of locks (mode and relation) that an approver is told of: a transaction may have thousands."""

HoldId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{8,64}$")]
Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
Names = Annotated[tuple[Name, ...], msgspec.Meta(max_length=1000)]
Objects = Annotated[tuple[str, ...], msgspec.Meta(max_length=10_000)]
Text = Annotated[str, msgspec.Meta(max_length=TEXT_CHARACTERS)]
Comment = Annotated[str, msgspec.Meta(max_length=COMMENT_CHARACTERS)]
Reason = Annotated[str, msgspec.Meta(max_length=COMMENT_CHARACTERS)]
State = Literal["waiting", "approved", "denied", "expired", "cancelled"]


class Hold(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One statement that waits.

    `id` is chosen by the agent, never used twice. `digest` is `lockgate.approval.digest.digest` of the statement.
    `statement` is already redacted. `approvers` are groups: any one of them may decide. Times are seconds since the
    epoch; `in_transaction_since` is None outside a transaction. `workload` is a summary to recognise the process by.

    `grant` is the longest (seconds) that an approver may let statements with this `fingerprint` run without being asked
    again; without a fingerprint there is none to be had. `covers` says in words what a grant would cover, or why it
    can't be had.
    """

    id: HoldId
    host: Name
    digest: Digest
    principal: Name
    person: Name | None
    groups: Names
    datastore: Name
    database: str
    user: str
    statement: Text
    effects: Names
    objects: Objects
    policy: Name
    reason: Text
    approvers: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1, max_length=1000)]
    created: float
    expires: float
    truncated: bool = False
    in_transaction_since: float | None = None
    workload: dict[str, str | int | None] = {}
    fingerprint: Digest | None = None
    grant: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    covers: Text = ""


class Lock(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`count` locks of one mode (`RowExclusiveLock`) on one relation; `relation` is None for what is none."""

    mode: Annotated[str, msgspec.Meta(max_length=64)]
    relation: Annotated[str, msgspec.Meta(max_length=256)] | None
    count: int


class Locks(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the connection of a held statement keeps locked at the datastore, at the moment `at`.

    `held` has at most LOCKS_SHOWN kinds, `waiting` is how many sessions wait behind it. `unknown` says why neither can
    be told; None where they can.
    """

    at: float
    held: Annotated[tuple[Lock, ...], msgspec.Meta(max_length=LOCKS_SHOWN)] = ()
    waiting: int = 0
    unknown: Reason | None = None


class Became(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the agent made of an approval: it judges once more before anything is sent."""

    outcome: Literal["released", "refused"]
    at: float
    reason: Reason = ""


class Decided(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who decided. `token` is the approver's own signed word, given to the agent of the held statement only.

    `granted` is the grant that was made with the decision. `by_grant` is the one that took it: then `token` is the
    grant's, signed when it was made.
    """

    outcome: Literal["approved", "denied"]
    principal: str
    person: str
    host: str
    comment: str
    decided: float
    token: str | None = None
    granted: str | None = None
    by_grant: str | None = None


class HoldState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the collector answers about a hold. `looked` is when somebody last listed it while it waited."""

    hold: Hold
    state: State
    decided: Decided | None = None
    locks: Locks | None = None
    became: Became | None = None
    looked: float = 0.0


class NotAllowed(Exception):
    """This decision on this hold doesn't count. The message is one sentence that may be shown to the approver."""


def check_decision(hold: Hold, claims: Claims, approval: Approval, now: float) -> None:
    """Whether the bearer of `claims` may take the decision `approval` on `hold` at `now`. Raises NotAllowed.

    The collector asks before it takes the decision and the agent again before it sends the statement: neither trusts
    the other alone. Law 3 has no exempt role, and a host's own services (the agent, root's command line) are not
    people: without a person nobody approves.
    """
    if approval.hold != hold.id or approval.digest != hold.digest:
        raise NotAllowed("the decision was signed for another statement than the one that waits")
    if now >= hold.expires:
        raise NotAllowed("the hold has expired")
    check_second_person(hold, claims)


def check_grant(hold: Hold, claims: Claims, granting: Granting, now: float) -> None:
    """Whether the grant that the bearer of `claims` once signed lets `hold` run at `now`. Raises NotAllowed.

    Everything is asked of the hold as it is now: a policy that has come to allow shorter grants, or other approvers,
    ends the longer ones. The duration is taken from the approver's one clock, the end from whoever asks here.
    """
    if hold.fingerprint is None or granting.fingerprint != hold.fingerprint:
        raise NotAllowed("the grant is for other statements than the one that waits")
    if now >= claims.expires_at:
        raise NotAllowed("the grant has expired")
    if hold.grant <= 0:
        raise NotAllowed("the policy lets nobody grant this: each one is approved by itself")
    if claims.expires_at - claims.issued_at > hold.grant:
        raise NotAllowed(f"the policy lets a grant last at most {hold.grant:g} s")
    check_second_person(hold, claims)


def check_second_person(hold: Hold, claims: Claims) -> None:
    """Law 3: a person, not the one who asked, and in an approving group. Raises NotAllowed."""
    if claims.person is None or AGENT_GROUP in claims.groups:
        raise NotAllowed(f"{claims.principal} is not a person: only people approve or deny")
    if same_person(claims.principal, hold.principal) or same_person(claims.person, hold.person):
        raise NotAllowed("who asked can't decide: it takes a second person")
    if same_person(claims.person, hold.principal) or same_person(claims.principal, hold.person):
        raise NotAllowed("who asked can't decide: it takes a second person")
    if not {g for g in claims.groups if not g.startswith("lockgate:")} & set(hold.approvers):
        raise NotAllowed(f"{claims.person} is in none of the approving groups: {', '.join(hold.approvers)}")


def same_person(one: str | None, other: str | None) -> bool:
    """Whether two names could be one person. Errs towards yes: letter case and compatibility forms don't count."""
    return one is not None and other is not None and _folded(one) == _folded(other)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).strip()
