"""A Redis that is only observed: nothing that its clients do fails because of Lockgate, and the record says so."""

from __future__ import annotations

import asyncio
import logging
import re
import resource
import ssl
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

import pytest
import redis

from lockgate.config import CatalogReader, Credential, Limits, Role
from lockgate.proxy.redis.gate import CommandGate
from lockgate.values.identity import Endpoint
from lockgate.wire.gate import Refusal
from lockgate.wire.redis._resp import ReplyScanner, encode_command
from lockgate.wire.redis.observed import ObservedSession
from tests.proxy.house import play, until
from tests.proxy.redis.house import MARKER, POLICIES, RedisHouse, Server, password_file
from tests.proxy.redis.scripted import Scripted, described
from tests.proxy.redis.test_attacks import blocked
from tests.proxy.test_observing import turn, unread, value
from tests.support.certificates import Signer
from tests.support.redis import Redis
from tests.support.redis_playbook import OK, array, bulk

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter


def observed(folder: Path, server: Server, **given: Any) -> RedisHouse:
    return RedisHouse(folder, server, **{"mode": "observe", **given})


def statements(house: RedisHouse) -> list[dict[str, Any]]:
    return house.records(type="statement", phase="begin")


def would(house: RedisHouse) -> list[tuple[str, str, str]]:
    return [(r["statement"], r["would"], r["policy"]) for r in statements(house)]


async def replies(reader: Reader, count: int) -> list[bytes]:
    """So many whole replies, as they came."""
    scanner, came, found, start = ReplyScanner(), bytearray(), list[bytes](), 0
    async with asyncio.timeout(20):
        while len(found) < count:
            data = await reader.read(1 << 16)
            if not data:
                raise EOFError(bytes(came[start:]))
            held = len(came)
            came += data
            for stop in scanner.scan(data, 0, len(data)):
                found.append(bytes(came[start : (end := held + (stop >> 8))]))
                start = end
    assert start == len(came), bytes(came[start:])
    return found


async def say(house: RedisHouse, *lines: str) -> tuple[Reader, Writer, list[bytes]]:
    """A new client that has sent lines, and one reply for each."""
    reader, writer = await house.raw()
    writer.write("".join(f"{line}\r\n" for line in lines).encode())
    return reader, writer, await replies(reader, len(lines))


