"""The shipper against a real server, which may drop, close, stay silent or talk nonsense."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from lockgate.audit import record, shipper
from lockgate.audit.chain import verify
from lockgate.audit.shipper import Shipper
from lockgate.audit.spool import Spool
from lockgate.config import SpoolSettings
from tests.audit.spooling import HOST, KEY, SMALL, begin, end, files_no_larger_than, on_disk, opened, put, segments
from tests.support.forward import Answer, ForwardServer


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipper, "LINGER_SECONDS", 0.0)
    monkeypatch.setattr(shipper, "FIRST_DELAY_SECONDS", 0.005)
    monkeypatch.setattr(shipper, "LONGEST_DELAY_SECONDS", 0.02)
    monkeypatch.setattr(shipper, "ACK_SECONDS", 0.5)


def run(test: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await test

    asyncio.run(bounded())


@asynccontextmanager
async def shipping(spool: Spool, address: str) -> AsyncIterator[Shipper]:
    sender = Shipper(spool, address)
    task = asyncio.create_task(sender.run())
    try:
        yield sender
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert not sender.connected


def stored(server: ForwardServer) -> list[bytes]:
    """What a store has that keeps one of each (host, seq) and would notice two that differ."""
    kept: dict[int, bytes] = {}
    for raw in server.records:
        assert kept.setdefault(record.envelope(raw).seq, raw) == raw
    return [kept[seq] for seq in sorted(kept)]


def test_records_arrive_as_they_are_in_the_spool(tmp_path: Path) -> None:
    async def test() -> None:
        async with ForwardServer() as server:
            with opened(tmp_path) as spool:
                put(spool, begin(1), end(1))
                async with shipping(spool, server.address) as sender:
                    await sender.drained()
                    assert sender.waiting == 0
                    assert sender.error is None
                assert server.records == on_disk(tmp_path)
        (message,) = server.kept
        assert message.tag == "lockgate.host-1"
        assert message.option["size"] == 2
        assert len(message.option["chunk"]) == 24
        assert message.times == ((1_790_000_000, 0), (1_790_000_000, 0))

    run(test())


def test_an_idle_shipper_wakes_for_a_commit(tmp_path: Path) -> None:
    async def test() -> None:
        async with ForwardServer() as server:
            with opened(tmp_path) as spool:
                async with shipping(spool, server.address):
                    for number in range(1, 6):
                        await asyncio.sleep(0.02)
                        put(spool, begin(number))
                        await server.until(number)
        assert server.connections == 1
        assert len(server.records) == 5

    run(test())


def test_records_of_a_moment_travel_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipper, "LINGER_SECONDS", 0.1)

    async def test() -> None:
        async with ForwardServer() as server:
            with opened(tmp_path) as spool:
                async with shipping(spool, server.address) as sender:
                    for number in range(20):
                        await asyncio.sleep(0.001)
                        put(spool, begin(number))
                    await sender.drained()
        assert len(server.seen) == 1

    run(test())


def test_a_backlog_goes_in_bounded_messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipper, "BATCH_BYTES", 2000)

    async def test() -> None:
        async with ForwardServer() as server:
            with opened(tmp_path) as spool:
                for number in range(50):
                    put(spool, begin(number))
                put(spool, begin(50, "x" * 10_000))
                put(spool, begin(51))
                async with shipping(spool, server.address) as sender:
                    await sender.drained()
        sizes = [sum(map(len, message.records)) for message in server.kept]
        assert max(size for message, size in zip(server.kept, sizes, strict=True) if len(message.records) > 1) <= 2000
        assert len([size for size in sizes if size > 2000]) == 1
        assert verify(HOST, server.records, KEY.jwks()).last == 52

    run(test())


def test_the_collector_may_come_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        server = ForwardServer()
        await server.start()
        await server.stop()
        with opened(tmp_path) as spool:
            put(spool, begin(1))
            async with shipping(spool, server.address) as sender:
                await asyncio.sleep(0.1)
                assert sender.error is not None
                assert "Connect call failed" in sender.error
                put(spool, begin(2))
                await server.start()
                await sender.drained()
                assert sender.error is None
        await server.stop()
        assert stored(server) == on_disk(tmp_path)

    with caplog.at_level(logging.INFO, "lockgate.audit.shipper"):
        run(test())
    assert [entry.levelname for entry in caplog.records] == ["WARNING", "INFO"], "said once, not at every attempt"


@pytest.mark.parametrize(
    "answer",
    [
        Answer.SLOW_ACK,
        Answer.IGNORE,
        Answer.DROP,
        Answer.KEEP_AND_CLOSE,
        Answer.OTHER,
        Answer.GARBAGE,
        Answer.FLOOD,
        Answer.HELO,
    ],
)
def test_a_message_without_its_ack_is_sent_again_as_the_same_chunk(tmp_path: Path, answer: Answer) -> None:
    async def test() -> None:
        async with ForwardServer() as server:
            server.next = [answer]
            with opened(tmp_path) as spool:
                put(spool, begin(1), end(1))
                async with shipping(spool, server.address) as sender:
                    await server.until(1)
                    put(spool, begin(2))
                    await sender.drained()
                assert stored(server) == on_disk(tmp_path)
        if answer is not Answer.SLOW_ACK:
            first, again = server.seen[:2]
            assert first.option["chunk"] == again.option["chunk"] or len(again.records) == 3
            assert again.records[: len(first.records)] == first.records
            assert server.connections == 2

    run(test())


def test_the_same_chunk_also_after_a_restart_of_the_agent(tmp_path: Path) -> None:
    async def test() -> None:
        async with ForwardServer() as server:
            server.next = [Answer.IGNORE]
            for count in (1, 2):
                with opened(tmp_path) as spool:
                    if count == 1:
                        put(spool, begin(1))
                    async with shipping(spool, server.address):
                        await server.until(count)
        first, again = server.seen
        assert first == again

    run(test())


def test_what_was_acknowledged_is_not_sent_again_after_a_restart(tmp_path: Path) -> None:
    async def test() -> None:
        async with ForwardServer() as server:
            for number in range(1, 4):
                with opened(tmp_path) as spool:
                    put(spool, begin(number))
                    async with shipping(spool, server.address) as sender:
                        await sender.drained()
            assert server.records == on_disk(tmp_path)

    run(test())


def test_segments_are_deleted_when_acknowledged_and_not_before(tmp_path: Path) -> None:
    async def test() -> None:
        async with ForwardServer() as server:
            server.then = Answer.IGNORE
            with opened(tmp_path) as spool:
                for number in range(40):
                    put(spool, begin(number, "x" * 200))
                before = segments(tmp_path)
                assert len(before) > 2
                async with shipping(spool, server.address) as sender:
                    await server.until(2)
                    assert segments(tmp_path) == before
                    server.then = Answer.ACK
                    await sender.drained()
                    assert segments(tmp_path) == before[-1:]
        assert verify(HOST, stored(server), KEY.jwks()).last == 40

    run(test())


@pytest.mark.parametrize("seed", range(6))
def test_a_collector_killed_and_started_again_all_the_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Nothing is lost, nothing is twice in the store, and the chain is whole."""
    monkeypatch.setattr(shipper, "BATCH_BYTES", 1000)
    monkeypatch.setattr(shipper, "ACK_SECONDS", 0.1)
    chance = random.Random(seed)

    async def test() -> None:
        server = ForwardServer()
        await server.start()
        server.next = chance.choices(list(Answer), [6, 1, 1, 2, 2, 1, 1, 1, 1], k=60)
        settings = SpoolSettings(max_bytes=SMALL.max_bytes, segment_bytes=2048)
        for _ in range(3):
            with opened(tmp_path, settings) as spool:
                async with shipping(spool, server.address) as sender:
                    for _ in range(4):
                        for number in range(chance.randrange(20)):
                            put(spool, begin(number), end(number))
                            await asyncio.sleep(0)
                        spool.seal()
                        await asyncio.sleep(chance.random() * 0.03)
                        await server.stop()
                        await asyncio.sleep(chance.random() * 0.03)
                        await server.start()
        with opened(tmp_path, settings) as spool:
            put(spool, begin(0))
            server.next = []
            async with shipping(spool, server.address) as sender:
                await sender.drained()
            last = spool.head
        await server.stop()
        result = verify(HOST, stored(server), KEY.jwks(), until=last)
        assert result.ok, result.problems
        assert result.last > 20

    run(test())


