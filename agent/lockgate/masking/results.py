"""Rows of a result, rewritten by a plan: masked by the kernel, then looked through."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from lockgate.masking._rows import mask_rows as mask_by_program
from lockgate.masking.plan import Plan

NOTHING: Final[Mapping[str, int]] = MappingProxyType({})


def mask_rows(
    buffer: bytes | bytearray | memoryview, start: int, end: int, plan: Plan
) -> tuple[bytes, int, int, int, Mapping[str, int]]:
    """Rewrite the complete rows from `start` on: see `lockgate.masking.rows.mask_rows`.

    Returns (the rewritten messages, the offset reached, rows, masked cells, what was found by kind).
    """
    masked, reached, rows, cells = mask_by_program(buffer, start, end, plan.program)
    if plan.scan is None:
        return masked, reached, rows, cells, NOTHING
    masked, found = plan.scan.rows(masked)
    return masked, reached, rows, cells, found