async def directly(server: Server, *lines: str) -> list[bytes]:
    """The same without the agent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write("".join(f"{line}\r\n" for line in lines).encode())
        return await replies(reader, len(lines))
    finally:
        writer.close()


# what would have been


@pytest.mark.parametrize("resp", [2, 3])
def test_the_record_says_what_enforcing_would_do_by_which_policy_and_why(
    tmp_path: Path, server: Redis, resp: int
) -> None:
    async def use() -> None:
        async with observed(tmp_path, server) as house:
            client = house.connect(protocol=resp)
            await client.set("a", "1")
            await client.set("frozen:1", "x")
            await client.set("money:1", "100")
            await client.set("secret:1", MARKER)
            assert await client.get("secret:1") == MARKER
            await client.hset("profile:1", mapping={"name": "Ann", "email": MARKER})
            assert await client.hgetall("profile:1") == {"name": "Ann", "email": MARKER}
            assert await client.dump("secret:1")
            with pytest.raises(redis.ResponseError, match=r"^unknown command 'NO\.SUCH'"):
                await client.execute_command("NO.SUCH", "x")
            assert await client.flushall()
            found = would(house)  # what the client says of itself comes first
            before = sum(outlook == "deny" for _, outlook, _ in found) - 4
            found = found[[text for text, *_ in found].index("SET a 1") :]
            assert found == [
                ("SET a 1", "allow", "work"),
                ("SET frozen:1 x", "deny", "frozen"),
                ("SET money:1 100", "hold", "two-for-money"),
                ("SET secret:1 ?", "allow", "work"),
                ("GET secret:1", "allow", "work"),
                ("HSET profile:1 name ? email ?", "allow", "work"),
                ("HGETALL profile:1", "allow", "work"),
                ("DUMP secret:1", "deny", "lockgate:refused"),
                ("UNKNOWN ?", "deny", "lockgate:refusal"),
                ("FLUSHALL", "deny", "no-flush"),
            ]
            by_text = {r["statement"]: r for r in statements(house)}
            assert by_text["FLUSHALL"]["reason"] == "nobody empties a store"
            assert by_text["GET secret:1"]["masks"] == [["secret:*", "redact"]]
            assert before <= 1, "CLIENT MAINT_NOTIFICATIONS is of a later server"
            assert {(r["mode"], r["verdict"]) for r in statements(house)} == {("observe", "allow")}
            assert server.ask("DBSIZE") == 0
            assert MARKER not in str(house.records())
            assert value(house, 'would_total{datastore="orders",would="deny"}') == 4 + before
            assert value(house, 'would_total{datastore="orders",would="hold"}') == 1
            assert value(house, 'would_total{datastore="orders",would="mask"}') >= 2
            numbers = house.metrics.numbers("orders")
            assert (numbers["would_deny"], numbers["would_hold"], numbers["unread_connections"]) == (
                4 + before, 1, 0,
            )  # fmt: skip

    play(use())


def test_a_reply_that_would_have_been_withheld_is_not_and_says_so(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        server.ask("SET", "secret:big", "x" * 5000)
        async with observed(tmp_path, server, limits=Limits(row_bytes=2000)) as house:
            _, _, told = await say(house, "GET secret:big", "GET secret:none")
            assert told == [bulk("x" * 5000), b"$-1\r\n"]
            await until(lambda: len(house.records(type="statement", phase="end")) == 2)
            first, second = house.records(type="statement", phase="end")
            assert first["withheld"] == "the reply is longer than 2000 bytes"
            assert "withheld" not in second
            assert (first["outcome"], "masked_cells" in first) == ("completed", False)

    play(use())


def test_a_transaction_is_told_of_when_it_is_queued_and_as_the_whole(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        async with observed(tmp_path, server) as house:
            _, _, told = await say(house, "MULTI", "SET a 1", "SET frozen:1 x", "GET secret:1", "EXEC")
            assert told[-1] == array(OK, OK, b"$-1\r\n")
            prepared = [(r["statement"], r["would"]) for r in house.records(type="prepare", phase="begin")]
            assert prepared == [("SET a 1", "allow"), ("SET frozen:1 x", "deny"), ("GET secret:1", "allow")]
            assert would(house)[1] == ("SET a 1\nSET frozen:1 x\nGET secret:1\nEXEC", "deny", "frozen")

    play(use())


def test_a_process_that_is_gone_would_be_denied_and_is_not(
    tmp_path: Path, server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def use() -> None:
        async with observed(tmp_path, server) as house:
            reader, writer, _ = await say(house, "GET a")
            gone = Refusal("denied", "lockgate: pid 7 has ended")
            monkeypatch.setattr(CommandGate, "refresh", lambda self: gone)
            writer.write(b"GET b\r\nMULTI\r\nGET c\r\nEXEC\r\n")
            assert await replies(reader, 4) == [b"$-1\r\n", OK, b"+QUEUED\r\n", array(b"$-1\r\n")]
            told = statements(house)[-1]
            assert (told["would"], told["policy"], told["reason"]) == ("deny", "lockgate:refused", "pid 7 has ended")
            assert house.records(type="prepare", phase="begin")[0]["would"] == "deny"

    play(use())


# records that can't be written


def test_what_cant_be_recorded_goes_on_and_is_owned_up_to(
    tmp_path: Path, server: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    async def use() -> None:
        async with observed(tmp_path, server) as house:
            reader, writer, _ = await say(house, "SET a 1")
            limits = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1, limits[1]))
            try:
                writer.write(b"SET lost:1 1\r\nMULTI\r\nSET lost:2 2\r\nEXEC\r\n")
                await replies(reader, 4)
                await say(house, "SET lost:3 3")
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            assert server.ask("MGET", "lost:1", "lost:2", "lost:3") == [b"1", b"2", b"3"]
            writer.write(b"SET again 1\r\n")
            await replies(reader, 1)
            (told,) = house.records(type="agent", event="unrecorded")
            assert "File too large" in told["detail"]
            assert told["count"] == value(house, "unrecorded_total") >= 5
            assert house.told == ["SET a 1", "SET again 1"]
            begun = {r["id"] for r in house.records(phase="begin")}
            assert {r["id"] for r in house.records(type="statement", phase="end")} <= begun

    with caplog.at_level(logging.ERROR):
        play(use())
    assert len([r for r in caplog.records if "goes on without being recorded" in r.getMessage()]) == 1


# who authenticates


PASSWORD = "s3cret-p\u00e4ss"
USERS = {"writer": f"on >{PASSWORD} ~* &* +@all", "reader": f"on >{PASSWORD} ~* &* +@read +@connection +acl|whoami"}


@pytest.fixture(scope="module")
def guarded() -> Iterator[Redis]:
    with Redis(password="everybody", users=USERS) as one:
        yield one


def test_a_turn_to_observe_gives_nobody_the_agents_credential(tmp_path: Path, guarded: Redis) -> None:
    """Who had no password while it was enforced has none now: to the server the agent might as well not be there."""

    async def use() -> None:
        own = Credential(password_file=password_file(tmp_path, "everybody"))
        async with observed(tmp_path, guarded, mode="enforce", credential=own) as house:
            listener, store = house.listener, house.listener.store
            assert await house.connect().get("a") is None
            reader, writer, told = await say(house, "GET a")
            turn(listener, store, "observe")
            for lines in (["GET a"], ["PING", "HELLO 3", "MULTI", "RESET", "EXEC"], ["AUTH wrong", "GET a"]):
                _, _, through = await say(house, *lines)
                assert through == await directly(guarded, *lines)
                assert any(reply.startswith(b"-NOAUTH") for reply in through)
            assert await house.connect(password="everybody").get("a") is None
            writer.write(b"GET a\r\nRESET\r\nGET a\r\n")
            assert await replies(reader, 3) == [b"$-1\r\n", b"+RESET\r\n", b"$-1\r\n"], "is what it was"
            assert (told, "everybody" in str(house.records())) == ([b"$-1\r\n"], False)
            turn(listener, store, "enforce")
            assert await house.connect().get("a") is None

    play(use())


def test_clients_authenticate_themselves_also_where_the_agent_has_a_credential(tmp_path: Path, guarded: Redis) -> None:
    async def use() -> None:
        own = Credential(user="reader", password_file=password_file(tmp_path, "not the one"))
        for given in ({}, {"credential": own}, {"roles": [Role(group="engineers", credential=own)]}):
            (folder := tmp_path / str(len(str(given)))).mkdir()
            async with observed(folder, guarded, **given) as house:
                for resp in (2, 3):
                    client = house.connect(username="writer", password=PASSWORD, protocol=resp)
                    assert await client.execute_command("ACL", "WHOAMI") == "writer"
                with pytest.raises(redis.AuthenticationError, match=r"invalid username"):
                    await house.connect(username="writer", password="wrong").ping()
                *_, told = await say(house, "GET a", "AUTH everybody", "GET a", "RESET", "GET a")
                assert [reply[:4] for reply in told] == [b"-NOA", b"+OK\r", b"$-1\r", b"+RES", b"-NOA"]
                users = {r["connection"]["user"] for r in house.records(type="connection", phase="begin")}
                assert users == {"default"}
                asked = [r for r in statements(house) if r["statement"] == "ACL WHOAMI"]
                assert unread(house) == []
                text = str(house.records())
                assert PASSWORD not in text
                assert "everybody" not in text
                assert len(asked) == 2
                turn(house.listener, house.listener.store, "enforce")
                # enforced, the agent would be there in their place
                assert bool(house.listener.connections) == (not given)

    play(use())


# who can't be served otherwise


def test_who_cant_be_identified_is_let_in_and_not_read(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        async with observed(tmp_path, server) as house:
            house.origin = type(house.origin)(2**22, 1, 1, 0, 0, 1, 1, 1, "x", Endpoint("::", 1))
            assert (await say(house, "SET a 1", "FLUSHALL"))[2] == [OK, OK]
            (why,) = unread(house)
            assert "4194304" in why
            facts = house.records(type="connection", phase="begin")[0]["connection"]
            assert ("principal" in facts, facts["database"]) == (False, "0")
            assert statements(house) == []

    play(use())


def test_a_connection_that_was_not_redirected_is_refused_all_the_same(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        async with observed(tmp_path, server) as house:
            house.intercepted = False
            reader, writer = await house.raw()
            writer.write(b"PING\r\n")
            assert b"not intercepted" in await reader.read()

    play(use())


def test_more_connections_than_the_limit_are_let_in_and_not_read(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        async with observed(tmp_path, server, limits=Limits(connections=1)) as house:
            for _ in range(2):
                assert (await say(house, "SET a 1"))[2] == [OK]
            assert unread(house) == ["1 connections are open already"]
            assert len(statements(house)) == 1

    play(use())


def test_who_says_nothing_for_long_is_served_when_it_does(tmp_path: Path, server: Redis) -> None:
    """A pool that was filled beforehand: Redis itself closes none of its connections."""

    async def use() -> None:
        for mode in ("observe", "enforce"):
            (folder := tmp_path / mode).mkdir()
            async with observed(folder, server, mode=mode, limits=Limits(startup_seconds=0.1)) as house:
                reader, writer = await house.raw()
                await asyncio.sleep(0.3)
                writer.write(b"SET a 1\r\n")
                assert await replies(reader, 1) == [OK]

    play(use())


def test_a_server_that_says_so_of_itself_is_heard(tmp_path: Path) -> None:
    async def use() -> None:
        async with Redis({"maxclients": "1"}) as full, observed(tmp_path, full) as house:
            await say(house, "PING")
            reader, writer = await house.raw()
            writer.write(b"PING\r\n")
            assert await reader.read() == b"-ERR max number of clients reached\r\n"

    play(use())


def test_a_server_that_is_down_says_so(tmp_path: Path) -> None:
    async def use() -> None:
        async with Redis() as server, observed(tmp_path, server) as house:
            await asyncio.to_thread(server.kill)
            reader, writer = await house.raw()
            writer.write(b"PING\r\n")
            told = await reader.read()
            assert told.startswith(b"-ERR lockgate: ")
            assert b"refused" in told

    play(use())


# what can't be read


async def becomes(server: Redis, key: str, value: bytes) -> None:
    for _ in range(400):
        if await asyncio.to_thread(server.ask, "GET", key) == value:
            return
        await asyncio.sleep(0.05)
    raise TimeoutError(key)


def test_a_replica_replicates(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        server.ask("SET", "a", "before")
        async with observed(tmp_path, server) as house:
            async with Redis({"replicaof": f"127.0.0.1 {house.listener.port}"}) as replica:
                await becomes(replica, "a", b"before")
                await asyncio.to_thread(server.ask, "SET", "a", "after")
                await becomes(replica, "a", b"after")
            assert set(unread(house)) == {"replication connections are refused"}
            assert house.metrics.numbers("orders")["unread_connections"] >= 1

    play(use())


def test_who_wants_no_answers_has_none(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        async with observed(tmp_path, server) as house:
            reader, writer, _ = await say(house, "GET a")
            writer.write(b"CLIENT REPLY OFF\r\nSET a 1\r\nSET a 2\r\nCLIENT REPLY ON\r\nGET a\r\n")
            assert await replies(reader, 2) == [OK, bulk("2")]
            assert unread(house) == ["CLIENT REPLY OFF and SKIP are refused: every command has to be answered"]
            assert house.told == ["GET a"]

    play(use())


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"*1\r\n+PING\r\n", b"-ERR Protocol error: expected '$', got '+'\r\n"),
        (b"*x\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
        (b'SET a "b\r\n', b"-ERR Protocol error: unbalanced quotes in request\r\n"),
        (b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", b""),
        (b"*1\r\n$4\r\nQUIT\r\n", OK),
    ],
)
def test_garbage_is_the_servers_to_judge(tmp_path: Path, server: Redis, said: bytes, answer: bytes) -> None:
    async def use() -> None:
        async with observed(tmp_path, server) as house:
            reader, writer, _ = await say(house, "SET a 1")
            writer.write(said)
            assert await reader.read() == answer
            assert len(unread(house)) == (b"QUIT" not in said)
            await until(lambda: house.records(type="connection", phase="end"))

    play(use())


def test_a_command_over_the_bounds_goes_on_unread(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        async with observed(tmp_path, server, limits=Limits(message_bytes=1000)) as house:
            reader, writer = await house.raw()
            writer.write(encode_command((b"SET", b"a", b"x" * 100_000)))
            writer.write(b"STRLEN a\r\n")
            assert await replies(reader, 2) == [OK, b":100000\r\n"]
            assert unread(house) == ["a command of more than 1000 bytes"]

    play(use())


def test_replies_that_nobody_can_follow_pass(tmp_path: Path) -> None:
    async def use() -> None:
        odd = b"?what\r\n$3\r\nab"
        async with Scripted({"GET": odd}) as server, observed(tmp_path, server) as house:
            reader, writer, _ = await say(house, "SET a 1")
            writer.write(b"GET a\r\nSET b 2\r\n")
            assert await reader.readexactly(len(odd) + 5) == odd + OK
            assert len(unread(house)) == 1
            ends = [r["outcome"] for r in house.records(type="statement", phase="end")]
            assert ends == ["completed", "unread"] + ["unread"] * (len(ends) - 2)

    play(use())


def test_a_mistake_of_ours_takes_nothing_from_the_client(
    tmp_path: Path, server: Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: Any) -> None:
        raise ArithmeticError("a bug")

    async def use() -> None:
        async with observed(tmp_path, server) as house:
            reader, writer, _ = await say(house, "SET a 1")
            monkeypatch.setattr(CommandGate, "judge", fails)
            writer.write(b"INCR a\r\nINCR a\r\n")
            assert await replies(reader, 2) == [b":2\r\n", b":3\r\n"]
            writer.write(b"INCR a\r\n")
            assert await replies(reader, 1) == [b":4\r\n"]
            assert unread(house) == ["a mistake of the agent's own"]

    with caplog.at_level(logging.ERROR):
        play(use())
    assert "a bug" in caplog.text


# TLS that is the datastore's own


def test_a_client_has_its_tls_with_the_datastore(tmp_path: Path) -> None:
    async def use() -> None:
        signer = Signer(tmp_path)
        async with Redis(tls=signer.certify("db", "127.0.0.1")) as server:
            server.port = server.tls_port
            for given in ({}, {"credential": Credential(user="x")}):
                (folder := tmp_path / str(len(given))).mkdir()
                async with observed(folder, server, upstream_tls="prefer", **given) as house:
                    client = house.connect(ssl=True, ssl_ca_certs=str(signer.file), ssl_check_hostname=True)
                    assert await client.set("a", MARKER)
                    assert await client.get("a") == MARKER
                    assert unread(house) == ["tls"]
                    (begin,) = house.records(type="connection")
                    assert begin["connection"]["principal"] == "ann"

    play(use())


def test_or_with_the_agent_and_is_read(tmp_path: Path) -> None:
    async def use() -> None:
        signer = Signer(tmp_path)
        async with Redis(tls=signer.certify("db", "127.0.0.1")) as server:
            server.port = server.tls_port
            async with observed(tmp_path, server, upstream_tls="prefer", client_tls="offer") as house:
                (tmp_path / "ca.pem").write_text(house.authority.pem.decode())
                client = house.connect(ssl=True, ssl_ca_certs=str(tmp_path / "ca.pem"), ssl_check_hostname=False)
                assert await client.set("frozen:1", "1")
                assert would(house)[-1] == ("SET frozen:1 1", "deny", "frozen")

    play(use())


def test_the_agents_own_tls_says_what_to_set_where_it_fails(
    tmp_path: Path, server: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    async def use() -> None:
        async with observed(tmp_path, server, client_tls="offer") as house:
            context = ssl.create_default_context()
            with pytest.raises(ssl.SSLError):
                await asyncio.open_connection("127.0.0.1", house.listener.port, ssl=context, server_hostname="x")
            await until(lambda: "client_tls" in caplog.text)

    with caplog.at_level(logging.WARNING):
        play(use())
    assert "`client_tls: pass`" in caplog.text


# what takes time


def test_a_server_that_is_slow_to_tell_its_commands_holds_nobody_up(tmp_path: Path) -> None:
    async def use() -> None:
        answers = {"COMMAND": array(described("lg.get", "readonly")), "LG.GET": bulk("x")}
        async with (
            Scripted(answers, held=frozenset({"COMMAND"})) as server,
            observed(tmp_path, server, catalog=CatalogReader(user="x"), classification={}) as house,
        ):
            started = time.monotonic()
            await say(house, "LG.GET a", "MULTI", "LG.GET a", "EXEC")
            for _ in range(20):
                await say(house, "LG.GET a")
            assert time.monotonic() - started < 2, "0.25 s once, not each time"
            assert {r["would"] for r in statements(house) if "UNKNOWN" in r["kinds"]} == {"deny"}
            known = house.commands
            server.release()
            await until(lambda: known.server(Endpoint("127.0.0.1", server.port)).table.find((b"LG.GET", b"a")))
            await say(house, "LG.GET a")
            assert (statements(house)[-1]["would"], statements(house)[-1]["kinds"]) == ("allow", ["LG.GET"])
            assert server.asked("COMMAND") == 1

    play(use())


def test_a_command_that_waits_while_the_mode_turns_is_enforced(tmp_path: Path) -> None:
    async def use() -> None:
        answers = {"COMMAND": array(described("lg.set", "write")), "LG.SET": OK}
        async with (
            Scripted(answers, held=frozenset({"COMMAND"})) as server,
            observed(tmp_path, server, catalog=CatalogReader(user="x")) as house,
        ):
            reader, writer = await house.raw()
            writer.write(b"LG.SET frozen:1 x\r\n")
            await until(lambda: any(c.session.parked for c in house.listener.connections))
            turn(house.listener, house.listener.store, "enforce")
            await asyncio.sleep(0.4)
            assert any(c.session.parked for c in house.listener.connections), "now it is worth waiting for"
            server.release()
            assert (await replies(reader, 1))[0].startswith(b"-NOPERM lockgate: ")
            assert server.asked("LG.SET") == 0

    play(use())


# policies that are only tried


@pytest.mark.parametrize("mode", ["observe", "enforce"])
def test_what_is_tried_is_recorded_and_counted_and_decides_nothing(tmp_path: Path, server: Redis, mode: str) -> None:
    stricter = (
        POLICIES
        + """
    @id("no-carts") forbid (principal, action == Action::"execute", resource in Keys::"orders/cart:*");"""
    )

    async def use() -> None:
        async with observed(tmp_path, server, mode=mode, shadow=stricter) as house:
            assert (await say(house, "SET cart:1 x", "SET a 1"))[2] == [OK, OK]
            first, second = statements(house)
            assert (first["shadow"]["would"], first["shadow"]["policy"]) == ("deny", "no-carts")
            assert "shadow" not in second
            assert value(house, 'shadow_total{datastore="orders",would="deny"}') == 1

    play(use())


# the mode, while connections are open


async def closed(reader: Reader) -> bytes:
    async with asyncio.timeout(20):
        return await reader.read()


Kept = Callable[[Reader, Writer], Awaitable[None]]


def test_enforcing_counts_from_the_next_command_on_and_ends_what_is_not_read(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        async with observed(tmp_path, server) as house:
            read, writer, _ = await say(house, "SET frozen:1 x", "FLUSHALL")
            not_read, other = await house.raw()
            other.write(b"CLIENT REPLY SKIP\r\nPING\r\nPING\r\n")
            assert await replies(not_read, 1) == [b"+PONG\r\n"]
            turn(house.listener, house.listener.store, "enforce")
            assert await closed(not_read) == b""
            writer.write(b"SET frozen:1 x\r\nCLIENT REPLY OFF\r\nEXEC\r\nGET secret:1\r\n")
            told = await replies(read, 4)
            assert [reply[:24] for reply in told[:2]] == [b"-NOPERM lockgate: a poli", b"-ERR lockgate: CLIENT RE"]
            assert told[2:] == [b"-ERR EXEC without MULTI\r\n", b"$-1\r\n"]
            assert [(r["verdict"], r["mode"]) for r in statements(house)[1:3]] == [
                ("allow", "observe"), ("deny", "enforce"),
            ]  # fmt: skip
            turn(house.listener, house.listener.store, "observe")
            writer.write(b"SET frozen:1 x\r\n")
            assert await replies(read, 1) == [OK]
            assert statements(house)[-1]["would"] == "deny"

    play(use())


LISTENING = (
    POLICIES
    + """
