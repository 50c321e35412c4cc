"""The commands that a server has beside those that are built in: asked of it once, and not believed blindly."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ExecAbortError, ResponseError

from lockgate.config import CatalogReader, Credential, Datastore
from lockgate.proxy.redis import commands as asking
from lockgate.proxy.redis.commands import ANSWER_BYTES, FRESH_SECONDS, RETRY_SECONDS, SERVERS, Commands
from lockgate.proxy.roles import Roles
from lockgate.proxy.upstream_tls import UpstreamTls
from lockgate.understand.redis import CommandTable
from lockgate.values.identity import Endpoint
from tests.proxy.house import play, until
from tests.proxy.redis.house import MARKER, RedisHouse, password_file
from tests.proxy.redis.scripted import Scripted, described
from tests.support.certificates import Signer
from tests.support.postgres import free_port
from tests.support.redis import Redis
from tests.support.redis_module import build
from tests.support.redis_playbook import array, bulk, error, status

PASSWORD = "s3cret-p\u00e4ss"
USERS = {
    "reader": f"on >{PASSWORD} ~* &* -@all +command",
    "open": "on nopass ~* &* +@all",
    "blind": "on nopass ~* &* +@all -command",
}
BUILTIN = CommandTable.builtin()
EXTRA = array(described("lg.get", "readonly"), described("lg.set", "write", arity=3))


@pytest.fixture(scope="module")
def modular() -> Iterator[Redis]:
    """A server with a module and a password for everybody."""
    server = Redis(password=PASSWORD, users=USERS)
    server.settings = {"loadmodule": str(build(server.folder))}
    with server:
        yield server


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def commands(clock: Clock | None = None, *, seconds: float = 5.0, **datastore: Any) -> Commands:
    settings = Datastore(
        name="cache", protocol="redis", addresses=["127.0.0.1:6379"], **{"upstream_tls": "disable", **datastore}
    )
    return Commands(settings, Roles(settings), UpstreamTls.of(settings), seconds, clock or Clock())


def at(port: int) -> Endpoint:
    return Endpoint("127.0.0.1", port)


def names(table: CommandTable) -> set[str]:
    return {command.name for command in table} - {command.name for command in BUILTIN}


ALL = {"LG.GET", "LG.SET", "LG.MANY"}


# whom it is asked as


def test_it_is_read_as_catalog_or_else_as_credential(tmp_path: Path, modular: Redis) -> None:
    named: dict[str, Any] = {"user": "reader", "password_file": password_file(tmp_path, PASSWORD)}

    async def use() -> None:
        for given in (
            {"catalog": CatalogReader(**named)},
            {"credential": Credential(**named)},
            {"catalog": CatalogReader(**named), "credential": Credential(user="nobody")},
            {"credential": Credential(password_file=named["password_file"])},
            {"catalog": CatalogReader(user="open")},
        ):
            known = commands(**given)
            assert known.stale(at(modular.port))
            assert known.server(at(modular.port)).table is BUILTIN
            await known.read(at(modular.port))
            assert names(known.server(at(modular.port)).table) == ALL
            assert not known.stale(at(modular.port))
            assert known.server(at(1)).table is BUILTIN, "another server may have others"

    play(use())


def test_with_neither_what_is_built_in_is_all_there_is() -> None:
    assert not commands().stale(at(1))
    assert commands().server(at(1)).table is BUILTIN


@pytest.mark.parametrize(
    ("credential", "why"),
    [
        (CatalogReader(user="blind"), "it answers COMMAND with NOPERM"),
        (CatalogReader(user="nobody"), "it answers AUTH with WRONGPASS"),
        (CatalogReader(user="reader", env="LOCKGATE_TESTS_HAVE_NO_SUCH_VARIABLE"), "can't be had"),
    ],
)
def test_a_server_that_does_not_tell(
    modular: Redis, credential: CatalogReader, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def use() -> None:
        clock = Clock()
        known = commands(clock, catalog=credential)
        await known.read(at(modular.port))
        assert known.server(at(modular.port)).table is BUILTIN
        assert not known.stale(at(modular.port)), "not asked again and again"
        clock.now += RETRY_SECONDS
        assert known.stale(at(modular.port))

    with caplog.at_level(logging.WARNING):
        play(use())
    assert why in caplog.text
    assert f"of cache at 127.0.0.1:{modular.port} can't be read" in caplog.text


def test_an_error_that_quotes_the_password_is_not_repeated(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As a server does whose AUTH was renamed."""

    async def use() -> None:
        said = error(f"ERR unknown command 'AUTH', with args beginning with: '{PASSWORD}'")
        async with Scripted({"AUTH": said, "COMMAND": error(f"NOPERM {PASSWORD}")}) as server:
            known = commands(catalog=CatalogReader(password_file=password_file(tmp_path, PASSWORD)))
            await known.read(at(server.port))

    with caplog.at_level(logging.DEBUG):
        play(use())
    assert "it answers AUTH with ERR" in caplog.text
    assert PASSWORD not in caplog.text


