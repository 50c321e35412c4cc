"""Who may connect, for how long, how many; and what becomes of connections that end in every way."""

from __future__ import annotations

import asyncio
import gc
import ssl
import weakref
from pathlib import Path
from typing import Any

import pytest

from lockgate.config import Limits
from lockgate.identity.workload import ProcessGone
from lockgate.proxy import listener as module
from lockgate.proxy.listener import Listener
from lockgate.values.identity import Endpoint
from lockgate.wire.postgresql.frames import cancel_request, frame, ssl_request, startup
from tests.proxy.house import House, errors_of, gate_of, play, told, until
from tests.support.model_server import ModelServer
from tests.support.playbook import TERMINATE

START = startup({"user": "app", "database": "shop"})


def count(house: House, line: str) -> float:
    for found in house.metrics.text().decode().splitlines():
        if found.startswith(line + " "):
            return float(found.rpartition(" ")[2])
    return 0.0


async def refusal(house: House) -> str:
    """What a client is told that asks for TLS first, as libpq does, and shows no error but behind its start-up."""
    client = await house.client()
    client.send(ssl_request())
    assert await client.reader.readexactly(1) == b"S"
    context = ssl.create_default_context(cadata=house.authority.pem.decode())
    context.check_hostname = False
    await client.writer.start_tls(context)
    client.send(START)
    return told((await client.until("E"))[-1][1])


def test_it_listens_on_both_loopbacks_and_nowhere_else(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path) as house:
            for host in ("127.0.0.1", "::1"):
                _, writer = await asyncio.open_connection(host, house.listener.port)
                writer.close()
            with pytest.raises(OSError, match="refused"):
                await asyncio.open_connection("127.0.0.2", house.listener.port)

    play(use())


def test_a_connection_that_was_not_redirected_is_told_so(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path) as house:
            house.intercepted = False
            assert await refusal(house) == (
                "08001 lockgate: this connection was not intercepted: connect to the datastore itself"
            )
            await until(lambda: not house.listener.connections)
            assert house.server.models == []
            assert count(house, 'lockgate_connections_total{datastore="orders",outcome="refused"}') == 1

    play(use())


def test_a_process_that_is_gone_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def use() -> None:
        async with House(tmp_path) as house:

            def gone(_: object) -> Any:
                raise ProcessGone("pid 5 has ended")

            monkeypatch.setattr(house.identities, "identify", gone)
            assert await refusal(house) == "08001 lockgate: pid 5 has ended"

    play(use())


def test_no_more_than_so_many_connections(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path, limits=Limits(connections=2)) as house:
            first, _ = await house.begun(), await house.begun()
            assert await refusal(house) == "53300 lockgate: 2 connections are open already"
            first.send(TERMINATE)
            await first.rest()
            await until(lambda: len(house.listener.connections) == 1)
            await house.begun()

    play(use())


def test_those_to_be_refused_are_bounded_in_number_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REFUSED_CONNECTIONS", 1)
    monkeypatch.setattr(module, "REFUSED_SECONDS", 0.2)

    async def use() -> None:
        async with House(tmp_path, limits=Limits(connections=1)) as house:
            await house.begun()
            waits = await house.client()
            await until(lambda: len(house.listener.connections) == 2)
            assert await (await house.client()).rest() == b""
            assert "not ready after 0.2 s" in await waits.error()
            assert len(house.listener.connections) == 1

    play(use())


def test_who_does_not_start_up_in_time_is_closed(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path, limits=Limits(startup_seconds=0.2)) as house:
            silent, ready = await house.client(), await house.begun()
            assert await silent.error() == "08001 lockgate: not ready after 0.2 s"
            assert errors_of(await ready.ask("SELECT 1")) == []

    play(use())


def test_a_server_that_does_not_let_it_in_is_not_waited_for_longer(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path, limits=Limits(startup_seconds=0.3)) as house:
            house.server.reading.clear()

            async def silent(model: ModelServer, _: asyncio.StreamWriter) -> None:
                model.sent.clear()

            house.server.answer = silent
            client = await house.client()
            client.send(START)
            assert "not ready" in await client.error()

    play(use())


def test_nothing_is_kept_of_a_connection_that_has_ended(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path, classification={"public.customers.email": ("pii",)}) as house:
            client = await house.begun()
            await client.ask("SELECT email FROM customers")
            (served,) = house.listener.connections.values()
            gate_of(served).key(1, b"abcd")
            deadline, gate = served.deadline, served.gate
            left = weakref.ref(gate)
            client.send(TERMINATE)
            await client.rest()
            await until(lambda: not house.listener.connections)
            assert deadline is not None
            assert deadline.cancelled()
            assert house.services.keys == {}
            del served, gate, deadline
            await asyncio.sleep(0.05)
            gc.collect()
            assert left() is None

    play(use())


