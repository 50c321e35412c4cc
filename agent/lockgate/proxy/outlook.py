"""What enforcing would do with a statement: for who only observes, and for a bundle that is only tried."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from lockgate.values.verdict import Decision, Verdict
from lockgate.wire.gate import Refusal

REFUSED: Final = "lockgate:refused"
"""The policy of what no policy denies: it could not be carried out."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """`would` is `deny` also for what policy lets pass and could not be carried out. `masks` are (column, masker),
    `detects` (kind, masker): of what would be sent."""

    would: Decision
    policy: str
    reason: str
    masks: tuple[tuple[str, str], ...] = ()
    detects: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, verdict: Verdict, refusal: Refusal | None) -> Outlook:
        """`refusal` is what the client would be told, None for nothing; `verdict` what decided on it."""
        if verdict.decision is Decision.DENY:
            return cls(Decision.DENY, verdict.policy, verdict.reason)
        if refusal is not None:
            return cls.refused(refusal.message)
        return cls(
            verdict.decision,
            verdict.policy,
            verdict.reason,
            tuple((mask.column, mask.masker) for mask in verdict.masks),
            tuple((detect.kind, detect.masker) for detect in verdict.detects),
        )

    @classmethod
    def refused(cls, message: str) -> Outlook:
        """For no policy's reason."""
        return cls(Decision.DENY, REFUSED, message.removeprefix("lockgate: "))

    def facts(self) -> dict[str, Any]:
        """The fields of a record in mode observe that it replaces."""
        return {"would": str(self.would), "policy": self.policy, "reason": self.reason}

    def beside(self, inforce: Outlook, epoch: int) -> dict[str, Any] | None:
        """The field `shadow` of a record: what this one, of a bundle that is tried, says. None where it says the same.

        The same is: the same policy comes to the same, whatever it says of it.
        """
        if (self.would, self.policy, self.masks, self.detects) == (
            inforce.would, inforce.policy, inforce.masks, inforce.detects,
        ):  # fmt: skip
            return None
        told: dict[str, Any] = {**self.facts(), "epoch": epoch}
        if self.masks:
            told["masks"] = [list(mask) for mask in self.masks]
        if self.detects:
            told["detects"] = [list(detect) for detect in self.detects]
        return told