def test_a_password_that_is_not_taken_is_fetched_anew(tmp_path: Path, modular: Redis) -> None:
    fetch = tmp_path / "fetch"
    fetch.write_text(f"#!/bin/sh\necho . >> {tmp_path}/runs\necho wrong\n")
    fetch.chmod(0o700)

    async def use() -> None:
        known = commands(catalog=CatalogReader(user="reader", command=[str(fetch)]))
        await known.read(at(modular.port))
        (printed,) = known._roles._passwords._printed.values()
        assert printed.refused

    play(use())


@pytest.mark.parametrize("way", ["require", "verify-full", "prefer"])
def test_in_tls(tmp_path: Path, way: str) -> None:
    async def use() -> None:
        signer = Signer(tmp_path)
        server = Redis(users={"reader": "on nopass -@all +command"}, tls=signer.certify("db", "127.0.0.1"))
        server.settings = {"loadmodule": str(build(server.folder))}
        more: dict[str, Any] = {"upstream_ca": str(signer.file)} if way == "verify-full" else {}
        async with server:
            known = commands(catalog=CatalogReader(user="reader"), upstream_tls=way, **more)
            endpoint = at(server.tls_port)
            if way == "prefer":
                await known.read(endpoint)
                assert known.server(endpoint).table is BUILTIN, "it can't be told whether a server speaks TLS"
                known.reached(endpoint, client_tls=True)
            await known.read(endpoint)
            assert names(known.server(endpoint).table) == ALL

    play(use())


# when it is asked


def test_it_is_asked_once_for_all_that_wait_and_again_after_a_while() -> None:
    async def use() -> None:
        clock = Clock()
        async with Scripted({"COMMAND": EXTRA}, held=frozenset({"COMMAND"})) as server:
            known, endpoint = commands(clock, catalog=CatalogReader(user="x")), at(server.port)
            waiting = [asyncio.ensure_future(known.read(endpoint)) for _ in range(10)]
            await until(lambda: server.asked("COMMAND"))
            assert not any(task.done() for task in waiting)
            waiting[0].cancel()
            server.release()
            await asyncio.gather(*waiting[1:])
            assert (server.clients, server.asked("COMMAND")) == (1, 1)
            assert names(known.server(endpoint).table) == {"LG.GET", "LG.SET"}
            clock.now += FRESH_SECONDS - 1
            assert not known.stale(endpoint)
            clock.now += 1
            assert known.stale(endpoint)

    play(use())


def test_what_is_known_counts_while_it_is_asked_again_and_when_it_fails() -> None:
    async def use() -> None:
        clock = Clock()
        async with Scripted({"COMMAND": EXTRA}, held=frozenset({"COMMAND"})) as server:
            known, endpoint = commands(clock, catalog=CatalogReader(user="x")), at(server.port)
            server.release()
            await known.read(endpoint)
            before = known.server(endpoint).table
            server._released.clear()
            clock.now += FRESH_SECONDS
            again = asyncio.ensure_future(known.read(endpoint))
            await until(lambda: server.asked("COMMAND") == 2)
            assert known.server(endpoint).table is before
            server.answers["COMMAND"] = error("LOADING Redis is loading the dataset in memory")
            server.release()
            await again
            assert known.server(endpoint).table is before
            clock.now += RETRY_SECONDS
            assert known.stale(endpoint)

    play(use())


