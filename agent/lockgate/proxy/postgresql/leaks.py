"""By which ways other than a masked result a masked column would leave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lockgate.proxy.postgresql.catalog import Snapshot
from lockgate.understand.postgresql import ANYTHING, CopyOut, copied_out, copies, uses
from lockgate.values.catalog import Catalog
from lockgate.values.output import Output
from lockgate.values.statement import Effect, Request
from lockgate.values.use import Use
from lockgate.values.verdict import Verdict
from lockgate.wire.gate import Refusal, Why


def leak(verdict: Verdict, requests: Sequence[Request], snapshot: Snapshot, altered: bool) -> Refusal | None:
    """A refusal when a masked column would leave by another way than a result: by COPY, or into another column.

    All of `requests` count, the request and what it may go on with: what was prepared was judged under other policies,
    by another catalog or by none.
    """
    masked = {mask.column for mask in verdict.masks}
    for request in requests:
        for index in range(len(request.statements)):
            copied = copied_out(request, snapshot.catalog, index)
            refusal = None if copied is None else _copied_leak(copied, masked, snapshot, altered)
            if refusal is not None:
                return refusal
            flows = copies(request, snapshot.catalog, index)
            for flow in flows or ():
                if flow.sources is None or (altered and flow.sources):
                    return refused(
                        f"it can't be told whether {flow.target} would receive {named(masked)}, masked for you"
                    )
                moved = {name for source in flow.sources for name in snapshot.columns.held(source).all} & masked
                if moved and not moved <= snapshot.columns.held(flow.target).all:
                    return refused(f"copying {named(moved)}, masked for you, into {flow.target} is refused")
    return None


def _copied_leak(copied: CopyOut, masked: set[str], snapshot: Snapshot, altered: bool) -> Refusal | None:
    """A refusal of a COPY TO that could not be masked on its way, or doesn't come by here."""
    why = "the transaction has changed the catalog" if altered else None
    if copied.outputs is None:
        why = why or copied.why
    sent: set[str] = set()
    for output in copied.outputs or ():
        if output.sources is None:
            why = why or f"{output.name}: {output.why}"
        for source in output.sources or ():
            sent |= snapshot.columns.held(source).all & masked
    if why is None and sent and copied.to_client and copied.format is None:
        return refused(f"COPY of {named(sent)}, masked for you, is refused: {copied.why}")
    if why is not None:
        return refused(f"it can't be told whether COPY would send {named(masked)}, masked for you: {why}")
    if sent and not copied.to_client:
        return refused(f"COPY of {named(sent)}, masked for you, to a file or a program is refused")
    return None


def fires(requests: Sequence[Request], catalog: Catalog) -> bool:
    """Whether `requests` run code of the database's own that they don't name.

    A write does by triggers, rules and defaults that call functions, a read by row security. What that code reads
    nobody told, and it can say it in an error, in a notice, or as rows of a result.
    """
    return any(
        relation.screens or (relation.fires and Effect.WRITE in statement.effects)
        for request in requests
        for statement in request.statements
        for name in statement.objects
        # a name may itself hold a dot, and which schema is meant needn't be known
        for bare in (name, *(name[place + 1 :] for place, letter in enumerate(name) if letter == "."))
        for relation in catalog.by_name.get(bare, ())
    )


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


def used(requests: Sequence[Request], snapshot: Snapshot) -> Mapping[str, frozenset[Use]] | None:
    """How `requests` use classified columns without showing them; None when that can't be told of all of them.

    What a view's own conditions use is its owner's choice and doesn't count.
    """
    found: dict[str, frozenset[Use]] = {}
    for request in requests:
        for index in range(len(request.statements)):
            told = uses(request, snapshot.catalog, index)
            if told is None or ANYTHING in told:
                return None
            for name, how in told.items():
                for column in snapshot.columns.held(name).all:
                    found[column] = found.get(column, frozenset()) | how
    return found


def refused(message: str) -> Refusal:
    """Policy would let it pass, but it can't be carried out: `message` says what stands in the way."""
    return Refusal(Why.DENIED, f"lockgate: {message}")


def named(columns: set[str]) -> str:
    """The first of `columns`, as a message lists them."""
    shown = sorted(columns)
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "")
