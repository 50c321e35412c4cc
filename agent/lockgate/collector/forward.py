"""Fluent Forward, the receiving side, without I/O: bytes in, batches of encoded records out.

Source: Forward-Protocol-Specification-v1 (fluent/fluentd wiki). All four carriers are read: Message, Forward,
PackedForward and CompressedPackedForward (gzip); nil is a heartbeat. The encoded bytes of each record are handed on
as they came, because the hash chain is over bytes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import msgpack
import msgspec

MESSAGE_BYTES = 32 * 1024 * 1024
"""One Forward message, also after decompression. Twice `limits.message_bytes`, so that the record of the largest
statement fits; Fluentd's `chunk_limit_size` is 8 MiB, Fluent Bit's `Buffer_Max_Size` 6 MiB."""
MESSAGE_RECORDS = 100_000
"""Records in one message."""
CHUNK_CHARACTERS = 256
"""The `chunk` option, which is sent back: Fluentd's are 24 characters of base64."""


class Malformed(Exception):
    """Their error: bytes that are not Fluent Forward as specified, or beyond a bound. The connection is closed."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The records of one message, each the exact bytes of a msgpack map. `chunk` is to be acknowledged once stored."""

    tag: str
    records: tuple[bytes, ...]
    chunk: str | None


class Decoder:
    """Feed it what arrives, in pieces of any size."""

    def __init__(self, limit: int = MESSAGE_BYTES) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._offset = 0
        self._begin_message_scan()

    def _begin_message_scan(self) -> None:
        # skip() resumes where it stopped, so a message that trickles in is scanned once; it builds no objects
        self._scanner = msgpack.Unpacker(max_buffer_size=0)

    @property
    def held(self) -> int:
        """Bytes held of a message that has begun and not ended."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Batch]:
        """The batches that `data` completes. Raises Malformed; the decoder can't be used after that."""
        self._buffer += data
        self._scanner.feed(data)
        found = []
        while self._buffer:
            try:
                self._scanner.skip()
            except msgpack.OutOfData:
                if len(self._buffer) > self._limit:
                    raise Malformed(f"a message of more than {self._limit} bytes") from None
                break
            except (ValueError, msgpack.UnpackException) as error:
                raise Malformed(f"not msgpack: {error}") from None
            end = self._scanner.tell()
            size = end - self._offset
            if size > self._limit:
                raise Malformed(f"a message of more than {self._limit} bytes")
            message = bytes(memoryview(self._buffer)[:size])
            del self._buffer[:size]
            self._offset = end
            if message != b"\xc0":
                found.append(_message(message, self._limit))
        return found


def acknowledgement(chunk: str) -> bytes:
    """The answer to a message with a `chunk` option, once its records are stored."""
    return msgspec.msgpack.encode({"ack": chunk})


def _message(message: bytes, limit: int) -> Batch:
    try:
        parts = msgspec.msgpack.decode(message, type=list[msgspec.Raw])
        if len(parts) < 2:
            raise Malformed("a message has at least a tag and entries")
        tag = msgspec.msgpack.decode(parts[0], type=str)
        carrier = bytes(memoryview(parts[1])[:1])[0]
        if _is_array(carrier):
            option = _option(parts[2:])
            records = tuple(_record(entry) for entry in _bounded_array(parts[1]))
        elif (payload := _payload(parts[1])) is not None:
            option = _option(parts[2:])
            if option.compressed == "gzip":
                payload = _inflate(payload, limit)
            records = tuple(_entries(payload))
        else:
            if len(parts) < 3:
                raise Malformed("a message of one event has a tag, a time and a record")
            option = _option(parts[3:])
            records = (_record_map(parts[2]),)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(str(error)) from None
    return Batch(tag, records, option.chunk)


class _Option(msgspec.Struct, frozen=True):
    """`size` and what others may add are of no use here."""

    chunk: str | None = None
    compressed: str | None = None


def _option(rest: list[msgspec.Raw]) -> _Option:
    option = msgspec.msgpack.decode(rest[0], type=_Option | None) if rest else None
    option = option or _Option()
    if option.chunk is not None and len(option.chunk) > CHUNK_CHARACTERS:
        raise Malformed(f"a chunk option of more than {CHUNK_CHARACTERS} characters")
    if option.compressed not in (None, "text", "gzip"):
        raise Malformed(f"compression {option.compressed[:20]!r} is not known")
    return option


def _is_array(first: int) -> bool:
    return first & 0xF0 == 0x90 or first in (0xDC, 0xDD)


def _is_map(first: int) -> bool:
    return first & 0xF0 == 0x80 or first in (0xDE, 0xDF)


def _bounded_array(raw: msgspec.Raw) -> list[msgspec.Raw]:
    entries = msgspec.msgpack.decode(raw, type=list[msgspec.Raw])
    if len(entries) > MESSAGE_RECORDS:
        raise Malformed(f"a message of more than {MESSAGE_RECORDS} records")
    return entries


def _payload(raw: msgspec.Raw) -> bytes | None:
    """What a bin or str object carries, None for anything else. Old clients send packed entries as (not UTF-8) str."""
    data = memoryview(raw)
    first = data[0]
    if first & 0xE0 == 0xA0:
        return bytes(data[1:])
    header = {0xC4: 2, 0xC5: 3, 0xC6: 5, 0xD9: 2, 0xDA: 3, 0xDB: 5}.get(first)
    return None if header is None else bytes(data[header:])


def _entries(payload: bytes) -> Iterator[bytes]:
    """The records of packed entries: arrays of a time and a record, one after another."""
    scanner = msgpack.Unpacker(max_buffer_size=0)
    scanner.feed(payload)
    start = 0
    for number in range(MESSAGE_RECORDS + 1):
        if start == len(payload):
            return
        if number == MESSAGE_RECORDS:
            raise Malformed(f"a message of more than {MESSAGE_RECORDS} records")
        try:
            scanner.skip()
        except msgpack.OutOfData:
            raise Malformed("packed entries end in the middle of one") from None
        except (ValueError, msgpack.UnpackException) as error:
            raise Malformed(f"packed entries: not msgpack: {error}") from None
        end = scanner.tell()
        yield _record(payload[start:end])
        start = end


def _record(entry: bytes | msgspec.Raw) -> bytes:
    parts = msgspec.msgpack.decode(entry, type=list[msgspec.Raw])
    if len(parts) != 2:
        raise Malformed("an entry is a time and a record")
    return _record_map(parts[1])


def _record_map(raw: msgspec.Raw) -> bytes:
    record = bytes(raw)
    if not _is_map(record[0]):
        raise Malformed("a record is a map")
    return record


def _inflate(data: bytes, limit: int) -> bytes:
    """Every gzip member of `data` (Fluentd appends them), together at most `limit` bytes."""
    out = bytearray()
    while data:
        stream = zlib.decompressobj(wbits=31)
        try:
            out += stream.decompress(data, limit - len(out) + 1)
        except zlib.error as error:
            raise Malformed(f"compressed entries: {error}") from None
        if len(out) > limit:
            raise Malformed(f"compressed entries of more than {limit} bytes")
        if not stream.eof:
            raise Malformed("compressed entries end in the middle")
        data = stream.unused_data
    return bytes(out)
