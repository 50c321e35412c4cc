"""What a server gets from the reader of catalogs, when a client has dialled one of its own."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from asyncpg import connect_utils

from lockgate.config import Credential
from lockgate.proxy.postgresql import reader_protocol as module
from lockgate.proxy.postgresql.catalog_reader import CatalogError, CatalogReader
from lockgate.proxy.upstream_tls import UpstreamTls
from lockgate.values.identity import Endpoint
from lockgate.wire.postgresql.frames import frame, ssl_request
from tests.proxy.postgresql.catalogs import run
from tests.support.certificates import Signer, install
from tests.support.playbook import authentication, parameter, ready
from tests.support.postgres import Postgres

PASSWORD = "the-readers-own-0451"
HBA = """
local all all trust
hostssl all within all password
host all within all reject
host all all all scram-sha-256
"""

Says = Callable[[bytes], bytes]
"""What a hostile server answers to each thing it reads."""


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return Signer(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def encrypted(signer: Signer) -> Iterator[Postgres]:
    with Postgres(hba=HBA) as running:
        install(running.folder / "data", *signer.certify("database", "127.0.0.1"))
        running.psql(
            "ALTER SYSTEM SET ssl = on; SELECT pg_reload_conf();"
            f"SET password_encryption = 'scram-sha-256'; CREATE ROLE within LOGIN PASSWORD '{PASSWORD}';"
            f"CREATE ROLE abroad LOGIN PASSWORD '{PASSWORD}'"
        )
        yield running


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("READERS_OWN", PASSWORD)
    return "READERS_OWN"


class Hostile(asyncio.Protocol):
    """One connection to a server that keeps what it is told, and says what it likes, in pieces of `size` bytes."""

    def __init__(self, says: Says, read: bytearray, size: int) -> None:
        self._says = says
        self._read = read
        self._size = size
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._read += data
        self._send(b"N" if data == ssl_request() else self._says(data))

    def _send(self, said: bytes) -> None:
        if said and self._transport is not None:
            self._transport.write(said[: self._size])
            asyncio.get_running_loop().call_later(0.001, self._send, said[self._size :])

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None


async def met(says: Says, credential: Credential, size: int = 1 << 30) -> tuple[bytes, str, float]:
    """All that a hostile server has read, what became of the reading, and the longest that the loop stood still."""

    async def watch() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            still.append(time.monotonic() - before)

    read, still = bytearray(), [0.0]
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Hostile(says, read, size), "127.0.0.1", 0)
    watching = asyncio.create_task(watch())
    async with server:
        endpoint = Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])
        with pytest.raises(CatalogError) as refused:
            await CatalogReader(credential, connect_seconds=5).read(endpoint, "postgres")
        await asyncio.sleep(0.05)
    watching.cancel()
    return bytes(read), str(refused.value), max(still)


def test_the_password_is_not_for_whoever_asks(secret: str) -> None:
    read, why, _ = run(met(lambda _: authentication(3), Credential(user="reader", env=secret)))
    assert PASSWORD.encode() not in read
    assert b"reader" in read  # it did come as far as being asked
    assert "in clear outside verified TLS" in why


@pytest.mark.parametrize("size", [1, 7, 64])
def test_nor_in_pieces_or_behind_something_else(secret: str, size: int) -> None:
    said = frame(b"N", b"SNOTICE\0Mhello\0\0") + authentication(3)
    read, why, _ = run(met(lambda _: said, Credential(user="reader", env=secret), size))
    assert PASSWORD.encode() not in read
    assert "in clear outside verified TLS" in why


def challenge(rounds: bytes) -> Says:
    """SCRAM as a server has it that asks for so many rounds."""

    def says(data: bytes) -> bytes:
        if b"SCRAM-SHA-256" not in data:
            return b"" if data[:1] == b"p" else authentication(10, b"SCRAM-SHA-256\0\0")
        nonce = data.rpartition(b",r=")[2]
        salt = base64.b64encode(b"0123456789abcdef")
        return authentication(11, b"r=" + nonce + b"x,s=" + salt + b",i=" + rounds)

    return says


@pytest.mark.parametrize("rounds", [b"1", b"4095", b"100001", b"20000000", b"99999999999", b"4096,i=20000000"])
@pytest.mark.parametrize("has_password", [True, False])
def test_scram_is_neither_cheap_to_guess_nor_holds_up_the_agent(secret: str, rounds: bytes, has_password: bool) -> None:
    """The rounds are computed on the event loop: 2**31 of them would be a quarter of an hour for everybody."""
    credential = Credential(user="reader", env=secret if has_password else None)
    read, why, still = run(met(challenge(rounds), credential))
    assert b",p=" not in read
    assert "iterations" in why
    assert still < 2


def test_what_never_ends_has_a_bound(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READING_BYTES", 1_000_000)
    endless = frame(b"N", b"SNOTICE\0M" + b"x" * 60_000 + b"\0\0")

    def before(_: bytes) -> bytes:
        return endless * 2

    def after(data: bytes) -> bytes:
        return endless * 20 if data[:1] in b"QP" else authentication(0) + parameter("server_version", "15.0") + ready()

    for says in (before, after):
        _, why, _ = run(met(says, Credential(user="reader", env=secret)))
        assert "connection was closed" in why


def _always(said: bytes, _: bytes) -> bytes:
    return said


def test_a_message_of_no_possible_length(secret: str) -> None:
    for said in (b"R\xff\xff\xff\xff", b"R\0\0\0\0", b"R\0\0\0\4", b"E\0\0\0\3x" * 20_000):
        long = said + b"\0" * 70_000
        _, why, _ = run(met(partial(_always, long), Credential(user="reader", env=secret)))
        assert PASSWORD not in why


def test_who_is_verified_may_ask_in_clear(encrypted: Postgres, signer: Signer, secret: str) -> None:
    endpoint = Endpoint("127.0.0.1", encrypted.port)
    credential = Credential(user="within", env=secret)
    verified = UpstreamTls("verify-full", ca=str(signer.file))
    assert run(CatalogReader(credential, tls=verified).read(endpoint, "postgres")).catalog.by_oid
    for unverified in (UpstreamTls("require"), UpstreamTls("prefer")):
        with pytest.raises(CatalogError, match=r"in clear outside verified TLS|rejects connection"):
            run(CatalogReader(credential, tls=unverified).read(endpoint, "postgres"))


def test_scram_goes_on_as_ever_inside_tls_and_outside(encrypted: Postgres, secret: str) -> None:
    endpoint = Endpoint("127.0.0.1", encrypted.port)
    for tls in (UpstreamTls("require"), UpstreamTls("disable")):
        reader = CatalogReader(Credential(user="abroad", env=secret), tls=tls)
        assert run(reader.read(endpoint, "postgres")).catalog.by_oid


def test_asyncpg_takes_the_guard() -> None:
    """A release of asyncpg that looks for its protocol elsewhere would go without."""
    assert vars(connect_utils)["protocol"].Protocol is module.GuardedProtocol
