"""TLS with hostile clients: plain text slipped in, handshakes that stall or never end, bytes one at a time."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

from lockgate.config import Limits
from lockgate.proxy.tls import HANDSHAKE_BYTES
from lockgate.values.identity import Endpoint
from lockgate.wire.postgresql.frames import ssl_request, startup
from tests.proxy.house import House, play, until
from tests.proxy.test_leaves import hello
from tests.support.model_server import ModelServer
from tests.support.playbook import query, row
from tests.support.tap import Tap

START = startup({"user": "app", "database": "shop"})


def trusting(house: House) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=house.authority.pem.decode())
    context.set_alpn_protocols(["postgresql"])
    return context


def failures(house: House) -> int:
    for line in house.metrics.text().decode().splitlines():
        if line.startswith('lockgate_refused_total{reason="client-tls"} '):
            return int(float(line.rpartition(" ")[2]))
    return 0


@pytest.mark.parametrize("behind", [START, b"\x16\x03\x01", hello(b"a")])
def test_what_stands_behind_the_request_for_tls_is_not_taken_for_what_comes_inside_it(
    tmp_path: Path, behind: bytes
) -> None:
    """CVE-2021-23222: somebody on the way put it there."""

    async def use() -> None:
        async with House(tmp_path) as house:
            client = await house.client()
            client.send(ssl_request() + behind)
            assert "bytes came with a request for encryption" in await client.error()
            assert await client.rest() == b""
            assert house.server.models == []

    play(use())


def test_nothing_asks_for_tls_inside_tls(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path) as house:
            for direct in (False, True):
                client = await house.client()
                if not direct:
                    client.send(ssl_request())
                    assert await client.reader.readexactly(1) == b"S"
                await client.writer.start_tls(trusting(house), server_hostname="127.0.0.1")
                client.send(ssl_request())
                assert "asked for twice" in await client.error()
                assert await client.rest() == b""

    play(use())


@pytest.mark.parametrize(
    "plain", [b"\0\0\0\x08\x04\xd2\x16\x2f", START, b"Q\0\0\0\x0dSELECT 1\0", b"\0", b"\xff" * 4096]
)
def test_plain_text_where_tls_has_to_be_is_the_end(tmp_path: Path, plain: bytes) -> None:
    async def use() -> None:
        async with House(tmp_path, limits=Limits(startup_seconds=1.0)) as house:
            client = await house.client()
            client.send(ssl_request())
            assert await client.reader.readexactly(1) == b"S"
            client.send(plain)
            answer = await client.rest()
            assert answer[:1] in (b"\x15", b"")  # an alert, or nothing at all: never a word in plain
            assert b"lockgate" not in answer
            assert house.server.models == []
            await until(lambda: not house.listener.connections)

    play(use())


def test_a_handshake_of_single_bytes_is_served(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path) as house, Slow(house) as slow:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", slow.port, ssl=trusting(house), server_hostname="127.0.0.1"
            )
            writer.write(START)
            await reader.readuntil(b"Z\0\0\0\5I")
            writer.write(query("SELECT 1"))
            await reader.readuntil(b"Z\0\0\0\5I")
            writer.close()

    play(use())


class Slow:
    """Passes what clients send on to the house a byte at a time, each in a segment of its own."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def __aenter__(self) -> Slow:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._tasks: list[asyncio.Task[None]] = []
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await asyncio.gather(*self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward_reader, onward = await asyncio.open_connection("127.0.0.1", self._house.listener.port)
        onward.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        async def back() -> None:
            while data := await onward_reader.read(4096):
                writer.write(data)
            writer.close()

        self._tasks.append(asyncio.create_task(back()))
        while data := await reader.read(4096):
            for byte in data:
                onward.write(bytes([byte]))
                await asyncio.sleep(0)
        onward.close()


def test_a_handshake_that_stalls_has_a_deadline(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path, limits=Limits(startup_seconds=0.3)) as house:
            client = await house.client()
            client.send(hello(b"a")[:40])
            assert await client.rest() == b""
            await until(lambda: not house.listener.connections)

    play(use())


def test_one_that_never_ends_has_a_bound(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path) as house:
            client = await house.client()
            long = b"\x01\0\x40\0" + bytes(HANDSHAKE_BYTES)
            client.send(b"".join(b"\x16\x03\x01\0\x01" + long[n : n + 1] for n in range(HANDSHAKE_BYTES // 5)))
            await until(lambda: failures(house) == 1)
            assert await client.rest() == b""
            assert house.listener.connections == {}

    play(use())


def test_who_goes_in_the_middle_of_it_is_counted_once(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path) as house:
            for data in (hello(b"a")[:40], hello(b"a")):
                before = failures(house)
                client = await house.client()
                client.send(data)
                await until(lambda: house.listener.connections)
                await asyncio.sleep(0.05)
                client.writer.close()
                await until(lambda: not house.listener.connections)
                assert failures(house) == before + 1

    play(use())


def test_tls_for_something_else_is_not_spoken(tmp_path: Path) -> None:
    """ALPACA: a browser's request must not be read as PostgreSQL's protocol by way of a redirected connection."""

    async def use() -> None:
        async with House(tmp_path) as house:
            for alpn in (["http/1.1"], []):
                context = ssl.create_default_context(cadata=house.authority.pem.decode())
                context.set_alpn_protocols(alpn)
                client = await house.client()
                await client.writer.start_tls(context, server_hostname="127.0.0.1")
                client.send(START)
                assert await client.rest() == b""
            assert failures(house) == 2
            assert house.server.models == []

    play(use())


def test_a_client_is_told_inside_tls_that_its_time_is_over_and_the_end_is_no_truncation(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path, limits=Limits(startup_seconds=0.5)) as house:
            client = await house.client()
            client.send(ssl_request())
            assert await client.reader.readexactly(1) == b"S"
            await client.writer.start_tls(trusting(house), server_hostname="127.0.0.1")
            assert "not ready after 0.5 s" in await client.error()
            assert await client.rest() == b""

    play(use())


def test_on_the_wire_there_is_nothing_but_tls(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path) as house, Tap(Endpoint("127.0.0.1", house.listener.port)) as tap:
            reader, writer = await asyncio.open_connection(tap.endpoint.host, tap.endpoint.port)
            writer.write(ssl_request())
            assert await reader.readexactly(1) == b"S"
            await writer.start_tls(trusting(house), server_hostname="127.0.0.1")
            writer.write(START)
            await reader.readuntil(b"Z\0\0\0\5I")
            writer.write(query("DROP TABLE t"))
            heard = await reader.readuntil(b"Z\0\0\0\5I")
            assert b"schema changes go through migrations" in heard
            writer.close()
            await until(lambda: not house.listener.connections)
            assert b"DROP" not in tap.heard[0]
            assert b"app" not in tap.heard[0]

    play(use())


def test_a_server_is_not_read_from_while_a_client_in_tls_does_not_read(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path) as house:
            big = row(b"x" * 8000) * 8000

            async def flood(model: ModelServer, writer: asyncio.StreamWriter) -> None:
                if model.ran:
                    at = model.sent.index(b"D")
                    model.sent[at:at] = big

            house.server.answer = flood
            client = await house.client()
            await client.writer.start_tls(trusting(house), server_hostname="127.0.0.1")
            client.send(START)
            await client.until("Z")
            (connection,) = house.listener.connections
            transport = connection.client.transport
            upstream = connection.upstream
            assert transport is not None
            assert upstream is not None
            assert upstream.transport is not None
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            client.send(query("SELECT 1"))
            reading = upstream.transport
            await until(lambda: not reading.is_reading())
            assert transport.get_write_buffer_size() < 4 * 1024 * 1024
            client.writer.transport.abort()
            await until(lambda: not house.listener.connections)

    play(use())
