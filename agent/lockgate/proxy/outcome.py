"""What became of a statement, as its second record says it."""

from __future__ import annotations

from typing import Any, Final

from lockgate.wire.gate import Run

TAG_DIGITS: Final = 18
"""Digits of a count in a command tag that fit into 64 bits, whatever the server says."""


def told(run: Run, cancelled: str) -> tuple[str, dict[str, Any]]:
    """The outcome of a run that has ended, and the fields that go with it. `cancelled` is the native code for that."""
    fields: dict[str, Any] = {"rows": run.rows or affected(run.tag), "bytes": run.bytes}
    if run.masked_cells:
        fields["masked_cells"] = run.masked_cells
    if run.detected:
        fields["detected"] = run.detected
    if run.tag is not None:
        fields["tag"] = run.tag
    if run.withheld is not None:
        fields["withheld"] = run.withheld.removeprefix("lockgate: ")
    if run.error is not None:
        fields["error"] = {"code": run.error}
    return "cancelled" if run.error == cancelled else run.outcome, fields


def affected(tag: str | None) -> int:
    """The rows a command tag counts (`DELETE 364`): of a statement that returns none, those it changed."""
    count = (tag or "").rpartition(" ")[2]
    return int(count) if count.isdecimal() and len(count) <= TAG_DIGITS else 0