def test_a_client_that_goes_before_the_server_is_there_ends_the_dialling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def use() -> None:
        async with House(tmp_path) as house:
            cancelled = asyncio.Event()

            async def slow(*_: object) -> Any:
                try:
                    await asyncio.sleep(60)
                finally:
                    cancelled.set()

            monkeypatch.setattr(module, "dial", slow)
            client = await house.client()
            client.send(START)
            await until(lambda: any(s.dialing for s in house.listener.connections.values()))
            client.writer.close()
            async with asyncio.timeout(5):
                await cancelled.wait()
            assert house.listener.connections == {}

    play(use())


def test_an_upstream_that_is_not_there_is_a_native_error(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path) as house:
            await house.server.close()
            client = await house.client()
            client.send(START)
            assert (await client.error()).startswith(f"08001 lockgate: connection to {house.endpoint} failed")
            assert await client.rest() == b""

    play(use())


def test_what_comes_before_the_server_is_there_is_bounded_and_kept(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path) as house:
            client = await house.client()
            client.send(START)
            await client.until("Z")
            flood = await house.client()
            flood.send(START + frame(b"p", b"x" * 100_000))
            assert (await flood.error()).startswith("08P01")

    play(use())


# --- cancellation


async def send_cancel(house: House, listener: Listener | None, process: int, secret: bytes) -> None:
    client = await house.client(listener)
    client.send(cancel_request(process, secret))
    assert await client.rest() == b""


def test_a_cancel_reaches_the_server_of_that_connection(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path) as house:
            await house.begun()
            (served,) = house.listener.connections.values()
            secret = gate_of(served).key(7, b"abcd")
            await send_cancel(house, None, 7, secret)
            # at once: who sees the end may run its next statement, which must not be cancelled
            assert house.server.cancelled == [b"\0\0\0\7abcd"]

    play(use())


def test_a_key_of_nobody_of_another_datastore_or_from_outside_cancels_nothing(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path) as house:
            other = await house.listen("other")
            await house.begun()
            (served,) = house.listener.connections.values()
            secret = gate_of(served).key(7, b"abcd")
            await send_cancel(house, None, 7, b"abcd")  # the datastore's own, which no client was given
            await send_cancel(house, None, 8, secret)
            await send_cancel(house, None, 7, secret + b"\0")
            await send_cancel(house, other, 7, secret)
            house.intercepted = False
            await send_cancel(house, None, 7, secret)
            await asyncio.sleep(0.1)
            assert house.server.cancelled == []

    play(use())


def test_a_cancel_is_taken_when_all_connections_are_in_use(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path, limits=Limits(connections=1)) as house:
            await house.begun()
            (served,) = house.listener.connections.values()
            secret = gate_of(served).key(7, b"abcd")
            await send_cancel(house, None, 7, secret)
            await until(lambda: house.server.cancelled)

    play(use())


def test_connections_that_two_servers_gave_the_same_key_are_told_apart(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path) as house:
            first, _ = await house.begun(), await house.begun()
            one, two = (gate_of(served) for served in house.listener.connections.values())
            ours = [gate.key(7, b"abcd") for gate in (one, two)]
            assert house.services.keys == {(7, ours[0]): one, (7, ours[1]): two}
            first.send(TERMINATE)
            await first.rest()
            await until(lambda: len(house.listener.connections) == 1)
            assert house.services.keys == {(7, ours[1]): two}
            other = two.key(8, b"e" * 32)
            assert len(other) == 32
            assert house.services.keys == {(8, other): two}

    play(use())


# --- the end


def test_stopping_lets_what_runs_finish_and_closes_what_is_idle(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path) as house:
            idle, busy = await house.begun(), await house.begun()
            await busy.ask("BEGIN")
            house.listener.stop()
            house.listener.close_idle()
            assert await idle.error() == "57P01 lockgate: the agent is stopping"
            assert errors_of(await busy.ask("SELECT 1")) == []
            await house.listener.close()
            assert await busy.error() == "57P01 lockgate: the agent is stopping"
            assert house.listener.connections == {}
            with pytest.raises(OSError, match="refused"):
                await house.client()

    play(use())


def test_two_datastores_in_one_agent_are_two(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path) as house:
            other = await house.listen("other")
            client = await house.begun(other)
            assert errors_of(await client.ask("SELECT 1"))[0].startswith("42501 lockgate: no policy permits")
            assert (len(other.connections), len(house.listener.connections)) == (1, 0)
            (opened,) = house.records(type="connection", phase="begin")
            assert opened["connection"]["datastore"] == "other"

    play(use())


def test_where_a_client_dialled_is_where_it_is_connected_to(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path) as house:
            assert house.endpoint is not None
            await house.begun()
            house.endpoint = Endpoint("127.0.0.1", 1)
            client = await house.client()
            client.send(START)
            assert "127.0.0.1:1" in await client.error()

    play(use())