def test_who_only_observes_waits_for_a_moment_since_the_asking_began() -> None:
    async def use() -> None:
        clock = Clock()
        async with Scripted({"COMMAND": EXTRA}, held=frozenset({"COMMAND"})) as server:
            known, endpoint = commands(clock, catalog=CatalogReader(user="x")), at(server.port)
            first = asyncio.ensure_future(known.read(endpoint, 0.05))
            await until(lambda: server.asked("COMMAND"))
            await first
            clock.now += 0.05
            async with asyncio.timeout(1):
                for _ in range(100):
                    await known.read(endpoint, 0.05)
            assert known.server(endpoint).table is BUILTIN
            server.release()
            await known.read(endpoint)
            assert (server.asked("COMMAND"), names(known.server(endpoint).table)) == (1, {"LG.GET", "LG.SET"})

    play(use())


def test_a_server_that_is_slow_or_down(caplog: pytest.LogCaptureFixture) -> None:
    async def use() -> None:
        async with Scripted(held=frozenset({"COMMAND"})) as server:
            known = commands(catalog=CatalogReader(user="x"), seconds=0.05)
            await known.read(at(server.port))
            await known.read(at(down := free_port()))
            assert known.server(at(server.port)).table is known.server(at(down)).table is BUILTIN
            assert not known.stale(at(server.port))

    with caplog.at_level(logging.WARNING):
        play(use())
    assert "it took too long" in caplog.text
    assert "refused" in caplog.text


def test_the_agent_stops_meanwhile() -> None:
    async def use() -> None:
        async with Scripted(held=frozenset({"COMMAND"})) as server:
            known = commands(catalog=CatalogReader(user="x"))
            waiting = asyncio.ensure_future(known.read(at(server.port)))
            await until(lambda: server.asked("COMMAND"))
            await known.close()
            await waiting
            assert known.server(at(server.port)).table is BUILTIN

    play(use())


def test_a_mistake_of_ours_is_nothing_to_pass_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise ArithmeticError("a bug")

    async def use() -> None:
        async with Scripted({"COMMAND": EXTRA}) as server:
            monkeypatch.setattr(CommandTable, "from_server", fails)
            with pytest.raises(ArithmeticError):
                await commands(catalog=CatalogReader(user="x")).read(at(server.port))

    play(use())


def test_as_many_servers_are_remembered_as_a_cluster_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "SERVERS", 3)
    assert SERVERS > 200

    async def use() -> None:
        known = commands(catalog=CatalogReader(user="x"))
        ports = [free_port() for _ in range(4)]
        for port in ports:
            known.reached(at(port), client_tls=False)
            await known.read(at(port))
        assert len(known._servers) == 3
        assert [known.stale(at(port)) for port in ports[1:]] == [False, False, False]
        assert known.stale(at(ports[0]))

    play(use())


# what it says

