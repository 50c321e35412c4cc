"""A held statement, as agent, collector and approver see it, and the rules of who may turn the second key."""

from __future__ import annotations

import unicodedata
from typing import Annotated, Literal

import msgspec

from lockgate.identity.tokens import AGENT_GROUP, Approval
from lockgate.values.identity import Claims

HOLD_SECONDS = 24 * 3600.0
"""The longest a statement may wait."""
COMMENT_CHARACTERS = 1000
TEXT_CHARACTERS = 1024 * 1024
"""A statement as approvers see it; the agent cuts longer ones and says so with `truncated`."""

HoldId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{8,64}$")]
Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
Names = Annotated[tuple[Name, ...], msgspec.Meta(max_length=1000)]
Objects = Annotated[tuple[str, ...], msgspec.Meta(max_length=10_000)]
Text = Annotated[str, msgspec.Meta(max_length=TEXT_CHARACTERS)]
Comment = Annotated[str, msgspec.Meta(max_length=COMMENT_CHARACTERS)]
State = Literal["waiting", "approved", "denied", "expired", "cancelled"]


class Hold(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One statement that waits.

    `id` is chosen by the agent, never used twice. `digest` is `lockgate.approval.digest.digest` of the statement.
    `statement` is already redacted. `approvers` are groups: any one of them may decide. Times are seconds since the
    epoch; `in_transaction_since` is None outside a transaction. `workload` is a summary to recognise the process by.
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


class Decided(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who decided. `token` is the approver's own signed word, given to the agent of the held statement only."""

    outcome: Literal["approved", "denied"]
    principal: str
    person: str
    host: str
    comment: str
    decided: float
    token: str | None = None


class HoldState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the collector answers about a hold."""

    hold: Hold
    state: State
    decided: Decided | None = None


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