def test_a_peer_that_stops_reading_does_not_hold_the_shipper_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipper, "BATCH_BYTES", 16 << 20)

    async def test() -> None:
        async with ForwardServer() as server:
            server.reading.clear()
            with opened(tmp_path, SpoolSettings(segment_bytes=64 << 20)) as spool:
                for number in range(12):
                    put(spool, begin(number, "x" * (1 << 20)))
                async with shipping(spool, server.address) as sender:
                    await asyncio.sleep(1.0)
                    assert sender.error == "TimeoutError"
                    assert server.seen == []
                    monkeypatch.setattr(shipper, "ACK_SECONDS", 10.0)
                    server.reading.set()
                    await sender.drained()
                assert stored(server) == on_disk(tmp_path)

    run(test())


def test_nothing_leaves_that_a_power_cut_could_take_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(fd: int) -> None:
        raise OSError(5, "Input/output error")

    async def test() -> None:
        async with ForwardServer() as server:
            with opened(tmp_path) as spool:
                put(spool, begin(1))
                with monkeypatch.context() as patch:
                    patch.setattr(os, "fdatasync", broken)
                    async with shipping(spool, server.address) as sender:
                        await asyncio.sleep(0.1)
                        assert "Input/output" in str(sender.error)
                assert server.seen == []
                async with shipping(spool, server.address) as sender:
                    await sender.drained()
                assert len(server.records) == 1

    run(test())


