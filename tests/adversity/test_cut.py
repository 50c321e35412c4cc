"""A connection cut, spoilt and crumbled at every stage: TLS, SCRAM, a masked COPY. Nobody hangs, nothing is shown."""

from __future__ import annotations

import asyncio
import resource
import ssl
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Literal

import pytest

from lockgate.config import Credential, Limits
from lockgate.values.identity import Endpoint
from lockgate.wire.postgresql.frames import ssl_request, startup
from tests.proxy.house import EMAIL, Client, House, play, until
from tests.support.certificates import Signer, install
from tests.support.playbook import query
from tests.support.postgres import Postgres

HBA = """
local all all trust
hostssl all app all scram-sha-256
host all all all trust
"""
SCHEMA = """
CREATE ROLE lockgate LOGIN; CREATE ROLE app LOGIN PASSWORD 'hunter2hunter2';
CREATE TABLE customers (id int, email text, note text);
INSERT INTO customers SELECT i, 'markmark' || i || '@example.org', 'n' FROM generate_series(1, 300) i;
GRANT SELECT ON customers TO app;
ALTER SYSTEM SET ssl = on; SELECT pg_reload_conf();
"""
COPY = query("COPY (SELECT id, email FROM customers) TO STDOUT")
BULK = query("COPY (SELECT email FROM customers CROSS JOIN generate_series(1, 20000)) TO STDOUT")
"""Six million rows, some 150 MB."""
HANDSHAKE = (0, 1, 2, 5, 40, 130, 200, 400, 600)
"""Bytes of the server's that are not all of its part of the TLS handshake."""
BEHIND = 900
"""Where places begin that may be in the rest of it, in SCRAM or in the copy: some PLACES of them, evenly."""
PLACES = 40
How = Literal["reset", "close", "spoil"]


HOW: tuple[How, ...] = ("reset", "close", "spoil")


