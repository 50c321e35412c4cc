"""What an approval is bound to, and what a grant would cover, in every protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a grant on a statement would cover. `fingerprint` is None where nothing can be granted; `words` are for the
    approver: what it covers, or why not."""

    fingerprint: str | None
    words: str


@dataclass(frozen=True, slots=True)
class Bound:
    """What an approval is bound to: texts, without a NUL in any, values, and their formats."""

    text: str
    parameters: Sequence[bytes | None]
    formats: Sequence[int] = ()
