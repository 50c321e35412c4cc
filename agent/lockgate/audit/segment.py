"""One file of the spool: its header, its frames, and what can be read of it after a crash.

    segment = MAGIC, frame(header), frame(entry)...
    frame   = length u32, CRC-32 of the payload u32, payload
    entry   = [EventTime, record]: a Fluent Forward entry, so that shipping a frame is copying its payload

The header holds the head of the chain before the segment's first record. So whatever segments are left (perhaps only
one that is still empty, all others being shipped and deleted), the newest alone tells how the chain goes on.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Annotated

import msgspec

from lockgate.audit.record import HASH_BYTES, MAX_RECORD_BYTES, MAX_SEQ

MAGIC = b"LGSPOOL1"

SUFFIX = ".segment"
"""A segment is named by the seq of its first record, in 20 digits: names sort as the chain does."""

DAMAGED = ".damaged"
"""What a file, or a part of one, that was set aside is named: its old name and this."""

ENTRY_PREFIX = 11
"""Bytes of an entry before its record: an array of two, and an EventTime."""

HEADER_LIMIT = 4096
"""No header is longer: a host's name has at most 63 bytes."""

_FRAME = struct.Struct(">II")
_pack_frame = _FRAME.pack
FRAME_BYTES = _FRAME.size

# fixarray of 2; fixext 8 of type 0: EventTime, seconds and nanoseconds (Forward Protocol v1)
_pack_entry = struct.Struct(">BBBII").pack
_SECOND = 1_000_000_000


class Damaged(Exception):
    """A header that can't be read. The message says why."""


class Incomplete(Damaged):
    """A header that was never written whole: a crash came between, and no record can follow it."""


class Header(msgspec.Struct, frozen=True):
    """`first` is the seq of the first record, `prev` the hash before it, `sealed` the last seq sealed by then.

    A segment taken to a host of another name is not taken for that host's own.
    """

    host: Annotated[str, msgspec.Meta(min_length=1)]
    first: Annotated[int, msgspec.Meta(ge=1, le=MAX_SEQ)]
    prev: Annotated[bytes, msgspec.Meta(min_length=HASH_BYTES, max_length=HASH_BYTES)]
    sealed: Annotated[int, msgspec.Meta(ge=0, le=MAX_SEQ)]


def file_name(first: int) -> str:
    return f"{first:020d}{SUFFIX}"


def encode_header(header: Header) -> bytes:
    """The beginning of a segment's file."""
    payload = msgspec.msgpack.encode(header)
    return MAGIC + _pack_frame(len(payload), zlib.crc32(payload)) + payload


def read_header(data: bytes) -> tuple[Header, int]:
    """The header at the beginning of `data`, and the offset behind it. Raises Damaged, or Incomplete."""
    begin = len(MAGIC)
    whole = len(data) >= begin + FRAME_BYTES and len(data) >= begin + frame_length(data[begin:])
    if not whole or not any(data):
        raise Incomplete("its header is incomplete")
    if data[:begin] != MAGIC:
        raise Damaged("does not begin as a segment does")
    for start, stop in _frames(data, begin, 1):
        try:
            return msgspec.msgpack.decode(data[start:stop], type=Header), stop
        except msgspec.DecodeError as error:
            raise Damaged(f"its header: {error}") from None
    raise Damaged("its header is not what was written")


def encode_frame(record: bytes, time: int) -> bytes:
    """A frame of one record; `time` in nanoseconds since the epoch (its seconds are cut to 32 bits, as Forward has).

    The reference of `_forms.framed`, which is what runs.
    """
    seconds, nanoseconds = divmod(time, _SECOND)
    payload = _pack_entry(0x92, 0xD7, 0x00, seconds & 0xFFFFFFFF, nanoseconds) + record
    return _pack_frame(len(payload), zlib.crc32(payload)) + payload


def frame_length(data: bytes) -> int:
    """The length in bytes of the whole frame whose first FRAME_BYTES are `data`."""
    length: int = _FRAME.unpack_from(data)[0]
    return FRAME_BYTES + length


def entries(data: bytes | memoryview, offset: int = 0) -> Iterator[tuple[int, int]]:
    """(start, stop) of each entry in `data` from `offset` on, up to the end or the first frame not whole and sound.

    The record of an entry is `data[start + ENTRY_PREFIX : stop]`. The last `stop` tells where reading ended.
    """
    return _frames(data, offset, ENTRY_PREFIX + 1)


def _frames(data: bytes | memoryview, offset: int, least: int) -> Iterator[tuple[int, int]]:
    view = memoryview(data)
    end = len(view)
    while offset + FRAME_BYTES <= end:
        length, checksum = _FRAME.unpack_from(view, offset)
        start = offset + FRAME_BYTES
        stop = start + length
        if stop > end or not least <= length <= ENTRY_PREFIX + MAX_RECORD_BYTES:
            return
        if zlib.crc32(view[start:stop]) != checksum:
            return
        yield start, stop
        offset = stop
