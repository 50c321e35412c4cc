"""How the rows of one request come back: which plan each result of it gets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lockgate.masking import StaleCatalog, Unmaskable, build_plan, choose_maskers
from lockgate.proxy.catalog import Snapshot
from lockgate.understand.postgresql import outputs
from lockgate.values.output import Output
from lockgate.values.statement import Request
from lockgate.values.verdict import Mask
from lockgate.wire.gate import MaskingError


@dataclass(frozen=True, slots=True)
class ResultMasking:
    """Masks the results of one request: `outputs` has the lineage of each statement, None where it couldn't be told.

    `stale` is called when a result shows that the catalog has changed since it was read.
    """

    masks: tuple[Mask, ...]
    outputs: tuple[tuple[Output, ...] | None, ...]
    snapshot: Snapshot
    stale: Callable[[], None]

    def plan(self, statement: int, fields: Sequence[Any]) -> bytes | None:
        """See `lockgate.wire.gate.Masking`."""
        known = self.outputs[statement] if statement < len(self.outputs) else None
        try:
            maskers = choose_maskers(fields, self.masks, known, self.snapshot.columns)
            plan = build_plan(fields, maskers, encoding="UTF8", text_types=self.snapshot.text_types)
        except (Unmaskable, ValueError) as error:
            if isinstance(error, StaleCatalog):
                self.stale()
            raise MaskingError(f"lockgate: {error}") from None
        return plan.actions if plan.masks else None


def result_lineage(
    request: Request, candidates: tuple[Request, ...], snapshot: Snapshot
) -> tuple[tuple[Output, ...] | None, ...]:
    """Where the columns of each statement's result come from; None for a statement of which that can't be told."""
    found: list[tuple[Output, ...] | None] = []
    for index, statement in enumerate(request.statements):
        if statement.uses is None:
            found.append(outputs(request, snapshot.catalog, statement=index))
            continue
        place = _place(candidates[0], statement.uses) if len(candidates) == 1 else None
        found.append(None if place is None else outputs(candidates[0], snapshot.catalog, statement=place))
    return tuple(found)


def _place(candidate: Request, uses: tuple[str, str]) -> int | None:
    """Which of the candidate's statements runs under the name that `uses` has; None when that can't be told."""
    places = [index for index, statement in enumerate(candidate.statements) if statement.makes == uses]
    if not places and len(candidate.statements) == 1 and candidate.statements[0].makes is None:
        return 0  # the protocol named it
    return places[0] if len(places) == 1 else None
