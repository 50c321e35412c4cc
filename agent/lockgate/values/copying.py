"""How rows look when they are copied out, as the language that asks for it says and masking has to know."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class CopyKind(IntEnum):
    """The numbers are shared with `lockgate/masking/_copy.pyx`."""

    TEXT = 0
    CSV = 1
    BINARY = 2


@dataclass(frozen=True, slots=True)
class CopyFormat:
    """What PostgreSQL's COPY TO writes (documentation of COPY, "File Formats"); of binary only `kind` counts.

    `delimiter`, `quote` and `escape` are one ASCII byte each; `null` is what stands for NULL. `force_quote` has the
    columns whose values are quoted whatever is in them, None for all of them.
    """

    kind: CopyKind
    delimiter: bytes = b"\t"
    null: bytes = rb"\N"
    quote: bytes = b'"'
    escape: bytes = b'"'
    header: bool = False
    force_quote: frozenset[str] | None = frozenset()
