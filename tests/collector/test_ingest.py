"""The Forward listener on a real socket: acknowledged means durable, and a hostile peer harms only itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.collector import ingest as ingest_module
from lockgate.collector.ingest import Ingest
from lockgate.collector.store import Store, database
from lockgate.collector.writer import Writer
from tests.collector.chains import Host


class Peer:
    """`await Peer.to(port)`; `ask` sends a message and reads its acknowledgement."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, port: int) -> Peer:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, records: list[bytes], chunk: str) -> str:
        self.writer.write(message(records, chunk))
        answer: str = msgpack.unpackb(await self.reader.read(1000))["ack"]
        return answer

    async def is_closed(self) -> bool:
        return await self.reader.read(1000) == b""

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


def message(records: list[bytes], chunk: str) -> bytes:
    time = msgpack.ExtType(0, bytes(8))
    entries = b"".join(b"\x92" + msgpack.packb(time) + raw for raw in records)
    packed: bytes = msgpack.packb(["lockgate.host-1", entries, {"chunk": chunk}])
    return packed


def with_listener(folder: Path, use: Callable[[int, Ingest, Writer], Awaitable[None]], stall: float = 60.0) -> None:
    async def run() -> None:
        writer = Writer(Store(database(folder)))
        ingest = Ingest(writer, stall)
        _, port = await ingest.start("127.0.0.1", 0)
        try:
            async with asyncio.timeout(30):
                await use(port, ingest, writer)
        finally:
            await ingest.close()
            await writer.close()

    asyncio.run(run())


def stored(folder: Path) -> list[bytes]:
    with Store(database(folder)) as store:
        return [raw for (raw,) in store.db.execute("SELECT raw FROM records ORDER BY seq")]


def test_an_acknowledged_chunk_is_in_the_store(tmp_path: Path) -> None:
    host = Host()
    host.statement("SELECT 1")
    host.seal()

    async def use(port: int, ingest: Ingest, writer: Writer) -> None:
        peer = await Peer.to(port)
        assert await peer.ask(host.records, "chunk-1") == "chunk-1"
        # another connection to the file sees it: it is committed, not only queued
        with Store(database(tmp_path)) as other:
            assert other.db.execute("SELECT count(*) FROM records").fetchone() == (3,)
        assert await peer.ask(host.records, "chunk-1") == "chunk-1"
        assert (writer.ingested, ingest.connections) == (3, 1)
        await peer.close()

    with_listener(tmp_path, use)
    assert stored(tmp_path) == host.records


def test_a_listener_that_was_restarted_gets_the_rest_and_nothing_twice(tmp_path: Path) -> None:
    host = Host()
    for number in range(50):
        host.statement(f"SELECT {number}", number)
    batches = [host.records[start : start + 10] for start in range(0, 100, 10)]
    chunks = list(enumerate(batches))

    async def use(port: int, ingest: Ingest, writer: Writer) -> None:
        peer = await Peer.to(port)
        for number, batch in chunks[:4]:
            assert await peer.ask(batch, f"chunk-{number}") == f"chunk-{number}"
        # the last acknowledgement of this life is lost on the way: that chunk will be sent again
        del chunks[:3]
        await ingest.close()
        assert await peer.is_closed()
        await peer.close()

    while chunks:
        with_listener(tmp_path, use)
    assert stored(tmp_path) == host.records


@pytest.mark.parametrize(
    "data", [b"\xc1", b"GET / HTTP/1.1\r\n\r\n", message([b"\x80"], "c"), message([b"\x81\xa1v\x02"], "c")]
)
def test_a_peer_that_sends_anything_else_is_closed_and_the_others_are_not(tmp_path: Path, data: bytes) -> None:
    host = Host()
    host.statement("SELECT 1")

    async def use(port: int, ingest: Ingest, writer: Writer) -> None:
        good, bad = await Peer.to(port), await Peer.to(port)
        bad.writer.write(data)
        assert await bad.is_closed()
        assert await good.ask(host.records, "c") == "c"
        assert ingest.rejected == 1
        await good.close()
        await bad.close()

    with_listener(tmp_path, use)


