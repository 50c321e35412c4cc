"""A result whose columns aren't those that the statement was judged by is stopped, and the catalog read again."""

from __future__ import annotations

import struct

import pytest

from lockgate.masking import resolve
from lockgate.proxy.postgresql import watching
from lockgate.proxy.postgresql.catalog import Snapshot
from lockgate.proxy.postgresql.watching import Watch
from lockgate.wire.gate import MaskingError
from lockgate.wire.postgresql.frames import Field, parse_fields
from tests.proxy.house import SHOP

EMAIL = frozenset({"public.customers.email"})
ID, MAIL, NEW = (101, 1), (101, 2), (101, 9)
ELSEWHERE, COMPUTED = (999, 1), (0, 0)
ROW, ROW_ELSEWHERE, PLAIN_ROW = (101, 0), (999, 0), (102, 0)


def description(*columns: tuple[int, int]) -> bytes:
    parts = [b"c\0" + struct.pack("!IhIhih", oid, number, 25, -1, -1, 0) for oid, number in columns]
    found = struct.pack("!H", len(parts)) + b"".join(parts)
    assert [(f.table_oid, f.column_number) for f in parse_fields(found) if isinstance(f, Field)] == list(columns)
    return found


def snapshot() -> Snapshot:
    return Snapshot(SHOP, resolve(EMAIL, SHOP, {}, {}, {}), frozenset())


class Watched:
    def __init__(self, judged: frozenset[str]) -> None:
        self.stale = 0
        self.seen: set[bytes] = set()
        self.watch = Watch(judged, self.seen, snapshot(), self.expire)

    def expire(self) -> None:
        self.stale += 1


@pytest.mark.parametrize("columns", [(ID, COMPUTED), (COMPUTED,), (), (PLAIN_ROW,)])
def test_what_was_judged_passes(columns: tuple[tuple[int, int], ...]) -> None:
    one = Watched(frozenset())
    one.watch.check(description(*columns))
    assert one.stale == 0
    assert one.seen == {description(*columns)}


def test_a_classified_column_that_policy_released_passes() -> None:
    Watched(EMAIL).watch.check(description(ID, MAIL, ROW))


@pytest.mark.parametrize("column", [MAIL, NEW, ELSEWHERE, ROW, ROW_ELSEWHERE])
def test_a_column_that_nobody_judged_does_not(column: tuple[int, int]) -> None:
    one = Watched(frozenset())
    for _ in range(2):
        with pytest.raises(MaskingError, match="try again"):
            one.watch.check(description(ID, column))
    assert one.stale == 2
    assert one.seen == set()


def test_only_so_many_are_remembered() -> None:
    one = Watched(frozenset())
    for width in range(3 * watching.DESCRIPTIONS):
        one.watch.check(description(*[ID] * width))
    assert len(one.seen) == watching.DESCRIPTIONS