@id("backstage") forbid (principal, action == Action::"execute", resource in Channels::"orders/backstage:*");
@id("no-monitor") forbid (principal, action == Action::"execute", resource)
when { context.kinds.contains("MONITOR") || context.kinds.contains("CLIENT TRACKING")
  || context.kinds.contains("SELECT") };
"""
)


@pytest.mark.parametrize(
    ("said", "stays"),
    [
        ("SUBSCRIBE news", True),
        ("SUBSCRIBE backstage:1", False),
        ("PSUBSCRIBE b*", False),
        ("PSUBSCRIBE n*", True),
        ("SSUBSCRIBE backstage:1", False),
        ("MONITOR", False),
        ("HELLO 3\r\nCLIENT TRACKING ON", False),
        ("SELECT 3", False),
        ("HELLO 3", True),
        ("CLIENT SETNAME x", True),
        ("WATCH a", True),
        ("WATCH frozen:1", True),
        ("MULTI\r\nSET a 1", True),
        ("MULTI\r\nSET frozen:1 x", True),
        ("SET frozen:1 x", True),
        ("GET secret:1", True),
    ],
)
def test_what_lasts_of_what_would_not_have_been_let_pass_ends_with_its_connection(
    tmp_path: Path, server: Redis, said: str, stays: bool
) -> None:
    async def use() -> None:
        async with observed(tmp_path, server, policies=LISTENING) as house:
            reader, _, _ = await say(house, *said.split("\r\n"))
            assert unread(house) == []
            turn(house.listener, house.listener.store, "enforce")
            assert len(house.listener.connections) == stays
            if not stays:
                assert b"mode has become enforce" in await closed(reader)

    play(use())


def test_a_transaction_that_was_begun_is_judged_as_the_whole_at_its_end(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        async with observed(tmp_path, server) as house:
            reader, writer, _ = await say(house, "MULTI", "SET a 1", "SET frozen:1 x")
            turn(house.listener, house.listener.store, "enforce")
            writer.write(b"SET b 1\r\nEXEC\r\nGET a\r\n")
            told = await replies(reader, 3)
            assert told[0] == b"+QUEUED\r\n"
            assert told[1].startswith(b"-NOPERM lockgate: ")
            assert told[2] == b"$-1\r\n"
            assert server.ask("EXISTS", "a", "b", "frozen:1") == 0

    play(use())


DETECTING = (
    POLICIES
    + """
