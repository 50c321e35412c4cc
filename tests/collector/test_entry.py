"""What of a record is stored, and what is no record."""

from __future__ import annotations

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.audit import chain
from lockgate.audit.record import RecordError
from lockgate.collector.entry import parse, parse_all
from tests.collector.chains import Host


def test_an_entry_has_the_fields_to_search_by() -> None:
    host = Host()
    host.statement("SELECT 1")
    begin, end = parse_all(host.records)
    assert (begin.host, begin.seq, begin.type, begin.phase, begin.id) == ("host-1", 1, "statement", "begin", "c1-1")
    assert (begin.connection, begin.principal, begin.person, begin.datastore) == ("c1", "ann", "ann", "orders")
    assert (begin.verdict, begin.statement, begin.objects) == ("allow", "SELECT 1", ("public.orders",))
    assert begin.raw == host.records[0]
    assert begin.hash == chain.step(host.records[0]) == end.prev
    assert (end.phase, end.id, end.connection, end.statement) == ("end", "c1-1", None, None)


def test_a_relay_may_reorder_and_lengthen_without_changing_the_hash() -> None:
    host = Host()
    host.statement("SELECT 1")
    fields = msgspec.msgpack.decode(host.records[0])
    reordered = msgpack.packb(dict(reversed(fields.items())))
    lengthened = host.records[0].replace(b"\xa1v\x01", b"\xa1v\xd3" + (1).to_bytes(8, "big"))
    assert len({reordered, lengthened, host.records[0]}) == 3
    assert parse(reordered) == parse(lengthened) == parse(host.records[0])


@pytest.mark.parametrize(
    "change",
    [
        {"seq": 0},
        {"seq": -1},
        {"seq": 2**63},
        {"seq": "1"},
        {"host": ""},
        {"host": None},
        {"prev": b"short"},
        {"v": 2},
        {"time": -1},
        {"connection": {"id": 5}},
        {"objects": "orders"},
        {"statement": 5},
    ],
)
def test_a_record_with_a_wrong_field_is_refused(change: dict[str, object]) -> None:
    fields = {"v": 1, "type": "statement", "host": "h", "seq": 1, "prev": bytes(32), "time": 1, **change}
    with pytest.raises(RecordError):
        parse(msgpack.packb(fields))


@given(st.binary(max_size=200))
def test_garbage_raises_nothing_else(data: bytes) -> None:
    with pytest.raises(RecordError):
        parse(data)


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(RecordError):
        parse(b"\x81\xa1a" * 100_000 + b"\xc0")