HUGE = b"*%d\r\n" % 2_000_000_000


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"*1\r\n$-5\r\n",
        b"$%d\r\n" % 10**17,
        HUGE,
        HUGE * 100,
        b"*1\r\n" * 500,
        b"%1\r\n*0\r\n:1\r\n",
        b"+OK\r\n",
        b"*-1\r\n",
        b"$-1\r\n",
        b"-\r\n",
        b"-ERR " + b"x" * 70_000 + b"\r\n",
        b"*2\r\n$1\r\nx\r\n",
        b"+" + b"x" * (ANSWER_BYTES + 1),
        array(*[bulk("x" * 1000)] * (ANSWER_BYTES // 1000)),
    ],
    ids=lambda answer: repr(answer[:12]),
)
def test_a_hostile_answer_changes_nothing_and_costs_little(answer: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def use() -> None:
        async with Scripted({"COMMAND": answer}) as server:
            known = commands(catalog=CatalogReader(user="x"), seconds=1.0)
            await known.read(at(server.port))
            assert known.server(at(server.port)).table is BUILTIN
            assert not known.stale(at(server.port))

    with caplog.at_level(logging.WARNING):
        play(use())
    assert len(caplog.records) == 1
    assert len(caplog.text) < 400


def test_of_what_reads_as_commands_none_that_is_built_in_becomes_less() -> None:
    told = array(
        described("flushall", "readonly", "fast"), described("get", "write"), described("lg.get", "readonly"),
        bulk("garbage"), array(bulk("x")), described("bad name", "readonly"), described("lg.odd", keys=(1, 1, -1)),
    )  # fmt: skip

    async def use() -> None:
        async with Scripted({"COMMAND": told}) as server:
            known = commands(catalog=CatalogReader(user="x"))
            await known.read(at(server.port))
            table = known.server(at(server.port)).table
            assert names(table) == {"LG.GET"}
            flushall = table.find((b"FLUSHALL",))
            assert flushall is not None
            assert "write" in flushall.categories

    play(use())


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_an_answer_that_comes_in_pieces(size: int) -> None:
    async def use() -> None:
        protocol = asking._Asking(b"", 2)
        whole = status("OK") + EXTRA
        for start in range(0, len(whole), size):
            protocol.data_received(whole[start : start + size])
        assert await protocol.answers == [status("OK"), EXTRA]
        protocol.data_received(b"more than was asked for")
        protocol.connection_lost(None)

    play(use())


# in the house


def as_reader(tmp_path: Path) -> dict[str, Any]:
    return {"catalog": CatalogReader(user="reader", password_file=password_file(tmp_path, PASSWORD))}


def test_a_command_of_a_module_is_judged_by_what_the_server_says_of_it(tmp_path: Path, modular: Redis) -> None:
    """A server doesn't vouch for a module that it has named all keys: it may reach any."""

    async def use() -> None:
        modular.ask("FLUSHALL")
        modular.ask("SET", "a", "1")
        modular.ask("CONFIG", "RESETSTAT")
        async with RedisHouse(tmp_path, modular, classification={}, **as_reader(tmp_path)) as house:
            client = house.connect(password=PASSWORD)
            assert modular.calls("COMMAND") == 0
            assert await client.execute_command("LG.GET", "a") == "1"
            assert await client.execute_command("LG.MANY", "a", "b") == ["1", None]
            with pytest.raises(ResponseError, match=r"forbids ann .*frozen:\*.*LG\.SET"):
                await client.execute_command("LG.SET", "a", "2")
            with pytest.raises(ResponseError, match=r"unknown command 'LG\.NOPE'"):
                await client.execute_command("LG.NOPE", "a")
            assert modular.calls("COMMAND") == 1
            assert modular.calls("LG.SET") == 0
            begun = house.records(type="statement", phase="begin", statement="LG.GET a")
            assert [(r["effects"], r["kinds"], r["objects"]) for r in begun] == [(["read"], ["LG.GET"], ["*"])]

    play(use())


def test_nor_that_it_shows_nothing_that_is_classified(tmp_path: Path, modular: Redis) -> None:
    async def use() -> None:
        modular.ask("SET", "secret:1", MARKER)
        async with RedisHouse(tmp_path, modular, **as_reader(tmp_path)) as house:
            client = house.connect(password=PASSWORD)
            for command in (("LG.GET", "secret:1"), ("LG.GET", "a"), ("LG.MANY", "a", "secret:1")):
                with pytest.raises(ResponseError, match="lockgate: "):
                    await client.execute_command(*command)
            assert MARKER not in str(house.records())

    play(use())


def test_the_first_of_them_may_stand_inside_multi(tmp_path: Path, modular: Redis) -> None:
    async def use() -> None:
        modular.ask("FLUSHALL")
        modular.ask("SET", "a", "1")
        modular.ask("CONFIG", "RESETSTAT")
        async with RedisHouse(tmp_path, modular, classification={}, **as_reader(tmp_path)) as house:
            client = house.connect(password=PASSWORD)
            pipeline = client.pipeline(transaction=True)
            pipeline.get("a").execute_command("LG.GET", "a").incr("a")
            assert await pipeline.execute() == ["1", "1", 2]
            assert house.told[-1] == "GET a\nLG.GET a\nINCRBY a 1\nEXEC"
            pipeline.incr("a").execute_command("LG.SET", "a", "7")
            with pytest.raises((ExecAbortError, ResponseError)):
                await pipeline.execute()
            assert modular.ask("GET", "a") == b"2"
            refused = house.records(type="prepare", phase="begin", verdict="deny")
            assert [(r["kinds"], r["policy"]) for r in refused] == [(["LG.SET"], "frozen")]
            assert modular.calls("COMMAND") == 1

    play(use())


def test_while_it_is_asked_only_what_hangs_on_it_waits(tmp_path: Path) -> None:
    async def use() -> None:
        answers = {"COMMAND": EXTRA, "GET": bulk("plain"), "LG.GET": bulk("extra")}
        async with (
            Scripted(answers, held=frozenset({"COMMAND"})) as server,
            RedisHouse(tmp_path, server, catalog=CatalogReader(user="x")) as house,
        ):
            reader, writer = await house.raw()
            writer.write(b"GET a\r\nLG.GET a\r\nGET b\r\n")
            assert await reader.readexactly(11) == bulk("plain")
            await until(lambda: server.asked("COMMAND"))
            others = [await house.raw() for _ in range(3)]
            for (_, said), line in zip(others, (b"GET c\r\n", b"GET d\r\n", b"LG.SET c 1\r\n"), strict=True):
                said.write(line)
            for heard, _ in others[:2]:
                assert await heard.readexactly(11) == bulk("plain")
            assert (b"LG.GET", b"a") not in server.heard
            assert (b"GET", b"b") not in server.heard, "its turn has not come"
            server.release()
            assert await reader.readexactly(22) == bulk("extra") + bulk("plain")
            assert await others[2][0].readexactly(5) == b"+OK\r\n"
            assert server.asked("COMMAND") == 1

    play(use())


def test_who_goes_meanwhile_is_forgotten(tmp_path: Path) -> None:
    async def use() -> None:
        async with (
            Scripted({"COMMAND": EXTRA}, held=frozenset({"COMMAND"})) as server,
            RedisHouse(tmp_path, server, catalog=CatalogReader(user="x")) as house,
        ):
            for said in (b"LG.GET a\r\n", b"MULTI\r\nLG.GET a\r\n"):
                _, writer = await house.raw()
                writer.write(said)
                await until(lambda: any(c.session.parked for c in house.listener.connections))
                writer.close()
                await until(lambda: not house.listener.connections)
            server.release()
            await asyncio.sleep(0.05)
            assert (b"LG.GET", b"a") not in server.heard

    play(use())


def test_a_command_that_the_server_does_not_tell_of_is_refused_and_not_asked_about_again(tmp_path: Path) -> None:
    async def use() -> None:
        async with (
            Scripted({"COMMAND": error("ERR no")}) as server,
            RedisHouse(tmp_path, server, catalog=CatalogReader(user="x")) as house,
        ):
            reader, writer = await house.raw()
            writer.write(b"LG.GET a\r\nLG.GET a\r\nMULTI\r\nLG.GET a\r\nEXEC\r\n")
            told = [await reader.readline() for _ in range(5)]
            refused = b"-ERR unknown command 'LG.GET'\r\n"
            aborted = b"-EXECABORT Transaction discarded because of previous errors.\r\n"
            assert told == [refused, refused, b"+OK\r\n", refused, aborted]
            assert server.asked("COMMAND") == 1
            assert server.asked("LG.GET") == 0
            assert [(r["kinds"], r["verdict"]) for r in house.records(type="statement", phase="begin")] == [
                (["UNKNOWN"], "deny"), (["UNKNOWN"], "deny"), (["MULTI"], "allow"),
            ]  # fmt: skip

    play(use())


def test_known_commands_with_wrong_arguments_are_nothing_to_ask_about(tmp_path: Path) -> None:
    async def use() -> None:
        async with (
            Scripted({"COMMAND": EXTRA}) as server,
            RedisHouse(tmp_path, server, catalog=CatalogReader(user="x")) as house,
        ):
            reader, writer = await house.raw()
            writer.write(b"GET\r\nSET a\r\nGET a\r\n")
            assert (await reader.readline()).startswith(b"-ERR wrong number of arguments")
            assert (await reader.readline()).startswith(b"-ERR wrong number of arguments")
            assert await reader.readline() == b"+OK\r\n"
            assert server.asked("COMMAND") == 0

    play(use())
