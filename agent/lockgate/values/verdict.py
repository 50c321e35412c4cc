"""What policy answered: a value with a key, so that it can be cached and, later, matched in the kernel."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Decision(StrEnum):
    ALLOW = "allow"
    DENY = "deny"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class Mask:
    """A classified column that this principal may not see plain.

    `column` is `schema.table.column` (PostgreSQL), `masker` one that `lockgate.masking.parse_masker` reads (`partial`,
    `truncate:4`).
    """

    column: str
    masker: str
    policy: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Detect:
    """A kind of value that this principal may not see in plain text that nobody classified.

    `kind` is one of `lockgate.masking.detectors.KINDS`, `masker` a masker of `lockgate.masking` (`redact`, `partial`).
    """

    kind: str
    masker: str
    policy: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """`policy` is the deciding policy's `@id` (or its file and line), `reason` one sentence a client may be shown.

    `approvers` and `timeout` (seconds) are set for a hold: any one group in `approvers` may turn the second key.
    `timeout_in_transaction` (seconds, at most `timeout`) is what counts instead while a transaction is open, since that
    may hold locks. `grant` is the longest (seconds) that an approver may let statements like this one run without being
    asked again; 0 when every one is asked about.
    `epoch` is the number of the policy bundle that decided.
    """

    decision: Decision
    policy: str
    reason: str
    epoch: int
    masks: tuple[Mask, ...] = ()
    approvers: tuple[str, ...] = ()
    timeout: float = 0.0
    timeout_in_transaction: float = 0.0
    grant: float = 0.0
    detects: tuple[Detect, ...] = ()
