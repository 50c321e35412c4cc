"""The way to a Redis server: plain or in TLS, as the configuration has it or else as the client came."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from lockgate.proxy.redis.upstream import connect
from lockgate.proxy.upstream_tls import UpstreamTls
from lockgate.values.identity import Endpoint
from tests.proxy.house import play
from tests.support.certificates import Signer
from tests.support.postgres import free_port
from tests.support.redis import Redis


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return Signer(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def both(signer: Signer) -> Iterator[Redis]:
    """A plain port and one that speaks TLS."""
    with Redis(tls=signer.certify("db", "127.0.0.1")) as server:
        yield server


class Heard(asyncio.Protocol):
    def __init__(self) -> None:
        self.came = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        if not self.came.done():
            self.came.set_result(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.came.done():
            self.came.set_result(b"")


async def ping(port: int, tls: UpstreamTls, *, client_tls: bool) -> tuple[bytes, bool]:
    """What PING is answered with, nothing where the server hangs up; and whether it was said in TLS."""
    transport, heard = await connect(Endpoint("127.0.0.1", port), tls, Heard, client_tls=client_tls)
    try:
        transport.write(b"PING\r\n")
        async with asyncio.timeout(10):
            return await heard.came, transport.get_extra_info("ssl_object") is not None
    finally:
        transport.abort()


@pytest.mark.parametrize("client_tls", [False, True])
def test_the_configuration_decides(both: Redis, client_tls: bool) -> None:
    async def use() -> None:
        plain, secure = UpstreamTls("disable"), UpstreamTls("require")
        assert await ping(both.port, plain, client_tls=client_tls) == (b"+PONG\r\n", False)
        assert await ping(both.tls_port, secure, client_tls=client_tls) == (b"+PONG\r\n", True)
        answer, secured = await ping(both.tls_port, plain, client_tls=client_tls)
        assert (answer[:1] != b"+", secured) == (True, False)

    play(use())


def test_or_else_it_is_as_the_client_came(both: Redis) -> None:
    async def use() -> None:
        tls = UpstreamTls("prefer")
        assert await ping(both.port, tls, client_tls=False) == (b"+PONG\r\n", False)
        assert await ping(both.tls_port, tls, client_tls=True) == (b"+PONG\r\n", True)

    play(use())


def test_a_server_is_verified_where_it_has_to_show_who_it_is(both: Redis, signer: Signer, tmp_path: Path) -> None:
    async def use() -> None:
        known = UpstreamTls("verify-full", ca=str(signer.file))
        assert await ping(both.tls_port, known, client_tls=False) == (b"+PONG\r\n", True)
        other = Signer(tmp_path, "other")
        with pytest.raises(ssl.SSLCertVerificationError):
            await ping(both.tls_port, UpstreamTls("verify-full", ca=str(other.file)), client_tls=True)

    play(use())


def test_a_server_that_is_not_there_or_speaks_no_tls() -> None:
    async def use() -> None:
        with pytest.raises(ConnectionRefusedError):
            await ping(free_port(), UpstreamTls("disable"), client_tls=False)

        async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"-ERR Protocol error\r\n")
            await reader.read()
            writer.close()

        port = free_port()
        async with await asyncio.start_server(plain, "127.0.0.1", port):
            with pytest.raises(ssl.SSLError):
                await ping(port, UpstreamTls("require"), client_tls=False)
            await asyncio.sleep(0.03)  # uvloop can't be closed while a transport says goodbye

    play(use())
