"""How the rows of one request come back: which plan each result of it gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from lockgate.masking import (
    CopyStream,
    Keys,
    Plan,
    StaleCatalog,
    Unmaskable,
    build_plan,
    choose_maskers,
    copy_fields,
    layout_of,
    mask_rows,
    stricter,
)
from lockgate.masking.scan import Scan, Watch
from lockgate.proxy.postgresql.catalog import Snapshot
from lockgate.understand.postgresql import CopyOut, outputs
from lockgate.values.copying import CopyKind
from lockgate.values.output import Output
from lockgate.values.statement import Request
from lockgate.values.verdict import Mask, Verdict
from lockgate.wire.gate import MaskingError

PLANS: Final = 2
"""Plans of one judgement that are remembered: a statement has one for each of the two formats."""
PLANNED_COLUMNS: Final = 32
"""Wider results are planned each time: a plan and what it is for take some 0.3 KB a column, as their lineage does."""

Plans = dict[tuple[int, tuple[Any, ...], bool], Plan]
"""By statement, its result's fields, and whether text is known to be UTF-8."""


@dataclass(slots=True)  # not frozen: one is made for each run, and that would take three times as long
class ResultMasking:
    """Masks the results of one request: `outputs` has the lineage of each statement, None where it couldn't be told,
    and `copied` what each copies out.

    `snapshot` is None where nothing is classified: then there are no `masks`, and only `detectors` (kind -> masker)
    look at values. `stale` is called when a result shows that the catalog has changed since it was read. `plans` are
    those made before by the same judgement.
    """

    masks: tuple[Mask, ...]
    outputs: tuple[tuple[Output, ...] | None, ...]
    copied: tuple[CopyOut | None, ...]
    snapshot: Snapshot | None
    stale: Callable[[], None]
    keys: Keys
    detectors: Mapping[str, str]
    plans: Plans = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        verdict: Verdict,
        outputs: tuple[tuple[Output, ...] | None, ...] | None,
        copied: tuple[CopyOut | None, ...],
        snapshot: Snapshot | None,
        stale: Callable[[], None],
        keys: Keys,
        plans: Plans | None = None,
    ) -> ResultMasking | None:
        """What a verdict that lets a request pass means for its results; None when nothing. `outputs` is None then."""
        masked = outputs is not None and snapshot is not None
        if not masked and not verdict.detects:
            return None
        detectors: dict[str, str] = {}
        for detect in verdict.detects:
            detectors[detect.kind] = stricter(detectors.get(detect.kind), detect.masker) or detect.masker
        return cls(verdict.masks if masked else (), outputs or (), copied, snapshot, stale, keys, detectors,
                   {} if plans is None else plans)  # fmt: skip

    def plan(self, statement: int, fields: Sequence[Any], *, utf8: bool) -> Plan | None:
        """See `lockgate.wire.postgresql.gate.Masking`."""
        key = (statement, tuple(fields), utf8)
        plan = self.plans.get(key)
        if plan is None:
            known = self.outputs[statement] if statement < len(self.outputs) else None
            plan = self._plan(fields, known, utf8=utf8)
            if len(self.plans) < PLANS and len(fields) <= PLANNED_COLUMNS:
                self.plans[key] = plan
        return plan if plan.masks else None

    def copy(self, statement: int, columns: int, found: dict[str, int], *, binary: bool) -> CopyStream | None:
        """See `lockgate.wire.postgresql.gate.Masking`."""
        copied = self.copied[statement] if statement < len(self.copied) else None
        if copied is None or copied.format is None or (self.masks and copied.outputs is None):
            raise MaskingError("lockgate: it can't be told what this COPY sends")
        known = copied.outputs if copied.outputs is not None and len(copied.outputs) == columns else None
        if binary is not (copied.format.kind is CopyKind.BINARY) or (self.masks and known is None):
            self.stale()
            raise MaskingError("lockgate: the server copies other columns than its catalog had: try again")
        # of values that nobody classified only the looks count
        sent = known or tuple(Output(f"column {n}", None) for n in range(1, columns + 1))
        catalog = None if self.snapshot is None else self.snapshot.catalog
        plan = self._plan(copy_fields(sent, copied.format.kind, catalog), known, utf8=True)
        if not plan.masks:
            return None

        def mask(rows: bytes) -> tuple[bytes, int]:
            masked, _, _, cells, seen = mask_rows(rows, 0, len(rows), plan)
            for kind, count in seen.items():
                found[kind] = found.get(kind, 0) + count
            return masked, cells

        layout = layout_of(copied.format, [output.name for output in sent], plan.touched)
        return CopyStream(layout, mask, header=copied.format.header)

    def said(self, text: str) -> str | None:
        """See `lockgate.wire.postgresql.gate.Masking`."""
        if not text and not self.masks:
            return text  # asked at the end of each run, only to know whether anything may be said
        scan = None if self.masks else Scan.of(self.detectors, bytes((Watch.TEXT,)), self.keys, utf8=True)
        return None if scan is None else scan.text(text.encode("utf-8", "surrogateescape")).decode("utf-8", "replace")

    def _plan(self, fields: Sequence[Any], known: tuple[Output, ...] | None, *, utf8: bool) -> Plan:
        snapshot = self.snapshot
        try:
            if snapshot is None:
                maskers: tuple[str | None, ...] = (None,) * len(fields)
            else:
                maskers = choose_maskers(fields, self.masks, known, snapshot.columns)
            return build_plan(
                fields,
                maskers,
                keys=self.keys,
                utf8=utf8,
                text_types=frozenset() if snapshot is None else snapshot.text_types,
                detectors=self.detectors,
            )
        except (Unmaskable, ValueError) as error:
            if isinstance(error, StaleCatalog):
                self.stale()
            raise MaskingError(f"lockgate: {error}") from None


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
