"""The sockets of one connection: backpressure both ways, ends of every kind, and failures of our own."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from lockgate.config import Limits
from lockgate.proxy import connection as module
from lockgate.proxy.postgresql.gate import StatementGate
from lockgate.proxy.tls import READ_BYTES
from lockgate.wire.postgresql.frames import startup
from tests.proxy.house import POLICIES, House, errors_of, play, told, until
from tests.support.model_server import ModelServer
from tests.support.playbook import copy_data, query, row

MEBIBYTE = 1024 * 1024
LONG = POLICIES.replace("schema changes go through migrations", "x" * 290)
"""Refusals of some length."""


def only(house: House) -> module.Connection:
    (connection,) = house.listener.connections
    return connection


def test_a_statement_larger_than_the_pipeline_bound_goes_through(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path, limits=Limits(pipeline_bytes=65536)) as house:
            client = await house.begun()
            text = f"SELECT 1 -- {'x' * 500_000}"
            assert errors_of(await client.ask(text)) == []
            assert house.server.models[0].completed == [text]

    play(use())


def test_a_message_over_the_bound_is_a_native_error_and_the_end(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path, limits=Limits(message_bytes=1000)) as house:
            client = await house.begun()
            client.send(query("x" * 2000))
            assert "the bound is 1000" in await client.error()
            assert await client.rest() == b""

    play(use())


def test_behind_a_statement_that_waits_a_client_is_read_no_further_than_the_bound(tmp_path: Path) -> None:
    async def use() -> None:
        classification = {"public.customers.email": ("pii",)}
        async with House(tmp_path, classification=classification, limits=Limits(pipeline_bytes=10_000)) as house:
            house.reader.delay = 1.0
            client = await house.begun()
            client.send(query("SELECT 1"))
            await until(lambda: only(house).session.parked)
            client.send(query("SELECT 2") * 100_000)
            await asyncio.sleep(0.3)
            waiting = only(house).session.waiting_bytes
            assert 10_000 < waiting < 10_000 + 2 * READ_BYTES
            client.writer.transport.abort()

    play(use())


def test_a_client_that_does_not_read_is_not_read_from_either(tmp_path: Path) -> None:
    """Refusals are answered on the spot: without this they would pile up here."""

    async def use() -> None:
        async with House(tmp_path, policies=LONG) as house:
            client = await house.begun()
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            refused = query("DROP TABLE t")
            client.send(refused * 20_000)
            transport = only(house).client.transport
            assert transport is not None
            await until(lambda: not transport.is_reading())
            await asyncio.sleep(0.1)
            assert transport.get_write_buffer_size() < 4 * MEBIBYTE
            client.writer.transport.abort()
            await until(lambda: not house.listener.connections)

    play(use())


def test_a_server_is_not_read_from_while_the_client_does_not_read(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path) as house:
            big = row(b"x" * 8000) * 8000

            async def flood(model: ModelServer, writer: asyncio.StreamWriter) -> None:
                if model.ran:
                    at = model.sent.index(b"D")
                    model.sent[at:at] = big

            house.server.answer = flood
            client = await house.begun()
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            client.send(query("SELECT 1"))
            upstream = only(house).upstream
            assert upstream is not None
            assert upstream.transport is not None
            transport = upstream.transport
            await until(lambda: not transport.is_reading())
            mine = only(house).client.transport
            assert mine is not None
            assert mine.get_write_buffer_size() < 4 * MEBIBYTE
            client.writer.transport.resume_reading()  # type: ignore[attr-defined]
            assert len(await client.until("Z")) == 8000 + 5

    play(use())


def test_a_client_is_not_read_from_while_the_server_does_not_read(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path) as house:
            client = await house.begun()
            client.send(query("COPY scratch FROM STDIN"))
            await until(lambda: house.server.models[0].completed or house.server.models[0].ran or True)
            house.server.reading.clear()
            client.send(copy_data(b"x" * 60_000) * 200)
            upstream = only(house).upstream
            assert upstream is not None
            transport = upstream.transport
            assert transport is not None
            mine = only(house).client.transport
            assert mine is not None
            await until(lambda: not mine.is_reading() or not house.listener.connections)
            assert transport.get_write_buffer_size() < 4 * MEBIBYTE
            client.writer.transport.abort()

    play(use())


def test_an_end_of_file_ends_it_although_something_is_still_to_be_written(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path, policies=LONG) as house:
            client = await house.begun()
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            client.send(query("DROP TABLE t") * 20_000)
            mine = only(house).client.transport
            assert mine is not None
            await until(lambda: mine.get_write_buffer_size())
            only(house).client.eof_received()
            assert house.listener.connections == {}
            client.writer.transport.abort()

    play(use())


def test_a_peer_that_does_not_read_cannot_keep_a_side_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINGER_SECONDS", 0.1)

    async def use() -> None:
        async with House(tmp_path, policies=LONG) as house:
            client = await house.begun()
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            client.send(query("DROP TABLE t") * 20_000)
            side = only(house).client
            transport = side.transport
            assert transport is not None
            await until(transport.get_write_buffer_size)
            only(house).end()
            await until(lambda: transport.get_write_buffer_size() == 0)
            client.writer.transport.abort()

    play(use())


def test_half_closed_by_the_client_it_ends_on_both_sides(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path) as house:
            client = await house.begun()
            client.writer.write_eof()
            assert await client.rest() == b""
            await until(lambda: not house.server._serving)
            assert house.listener.connections == {}

    play(use())


def test_what_the_server_said_last_is_passed_on(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path) as house:
            client = await house.begun()
            for writer in list(house.server._serving):
                from tests.support.playbook import error

                writer.write(error("57P01", "bye", severity="FATAL"))
                writer.close()
            assert await client.error() == "57P01 bye"
            assert await client.rest() == b""
            await until(lambda: not house.listener.connections)

    play(use())


@pytest.mark.parametrize("where", ["run", "settle", "understand", "key"])
def test_a_failure_of_our_own_ends_both_sides_and_is_told_and_sends_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    async def use() -> None:
        loop = asyncio.get_running_loop()
        logged: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: logged.append(context))
        async with House(tmp_path) as house:
            client = await house.begun()
            ran = len(house.server.ran)

            def broken(*_: object) -> Any:
                raise ArithmeticError("a bug")

            monkeypatch.setattr(StatementGate, where, broken)
            if where == "key":
                other = await house.client()
                house.server.answer = _with_key
                other.send(startup({"user": "app"}))
                client = other
            else:
                client.send(query("SELECT 1"), query("SELECT 2"))
            rest = await client.rest()
            assert told(rest[rest.rindex(b"E\0\0") + 5 :]).startswith("XX000")
            await until(lambda: len(house.listener.connections) == (where == "key"))
            assert len(house.server.ran) - ran <= 2 * (where == "settle")
            assert any("a bug" in str(context.get("exception")) for context in logged)
            monkeypatch.undo()

    play(use())


async def _with_key(model: ModelServer, writer: asyncio.StreamWriter) -> None:
    from lockgate.wire.postgresql.frames import frame

    at = model.sent.index(b"Z\0\0\0\5")
    model.sent[at:at] = frame(b"K", b"\0\0\0\7abcd")


def test_nobody_can_be_left_behind_by_a_failing_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def use() -> None:
        logged: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context))
        async with House(tmp_path) as house:

            def broken(_: object) -> Any:
                raise ArithmeticError("a bug")

            monkeypatch.setattr(house.listener, "_origin_of", broken)
            with socket.create_connection(("127.0.0.1", house.listener.port)) as client:
                client.setblocking(False)
                data = await asyncio.get_running_loop().sock_recv(client, 10)
            assert data == b""
            assert house.listener.connections == {}
        assert any("a bug" in str(context.get("exception")) for context in logged)

    play(use())
