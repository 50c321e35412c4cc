from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.audit.segment import (
    ENTRY_PREFIX,
    FRAME_BYTES,
    HEADER_LIMIT,
    Damaged,
    Header,
    Incomplete,
    encode_frame,
    encode_header,
    entries,
    file_name,
    frame_length,
    read_header,
)

HEADER = Header("host-1", 12, bytes(range(32)), 7)
RECORDS = [b"\x81\xa1a\x01", b"\x80", b"\x81\xa1b\xda\x01\x00" + b"x" * 256]
TIME = 1_790_000_000_123_456_789
FRAMES = b"".join(encode_frame(record, TIME) for record in RECORDS)


def records(data: bytes) -> list[bytes]:
    return [data[start + ENTRY_PREFIX : stop] for start, stop in entries(data)]


def test_frames_are_read_as_written() -> None:
    assert records(FRAMES) == RECORDS
    assert frame_length(FRAMES) == FRAME_BYTES + ENTRY_PREFIX + len(RECORDS[0])


def test_an_entry_is_what_forward_takes() -> None:
    start, stop = next(entries(FRAMES))
    time, record = msgpack.unpackb(FRAMES[start:stop])
    assert time == msgpack.ExtType(0, (1_790_000_000).to_bytes(4, "big") + (123_456_789).to_bytes(4, "big"))
    assert record == {"a": 1}


@given(st.integers(0, len(FRAMES)))
def test_a_torn_end_leaves_the_frames_before_it(length: int) -> None:
    found = records(FRAMES[:length])
    assert found == RECORDS[: len(found)]
    assert len(found) == sum(len(b"".join(encode_frame(r, TIME) for r in RECORDS[: n + 1])) <= length for n in range(3))


@given(st.integers(0, len(FRAMES) - 1), st.integers(1, 255))
def test_a_flipped_bit_ends_reading_there(place: int, flip: int) -> None:
    damaged = bytearray(FRAMES)
    damaged[place] ^= flip
    found = records(bytes(damaged))
    assert found == RECORDS[: len(found)]
    assert len(found) < len(RECORDS)


@given(st.binary(max_size=300))
def test_garbage_has_no_entries_and_raises_nothing(data: bytes) -> None:
    assert records(data) == []


def test_a_time_beyond_32_bits_of_seconds_is_still_a_frame() -> None:
    assert records(encode_frame(b"\x80", 2**63 - 1)) == [b"\x80"]


def test_a_header_is_read_as_written() -> None:
    data = encode_header(HEADER)
    assert read_header(data + FRAMES) == (HEADER, len(data))
    longest = encode_header(Header("h" * 63, 2**63 - 1, bytes(32), 2**63 - 1))
    assert len(longest) < HEADER_LIMIT


@given(st.integers(0, len(encode_header(HEADER)) - 1))
def test_a_header_cut_short_is_incomplete(length: int) -> None:
    with pytest.raises(Incomplete):
        read_header(encode_header(HEADER)[:length])


def test_blocks_never_written_are_incomplete() -> None:
    with pytest.raises(Incomplete):
        read_header(bytes(4096))


@given(st.integers(0, len(encode_header(HEADER)) - 1), st.integers(1, 255))
def test_a_header_changed_is_damaged(place: int, flip: int) -> None:
    data = bytearray(encode_header(HEADER))
    data[place] ^= flip
    with pytest.raises(Damaged):
        read_header(bytes(data))


def test_names_sort_as_the_chain_does() -> None:
    assert sorted(map(file_name, (10, 9, 2**63 - 1, 100))) == [file_name(n) for n in (9, 10, 100, 2**63 - 1)]
