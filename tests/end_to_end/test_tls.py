"""Ordinary clients that want TLS, of every age, and verify whom they talk to."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lockgate.values.identity import Endpoint
from tests.proxy.house import House, play, until
from tests.support.certificates import Signer, install
from tests.support.postgres import BINARIES, Postgres
from tests.support.stack import Stack, environment

HBA = """
local all all trust
host all scram all scram-sha-256
host all all all trust
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """Debian's PostgreSQL, which takes TLS, and SCRAM bound to it."""
    with Postgres(hba=HBA) as running:
        signer = Signer(tmp_path_factory.mktemp("signer"))
        install(running.folder / "data", *signer.certify("server", "127.0.0.1"))
        running.psql(
            "ALTER SYSTEM SET ssl = on; SELECT pg_reload_conf(); CREATE ROLE app LOGIN;"
            "CREATE ROLE scram LOGIN PASSWORD 's3cret'"
        )
        yield running


def house(folder: Path, server: Postgres, tls: str = "require", **more: Any) -> House:
    made = House(folder, upstream=Endpoint("127.0.0.1", server.port), upstream_tls=tls, **more)
    (folder / "ca.crt").write_bytes(made.authority.pem)
    return made


async def run(*argv: str, **variables: str) -> tuple[str, str]:
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment() | variables, cwd="/"
    )
    out, err = await process.communicate()
    return out.decode().strip(), err.decode()


async def psql(
    house: House, *commands: str, host: str = "127.0.0.1", user: str = "app", **variables: str
) -> tuple[str, str]:
    options = [option for command in commands for option in ("-c", command)]
    return await run(
        str(BINARIES / "psql"), "-XAt", "-h", host, "-p", str(house.listener.port), "-U", user, "-d", "postgres",
        *options, PGSSLROOTCERT=str(house.folder / "ca.crt"), **variables,
    )  # fmt: skip


async def python(house: House, code: str) -> tuple[str, str]:
    """Python with psycopg, whose libpq is 18's, and asyncpg."""
    prelude = f"HOST, PORT, CA = '127.0.0.1', {house.listener.port}, '{house.folder / 'ca.crt'}'\n"
    return await run(sys.executable, "-c", prelude + textwrap.dedent(code))


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"])
def test_psql_connects_in_every_mode(tmp_path: Path, server: Postgres, mode: str) -> None:
    async def use() -> None:
        async with house(tmp_path, server) as running:
            out, err = await psql(running, "\\conninfo", "SELECT 1", PGSSLMODE=mode)
            assert err == ""
            assert ("SSL connection (protocol: TLSv1.3" in out) is (mode not in ("disable", "allow"))
            assert out.endswith("\n1")

    play(use())


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_client_that_verifies_in_full_is_shown_what_it_dialled(tmp_path: Path, server: Postgres, host: str) -> None:
    async def use() -> None:
        async with house(tmp_path, server) as running:
            assert await psql(running, "SELECT 1", host=host, PGSSLMODE="verify-full") == ("1", "")

    play(use())


def test_a_client_that_does_not_trust_this_host_is_counted_and_logged_in_one_line(
    tmp_path: Path, server: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "lockgate.proxy.listener")

    async def use() -> None:
        async with house(tmp_path, server) as running:
            (tmp_path / "ca.crt").write_bytes(Signer(tmp_path).file.read_bytes())
            _, err = await psql(running, "SELECT 1", PGSSLMODE="verify-ca")
            assert "certificate verify failed" in err
            await until(lambda: not running.listener.connections)
            assert b'lockgate_refused_total{reason="client-tls"} 1.0' in running.metrics.text()
            assert running.records(type="connection") == []

    play(use())
    (told,) = [record for record in caplog.records if record.name == "lockgate.proxy.listener"]
    assert "doesn't trust this host's authority" in told.getMessage()
    assert told.exc_info is None


def test_where_it_is_not_offered_clients_go_without(tmp_path: Path, server: Postgres) -> None:
    async def use() -> None:
        async with house(tmp_path, server, client_tls="disable") as running:
            assert await psql(running, "SELECT 1") == ("1", "")
            _, err = await psql(running, "SELECT 1", PGSSLMODE="require")
            assert "server does not support SSL" in err

    play(use())