def test_a_message_over_the_bound_is_cut_short(tmp_path: Path) -> None:
    async def use(port: int, ingest: Ingest, writer: Writer) -> None:
        peer = await Peer.to(port)
        peer.writer.write(b"\x93\xa1t\xc6" + (2**31).to_bytes(4, "big"))
        with pytest.raises(ConnectionError):  # noqa: PT012 - which write notices is the kernel's choice
            while True:
                peer.writer.write(bytes(1024 * 1024))
                await peer.writer.drain()
        assert ingest.rejected == 1
        peer.writer.transport.abort()

    with_listener(tmp_path, use)


def test_a_peer_that_stalls_in_a_message_is_closed_but_silence_between_is_fine(tmp_path: Path) -> None:
    host = Host()
    host.statement("SELECT 1")

    async def use(port: int, ingest: Ingest, writer: Writer) -> None:
        quiet, stalls = await Peer.to(port), await Peer.to(port)
        stalls.writer.write(message(host.records, "c")[:20])
        assert await stalls.is_closed()
        await asyncio.sleep(0.3)
        assert await quiet.ask(host.records, "c") == "c"
        await quiet.close()
        await stalls.close()

    with_listener(tmp_path, use, stall=0.2)


def test_a_store_that_fails_acknowledges_nothing(tmp_path: Path) -> None:
    host = Host()
    host.statement("SELECT 1")

    async def use(port: int, ingest: Ingest, writer: Writer) -> None:
        await writer.run(writer.store.db.execute, "ALTER TABLE records RENAME TO elsewhere")
        peer = await Peer.to(port)
        peer.writer.write(message(host.records, "c"))
        assert await peer.is_closed()
        await peer.close()
        await writer.run(writer.store.db.execute, "ALTER TABLE elsewhere RENAME TO records")
        again = await Peer.to(port)
        assert await again.ask(host.records, "c") == "c"
        await again.close()

    with_listener(tmp_path, use)


def test_peers_over_the_bound_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest_module, "CONNECTIONS", 1)

    async def use(port: int, ingest: Ingest, writer: Writer) -> None:
        host = Host()
        host.statement("SELECT 1")
        one = await Peer.to(port)
        await one.ask(host.records, "c")
        two = await Peer.to(port)
        assert await two.is_closed()
        assert await one.ask(host.records, "d") == "d"
        await one.close()
        await two.close()

    with_listener(tmp_path, use)


def test_all_messages_under_way_together_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest_module, "HELD_BYTES", 1500)
    host = Host()
    host.statement("SELECT 1")
    begun = b"\x93\xa1t\xc6" + (1_000_000).to_bytes(4, "big") + bytes(990)

    async def use(port: int, ingest: Ingest, writer: Writer) -> None:
        one, two = await Peer.to(port), await Peer.to(port)
        for _ in range(2):
            one.writer.write(begun)
            await asyncio.sleep(0.1)
            two.writer.write(begun)
            assert await two.is_closed()
            await two.close()
            # what was held for it is free again
            await one.close()
            await asyncio.sleep(0.1)
            one, two = await Peer.to(port), await Peer.to(port)
        assert await one.ask(host.records, "c") == "c"
        await one.close()
        await two.close()

    with_listener(tmp_path, use)


def test_a_taken_port_raises(tmp_path: Path) -> None:
    async def use(port: int, ingest: Ingest, writer: Writer) -> None:
        with pytest.raises(OSError, match="in use"):
            await Ingest(writer).start("127.0.0.1", port)

    with_listener(tmp_path, use)


def test_garbage_never_stops_the_listener(tmp_path: Path) -> None:
    host = Host()
    host.statement("SELECT 1")

    @settings(max_examples=25, deadline=None)
    @given(st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=10))
    def attack(pieces: list[bytes]) -> None:
        async def use(port: int, ingest: Ingest, writer: Writer) -> None:
            good = await Peer.to(port)
            for piece in pieces:
                bad = await Peer.to(port)
                bad.writer.write(piece)
                bad.writer.write_eof()
                await bad.reader.read()
                bad.writer.transport.abort()
            assert await good.ask(host.records, "c") == "c"
            await good.close()

        with_listener(tmp_path, use)

    attack()
