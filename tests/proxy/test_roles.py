"""The agent is somebody else upstream than the client says: real servers, every kind of authentication."""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lockgate.config import Credential, Datastore, Role
from lockgate.proxy.roles import RoleError, Roles, UpstreamRole
from lockgate.values.identity import Endpoint
from lockgate.wire.postgresql.frames import cancel_request, negotiate_protocol_version, startup
from tests.proxy.house import Client, House, errors_of, play, until
from tests.support.certificates import Signer, install
from tests.support.playbook import query
from tests.support.postgres import Postgres
from tests.support.postgres18 import Postgres18

PASSWORD = "s3cret\u00ad p\u00e4\u200bss"
"""One that SASLprep changes: both sides have to prepare it alike."""

HBA = """
local all all trust
host all scram all scram-sha-256
host all md5 all md5
host all plain all password
host all free all trust
host all nobody all reject
"""
TLS_HBA = """
hostssl all within all scram-sha-256
hostssl all cert all cert
"""
ROLES = f"""
CREATE ROLE within LOGIN PASSWORD '{PASSWORD}'; CREATE ROLE scram LOGIN PASSWORD '{PASSWORD}';
CREATE ROLE plain LOGIN PASSWORD '{PASSWORD}'; CREATE ROLE free LOGIN; CREATE ROLE nobody LOGIN; CREATE ROLE cert LOGIN;
SET password_encryption = md5; CREATE ROLE md5 LOGIN PASSWORD '{PASSWORD}';
CREATE DATABASE shop;
"""


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return Signer(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def fifteen(signer: Signer) -> Iterator[Postgres]:
    """With TLS."""
    with Postgres(hba=HBA + TLS_HBA) as running:
        data = running.folder / "data"
        install(data, *signer.certify("database", "127.0.0.1"))
        (data / "root.crt").write_bytes(signer.file.read_bytes())
        (data / "root.crt").chmod(0o644)
        running.psql("ALTER SYSTEM SET ssl_ca_file = 'root.crt'; ALTER SYSTEM SET ssl = on; SELECT pg_reload_conf()")
        running.psql(ROLES)
        yield running


@pytest.fixture(scope="module")
def eighteen() -> Iterator[Postgres]:
    """Built without TLS."""
    with Postgres18(hba=HBA) as running:
        running.psql(ROLES)
        yield running


@pytest.fixture(params=["fifteen", "eighteen"])
def server(request: pytest.FixtureRequest) -> Postgres:
    found: Postgres = request.getfixturevalue(request.param)
    return found


def password_file(folder: Path, text: str = PASSWORD) -> str:
    path = folder / "password"
    path.touch(0o600)
    path.write_text(text)
    return str(path)


def house(folder: Path, server: Postgres, user: str, *, text: str = PASSWORD, **datastore: Any) -> House:
    credential = Credential(user=user, password_file=password_file(folder, text))
    policies = 'permit (principal, action in [Action::"execute", Action::"execute_alone", Action::"reveal"], resource);'
    upstream = Endpoint("127.0.0.1", server.port)
    return House(folder, policies=policies, upstream=upstream, **{"credential": credential, **datastore})


def value(messages: list[tuple[str, bytes]]) -> str:
    """The one value of the one row."""
    (row,) = (payload for kind, payload in messages if kind == "D")
    return row[6:].decode()


async def told(running: House, **parameters: str) -> str:
    """What a client that claims to be somebody gets to know: who it is upstream, or why it isn't let in."""
    client = await running.client()
    client.send(startup({"user": "somebody", "database": "shop", **parameters}))
    async with asyncio.timeout(20):
        while True:
            kind, payload = await client.message()
            if kind == "E":
                return errors_of([(kind, payload)])[0]
            assert kind != "R" or payload == b"\0\0\0\0"  # nobody asks the client for anything
            if kind == "Z":
                break
    return value(await client.ask("SELECT concat_ws(' ', current_user, session_user, current_database())"))


async def attempts(folder: Path, server: Postgres, user: str, answer: str | None, **settings: Any) -> None:
    async with house(folder, server, user, **settings) as running:
        assert (await told(running)).startswith(answer or f"{user} {user} shop")
        if answer is None:
            assert await told(running) == f"{user} {user} shop"  # with what is salted already


IN_CLEAR = "28000 lockgate: the datastore asks for the password in clear outside verified TLS"
UNBOUND = "28000 lockgate: channel binding is required"
REFUSED = "28000 lockgate: the datastore refused the agent's credential"


@pytest.mark.parametrize(
    ("user", "channel_binding", "answer"),
    [
        ("scram", "prefer", None),
        ("scram", "require", UNBOUND),
        ("md5", "prefer", None),
        ("plain", "prefer", IN_CLEAR),
        ("free", "prefer", None),
        ("nobody", "prefer", REFUSED),
        ("within", "prefer", REFUSED),
    ],
)
def test_every_kind_of_authentication_outside_tls(
    tmp_path: Path, server: Postgres, user: str, channel_binding: str, answer: str | None
) -> None:
    play(attempts(tmp_path, server, user, answer, channel_binding=channel_binding))


@pytest.mark.parametrize(
    ("user", "channel_binding", "answer"),
    [
        ("scram", "prefer", None),
        ("scram", "require", None),
        ("scram", "disable", None),
        ("within", "require", None),
        ("md5", "prefer", None),
        ("md5", "require", UNBOUND),
        ("plain", "prefer", None),
        ("plain", "require", UNBOUND),
        ("free", "require", UNBOUND),
        ("nobody", "prefer", REFUSED),
    ],
)
def test_and_inside(
    tmp_path: Path, fifteen: Postgres, signer: Signer, user: str, channel_binding: str, answer: str | None
) -> None:
    tls = {"upstream_tls": "verify-full", "upstream_ca": str(signer.file)}
    play(attempts(tmp_path, fifteen, user, answer, channel_binding=channel_binding, **tls))


def test_a_password_in_clear_is_for_a_server_that_was_verified(tmp_path: Path, fifteen: Postgres) -> None:
    play(attempts(tmp_path, fifteen, "plain", IN_CLEAR, upstream_tls="require"))


def test_a_certificate(tmp_path: Path, fifteen: Postgres, signer: Signer) -> None:
    certificate, key = signer.certify("cert")
    play(
        attempts(
            tmp_path,
            fifteen,
            "cert",
            None,
            credential=Credential(user="cert"),
            upstream_tls="require",
            upstream_certificate=str(certificate),
            upstream_key=str(key),
        )
    )


def test_a_wrong_password_is_read_again_and_never_shown(
    tmp_path: Path, server: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    async def use() -> None:
        async with house(tmp_path, server, "scram", text="wr0ng") as running:
            with caplog.at_level(logging.DEBUG):
                refused = await told(running)
            assert refused.startswith("28P01 lockgate: the datastore refused the agent's credential")
            assert "scram" not in refused
            assert 'user "scram"' in caplog.text
            password_file(tmp_path)
            assert await told(running) == "scram scram shop"
            assert "wr0ng" not in caplog.text + repr(running.records())

    play(use())


def test_a_secret_that_can_not_be_had_is_told_without_its_place(
    tmp_path: Path, server: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    async def use() -> None:
        async with house(tmp_path, server, "scram") as running:
            (tmp_path / "password").chmod(0o644)
            refused = await told(running)
            assert refused == "08001 lockgate: the agent's credential for orders can't be had: its log says why"
            assert "open to everyone" in caplog.text

    play(use())


def test_who_the_client_says_it_is_is_recorded_and_counts_for_nothing(tmp_path: Path, server: Postgres) -> None:
    async def use() -> None:
        async with house(tmp_path, server, "scram") as running:
            running.write_policies(
                'permit (principal, action, resource) when { context has "user" && context.user == "scram" };'
            )
            running.policies.reload()
            assert await told(running) == "scram scram shop"
            for kind in ("connection", "statement"):
                facts = running.records(type=kind, phase="begin")[0]["connection"]
                assert (facts["user"], facts["claimed_user"], facts["database"]) == ("scram", "somebody", "shop")

    play(use())


def test_a_client_that_is_who_it_says_has_no_second_name(tmp_path: Path, server: Postgres) -> None:
    async def use() -> None:
        async with house(tmp_path, server, "free", credential=None) as running:
            await told(running, user="free")
            facts = running.records(type="connection", phase="begin")[0]["connection"]
            assert facts["user"] == "free"
            assert "claimed_user" not in facts

    play(use())


@pytest.mark.parametrize(
    "parameters",
    [
        {"options": "-c role=free"},
        {"options": "-c session_authorization=free"},
        {"options": "--role=free"},
        {"role": "free"},
        {"ROLE": "free"},
        {"session_authorization": "free"},
    ],
)
def test_no_other_role_is_had_by_the_start_up_packet(
    tmp_path: Path, server: Postgres, parameters: dict[str, str]
) -> None:
    async def use() -> None:
        async with house(tmp_path, server, "scram") as running:
            running.write_policies(
                """permit (principal, action, resource);
                forbid (principal, action == Action::"execute", resource) when { context.kinds.contains("SET") };"""
            )
            running.policies.reload()
            assert (await told(running, **parameters)).startswith("42501 lockgate:")

    play(use())


def test_groups_have_roles_and_lose_them(tmp_path: Path, server: Postgres) -> None:
    async def use() -> None:
        own = Credential(user="scram", password_file=password_file(tmp_path))
        roles = [Role(group="dba", credential=Credential(user="free")), Role(group="engineers", credential=own)]
        async with house(tmp_path, server, "", credential=None, roles=roles) as running:
            assert await told(running) == "scram scram shop"
            client = await running.begun()
            running.identities.replace(running.directory("engineers", "dba"))
            assert errors_of(await client.ask("SELECT 1")) == [
                "42501 lockgate: your role in the datastore has changed since this connection began: connect again"
            ]
            assert errors_of(await client.ask("SELECT 2"))[0].startswith("42501")
            assert await told(running) == "free free shop"
            running.identities.replace(running.directory("interns"))
            assert await told(running) == "28000 lockgate: orders has no role for you"
            assert running.records(type="connection", phase="end")

    play(use())


@pytest.mark.parametrize("minor", [0, 2, 9999])
def test_protocols_and_keys_are_those_of_both_sides(tmp_path: Path, server: Postgres, minor: int) -> None:
    async def use() -> None:
        async with house(tmp_path, server, "scram") as running:
            client = await running.client()
            client.send(startup({"user": "x", "database": "shop", "_pq_.grease": "1"}, minor=minor))
            messages = await client.until("Z")
            newest = isinstance(server, Postgres18) and minor >= 2
            agreed = 2 if newest else 0
            assert messages[0] == ("v", negotiate_protocol_version(["_pq_.grease"], agreed)[5:])
            (key,) = (payload for kind, payload in messages if kind == "K")
            assert len(key) == (36 if newest else 8)
            client.send(query("SELECT pg_sleep(30)"))
            await until(lambda: "1" in server.psql(SLEEPING))
            await cancel(running, struct.unpack("!I", key[:4])[0], key[4:-1] + bytes([key[-1] ^ 1]))
            await cancel(running, struct.unpack("!I", key[:4])[0], key[4:])
            assert (await client.error()).startswith("57014")

    play(use())


SLEEPING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"


async def cancel(running: House, process: int, secret: bytes) -> None:
    client: Client = await running.client()
    client.send(cancel_request(process, secret))
    assert await client.rest() == b""


# --- the choice of a role


def settings(**given: Any) -> Datastore:
    return Datastore(name="orders", protocol="postgresql", addresses=["127.0.0.1:5432"], **given)


def test_the_first_role_that_fits_before_the_default() -> None:
    dba, app, other = (Credential(user=user) for user in ("owner", "app", "other"))
    roles = [Role(group="dba", credential=dba), Role(group="pii", credential=other)]
    assert Roles(settings()).of(["dba"]) is None
    assert Roles(settings(credential=app)).of(["dba"]) is app
    assert Roles(settings(credential=app, roles=roles)).of(["pii", "dba"]) is dba
    assert Roles(settings(credential=app, roles=roles)).of(["pii"]) is other
    assert Roles(settings(credential=app, roles=roles)).of([]) is app
    with pytest.raises(RoleError, match="no role for you"):
        Roles(settings(roles=roles)).of(["interns"])


def test_a_connection_keeps_the_role_it_was_found_or_ends() -> None:
    counted: list[str] = []
    roles = [Role(group="dba", credential=Credential(user="owner"))]
    role = UpstreamRole(Roles(settings(roles=roles)), counted.append)
    assert role.user is None
    assert role.moved(["interns"]) is None  # nothing has been found that could be lost
    assert role.find(["interns"]) is not None
    assert role.find(["dba"]) is None
    assert role.user == "owner"
    assert role.moved(["dba", "interns"]) is None
    assert role.moved(["interns"]) is not None
    assert counted == ["credential"] * 2