def test_a_full_disk_does_not_stop_the_shipping_that_empties_it(tmp_path: Path) -> None:
    async def test() -> None:
        async with ForwardServer() as server:
            with opened(tmp_path) as spool:
                for number in range(40):
                    put(spool, begin(number, "x" * 200))
                async with shipping(spool, server.address) as sender:
                    with files_no_larger_than(0):
                        await sender.drained()
                        assert len(segments(tmp_path)) == 1

    run(test())


def test_what_is_damaged_is_set_aside_and_the_rest_arrives(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with ForwardServer() as server:
            with opened(tmp_path) as spool:
                for number in range(40):
                    put(spool, begin(number, "x" * 200))
                path = segments(tmp_path)[1]
                data = bytearray(path.read_bytes())
                data[-20] ^= 1
                path.write_bytes(data)
                async with shipping(spool, server.address) as sender:
                    await sender.drained()
            result = verify(HOST, stored(server), KEY.jwks())
            assert (result.first, result.last, len(result.gaps)) == (1, 40, 1)

    run(test())
    assert len(list(tmp_path.glob("*.damaged"))) == 1
    assert "records are lost" in caplog.text


@pytest.mark.parametrize(
    ("text", "first"),
    [(b"", 1), (b"\xff", 1), (b'{"seq": 0}', 1), (b'{"seq": "2"}', 1), (b'{"seq": 2}', 2), (b'{"seq": 99}', 4)],
)
def test_a_position_that_cannot_be_used_means_from_the_oldest(tmp_path: Path, text: bytes, first: int) -> None:
    with opened(tmp_path) as spool:
        for number in range(3):
            put(spool, begin(number))
        (tmp_path / shipper.POSITION).write_bytes(text)
        assert Shipper(spool, "127.0.0.1:1").seq == first


def test_the_position_is_for_its_owner_alone(tmp_path: Path) -> None:
    async def test() -> None:
        async with ForwardServer() as server:
            with opened(tmp_path) as spool:
                put(spool, begin(1))
                async with shipping(spool, server.address) as sender:
                    await sender.drained()

    before = os.umask(0)
    try:
        run(test())
    finally:
        os.umask(before)
    assert (tmp_path / shipper.POSITION).stat().st_mode & 0o777 == 0o600


def test_an_address_without_a_port(tmp_path: Path) -> None:
    with opened(tmp_path) as spool, pytest.raises(ValueError, match="HOST:PORT"):
        Shipper(spool, "collector")
