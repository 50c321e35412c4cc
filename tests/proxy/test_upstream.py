"""Real PostgreSQL with and without TLS, every kind of password through it, and servers that are none."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from lockgate.config import Limits
from lockgate.proxy.postgresql.upstream import send_cancel
from lockgate.proxy.upstream_tls import UpstreamTls
from lockgate.values.identity import Endpoint
from lockgate.wire.postgresql.frames import startup
from tests.proxy.house import House, errors_of, play, until
from tests.support.postgres import BINARIES, Postgres

HBA = """
local all all trust
hostssl all tls all scram-sha-256
hostnossl all tls all reject
host all scram all scram-sha-256
host all md5 all md5
host all plain all password
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres(hba=HBA) as running:
        certify(running.folder / "data")
        running.psql(
            """
            ALTER SYSTEM SET ssl = on; SELECT pg_reload_conf();
            CREATE ROLE tls LOGIN PASSWORD 's3cret'; CREATE ROLE scram LOGIN PASSWORD 's3cret';
            CREATE ROLE plain LOGIN PASSWORD 's3cret';
            SET password_encryption = md5; CREATE ROLE md5 LOGIN PASSWORD 's3cret';
            """
        )
        yield running


def certify(data: Path) -> None:
    now = datetime.datetime.now(datetime.UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "database")])
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    owner = data.stat()
    for file, content in (("server.crt", certificate.public_bytes(Encoding.PEM)), ("server.key", private)):
        (data / file).write_bytes(content)
        (data / file).chmod(0o600)
        os.chown(data / file, owner.st_uid, owner.st_gid)


async def psql(house: House, user: str, text: str, password: str = "s3cret", *options: str) -> tuple[str, str]:
    process = await asyncio.create_subprocess_exec(
        str(BINARIES / "psql"), "-XAt", "-h", "127.0.0.1", "-p", str(house.listener.port), "-U", user,
        "-d", "postgres", *options, "-c", text, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={"PGPASSWORD": password, "PATH": os.environ["PATH"], "HOME": "/nonexistent"},
    )  # fmt: skip
    out, err = await process.communicate()
    return out.decode().strip(), err.decode()


def house(tmp_path: Path, server: Postgres, tls: str) -> House:
    return House(tmp_path, upstream=Endpoint("127.0.0.1", server.port), upstream_tls=tls)


OURS = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


@pytest.mark.parametrize("user", ["tls", "scram", "md5", "plain"])
def test_every_kind_of_password_is_relayed_inside_tls(tmp_path: Path, server: Postgres, user: str) -> None:
    async def use() -> None:
        async with house(tmp_path, server, "prefer") as running:
            assert await psql(running, user, OURS) == ("t", "")
            _, refused = await psql(running, user, OURS, "wrong")
            assert "password authentication failed" in refused
            recorded = str(running.records())
            assert "s3cret" not in recorded
            assert "wrong" not in recorded

    play(use())


@pytest.mark.parametrize(("user", "answer"), [("scram", "f"), ("md5", "f"), ("plain", "f"), ("tls", "")])
def test_and_without_tls_where_that_is_configured(tmp_path: Path, server: Postgres, user: str, answer: str) -> None:
    async def use() -> None:
        async with house(tmp_path, server, "disable") as running:
            out, refused = await psql(running, user, OURS)
            assert out == answer
            assert ("pg_hba.conf" in refused) is (user == "tls")

    play(use())


def test_a_large_result_inside_tls_arrives_whole_and_a_copy_goes_in(tmp_path: Path, server: Postgres) -> None:
    async def use() -> None:
        async with house(tmp_path, server, "prefer") as running:
            out, _ = await psql(running, "scram", "SELECT repeat(md5(i::text), 30) FROM generate_series(1, 20000) i")
            assert (len(out.splitlines()), set(map(len, out.splitlines()))) == (20000, {960})

    play(use())


def test_a_cancel_ends_what_runs_inside_tls(tmp_path: Path, server: Postgres) -> None:
    async def use() -> None:
        async with house(tmp_path, server, "prefer") as running:
            asked = asyncio.create_task(psql(running, "scram", "SELECT pg_sleep(30)"))
            await until(lambda: running.services.keys)
            (gate,) = running.services.keys.values()
            await until(
                lambda: server.psql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1\n"
            )
            process, secret = gate.upstream_key
            await send_cancel(Endpoint("127.0.0.1", server.port), UpstreamTls(), process, secret, 5)
            _, refused = await asked
            assert "canceling statement" in refused

    play(use())


def test_plain_where_the_server_offers_no_tls(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path, upstream_tls="prefer") as running:
            serve = running.server._talk

            async def without(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                assert (await reader.readexactly(8))[4:] == b"\x04\xd2\x16\x2f"
                writer.write(b"N")
                await serve(reader, writer)

            running.server._talk = without  # type: ignore[method-assign]
            client = await running.begun()
            assert errors_of(await client.ask("SELECT 1")) == []

    play(use())


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "closed during the TLS negotiation"),
        (b"E", "something else"),
        (b"S" + b"\x16\x03injected", "something else"),
        (b"NZ\0\0\0\5I", "something else"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "something else"),
        (b"S", "failed: closed during the TLS handshake"),
    ],
)
def test_an_answer_that_is_none_is_a_native_error(tmp_path: Path, answer: bytes, why: str) -> None:
    async def use() -> None:
        served = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(8)
            writer.write(answer)
            if answer:
                with contextlib.suppress(ConnectionError):
                    await reader.read(65536)
            writer.close()
            served.set()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as other:
            endpoint = Endpoint("127.0.0.1", other.sockets[0].getsockname()[1])
            async with House(tmp_path, upstream=endpoint, upstream_tls="prefer") as running:
                client = await running.client()
                client.send(startup({"user": "app"}))
                told = await client.error()
                assert told.startswith("08001 lockgate: connection to 127.0.0.1:")
                assert why in told
                assert await client.rest() == b""
                await served.wait()

    play(use())


@pytest.mark.parametrize("tls", ["prefer", "disable"])
def test_one_that_says_nothing_is_not_waited_for(tmp_path: Path, tls: str) -> None:
    async def use() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            endpoint = Endpoint("127.0.0.1", silent.getsockname()[1])
            limits = Limits(connect_seconds=0.2, startup_seconds=0.4)
            async with House(tmp_path, upstream=endpoint, upstream_tls=tls, limits=limits) as running:
                client = await running.client()
                client.send(startup({"user": "app"}))
                told = await client.error()
                assert ("timed out after 0.2 s" if tls == "prefer" else "not ready after 0.4 s") in told

    play(use())
