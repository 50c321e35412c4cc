"""By which ways other than a masked result a masked column would leave."""

from __future__ import annotations

from collections.abc import Sequence

from lockgate.proxy.catalog import Snapshot
from lockgate.understand.postgresql import copies
from lockgate.values.output import Output
from lockgate.values.statement import Effect, Request
from lockgate.values.verdict import Verdict
from lockgate.wire.gate import Refusal
from lockgate.wire.postgresql import errors


def leak(verdict: Verdict, requests: Sequence[Request], snapshot: Snapshot, altered: bool) -> Refusal | None:
    """A refusal when a masked column would leave by another way than a result: by COPY, or into another column.

    All of `requests` count, the request and what it may go on with: what was prepared was judged under other policies,
    by another catalog or by none.
    """
    masked = {mask.column for mask in verdict.masks}
    for request in requests:
        for index, statement in enumerate(request.statements):
            if statement.kind.startswith("COPY") and Effect.READ in statement.effects:
                return refused(f"COPY of {named(masked)}, masked for you, is refused: select it instead")
            flows = copies(request, snapshot.catalog, index)
            for flow in flows or ():
                if flow.sources is None or (altered and flow.sources):
                    return refused(
                        f"it can't be told whether {flow.target} would receive {named(masked)}, masked for you"
                    )
                copied = {name for source in flow.sources for name in snapshot.columns.held(source).all} & masked
                if copied and not copied <= snapshot.columns.held(flow.target).all:
                    return refused(f"copying {named(copied)}, masked for you, into {flow.target} is refused")
    return None


def unexplained(request: Request, verdict: Verdict, lineage: Sequence[tuple[Output, ...] | None]) -> Refusal | None:
    """A refusal for a statement that writes and returns what can't be told: withheld later, it would have been done."""
    for statement, found in zip(request.statements, lineage, strict=True):
        if found is None or Effect.WRITE not in statement.effects:
            continue
        for output in found:
            if output.sources is None:
                masked = named({mask.column for mask in verdict.masks})
                return refused(f"it can't be told whether {output.name} returns {masked}, masked for you: {output.why}")
    return None


def refused(message: str) -> Refusal:
    """Policy would let it pass, but it can't be carried out: `message` says what stands in the way."""
    return Refusal(errors.INSUFFICIENT_PRIVILEGE, f"lockgate: {message}")


def named(columns: set[str]) -> str:
    """The first of `columns`, as a message lists them."""
    shown = sorted(columns)
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "")
