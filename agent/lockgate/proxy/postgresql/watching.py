"""A second look at results: are their columns those that the statement was judged by?

Lineage goes by names, as the catalog had them up to a minute ago. The server names a table's own column by numbers
that no rename changes: what was judged as one column and comes back as another shows that the catalog is old.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from lockgate.proxy.postgresql.catalog import Snapshot
from lockgate.wire.gate import MaskingError
from lockgate.wire.postgresql.frames import parse_fields

DESCRIPTIONS: Final = 8
"""Results of one judgement that are remembered to be as they should: a statement has one, a text of several a few."""

CHANGED: Final = "lockgate: the result has a column of a relation that has changed: try again"


@dataclass(slots=True)  # not frozen: one is made for each run, and that would take three times as long
class Watch:
    """Implements `lockgate.wire.postgresql.gate.Watch`.

    `judged` are the classified columns that policy was asked about, `seen` the descriptions found in order before by
    the same judgement, `stale` is called when the catalog turns out to be old.
    """

    judged: frozenset[str]
    seen: set[bytes]
    snapshot: Snapshot
    stale: Callable[[], None]

    def check(self, description: bytes) -> None:
        """See `lockgate.wire.postgresql.gate.Watch`."""
        if description in self.seen:
            return
        for field in parse_fields(description):
            if field.table_oid and not self._judged(field.table_oid, field.column_number):
                self.stale()
                raise MaskingError(CHANGED)
        if len(self.seen) < DESCRIPTIONS:
            self.seen.add(bytes(description))

    def _judged(self, table: int, column: int) -> bool:
        columns = self.snapshot.columns
        numbers: tuple[int, ...] = (column,)
        if column == 0:  # a whole row of the table
            relation = columns.catalog.by_oid.get(table)
            if relation is None:
                return False
            numbers = tuple(each.number for each in relation.columns)
        sources = [columns.source(table, number) for number in numbers]
        return all(source is not None and source.held.all <= self.judged for source in sources)
