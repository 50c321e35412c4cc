"""What a masked column may do to a result that doesn't show it.

Who sees `***` can still learn a value by sorting by it, or by asking again and again who has one below it. Policies may
forbid that. They are asked only about columns that are masked, and only a forbid counts: no policy has to permit it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from lockgate.policy import questions, wording
from lockgate.policy.bundle import Bundle
from lockgate.values.identity import Asker
from lockgate.values.use import Use
from lockgate.values.verdict import Mask

Uses = Mapping[str, Collection[Use]]
"""Column (`schema.table.column`) -> how a statement uses it; one that isn't there is not used."""

ANY_USE = frozenset(Use)
_EQUAL = frozenset((Use.EQUAL,))


@dataclass(frozen=True, slots=True)
class Forbidden:
    """Why a statement may not use a masked column so. `policy` decided, `reason` is a sentence for the client."""

    policy: str
    reason: str


def objection(
    bundle: Bundle, asker: Asker, place: Mapping[str, object], masks: Sequence[Mask], uses: Uses | None
) -> Forbidden | None:
    """What stands against using the masked columns so; None when nothing does.

    `uses` None is a statement of which it can't be told: then any use of all of them may be meant.
    """
    asked: list[tuple[Mask, str, frozenset[Use]]] = []
    for mask in masks:
        found = ANY_USE if uses is None else frozenset(uses.get(mask.column, ()))
        asked += [
            (mask, action, some)
            for action, some in (("infer", found - _EQUAL), ("infer_equal", found & _EQUAL))
            if some
        ]
    if not asked:
        return None
    entities = {mask.column: questions.column(asker.datastore, mask.column, mask.tags) for mask, _, _ in asked}
    answers = questions.ask(
        bundle.rules,
        [
            questions.question(asker.claims, action, entities[mask.column], {"uses": sorted(some), **place})
            for mask, action, some in asked
        ],
        (questions.principal(asker.claims), questions.store(asker.datastore), *entities.values()),
    )
    for (mask, _, some), answer in zip(asked, answers, strict=True):
        if answer.error is not None:
            return Forbidden("lockgate:evaluation-error", f"a policy could not be evaluated: {answer.error}")
        if not answer.permitted and answer.policies:
            policy = answer.policies[0]
            return Forbidden(policy.id, wording.inferring(policy, mask.column, some, told=uses is not None))
    return None
