"""What a COPY that was let through is masked by."""

from __future__ import annotations

import pytest

from lockgate.masking import RootKey, mask_rows, resolve
from lockgate.proxy.postgresql.catalog import Snapshot
from lockgate.proxy.postgresql.result_masking import ResultMasking
from lockgate.understand.postgresql import Understanding, copied_out
from lockgate.values.verdict import Decision, Detect, Mask, Verdict
from lockgate.wire.gate import MaskingError
from lockgate.wire.postgresql.frames import Field
from tests.proxy.house import EMAIL, SHOP
from tests.support.playbook import copy_data

SNAPSHOT = Snapshot(SHOP, resolve((EMAIL,), SHOP, {}, {}, {}), frozenset())
KEYS = RootKey(bytes(32)).keys("orders")
MASKED = Verdict(Decision.ALLOW, "p", "", 1, (Mask(EMAIL, "partial", "pii"),))
LOOKED_AT = Verdict(Decision.ALLOW, "p", "", 1, detects=(Detect("email", "partial", "p"),))


class Bench:
    def __init__(self, text: str, verdict: Verdict = MASKED, snapshot: Snapshot | None = SNAPSHOT) -> None:
        self.stale = 0
        request = Understanding().request(text)
        catalog = None if snapshot is None else snapshot.catalog
        copied = tuple(copied_out(request, catalog, index) for index in range(len(request.statements)))
        found = ResultMasking.of(verdict, (None,) * len(copied), copied, snapshot, self.expire, KEYS)
        assert found is not None
        self.masking = found
        self.found: dict[str, int] = {}

    def expire(self) -> None:
        self.stale += 1

    def shown(self, *lines: bytes, columns: int = 3, statement: int = 0) -> bytes:
        mask = self.masking.copy(statement, columns, self.found, binary=False)
        assert mask is not None
        data = b"".join(map(copy_data, lines))
        out, _, _ = mask.feed(data, 0, len(data))
        return out + mask.finish()[0]


def test_each_copy_is_masked_as_its_columns_and_format_ask() -> None:
    bench = Bench("COPY customers TO STDOUT CSV HEADER; SELECT 1; COPY customers (email) TO STDOUT")
    line = b"id,email,note\n"
    assert bench.shown(line, b"1,ann@example.org,n\n") == copy_data(line) + copy_data(b"1,a***@e***.org,n\n")
    assert bench.shown(b"ann@example.org\n", columns=1, statement=2) == copy_data(b"a***@e***.org\n")
    for statement in (1, 3):
        with pytest.raises(MaskingError, match="can't be told"):
            bench.masking.copy(statement, 1, {}, binary=False)


def test_what_only_depends_on_a_masked_column_is_veiled_null_or_not() -> None:
    bench = Bench("COPY (SELECT id, lower(email), note FROM customers) TO STDOUT")
    assert bench.shown(b"1\tann@example.org\tn\n", b"\\N\t\\N\t\\N\n") == (
        copy_data(b"1\t***\tn\n") + copy_data(b"\\N\t***\t\\N\n")
    )
    quoted = Bench("COPY (SELECT id, lower(email), note FROM customers) TO STDOUT (FORMAT csv, FORCE_QUOTE *)")
    assert quoted.shown(b'"1","ann@example.org","n"\n', b",,\n") == (
        copy_data(b'"1","***","n"\n') + copy_data(b',"***",\n')
    )


def test_where_no_column_is_masked_it_passes() -> None:
    assert Bench("COPY customers (id, note) TO STDOUT").masking.copy(0, 2, {}, binary=False) is None


@pytest.mark.parametrize(("columns", "binary"), [(2, False), (4, False), (3, True)])
def test_what_the_server_says_otherwise_is_not_shown(columns: int, binary: bool) -> None:
    bench = Bench("COPY customers TO STDOUT")
    with pytest.raises(MaskingError, match="try again"):
        bench.masking.copy(0, columns, {}, binary=binary)
    assert bench.stale == 1


@pytest.mark.parametrize("snapshot", [SNAPSHOT, None])
def test_what_nobody_classified_is_looked_for(snapshot: Snapshot | None) -> None:
    bench = Bench("COPY scratch TO STDOUT", LOOKED_AT, snapshot)
    assert bench.shown(b"1\tof ann@example.org\n", columns=2) == copy_data(b"1\tof a***@e***.org\n")
    assert bench.found == {"email": 1}
    strange = Bench("COPY scratch TO STDOUT (NULL 'a\\')", LOOKED_AT, snapshot)
    with pytest.raises(MaskingError, match="can't be told"):
        strange.masking.copy(0, 2, {}, binary=False)


def test_what_nobody_classified_is_looked_at_also_where_nothing_is_classified() -> None:
    masking = ResultMasking.of(LOOKED_AT, None, (), None, lambda: None, KEYS)
    assert masking is not None
    plan = masking.plan(0, [Field("note", 0, 0, 25, 0)], utf8=True)
    assert plan is not None
    row = b"D\0\0\0\x19\0\x01\0\0\0\x0fann@example.org"
    assert mask_rows(row, 0, len(row), plan)[0] == b"D\0\0\0\x17\0\x01\0\0\0\x0da***@e***.org"
    assert masking.plan(0, [Field("id", 0, 0, 23, 0)], utf8=True) is None
    nothing = Verdict(Decision.ALLOW, "p", "", 1)
    assert ResultMasking.of(nothing, None, (), None, lambda: None, KEYS) is None


def test_what_is_said_is_looked_at_where_no_column_is_masked_and_withheld_where_one_is() -> None:
    looked_at = ResultMasking.of(LOOKED_AT, None, (), None, lambda: None, KEYS)
    assert looked_at is not None
    assert looked_at.said("no such address: ann@example.org") == "no such address: a***@e***.org"
    assert looked_at.said("nothing of the kind") == "nothing of the kind"
    both = Verdict(Decision.ALLOW, "p", "", 1, MASKED.masks, detects=LOOKED_AT.detects)
    masked = ResultMasking.of(both, (None,), (), SNAPSHOT, lambda: None, KEYS)
    assert masked is not None
    assert masked.said("nothing of the kind") is None
