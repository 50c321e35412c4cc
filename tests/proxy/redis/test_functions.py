"""An approval of FCALL is of the code that the function has, not only of its name."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest

from lockgate.config import CatalogReader
from lockgate.proxy.redis.functions import digests
from lockgate.values.identity import Endpoint
from tests.proxy.desk import Desk, collecting
from tests.proxy.house import play
from tests.proxy.redis.house import POLICIES, RedisHouse
from tests.proxy.redis.scripted import Scripted
from tests.support.redis import Redis
from tests.support.redis_playbook import array, bulk, error

HELD = (
    POLICIES[: POLICIES.index('@id("frozen")')]
    + POLICIES[POLICIES.index('@id("alone")') : POLICIES.index('@id("two-for-money")')]
    + POLICIES[POLICIES.index('@id("pii")') :]
    + """
@id("code-takes-two") @approvers("dba") @timeout("20s")
forbid (principal, action == Action::"execute_alone", resource) when { context.functions.contains("function:f") };
"""
)
READER = CatalogReader(user="default")


def code(returns: int) -> str:
    return f"#!lua name=lib\nredis.register_function('F', function() return {returns} end)"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


CALLS = [b"FCALL f 0\r\n", b"FCALL F 0\r\n", b"MULTI\r\nSET a 1\r\nFCALL f 0\r\nEXEC\r\n"]


@pytest.mark.parametrize("said", CALLS, ids=["alone", "capitals", "transaction"])
@pytest.mark.parametrize("then", ["same", "replaced", "deleted", "unreadable"])
def test_other_code_is_not_what_was_approved(tmp_path: Path, server: Redis, said: bytes, then: str) -> None:
    async def use() -> None:
        server.ask("FUNCTION", "LOAD", "REPLACE", code(1))
        server.ask("ACL", "SETUSER", "catalog", "reset", "on", "nopass", "+function|list")
        more: dict[str, Any] = {"policies": HELD, "classification": {}, "catalog": CatalogReader(user="catalog")}
        async with (
            collecting(tmp_path) as collector,
            RedisHouse(tmp_path, server, collector=collector, **more) as house,
        ):
            desk = Desk(house)
            reader, writer = await house.raw()
            writer.write(said)
            hold = await desk.hold()
            assert hold.statement.endswith(f"\n-- code of function f: SHA-256 {sha256(code(1))} of its library")
            if then == "replaced":
                server.ask("FUNCTION", "LOAD", "REPLACE", code(2))
            elif then == "deleted":
                server.ask("FUNCTION", "DELETE", "lib")
            elif then == "unreadable":
                server.ask("ACL", "SETUSER", "catalog", "-function|list")
            before = server.calls("FCALL")
            await desk.decide(hold)
            while not (line := await asyncio.wait_for(reader.readline(), 20)).startswith((b"-", b":", b"*")):
                pass
            if then == "same":
                assert line in (b":1\r\n", b"*2\r\n")
                assert server.calls("FCALL") == before + 1
            else:
                changed = b"can't be read any more" if then == "unreadable" else b"has changed while it waited"
                assert line.startswith(b"-NOPERM lockgate: the code of function f " + changed)
                assert server.calls("FCALL") == before
                assert server.ask("EXISTS", "a") == 0
                ended = house.records(type="statement", phase="end")[-1]
                assert ended["outcome"] == "denied"

    play(use())


def test_what_nobody_can_read_is_approved_by_name_and_the_approver_is_told(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        server.ask("FUNCTION", "LOAD", "REPLACE", code(1))
        more: dict[str, Any] = {"policies": HELD, "classification": {}}
        async with (
            collecting(tmp_path) as collector,
            RedisHouse(tmp_path, server, collector=collector, **more) as house,
        ):
            desk = Desk(house)
            reader, writer = await house.raw()
            writer.write(CALLS[0])
            hold = await desk.hold()
            assert hold.statement.endswith(
                "f: it can't be read, so the approval is of the name, whatever that is when it runs"
            )
            await desk.decide(hold)
            assert await asyncio.wait_for(reader.readline(), 20) == b":1\r\n"

    play(use())


def test_a_function_that_is_not_there_yet_is_not_what_comes_later(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        server.ask("FUNCTION", "FLUSH")
        more: dict[str, Any] = {"policies": HELD, "classification": {}, "catalog": READER}
        async with (
            collecting(tmp_path) as collector,
            RedisHouse(tmp_path, server, collector=collector, **more) as house,
        ):
            desk = Desk(house)
            reader, writer = await house.raw()
            writer.write(CALLS[0])
            hold = await desk.hold()
            assert hold.statement.endswith("-- code of function f: the server has no such function")
            server.ask("FUNCTION", "LOAD", code(1))
            await desk.decide(hold)
            assert b"the code of function f has changed" in await asyncio.wait_for(reader.readline(), 20)

    play(use())


def test_who_calls_none_asks_for_none(tmp_path: Path) -> None:
    async def use() -> None:
        policies = HELD.replace('context.functions.contains("function:f")', 'context.kinds.contains("SET")')
        more: dict[str, Any] = {"policies": policies, "classification": {}, "catalog": READER}
        async with (
            Scripted() as server,
            collecting(tmp_path) as collector,
            RedisHouse(tmp_path, server, collector=collector, **more) as house,
        ):
            desk = Desk(house)
            reader, writer = await house.raw()
            writer.write(b"SET a 1\r\n")
            await desk.decide(await desk.hold())
            assert await asyncio.wait_for(reader.readline(), 20) == b"+OK\r\n"
            assert server.asked("FUNCTION") == 0

    play(use())


LIBRARY = [b"library_name", b"lib", b"engine", b"LUA", b"functions",
           [[b"name", b"F", b"description", None, b"flags", []], [b"name", b"g_2", b"flags", [b"no-writes"]]],
           b"library_code", b"code"]  # fmt: skip


def test_functions_are_told_by_the_code_of_their_library() -> None:
    other = [b"functions", [[b"name", b"h"]], b"library_code", b"others"]
    assert digests([]) == {}
    assert digests([LIBRARY, other]) == {"f": sha256("code"), "g_2": sha256("code"), "h": sha256("others")}


@pytest.mark.parametrize("library", [
    None, b"lib", [b"library_name"], [None, b"x"], LIBRARY[:-2], [b"library_code", b"x"],
    [b"functions", [None], b"library_code", b"x"], [b"functions", [[b"name", None]], b"library_code", b"x"],
    [b"functions", [[b"flags", []]], b"library_code", b"x"], [[b"name"], b"x"],
])  # fmt: skip
def test_an_answer_that_is_none(library: object) -> None:
    with pytest.raises(ValueError, match=r"list of fields|without"):
        digests([library])


@pytest.mark.parametrize("answer", [bulk("x"), array(bulk("x")), error("NOPERM no"), b":1\r\n"])
def test_a_server_that_answers_something_else(tmp_path: Path, answer: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def use() -> None:
        async with Scripted({"FUNCTION": answer}) as server, RedisHouse(tmp_path, server, catalog=READER) as house:
            assert await house.commands.functions(Endpoint("127.0.0.1", server.port)) is None
            assert f"the functions of orders at 127.0.0.1:{server.port} can't be read: " in caplog.text

    play(use())
