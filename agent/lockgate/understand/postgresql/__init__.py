"""PostgreSQL's SQL, read with PostgreSQL's own grammar (version 18)."""

from lockgate.understand.postgresql.copying import CopyOut, copied_out
from lockgate.understand.postgresql.lineage import checked, copies, influences, outputs, uses
from lockgate.understand.postgresql.literals import redacted
from lockgate.understand.postgresql.modifications import Flow
from lockgate.understand.postgresql.origins import ANYTHING
from lockgate.understand.postgresql.redaction import Redaction
from lockgate.understand.postgresql.understanding import Understanding, reread

__all__ = ["ANYTHING", "CopyOut", "Flow", "Redaction", "Understanding", "checked", "copied_out", "copies", "influences",
           "outputs", "redacted", "reread", "uses"]  # fmt: skip
