"""The way to real Redis servers: whom the agent is there, in which TLS, and where their redirections lead."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import AuthenticationError, ResponseError

from lockgate.config import Credential, Role
from tests.proxy.house import play
from tests.proxy.redis.house import RedisHouse, password_file
from tests.support.certificates import Signer
from tests.support.redis import Redis

PASSWORD = "s3cret-p\u00e4ss"
USERS = {"writer": f"on >{PASSWORD} ~* &* +@all", "reader": "on nopass ~* &* +@read +@connection +acl"}


@pytest.fixture(scope="module")
def guarded() -> Iterator[Redis]:
    with Redis(password=PASSWORD, users=USERS) as server:
        yield server


def test_the_agent_is_who_it_is_configured_to_be_whatever_the_client_shows(tmp_path: Path, guarded: Redis) -> None:
    async def use() -> None:
        credential = Credential(user="writer", password_file=password_file(tmp_path, PASSWORD))
        async with RedisHouse(tmp_path, guarded, credential=credential) as house:
            for shown in ({}, {"password": "wrong"}, {"username": "root", "password": "wrong"}, {"protocol": 3}):
                client = house.connect(**shown)
                assert await client.execute_command("ACL", "WHOAMI") == "writer"
            reader, writer = await house.raw()
            writer.write(b"AUTH nobody knows\r\nACL WHOAMI\r\nRESET\r\nACL WHOAMI\r\n")
            assert await reader.readexactly(5 + 12) == b"+OK\r\n$6\r\nwriter\r\n"
            assert await reader.readexactly(8 + 12) == b"+RESET\r\n$6\r\nwriter\r\n"
            assert all(r["connection"]["user"] == "writer" for r in house.records(type="connection", phase="begin"))
            told = str(house.records())
            assert PASSWORD not in told
            assert "wrong" not in told
            assert "knows" not in told

    play(use())


def test_a_group_has_a_user_of_its_own(tmp_path: Path, guarded: Redis) -> None:
    async def use() -> None:
        roles = [Role(group="engineers", credential=Credential(user="reader"))]
        async with RedisHouse(tmp_path, guarded, roles=roles) as house:
            client = house.connect()
            assert await client.execute_command("ACL", "WHOAMI") == "reader"
            with pytest.raises(ResponseError, match="no permissions"):
                await client.set("a", "1")

    play(use())


def test_one_password_for_everybody_needs_no_user(tmp_path: Path, guarded: Redis) -> None:
    async def use() -> None:
        async with RedisHouse(
            tmp_path, guarded, credential=Credential(password_file=password_file(tmp_path, PASSWORD))
        ) as house:
            assert await house.connect().execute_command("ACL", "WHOAMI") == "default"

    play(use())


def test_a_credential_that_the_server_does_not_take_is_told_without_it(
    tmp_path: Path, guarded: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)

    async def use() -> None:
        credential = Credential(user="writer", password_file=password_file(tmp_path, "an old one"))
        async with RedisHouse(tmp_path, guarded, credential=credential) as house:
            with pytest.raises(ResponseError, match="did not take the agent's credential"):
                await house.connect().ping()

    play(use())
    assert "refused the agent's credential of user writer" in caplog.text
    assert "an old one" not in caplog.text


def test_without_one_clients_authenticate_themselves(tmp_path: Path, guarded: Redis) -> None:
    async def use() -> None:
        async with RedisHouse(tmp_path, guarded) as house:
            client = house.connect(username="writer", password=PASSWORD)
            assert await client.execute_command("ACL", "WHOAMI") == "writer"
            assert await client.set("a", "1")
            with pytest.raises(AuthenticationError, match="must be called with the client already authenticated"):
                await house.connect().get("a")
            with pytest.raises(AuthenticationError):
                await house.connect(username="writer", password="wrong").ping()
            told = house.records()
            assert PASSWORD not in str(told)
            assert "wrong" not in str(told)

    play(use())


def test_policy_knows_the_user_and_the_database(tmp_path: Path, server: Redis) -> None:
    policies = """
    permit (principal, action == Action::"execute", resource) when { context.database == "0" };
    permit (principal, action == Action::"execute", resource)
        when { context.kinds.contains("SELECT") || context.kinds.contains("GET") };
    permit (principal, action == Action::"execute_alone", resource);
    """

    async def use() -> None:
        async with RedisHouse(tmp_path, server, policies=policies) as house:
            reader, writer = await house.raw()
            writer.write(b"SET a 1\r\nSELECT 3\r\nSET a 2\r\nGET a\r\nSELECT 0\r\nSET a 4\r\n")
            assert await reader.readexactly(10) == b"+OK\r\n+OK\r\n"
            assert (await reader.readline()).startswith(b"-NOPERM lockgate: no policy permits ann")
            assert await reader.readexactly(5 + 5 + 5) == b"$-1\r\n+OK\r\n+OK\r\n"
            assert (server.ask("GET", "a"), server.ask("GET", "a", database=3)) == (b"4", None)

    play(use())


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return Signer(tmp_path_factory.mktemp("ca"))


@pytest.mark.parametrize("upstream", ["prefer", "require", "verify-full"])
def test_tls_on_both_sides(tmp_path: Path, signer: Signer, upstream: str) -> None:
    options: dict[str, Any] = {"upstream_tls": upstream}
    if upstream == "verify-full":
        options["upstream_ca"] = str(signer.file)

    async def use() -> None:
        with Redis(tls=signer.certify("db", "127.0.0.1")) as server:
            server.port = server.tls_port
            async with RedisHouse(tmp_path, server, **options) as house:
                (tmp_path / "ca.pem").write_text(house.authority.pem.decode())
                client = house.connect(ssl=True, ssl_ca_certs=str(tmp_path / "ca.pem"), ssl_check_hostname=False)
                assert await client.set("a", "1")
                if upstream == "prefer":
                    # a plain client has a plain server, and this port speaks TLS only
                    with pytest.raises(Exception, match=r"closed|reset|Connection"):
                        await house.connect().ping()
                else:
                    assert await house.connect().get("a") == "1"

    play(use())
