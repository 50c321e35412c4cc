"""What a connection to a datastore in mode observe is spared, and what stands in the record in its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from lockgate.metrics import Metrics
from lockgate.proxy.judgement import Judgement
from lockgate.proxy.outlook import Outlook
from lockgate.wire.gate import Asked, Refusal, Ruling

if TYPE_CHECKING:
    from lockgate.proxy.gate import ConnectionGate

UNJUDGED = "judging this statement failed"

WAIT_SECONDS: Final = 0.25
"""How long a statement that is only observed waits for what it is to be judged by. Reading a catalog of some thousand
relations takes as long; a person hardly sees it."""

_OF_VERDICTS = frozenset(("would", "shadow"))


def facts(judgement: Judgement, gone: Refusal | None) -> Mapping[str, Any]:
    """The fields of the record of what goes on. `gone` is why it would be refused whatever policy says."""
    if gone is None:
        return judgement.facts
    # any policies would come to that
    rest = {name: value for name, value in judgement.facts.items() if name != "shadow"}
    return {**rest, **Outlook.refused(gone.message).facts()}


def undecided(told: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same of what is decided later: nothing is said of what would become of it."""
    return {name: value for name, value in told.items() if name not in _OF_VERDICTS}


def count(metrics: Metrics, datastore: str, told: Mapping[str, Any]) -> None:
    """Count what stands in the record of a statement: what enforcing would do, and what the bundle that is tried."""
    if (would := told.get("would")) is not None:
        metrics.would(datastore, _word(would, told))
    if (shadow := told.get("shadow")) is not None:
        metrics.shadow(datastore, _word(shadow["would"], shadow))


def lingers(judgement: Judgement, told: Mapping[str, Any]) -> bool:
    """Whether something of what enforcing would not have let happen lasts as long as the connection does: a setting,
    a role, a channel that is listened to."""
    return judgement.deaf or (judgement.barrier and told.get("would") not in (None, "allow"))


def unjudged(gate: ConnectionGate[Any, Any, Any], asked: Asked) -> Ruling:
    """A mistake of ours is no reason to keep the statement back. Its text is not recorded: it could hold anything."""
    begun = gate.recorder.next()
    told = {"verdict": "allow", "mode": "observe", "epoch": gate.services.policies.engine.epoch, "effects": [],
            "objects": [], "kinds": [], "would": "deny", "policy": "lockgate:failed", "reason": UNJUDGED}  # fmt: skip
    gate.recorder.begin("statement", begun, "", told, must=False)
    gate.services.metrics.statement(gate.store.name, "allow")
    count(gate.services.metrics, gate.store.name, told)
    return Ruling(barrier=True, handle=begun)


def _word(would: str, told: Mapping[str, Any]) -> str:
    return "mask" if would == "allow" and (told.get("masks") or told.get("detects")) else would
