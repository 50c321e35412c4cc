"""Who may turn the second key. Law 3, in one function that reads no policy: none can weaken it."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection

from lockgate.values.identity import Claims


def objection(approver: Claims, requester: Claims, groups: Collection[str]) -> str | None:
    """Why `approver` may not approve what `requester` asked, in a sentence; None when nothing stands against it.

    1. Only people approve: an approver without a person is a service, or an account nobody answers for.
    2. Who approves is never who asked. A principal and a person are compared with both of the other side's names, so
       that an account of ann's that was never marked as hers (`principal: ann`, no person) is still ann's.
    3. The approver is in one of `groups`, the ones that the deciding policies named. No groups: nobody.

    No group, role or policy is exempt from 1 and 2.
    """
    if approver.person is None or not _same_name(approver.person):
        return f"{approver.principal} is not a person: only people approve"
    if _names(approver) & _names(requester):
        return f"{approver.person} asked for this: who approves is never who asked"
    if not set(groups) & set(approver.groups):
        return (
            f"{approver.person} is in none of the groups that may approve this: {', '.join(sorted(groups)) or 'none'}"
        )
    return None


def _names(claims: Claims) -> set[str]:
    return {_same_name(name) for name in (claims.principal, claims.person) if name}


def _same_name(name: str) -> str:
    """Two spellings of one name: `Ann ` and `ann` are one person, since taking them for two would open the lock."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).strip()