class Cutter:
    """Stands before a server. Of what the server says `budget` bytes pass, at most `piece` at once, and then:

    reset or close the connection, or change one bit and pass the rest. `passed` counts.
    """

    def __init__(self, server: Endpoint, budget: int = 1 << 40, how: How = "close", piece: int = 65536) -> None:
        self.budget, self.how, self.piece = budget, how, piece
        self.passed = 0
        self._upstream = server
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Cutter:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.endpoint = Endpoint("127.0.0.1", self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        onward = await asyncio.open_connection(self._upstream.host, self._upstream.port)
        self._writers += [writer, onward[1]]

        async def there() -> None:
            while data := await reader.read(65536):
                onward[1].write(data)
            onward[1].close()

        async def back() -> None:
            while data := await onward[0].read(self.piece):
                left = self.budget - self.passed
                if len(data) > left:
                    if self.how != "spoil":
                        writer.write(data[:left])
                        await writer.drain()
                        if self.how == "reset":
                            writer.transport.abort()
                        break
                    data = data[:left] + bytes((data[left] ^ 1,)) + data[left + 1 :]
                    self.budget = 1 << 40
                self.passed += len(data)
                writer.write(data)
                await writer.drain()
            writer.close()
            onward[1].close()

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(there())
                group.create_task(back())
        except* ConnectionError:
            pass  # one of the two went
        finally:
            writer.close()
            onward[1].close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    signer = Signer(tmp_path_factory.mktemp("signer"))
    with Postgres(hba=HBA) as running:
        install(running.folder / "data", *signer.certify("server", "127.0.0.1"))
        running.psql(SCHEMA)
        yield running


def house(folder: Path, cutter: Cutter, limits: Limits | None = None) -> House:
    password = folder / "pw"
    password.write_text("hunter2hunter2\n")
    password.chmod(0o600)
    return House(
        folder,
        classification={EMAIL: ("pii",)},
        limits=limits,
        upstream=cutter.endpoint,
        upstream_tls="require",
        credential=Credential(user="app", password_file=str(password)),
    )


async def copied(client: Client) -> bytes:
    """All that a client hears that introduces itself, copies and leaves."""
    heard = b""
    client.send(startup({"user": "anybody", "database": "postgres"}))
    asked = False
    async with asyncio.timeout(20):
        while data := await client.reader.read(65536):
            heard += data
            if heard.endswith(b"Z\0\0\0\5I"):
                if asked:
                    break
                asked = True
                client.send(COPY)
    client.writer.close()
    return heard


def ended(running: House) -> bool:
    """Whether everything that has begun has ended, in the records as in the house."""
    begun = [r["id"] for r in running.records(type="statement", phase="begin") if r["verdict"] == "allow"]
    over = [r["id"] for r in running.records(type="statement", phase="end")]
    return not running.listener.connections and sorted(begun) == sorted(over)


def test_a_server_cut_or_spoilt_anywhere_shows_nothing_and_hangs_nobody(tmp_path: Path, server: Postgres) -> None:
    async def use() -> None:
        real = Endpoint("127.0.0.1", server.port)
        async with Cutter(real) as cutter, house(tmp_path, cutter) as running:
            whole = await copied(await running.client())
            assert whole.count(b"d\0\0\0") >= 300, whole
            assert b"COPY 300" in whole
            assert b"markmark" not in whole
            total = cutter.passed
            for number, place in enumerate((*HANDSHAKE, *range(BEHIND, total, total // PLACES))):
                cutter.passed, cutter.budget, cutter.how = 0, place, HOW[number % 3]
                if place in HANDSHAKE and cutter.how == "spoil":
                    cutter.how = "close"  # in the head of TLS's first record not every bit counts
                heard = await copied(await running.client())
                assert b"markmark" not in heard
                assert b"hunter2" not in heard
                assert b"COPY 300" not in heard, (place, "what was cut was taken for whole")
                await until(lambda: not running.listener.connections)
                if place in HANDSHAKE:
                    assert b"C08001\0" in heard
                    assert b"closed during the TLS" in heard
            await until(lambda: ended(running))

    play(use())


def test_a_server_that_speaks_in_single_bytes_is_understood(tmp_path: Path, server: Postgres) -> None:
    async def use() -> None:
        async with Cutter(Endpoint("127.0.0.1", server.port), piece=1) as cutter, house(tmp_path, cutter) as running:
            heard = await copied(await running.client())
            assert b"COPY 300" in heard
            assert b"markmark" not in heard

    play(use())


def test_a_client_that_closes_its_half_in_the_middle_ends_both(tmp_path: Path, server: Postgres) -> None:
    async def use() -> None:
        async with Cutter(Endpoint("127.0.0.1", server.port)) as cutter, house(tmp_path, cutter) as running:
            client = await running.client()
            client.send(startup({"user": "anybody", "database": "postgres"}))
            await client.until("Z")
            client.send(BULK)
            await client.until("d")
            client.writer.write_eof()
            await client.rest()
            await until(lambda: ended(running))
            (end,) = running.records(type="statement", phase="end")
            assert end["outcome"] == "disconnected"

    play(use())


def test_a_start_of_single_bytes_has_a_deadline(tmp_path: Path, server: Postgres) -> None:
    async def use() -> None:
        async with (
            Cutter(Endpoint("127.0.0.1", server.port)) as cutter,
            house(tmp_path, cutter, Limits(startup_seconds=0.5)) as running,
        ):
            client = await running.client()
            for byte in startup({"user": "anybody", "database": "x" * 60}):
                client.send(bytes((byte,)))
                await asyncio.sleep(0.02)
                if not running.listener.connections:
                    break
            assert b"not ready after 0.5 s" in await client.rest()
            assert cutter.passed == 0

    play(use())


def test_a_client_that_never_reads_a_masked_result_costs_no_memory(tmp_path: Path, server: Postgres) -> None:
    async def use() -> None:
        async with Cutter(Endpoint("127.0.0.1", server.port)) as cutter, house(tmp_path, cutter) as running:
            client = await running.client()
            client.send(ssl_request())
            assert await client.reader.readexactly(1) == b"S"
            context = ssl.create_default_context(cadata=running.authority.pem.decode())
            await client.writer.start_tls(context, server_hostname="127.0.0.1")
            client.send(startup({"user": "anybody", "database": "postgres"}))
            await client.until("Z")
            (connection,) = running.listener.connections
            upstream = connection.upstream
            assert upstream is not None
            reading = upstream.transport
            assert reading is not None
            transport = connection.client.transport
            assert transport is not None
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            client.send(BULK)
            await until(lambda: not reading.is_reading())
            passed = -1
            while passed != cutter.passed:
                passed = cutter.passed
                await asyncio.sleep(0.3)
            assert passed < 32 << 20
            assert transport.get_write_buffer_size() < 4 << 20
            assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB
            client.writer.transport.abort()
            await until(lambda: ended(running))

    play(use())
