"""Where the columns of a result come from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Output:
    """One column of a result set.

    `sources` are the base columns (`schema.table.column`) it may depend on, None when that can't be told (then
    `why` says what stood in the way). `plain` is True when the output is one of them unchanged.
    """

    name: str
    sources: frozenset[str] | None
    plain: bool = False
    why: str | None = None
