"""A Fluent Forward server to test senders with: it decodes with a library of its own, and can misbehave when told.

async with ForwardServer() as server:
    server.next = [Answer.DROP, Answer.ACK]     # one each message; then `server.then`
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Any

import msgpack


class Answer(Enum):
    """What to do with a message once it is read."""

    ACK = "ack"
    SLOW_ACK = "an ack in single bytes"
    IGNORE = "keep it and say nothing"
    DROP = "close without having kept it"
    KEEP_AND_CLOSE = "keep it, then close without a word: the ack is lost"
    OTHER = "ack another chunk"
    GARBAGE = "not msgpack"
    FLOOD = "an answer without an end"
    HELO = "ask for a shared key"


@dataclass(frozen=True)
class Message:
    """`records` are the exact bytes of each record; `times` the entries' EventTimes as (seconds, nanoseconds)."""

    tag: str
    records: tuple[bytes, ...]
    times: tuple[tuple[int, int], ...]
    option: dict[str, Any]


class ForwardServer:
    """`kept` are the messages as a store would have them, `seen` all that came, `connections` how many were made."""

    def __init__(self) -> None:
        self.kept: list[Message] = []
        self.seen: list[Message] = []
        self.next: list[Answer] = []
        self.then = Answer.ACK
        self.reading = asyncio.Event()
        self.reading.set()
        self.connections = 0
        self.port = 0
        self.changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def records(self) -> list[bytes]:
        return [record for message in self.kept for record in message.records]

    async def start(self) -> None:
        """Listen; again on the same port after `stop`."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=1 << 16)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and cut every connection, as when the process is killed."""
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()
        for writer in tuple(self._open):
            writer.transport.abort()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def __aenter__(self) -> ForwardServer:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, _: object, trace: TracebackType | None) -> None:
        await self.stop()

    async def until(self, count: int) -> None:
        """Wait until `count` messages came."""
        while len(self.seen) < count:
            self.changed.clear()
            await self.changed.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.connections += 1
        self._open.add(writer)
        self._tasks.add(task)
        try:
            unpacker = msgpack.Unpacker(max_buffer_size=64 << 20)
            while data := await self._read(reader):
                unpacker.feed(data)
                for message in unpacker:
                    if not await self._answer(decode(message), writer):
                        return
        except ConnectionError:
            pass
        finally:
            self._open.discard(writer)
            self._tasks.discard(task)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        await self.reading.wait()
        return await reader.read(1 << 16)

    async def _answer(self, message: Message, writer: asyncio.StreamWriter) -> bool:
        answer = self.next.pop(0) if self.next else self.then
        self.seen.append(message)
        if answer in (Answer.ACK, Answer.SLOW_ACK, Answer.IGNORE, Answer.KEEP_AND_CLOSE):
            self.kept.append(message)
        self.changed.set()
        ack = msgpack.packb({"ack": message.option["chunk"]})
        match answer:
            case Answer.ACK:
                writer.write(ack)
            case Answer.SLOW_ACK:
                for byte in ack:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(0)
            case Answer.OTHER:
                writer.write(msgpack.packb({"ack": "another"}))
            case Answer.GARBAGE:
                writer.write(b"\xc1\xc1\xc1")
            case Answer.FLOOD:
                writer.write(b"\xdb\xff\xff\xff\xff" + bytes(1 << 20))
            case Answer.HELO:
                writer.write(msgpack.packb(["HELO", {"nonce": b"1", "auth": b"", "keepalive": True}]))
        return answer not in (Answer.DROP, Answer.KEEP_AND_CLOSE)


def decode(message: Any) -> Message:
    """A PackedForward message, its parts as the specification has them."""
    tag, entries, option = message
    assert isinstance(entries, bytes)
    found = list(_entries(entries))
    return Message(tag, tuple(record for _, record in found), tuple(time for time, _ in found), option)


def _entries(data: bytes) -> Iterator[tuple[tuple[int, int], bytes]]:
    unpacker = msgpack.Unpacker()
    unpacker.feed(data)
    while unpacker.tell() < len(data):
        assert unpacker.read_array_header() == 2
        time = unpacker.unpack()
        assert isinstance(time, msgpack.ExtType)
        assert time.code == 0
        start = unpacker.tell()
        unpacker.skip()
        yield (int.from_bytes(time.data[:4]), int.from_bytes(time.data[4:])), data[start : unpacker.tell()]