def test_tls_from_the_first_byte(tmp_path: Path, server: Postgres) -> None:
    async def use() -> None:
        async with house(tmp_path, server) as running:
            out, err = await python(
                running,
                """
                import psycopg
                with psycopg.connect(host=HOST, port=PORT, user="app", dbname="postgres", sslnegotiation="direct",
                                     sslmode="verify-full", sslrootcert=CA) as db:
                    print(db.pgconn.ssl_in_use, db.execute("SELECT 2").fetchone()[0])
                import asyncio, asyncpg, ssl
                async def main():
                    context = ssl.create_default_context(cafile=CA)
                    context.set_alpn_protocols(["postgresql"])
                    for direct in (False, True):
                        db = await asyncpg.connect(host=HOST, port=PORT, user="app", database="postgres", ssl=context,
                                                   direct_tls=direct)
                        print(await db.fetchval("SELECT 3"))
                        await db.close()
                asyncio.run(main())
                """,
            )
            assert (out.split(), err) == (["True", "2", "3", "3"], "")

    play(use())


def test_a_refusal_is_shown_inside_tls(tmp_path: Path, server: Postgres) -> None:
    async def use() -> None:
        async with house(tmp_path, server) as running:
            running.intercepted = False
            (tmp_path / "ca.crt").unlink()  # it was not dialled, so nothing it could be verified by
            _, err = await psql(running, "SELECT 1", PGSSLMODE="require")
            assert "this connection was not intercepted" in err

    play(use())


def test_a_cancel_request_comes_inside_tls_too(tmp_path: Path, server: Postgres) -> None:
    async def use() -> None:
        async with house(tmp_path, server) as running:
            out, err = await python(
                running,
                """
                import psycopg, threading
                with psycopg.connect(host=HOST, port=PORT, user="app", dbname="postgres", sslmode="verify-full",
                                     sslrootcert=CA) as db:
                    timer = threading.Timer(1.0, db.cancel_safe)
                    timer.start()
                    try:
                        db.execute("SELECT pg_sleep(20)")
                    except psycopg.errors.QueryCanceled as error:
                        print(error)
                    timer.join()
                """,
            )
            assert (out, err) == ("canceling statement due to user request", "")

    play(use())


def test_much_in_both_directions_arrives_whole(tmp_path: Path, server: Postgres) -> None:
    server.psql("CREATE TABLE IF NOT EXISTS bulk (id int, body text); GRANT ALL ON bulk TO app")

    async def use() -> None:
        async with house(tmp_path, server) as running:
            out, err = await python(
                running,
                """
                import psycopg
                with psycopg.connect(host=HOST, port=PORT, user="app", dbname="postgres", sslmode="require") as db:
                    with db.cursor().copy("COPY bulk FROM STDIN") as copy:
                        for i in range(300):
                            copy.write(b"".join(b"%d\\t%s\\n" % (i, b"x" * 900) for _ in range(100)))
                    print(db.execute("SELECT count(*), sum(length(body)) FROM bulk").fetchone())
                    print(sum(len(row[1]) for row in db.execute("SELECT * FROM bulk")))
                    db.rollback()
                """,
            )
            assert (out.splitlines(), err) == (["(30000, 27000000)", "27000000"], "")

    play(use())


@pytest.mark.parametrize(
    ("variables", "answer"),
    [
        ({}, "1"),
        ({"PGSSLMODE": "disable"}, "1"),
        ({"PGSSLMODE": "require", "PGCHANNELBINDING": "disable"}, "1"),
        ({"PGSSLMODE": "require"}, "Set channel_binding=disable"),
        ({"PGSSLMODE": "require", "PGCHANNELBINDING": "require"}, "channel binding"),
    ],
)
def test_a_password_that_could_be_bound_to_the_servers_tls(
    tmp_path: Path, server: Postgres, variables: dict[str, str], answer: str
) -> None:
    """The server takes a client in TLS that sees no binding for one with somebody in between, which there is."""

    async def use() -> None:
        async with house(tmp_path, server) as running:
            out, err = await psql(running, "SELECT 1", user="scram", PGPASSWORD="s3cret", **variables)
            assert answer in (out or err)
            assert "s3cret" not in str(running.records())

    play(use())


def test_the_whole_product_lets_a_person_verify_by_what_it_publishes(stack: Stack) -> None:
    published = stack.folder / "run" / "ca.crt"
    shown = stack.lockgate("ca", "show", "--config", str(stack.agent_yaml))
    assert shown.stdout == published.read_text()
    assert os.stat(published).st_mode & 0o777 == 0o644
    for host in ("127.0.0.1", "localhost"):
        run = stack.psql(
            "ann", "\\conninfo", "SELECT 1", host=host, PGSSLMODE="verify-full", PGSSLROOTCERT=str(published)
        )
        assert run.stderr == ""
        assert "SSL connection" in run.stdout
    assert ssl.PEM_cert_to_DER_cert(shown.stdout)
    assert subprocess.run(
        ["cat", stack.folder / "state" / "ca.pem"], user=64001, check=False, capture_output=True
    ).returncode
