from __future__ import annotations

from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.audit import record
from lockgate.values.identity import Claims, Workload

CLAIMS = Claims("jti-1", "ann", "ann", ("engineers",), "host-1", 100, 400)
WORKLOAD = Workload(
    7, 1, 1, "/usr/bin/psql", ("psql", "password=hunter2"), 1000, "ann", "/user.slice", unit="s.service"
)


def facts(claimed_user: str | None = None) -> msgspec.Raw:
    return record.connection(
        "c1",
        CLAIMS,
        WORKLOAD,
        datastore="orders",
        protocol="postgresql",
        database="shop",
        user="app",
        upstream="127.0.0.1:5432",
        application="psql",
        claimed_user=claimed_user,
    )


def whole(**fields: object) -> dict[str, object]:
    return {"v": 1, "type": "agent", "host": "h", "seq": 1, "prev": bytes(32), "time": 0, "event": "start", **fields}


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def test_a_connection_is_spliced_in_and_its_command_line_left_out() -> None:
    raw = record.encoder.encode(whole(connection=facts()))
    connection = record.decode(raw)["connection"]
    assert connection["principal"] == "ann"
    assert connection["workload"]["unit"] == "s.service"
    assert "pod" not in connection["workload"]
    assert b"hunter2" not in raw


def test_whom_a_client_claimed_to_be_is_there_where_it_is_another() -> None:
    for claimed, recorded in ((None, None), ("app", None), ("nobody", "nobody")):
        connection = record.decode(record.encoder.encode(whole(connection=facts(claimed))))["connection"]
        assert (connection["user"], connection.get("claimed_user")) == ("app", recorded)


@given(st.dictionaries(st.text(), plain, max_size=8))
def test_what_we_encode_is_canonical_whatever_order_it_was_said_in(fields: dict[str, Any]) -> None:
    raw = record.encoder.encode(fields)
    assert record.decode(raw) == fields
    assert record.encoder.encode(dict(reversed(fields.items()))) == raw


@given(st.dictionaries(st.text(), plain, max_size=8))
def test_a_relay_that_reorders_keys_or_uses_long_forms_can_be_undone(fields: dict[str, Any]) -> None:
    raw = record.encoder.encode(fields)
    relayed = msgpack.packb(dict(reversed(list(fields.items()))))
    assert record.canonical(relayed) == raw
    # a map16 header where a fixmap would do
    assert record.canonical(b"\xde" + len(fields).to_bytes(2, "big") + raw[1:]) == raw


def test_a_key_given_twice_is_refused_as_two_readers_would_see_two_records() -> None:
    raw = b"\x82\xa7verdict\xa4deny\xa7verdict\xa5allow"
    with pytest.raises(record.RecordError, match="canonical"):
        record.decode(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xc1",
        b"\x90",
        b"\x81\x01\x02",
        b"\x81\xa1a\xa1\xff",
        b"\x81\xa1a" + b"\x91" * 5000 + b"\xc0",
        b"\x81\xa1a\x82\x01\x01\xa1b\x01",
        b"\x81\xa1a\xc1",
        b"\x80\x80",
        b"\xdf\xff\xff\xff\xff",
    ],
    ids=["empty", "reserved", "list", "int-key", "bad-utf8", "deep", "mixed-keys", "inner", "trailing", "huge-map"],
)
def test_what_is_not_a_record_is_refused(raw: bytes) -> None:
    for read in (record.decode, record.canonical, record.envelope):
        with pytest.raises(record.RecordError):
            read(raw)


@given(st.binary(max_size=200))
def test_hostile_bytes_raise_nothing_else(raw: bytes) -> None:
    for read in (record.decode, record.canonical, record.envelope):
        try:
            read(raw)
        except record.RecordError as error:
            assert str(error)  # noqa: PT017


@pytest.mark.parametrize(
    "wrong",
    [
        {"v": 2},
        {"type": ""},
        {"type": 5},
        {"host": "x" * 256},
        {"seq": 0},
        {"seq": 2**63},
        {"seq": True},
        {"prev": b"short"},
        {"prev": "0" * 32},
        {"time": -1},
        {"phase": "middle"},
        {"id": 5},
    ],
    ids=str,
)
def test_an_envelope_has_bounds(wrong: dict[str, object]) -> None:
    with pytest.raises(record.RecordError):
        record.envelope(record.encoder.encode(whole(**wrong)))


def test_an_envelope_reads_what_the_spool_wrote() -> None:
    found = record.envelope(record.encoder.encode(whole(seq=9, phase="begin", id="c1-1")))
    assert (found.seq, found.host, found.phase, found.id, found.prev) == (9, "h", "begin", "c1-1", bytes(32))
