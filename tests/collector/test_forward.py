"""Forward messages as Fluentd, Fluent Bit and hostile peers send them."""

from __future__ import annotations

import gzip
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.collector import forward
from lockgate.collector.forward import Batch, Decoder, Malformed, acknowledgement

RECORD = {"host": "host-1", "seq": 7, "prev": b"\x00" * 32, "statement": "SELECT 1"}
RAW = msgpack.packb(RECORD)
TIME = msgpack.Timestamp(1_700_000_000, 5)
EVENT_TIME = msgpack.ExtType(0, (1_700_000_000).to_bytes(4, "big") + (5).to_bytes(4, "big"))


def packed(*records: dict[str, Any], time: object = EVENT_TIME) -> bytes:
    return b"".join(msgpack.packb([time, r]) for r in records)


MESSAGES = {
    "message": msgpack.packb(["lockgate.host-1", 1_700_000_000, RECORD, {"chunk": "c"}]),
    "message with event time": msgpack.packb(["lockgate.host-1", EVENT_TIME, RECORD, {"chunk": "c"}]),
    "forward": msgpack.packb(["lockgate.host-1", [[EVENT_TIME, RECORD]], {"chunk": "c"}]),
    "packed": msgpack.packb(["lockgate.host-1", packed(RECORD), {"chunk": "c", "size": 1}]),
    "packed as str": msgpack.packb(["lockgate.host-1", packed(RECORD), {"chunk": "c"}], use_bin_type=False),
    "compressed": msgpack.packb(
        ["lockgate.host-1", gzip.compress(packed(RECORD)), {"chunk": "c", "compressed": "gzip"}]
    ),
}


@pytest.mark.parametrize("carrier", MESSAGES)
def test_every_carrier_gives_the_record_as_it_was_encoded(carrier: str) -> None:
    assert Decoder().feed(MESSAGES[carrier]) == [Batch("lockgate.host-1", (RAW,), "c")]


@pytest.mark.parametrize("carrier", MESSAGES)
def test_a_byte_at_a_time_gives_the_same(carrier: str) -> None:
    decoder = Decoder()
    found = []
    for byte in MESSAGES[carrier]:
        found += decoder.feed(bytes([byte]))
    assert found == [Batch("lockgate.host-1", (RAW,), "c")]
    assert decoder.held == 0


def test_messages_follow_one_another_with_heartbeats_between() -> None:
    stream = MESSAGES["packed"] + b"\xc0" + MESSAGES["forward"] + b"\xc0"
    assert [b.records for b in Decoder().feed(stream + MESSAGES["message"][:5])] == [(RAW,), (RAW,)]


def test_what_is_held_is_counted() -> None:
    decoder = Decoder()
    decoder.feed(MESSAGES["packed"] + MESSAGES["packed"][:7])
    assert decoder.held == 7


def test_a_message_without_options_asks_for_no_acknowledgement() -> None:
    assert Decoder().feed(msgpack.packb(["t", packed(RECORD, RECORD)])) == [Batch("t", (RAW, RAW), None)]
    assert Decoder().feed(msgpack.packb(["t", packed(RECORD), None])) == [Batch("t", (RAW,), None)]


def test_several_gzip_members_are_one_stream() -> None:
    body = gzip.compress(packed(RECORD)) + gzip.compress(packed(RECORD))
    assert Decoder().feed(msgpack.packb(["t", body, {"compressed": "gzip"}]))[0].records == (RAW, RAW)


def test_an_acknowledgement_names_the_chunk() -> None:
    assert msgpack.unpackb(acknowledgement("p8n9gmxTQVC8/nh2wlKKeQ==")) == {"ack": "p8n9gmxTQVC8/nh2wlKKeQ=="}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\xc1", "not msgpack"),
        (b"GET / HTTP/1.1\r\n\r\n", "array"),
        (msgpack.packb({}), "array"),
        (msgpack.packb([]), "at least a tag"),
        (msgpack.packb(["t"]), "at least a tag"),
        (msgpack.packb([1, packed(RECORD)]), "str"),
        (msgpack.packb(["t", 5]), "a tag, a time and a record"),
        (msgpack.packb(["t", 5, "text"]), "a record is a map"),
        (msgpack.packb(["t", [[1, 2, 3]]]), "a time and a record"),
        (msgpack.packb(["t", [[1, 2]]]), "a record is a map"),
        (msgpack.packb(["t", [1]]), "array"),
        (msgpack.packb(["t", packed(RECORD)[:-1]]), "in the middle"),
        (msgpack.packb(["t", b"\xc1"]), "not msgpack"),
        (msgpack.packb(["t", packed(RECORD), {"chunk": "c" * 257}]), "256 characters"),
        (msgpack.packb(["t", packed(RECORD), {"chunk": 5}]), "str"),
        (msgpack.packb(["t", packed(RECORD), {"compressed": "zstd"}]), "not known"),
        (msgpack.packb(["t", b"no gzip", {"compressed": "gzip"}]), "compressed entries"),
        (msgpack.packb(["t", gzip.compress(b"\xc0" * 50, mtime=0)[:-4], {"compressed": "gzip"}]), "in the middle"),
        (b"\x91" * 100_000, "not msgpack|recursion|at least"),
    ],
)
def test_anything_else_is_refused_with_a_reason(data: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        Decoder().feed(data)


def test_a_message_over_the_bound_is_refused_before_it_is_whole() -> None:
    decoder = Decoder(limit=1000)
    with pytest.raises(Malformed, match="more than 1000 bytes"):
        decoder.feed(msgpack.packb(["t", b"x" * 2000])[:1500])
    with pytest.raises(Malformed, match="more than 1000 bytes"):
        Decoder(limit=1000).feed(msgpack.packb(["t", b"x" * 2000]))


def test_a_small_message_that_inflates_over_the_bound_is_refused() -> None:
    bomb = gzip.compress(b"\x00" * 1_000_000)
    with pytest.raises(Malformed, match="more than 10000 bytes"):
        Decoder(limit=10_000).feed(msgpack.packb(["t", bomb, {"compressed": "gzip"}]))


def test_more_records_than_the_bound_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "MESSAGE_RECORDS", 2)
    for message in (["t", packed(RECORD, RECORD, RECORD)], ["t", [[1, RECORD]] * 3]):
        with pytest.raises(Malformed, match="more than 2 records"):
            Decoder().feed(msgpack.packb(message))


@given(st.binary(max_size=300))
def test_garbage_is_refused_or_waits_for_more(data: bytes) -> None:
    try:
        Decoder(limit=1000).feed(data)
    except Malformed:
        return


@given(st.sampled_from(sorted(MESSAGES)), st.integers(0, 200), st.integers(0, 255))
def test_a_flipped_byte_never_raises_anything_else(carrier: str, place: int, value: int) -> None:
    data = bytearray(MESSAGES[carrier])
    data[place % len(data)] = value
    try:
        batches = Decoder(limit=10_000).feed(bytes(data))
    except Malformed:
        return
    assert all(isinstance(r, bytes) for b in batches for r in b.records)


@given(st.sampled_from(sorted(MESSAGES)), st.lists(st.integers(1, 40), max_size=12))
def test_however_the_bytes_are_cut_the_batches_are_the_same(carrier: str, cuts: list[int]) -> None:
    data = MESSAGES[carrier] * 2
    decoder = Decoder()
    found, start = [], 0
    for cut in cuts:
        found += decoder.feed(data[start : start + cut])
        start += cut
    found += decoder.feed(data[start:])
    assert found == Decoder().feed(data)
