"""Attacks on the way past: what a datastore that is observed gets unread, one that is enforced never gets."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from lockgate.values.identity import Endpoint
from lockgate.wire.postgresql.frames import cancel_request, frame, ssl_request, startup
from tests.proxy.house import CLASSIFICATION, House, play, until
from tests.proxy.test_observing import ANN, FUNCTION_CALL, HELLO, Foreign, turn
from tests.support.playbook import authentication, execute, parse, query, ready
from tests.support.postgres import free_port

MARK = b"DROP TABLE customers"
GSSENC_REQUEST = struct.pack("!II", 8, 80877104)

OPENINGS = [
    HELLO + MARK,
    ssl_request() + MARK,
    ssl_request() + startup(ANN) + query(MARK.decode()),
    GSSENC_REQUEST + GSSENC_REQUEST + MARK,
    startup({**ANN, "replication": "database"}) + query(MARK.decode()),
    startup({**ANN, "replication": "1"}) + query(MARK.decode()),
    startup({**ANN, "database": "d" * 64}) + query(MARK.decode()),
    startup({**ANN, "options": "-X"}) + query(MARK.decode()),
    startup({**ANN, "client_encoding": "SJIS"}) + query(MARK.decode()),
    startup(ANN)[:4] + b"\0\2\0\0" + startup(ANN)[8:] + query(MARK.decode()),
    startup({"database": "shop"}) + query(MARK.decode()),
    b"GET / HTTP/1.1\r\n\r\n" + MARK,
    cancel_request(1, b"x" * 300) + MARK,
    cancel_request(1, b"abcd") + MARK,
]

UNREADABLE = [
    FUNCTION_CALL,
    frame(b"?", b"x"),
    b"Q\0\0\0\0",
    b"d\x7f\xff\xff\xff",
    frame(b"Q", b"SELECT '\xe9'\0"),
    frame(b"Q", b"SELECT 1\0; SELECT 2\0"),
    parse("n" * 64, "SELECT 1"),
    execute("nobody's"),
    frame(b"S", b"x"),
]
MIDST = [
    *UNREADABLE,
    frame(b"d", b"x" * 70_000)[:20],
    b"".join(parse(f"s{n}", "SELECT 1") for n in range(11_000)),
]
"""The last two may still be read: there is more to come, of the client or of the server."""


@asynccontextmanager
async def enforced(folder: Path, foreign: Foreign, how: str) -> AsyncIterator[House]:
    """A house that enforces: from the beginning, or since its datastore's mode was turned."""
    port = free_port()
    server = await asyncio.start_server(foreign.serve, "127.0.0.1", port)
    mode = "observe" if how == "turned" else "enforce"
    house = House(folder, classification=CLASSIFICATION, mode=mode, upstream=Endpoint("127.0.0.1", port))
    async with server, house:
        yield house


def heard(foreign: Foreign) -> bytes:
    return b"".join(bytes(each) for each in foreign.heard)


@pytest.mark.parametrize("how", ["begun", "turned"])
@pytest.mark.parametrize("opening", OPENINGS)
def test_no_opening_leads_past(tmp_path: Path, opening: bytes, how: str) -> None:
    async def use() -> None:
        foreign = Foreign(*[b"S", authentication(0) + ready()] * 3)
        async with enforced(tmp_path, foreign, how) as house:
            before = await house.client()
            before.send(opening[:1])  # one that is there already when the mode turns
            await until(lambda: house.listener.connections)
            if how == "turned":
                turn(house.listener, house.listener._store, "enforce")
            before.send(opening[1:])
            after = await house.client()
            after.send(opening)
            await asyncio.sleep(0.1)
            for client in (before, after):
                client.writer.close()
            await until(lambda: not house.listener.connections)
            assert MARK not in heard(foreign)
            assert [r for r in house.records() if "unread" in r] == []

    play(use())


@pytest.mark.parametrize("how", ["begun", "turned"])
@pytest.mark.parametrize("message", MIDST)
def test_nothing_said_in_the_midst_leads_past(tmp_path: Path, message: bytes, how: str) -> None:
    async def use() -> None:
        foreign = Foreign(authentication(0) + ready())
        async with enforced(tmp_path, foreign, how) as house:
            client = await house.client()
            client.send(startup(ANN))
            await client.until("Z")
            if how == "turned":
                turn(house.listener, house.listener._store, "enforce")
            client.send(message, MARK, query(MARK.decode()))
            await asyncio.sleep(0.15)
            client.writer.close()
            await until(lambda: not house.listener.connections)
            assert MARK not in heard(foreign)
            assert [r for r in house.records() if "unread" in r] == []

    play(use())


@pytest.mark.parametrize("message", UNREADABLE)
def test_all_of_it_goes_on_where_it_is_only_observed(tmp_path: Path, message: bytes) -> None:
    """Else the tests above would tell nothing."""

    async def use() -> None:
        foreign = Foreign(authentication(0) + ready())
        async with enforced(tmp_path, foreign, "turned") as house:
            client = await house.client()
            client.send(startup(ANN))
            await client.until("Z")
            client.send(message, MARK)
            await until(lambda: MARK in heard(foreign))
            assert len([r for r in house.records() if "unread" in r]) == 1
            client.writer.close()

    play(use())


@pytest.mark.parametrize("opening", [OPENINGS[n] for n in (0, 1, 9, 10, 11, 12)])
def test_so_does_every_opening(tmp_path: Path, opening: bytes) -> None:
    async def use() -> None:
        foreign = Foreign(b"S")
        async with enforced(tmp_path, foreign, "turned") as house:
            client = await house.client()
            client.send(opening)
            await until(lambda: MARK in heard(foreign))
            client.writer.close()

    play(use())


def test_what_is_not_read_when_the_mode_turns_says_nothing_more(tmp_path: Path) -> None:
    async def use() -> None:
        foreign = Foreign(b"S", b"\x16hello")
        async with enforced(tmp_path, foreign, "turned") as house:
            client = await house.client()
            client.send(ssl_request())
            assert await client.reader.readexactly(1) == b"S"
            client.send(HELLO)
            await until(lambda: HELLO in heard(foreign))
            turn(house.listener, house.listener._store, "enforce")
            client.send(MARK)
            await until(lambda: not house.listener.connections)
            assert MARK not in heard(foreign)

    play(use())


@pytest.mark.parametrize("stage", ["asked", "dialling", "logging in"])
def test_nor_does_what_was_about_not_to_be_read(tmp_path: Path, stage: str) -> None:
    async def use() -> None:
        foreign = Foreign()
        async with enforced(tmp_path, foreign, "turned") as house:
            client = await house.client()
            client.send(ssl_request() if stage != "logging in" else startup({**ANN, "replication": "1"}))
            await until(lambda: foreign.heard if stage != "dialling" else house.listener.connections)
            turn(house.listener, house.listener._store, "enforce")
            client.send(MARK)
            await until(lambda: not house.listener.connections)
            await asyncio.sleep(0.05)
            assert MARK not in heard(foreign)

    play(use())