@id("reveals") permit (principal, action == Action::"reveal_detected", resource);
@id("mail") @mask("redact") forbid (principal, action == Action::"reveal_detected", resource == Detector::"email");
"""
)


@pytest.mark.parametrize("mode", ["observe", "enforce"])
def test_who_listens_to_what_would_be_masked_hears_masks_once_it_is_enforced(
    tmp_path: Path, server: Redis, mode: str
) -> None:
    async def use() -> None:
        async with observed(tmp_path, server, mode=mode, policies=DETECTING) as house:
            reader, _, _ = await say(house, "SUBSCRIBE news")
            if mode == "observe":
                server.ask("PUBLISH", "news", "ann@example.org")
                assert (await replies(reader, 1))[0].endswith(bulk("ann@example.org"))
                assert statements(house)[0]["detects"] == [["email", "redact"]]
                turn(house.listener, house.listener.store, "enforce")
            server.ask("PUBLISH", "news", "ann@example.org")
            assert await replies(reader, 1) == [array(bulk("message"), bulk("news"), bulk("***"))]

    play(use())


WAITING = [
    ("BLPOP secret:list 0", "RPUSH secret:list"),
    ("BLMOVE secret:list secret:other LEFT LEFT 0", "RPUSH secret:list"),
    ("XREAD BLOCK 0 STREAMS secret:stream $", "XADD secret:stream * f"),
]
CLOSED = '@id("closed") forbid (principal, action == Action::"execute", resource in Keys::"orders/secret:*");'


@pytest.mark.parametrize(("said", "answered"), WAITING)
@pytest.mark.parametrize("policies", [POLICIES, POLICIES + CLOSED], ids=["open", "closed"])
def test_who_waits_for_values_since_it_was_observed_is_answered_as_it_is_judged_then(
    tmp_path: Path, server: Redis, said: str, answered: str, policies: str
) -> None:
    async def use() -> None:
        server.ask("SET", "secret:1", MARKER)
        async with observed(tmp_path, server) as house:
            reader, writer, _ = await say(house, "PING")
            writer.write(f"{said}\r\nGET secret:1\r\nLLEN none\r\n".encode())
            await blocked(server)
            turn(house.listener, house.listener.store, "enforce")
            house.write_policies(policies)
            house.policies.reload()
            server.ask(*answered.split(), MARKER)
            told = await replies(reader, 3)
            assert MARKER not in str(told)
            if policies == POLICIES:
                assert all(b"***" in reply for reply in told[:2])
            else:
                assert all(b"withheld: meanwhile: " in reply for reply in told[:2])
            assert told[2] == b":0\r\n"
            ends = house.records(type="statement", phase="end")
            assert len(ends) == len(statements(house)) == 4
            assert MARKER not in str(house.records())

    play(use())


@pytest.mark.parametrize(
    "late", ["FLUSHALL", "SET frozen:1 x", "SET money:1 100", "DUMP secret:1", "SUBSCRIBE backstage:1", "SELECT 3"]
)
def test_what_the_server_keeps_for_later_is_not_run_where_it_would_not_be_let_pass(
    tmp_path: Path, server: Redis, late: str
) -> None:
    """Behind what waits, it would be run whenever somebody likes."""

    async def use() -> None:
        async with observed(tmp_path, server, policies=LISTENING) as house:
            reader, writer, _ = await say(house, "SET kept 1")
            writer.write(f"BLPOP plain 0\r\nGET kept\r\n{late}\r\n".encode())
            await blocked(server)
            turn(house.listener, house.listener.store, "enforce")
            assert b"mode has become enforce" in await closed(reader)
            await until(lambda: b"blocked_clients:0" in server.ask("INFO", "clients"))
            assert server.ask("RPUSH", "plain", "x") == 1
            assert server.ask("EXISTS", "kept", "frozen:1", "money:1", "plain") == 2

    play(use())


def test_what_is_on_its_way_when_the_mode_turns_is_masked(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        server.ask("HSET", "profile:1", "name", "Ann", "email", MARKER)
        async with observed(tmp_path, server) as house:
            reader, writer, _ = await say(house, "HELLO 3")
            writer.write(b"BLPOP plain 0\r\nHGETALL profile:1\r\nGET a\r\nMULTI\r\n")
            await blocked(server)
            turn(house.listener, house.listener.store, "enforce")
            server.ask("RPUSH", "plain", "x")
            name, email = bulk("name") + bulk("Ann"), bulk("email") + bulk("***")
            waited = array(bulk("plain"), bulk("x"))
            assert await replies(reader, 4) == [waited, b"%2\r\n" + name + email, b"_\r\n", OK]

    play(use())


def test_who_was_enforced_before_it_was_observed_is_so_again(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        async with observed(tmp_path, server, mode="enforce", policies=LISTENING) as house:
            listener, store = house.listener, house.listener.store
            reader, writer, _ = await say(house, "PING")
            listens, other, _ = await say(house, "PING")
            turn(listener, store, "observe")
            writer.write(b"BLPOP secret:list 0\r\n")
            other.write(b"SUBSCRIBE backstage:1\r\n")
            await replies(listens, 1)
            await blocked(server)
            turn(listener, store, "enforce")
            assert b"mode has become enforce" in await closed(listens)
            server.ask("RPUSH", "secret:list", MARKER)
            assert await replies(reader, 1) == [array(bulk("secret:list"), bulk("***"))]

    play(use())


def test_a_session_that_began_enforced_never_passes_anything_on(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        async with RedisHouse(tmp_path, server) as house:
            reader, writer, _ = await say(house, "GET a")
            (connection,) = house.listener.connections
            assert not isinstance(connection.session, ObservedSession)
            turn(house.listener, house.listener.store, "observe")
            writer.write(b"FLUSHALL\r\nCLIENT REPLY OFF\r\nGET secret:1\r\n")
            told = await replies(reader, 3)
            assert told[0] == OK
            assert told[1].startswith(b"-ERR lockgate: CLIENT REPLY")

    play(use())


def test_a_mistake_of_ours_ends_what_is_enforced(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        async with observed(tmp_path, server) as house:
            reader, _, _ = await say(house, "GET a")
            turn(house.listener, house.listener.store, "enforce")
            (connection,) = house.listener.connections
            assert isinstance(connection.session, ObservedSession)
            assert not connection.spared(ArithmeticError("a bug"))
            assert await closed(reader) != b""

    play(use())


# byte for byte

SAID = [line.strip() for line in """
PING|PING x|ECHO x|SET a 1|SET a b EX 100|GET a|GET|INCR a|INCR n|APPEND a x|GETRANGE a 0 1|SETRANGE a 2 zz
DEL a b|EXISTS a|SET secret:1 s3cret|GET secret:1|MGET a secret:1 b|COPY secret:1 a|RENAME secret:1 a
DUMP secret:1|STRLEN secret:1|HSET profile:1 name Ann email s3cret|HGETALL profile:1|HGET profile:1 email
HVALS profile:1|HINCRBY profile:1 email 1|LPUSH l 1 2 3|LRANGE l 0 -1|LPOP l|BLPOP l none 0.01|RPOPLPUSH l m
SADD s 1 2|SMEMBERS s|ZADD z 1 a 2 b|ZRANGE z 0 -1 WITHSCORES|XADD x 1-1 f v|XADD x * |XLEN x|XRANGE x - +
SORT l|SORT l BY nosort GET secret:*|TYPE a|OBJECT ENCODING a|OBJECT HELP|MULTI|MULTI|EXEC|EXEC|DISCARD|EXEC now
WATCH a|WATCH|UNWATCH|WATCH frozen:1|SELECT 1|SELECT 0|SELECT 99|SELECT x|SET frozen:1 x|SET money:1 5|FLUSHDB
FLUSHALL|NO.SUCH a b|CLIENT NO.SUCH|CLIENT SETNAME x|CLIENT GETNAME|CLIENT SETNAME "a b"|HELLO|HELLO 3|HELLO 2
HELLO 4|HELLO 3 SETNAME y|RESET|AUTH wrong|AUTH a b|AUTH|QUITE|ACL WHOAMI|CONFIG GET maxmemory|SUBSCRIBE c
SUBSCRIBE c d|PSUBSCRIBE c*|UNSUBSCRIBE|UNSUBSCRIBE c|PUNSUBSCRIBE|SSUBSCRIBE c|SUNSUBSCRIBE|PUBLISH c hello
PUBLISH d x|CLIENT TRACKING ON|CLIENT TRACKING OFF|CLIENT REPLY SKIP|CLIENT REPLY OFF|CLIENT REPLY ON
CLIENT TRACKINGINFO|CLIENT CACHING YES|EVAL "return redis.call('GET', KEYS[1])" 1 secret:1
EVAL "return {1, 'a', {2}}" 0|EVAL "return redis.error_reply('E x')" 0|EVALSHA x 0
EVAL "redis.setresp(3) return redis.call('HGETALL', 'profile:1')" 0|EVAL "return {double=1.5}" 0|SCRIPT EXISTS x
SCRIPT LOAD "return 1"|PFADD p a|PFCOUNT p|BITFIELD a GET u8 0|SETBIT a 7 1|BITCOUNT a|GEOADD g 1 1 m|GEOPOS g m
OBJECT FREQ a|DEBUG SLEEP 0|WAIT 0 1|COMMAND COUNT|COMMAND GETKEYS GET a|MEMORY USAGE nothing|LATENCY RESET
SLOWLOG LEN|KEYS none*|DBSIZE|LOLWUT VERSION 9|ASKING|READONLY
""".strip().replace("\n", "|").split("|")]  # fmt: skip
"""Commands of every kind that a server answers the same way each time, with arguments or without."""

ODD: list[bytes] = [
    b"\r\n", b"*0\r\n", b"*-1\r\n", b"  PING  \r\n", b'SET a "x\\x00\\"y"\r\n', b"get a\n", b"GET 'a'\r\n",
    b"*1\r\n$5\r\nGET\0a\r\n", encode_command((b"SET", b"big", b"x" * 70_000)), b"GET big\r\n",
]  # fmt: skip
FATAL = [b"*x\r\n", b"*1\r\n+PING\r\n", b'GET "a\r\n', b"*1\r\n$-3\r\n", b"QUIT\r\n"]
END = b"the end of it"


def script(random: Random) -> list[bytes]:
    """What a client sends, cut anywhere. Behind it stands what tells that all of it was answered."""
    lines = [random.choice(SAID).encode() + b"\r\n" for _ in range(random.randrange(1, 25))]
    for _ in range(random.randrange(3)):
        # to SKIP an empty command is one, and none is sent on
        among = ODD[3:] if b"CLIENT REPLY SKIP\r\n" in lines else ODD
        lines.insert(random.randrange(len(lines) + 1), random.choice(among))
    # nothing stands behind what the server closes the connection for: it could take the last answers with it. Who wants
    # no answers it leaves waiting
    ends = random.random() < 0.2 and b"CLIENT REPLY OFF\r\n" not in lines and b"CLIENT REPLY SKIP\r\n" not in lines
    last = [random.choice(FATAL)] if ends else [b"RESET\r\nECHO '", END, b"'\r\n"]
    whole = b"".join(lines)
    cuts = sorted(random.randrange(len(whole)) for _ in range(random.choice((0, 0, 1, 5, 20))))
    return [whole[start:stop] for start, stop in zip((0, *cuts), (*cuts, len(whole)), strict=True)] + last


async def answers(port: int, said: list[bytes]) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    heard = bytearray()
    try:
        for part in said:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        async with asyncio.timeout(20):
            while not heard.endswith(bulk(END.decode())) and (data := await reader.read(1 << 16)):
                heard += data
    finally:
        writer.close()
    # no two connections have the same number
    return re.sub(rb"(\$2\r\nid\r\n:)[0-9]+", rb"\1", bytes(heard))


@pytest.mark.parametrize("seed", range(8))
def test_whatever_clients_say_they_hear_what_they_would_hear_without_lockgate(
    tmp_path: Path, server: Redis, seed: int
) -> None:
    random = Random(seed)

    async def use() -> None:
        async with observed(tmp_path, server, policies=LISTENING) as house:
            for _ in range(25):
                said = script(random)
                heard = []
                for port in (server.port, house.listener.port):
                    await asyncio.to_thread(server.ask, "FLUSHALL")
                    heard.append(await answers(port, said))
                assert heard[1] == heard[0], said
            assert {r["verdict"] for r in statements(house)} == {"allow"}
            assert "s3cret" not in str(statements(house))

    play(use())


async def half(port: int, said: bytes) -> bytes:
    """What a client hears that closes its half at once: `printf ... | nc -N`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(said)
    writer.write_eof()
    heard = await closed(reader)
    writer.close()
    return heard


