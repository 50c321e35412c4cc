"""What becomes of a request, in every protocol: policy's verdict, and what it takes to carry the verdict out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lockgate.proxy.outlook import Outlook
from lockgate.values.statement import Request
from lockgate.values.verdict import Verdict
from lockgate.wire.gate import Refusal, Why


class EvidenceError(Exception):
    """What a request is to be judged by can't be had. One line that says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """`refusal` is what the client is told when the request must not go forward, however the verdict reads.

    `facts` are the fields of the record that don't depend on literals, as they are when it goes forward. `outlook` is
    what enforcing it would come to. `barrier`: it may change how what comes behind it is read. `deaf`: it may listen to
    what others say, which may tell of what is masked.
    """

    verdict: Verdict
    refusal: Refusal | None
    facts: Mapping[str, Any]
    outlook: Outlook
    barrier: bool = False
    deaf: bool = False


def denied(verdict: Verdict) -> Refusal:
    """What a client is told whom policy denies."""
    return Refusal(Why.DENIED, f"lockgate: {verdict.reason}", f"policy {verdict.policy}")


def facts(request: Request, verdict: Verdict, outlook: Outlook, mode: str) -> dict[str, Any]:
    """The fields of the record of `request`, to a datastore in `mode`."""
    found: dict[str, Any] = {
        "verdict": "allow",
        "policy": verdict.policy,
        "reason": verdict.reason,
        "mode": mode,
        "epoch": verdict.epoch,
        "effects": sorted(request.effects),
        "objects": sorted({name for s in request.statements for name in s.objects}),
        "kinds": sorted({kind for s in request.statements for kind in s.kinds}),
    }
    if verdict.masks:
        found["masks"] = [[mask.column, mask.masker] for mask in verdict.masks]
    if mode == "observe":
        found |= outlook.facts()
        if outlook.detects:
            found["detects"] = [list(detect) for detect in outlook.detects]
    return found