@pytest.mark.parametrize("mode", ["observe", "enforce"])
@pytest.mark.parametrize(
    "said",
    [b"PING\r\n", b"SET a 1\r\nGET a\r\n", b"MULTI\r\nSET a 1\r\nEXEC\r\nGET a\r\n", b"SELECT 1\r\nGET a\r\n", b"",
     b"GET a\r\nBLPOP none 0\r\n", b"PING\r\nGET", b"*x\r\n", b"PING\r\n" * 5000],
    ids=lambda said: repr(said[:16]),
)  # fmt: skip
def test_who_says_no_more_hears_what_was_asked(tmp_path: Path, server: Redis, mode: str, said: bytes) -> None:
    async def use() -> None:
        async with observed(tmp_path, server, mode=mode) as house:
            direct = await half(server.port, said)
            await asyncio.to_thread(server.ask, "FLUSHALL")
            assert await half(house.listener.port, said) == direct
            await until(lambda: not house.listener.connections)
            await until(lambda: b"blocked_clients:0" in server.ask("INFO", "clients"))

    play(use())


def test_redis_cli_and_a_benchmark_notice_nothing(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        async with observed(tmp_path, server) as house:
            at = ["-h", "127.0.0.1", "-p", str(house.listener.port)]
            script = "SET frozen:1 x\nMULTI\nGET secret:1\nEXEC\nFLUSHALL\nEXEC\nGET a\n"
            run = subprocess.run
            told = await asyncio.to_thread(run, ["redis-cli", *at], input=script.encode(), capture_output=True)
            direct = await asyncio.to_thread(
                run, ["redis-cli", "-p", str(server.port)], input=script.encode(), capture_output=True
            )
            assert told.stdout == direct.stdout
            bench = ["redis-benchmark", *at, "-n", "500", "-P", "16", "-q", "-t", "set,get,mset,lpush"]
            done = await asyncio.to_thread(run, bench, capture_output=True)
            assert b"Error" not in done.stdout + done.stderr

    play(use())
