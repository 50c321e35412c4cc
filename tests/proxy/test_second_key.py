"""Statements that wait for a second person, on a real collector: what goes on, what doesn't, and what is recorded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from lockgate.config import Limits
from lockgate.proxy.connection import Connection
from lockgate.wire.gate import Ruling
from tests.proxy.desk import Desk, collecting
from tests.proxy.house import CLASSIFICATION, POLICIES, House, errors_of, gate_of, play, until
from tests.proxy.postgresql.test_gate import begun, cancel, connection_ends, ends
from tests.support.playbook import SYNC, bind, close, execute, parse, query


@asynccontextmanager
async def held(tmp_path: Path, **options: Any) -> AsyncIterator[tuple[House, Desk]]:
    async with collecting(tmp_path) as collector, House(tmp_path, collector=collector, **options) as house:
        yield house, Desk(house)


DELETE = "DELETE FROM scratch"


def test_approved_it_goes_and_what_stood_behind_follows(tmp_path: Path) -> None:
    async def use() -> None:
        async with held(tmp_path) as (house, desk):
            client = await house.begun()
            client.send(query(DELETE), query("SELECT 1"))
            hold = await desk.hold()
            assert house.server.ran == []
            await desk.decide(hold)
            await client.until("Z")
            await client.until("Z")
            assert house.server.ran == [DELETE, "SELECT 1"]
            assert begun(house) == [(DELETE, "hold"), ("SELECT 1", "allow")]
            (approval,) = house.records(type="approval")
            assert (approval["outcome"], approval["person"], approval["hold"]) == ("approved", "bob", hold.id)

    play(use())


def test_denied_it_is_refused_with_the_comment(tmp_path: Path) -> None:
    async def use() -> None:
        async with held(tmp_path) as (house, desk):
            client = await house.begun()
            client.send(query(DELETE))
            await desk.decide(await desk.hold(), "deny")
            assert await client.error() == "42501 lockgate: denied by bob: c"
            assert (ends(house), house.server.ran) == (["denied"], [])

    play(use())


def test_policies_that_changed_meanwhile_count(tmp_path: Path) -> None:
    async def use() -> None:
        async with held(tmp_path) as (house, desk):
            client = await house.begun()
            client.send(query(DELETE))
            hold = await desk.hold()
            house.write_policies(POLICIES + '@id("freeze") @reason("frozen") forbid (principal, action, resource);')
            house.policies.reload()
            await desk.decide(hold)
            assert await client.error() == "42501 lockgate: frozen"
            assert house.server.ran == []

    play(use())


def test_what_came_to_be_masked_meanwhile_is_masked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rulings: list[Ruling] = []
    resume = Connection.resume

    def noted(connection: Connection, ruling: Ruling) -> None:
        rulings.append(ruling)
        resume(connection, ruling)

    monkeypatch.setattr(Connection, "resume", noted)
    text = "DELETE FROM customers RETURNING upper(email)"

    async def use() -> None:
        reveal = '(principal, action == Action::"reveal"'
        open_policies = POLICIES.replace("forbid " + reveal, "permit " + reveal).replace('@mask("redact")', "")
        async with held(tmp_path, policies=open_policies, classification=CLASSIFICATION) as (house, desk):
            client = await house.begun()
            client.send(query(text))
            hold = await desk.hold()
            house.write_policies(POLICIES)
            house.policies.reload()
            await desk.decide(hold)
            await client.until("Z")
            assert [ruling.refusal for ruling in rulings] == [None]
            assert rulings[0].masking is not None

    play(use())


def test_who_becomes_somebody_else_meanwhile_gets_nothing(tmp_path: Path) -> None:
    async def use() -> None:
        async with held(tmp_path) as (house, desk):
            client = await house.begun()
            client.send(query(DELETE))
            hold = await desk.hold()
            house.identities.replace(house.directory("engineers", name="cyd"))
            await desk.decide(hold)
            assert "somebody else" in await client.error()
            assert house.server.ran == []

    play(use())


def test_a_client_that_goes_withdraws_its_hold(tmp_path: Path) -> None:
    async def use() -> None:
        async with held(tmp_path) as (house, desk):
            client = await house.begun()
            client.send(query(DELETE))
            hold = await desk.hold()
            client.writer.close()
            await until(lambda: ends(house) == ["disconnected"])
            await house.holds.close()
            answer = await desk._call("GET", f"/v1/holds/{hold.id}", house.issuer.issue_service().text)
            assert answer.json()["state"] == "cancelled"
            assert [r["outcome"] for r in house.records(type="approval")] == ["cancelled"]

    play(use())


def test_a_cancel_ends_the_wait_and_the_connection_goes_on(tmp_path: Path) -> None:
    async def use() -> None:
        async with held(tmp_path) as (house, desk):
            client = await house.begun()
            (served,) = house.listener.connections.values()
            secret = gate_of(served).key(7, b"abcd")
            client.send(query(DELETE))
            await desk.hold()
            await cancel(house, 7, secret)
            assert (await client.error()).startswith("57014")
            assert (ends(house), house.server.cancelled) == (["cancelled"], [])
            assert errors_of(await client.ask("SELECT 1")) == []

    play(use())


def test_an_agent_that_stops_withdraws_what_is_held_and_records_it_before_it_is_gone(tmp_path: Path) -> None:
    async def use() -> None:
        async with held(tmp_path) as (house, desk):
            client = await house.begun()
            client.send(query(DELETE))
            hold = await desk.hold()
            await house.listener.close()
            assert (ends(house), connection_ends(house)) == (["disconnected"], ["disconnected"])
            assert (await client.error()).startswith("57P01")
            await house.holds.close()
            answer = await desk._call("GET", f"/v1/holds/{hold.id}", house.issuer.issue_service().text)
            assert answer.json()["state"] == "cancelled"

    play(use())


def test_no_more_than_so_many_wait(tmp_path: Path) -> None:
    async def use() -> None:
        async with held(tmp_path, limits=Limits(held_statements=1)) as (house, desk):
            first, second = await house.begun(), await house.begun()
            first.send(query(DELETE))
            await desk.hold()
            second.send(query(DELETE))
            assert await second.error() == "54000 lockgate: 1 statements wait for approval already"

    play(use())


def test_parameters_are_bound_to_the_approval(tmp_path: Path) -> None:
    async def use() -> None:
        async with held(tmp_path) as (house, desk):
            client = await house.begun()
            client = await house.begun()
            digests = set()
            for where in ("id = 1", "id > 0"):
                client.send(query(f"PREPARE p AS {DELETE} WHERE {where}"))
                await client.until("Z")
                client.send(query("EXECUTE p"))
                hold = await desk.hold()
                assert hold.statement == f"EXECUTE p\n-- goes on with:\nPREPARE p AS {DELETE} WHERE {where}"
                digests.add(hold.digest)
                await desk.decide(hold, "deny")
                await client.until("Z")
                client.send(query("DEALLOCATE p"))
                await client.until("Z")
            assert len(digests) == 2

    play(use())


def test_nor_are_secrets_shown_in_what_a_name_stands_for(tmp_path: Path) -> None:
    async def use() -> None:
        async with held(tmp_path, classification=CLASSIFICATION) as (house, desk):
            client = await house.begun()
            client.send(query("PREPARE p AS DELETE FROM customers WHERE email = 'ada@example.org'"))
            await client.until("Z")
            client.send(query("EXECUTE p"))
            hold = await desk.hold()
            assert "PREPARE p AS DELETE FROM customers WHERE email = " in hold.statement
            assert "ada" not in hold.statement

    play(use())


@pytest.mark.parametrize("text", [f"PREPARE p AS {DELETE}; EXECUTE p", f"PREPARE p AS SELECT 1; {DELETE}"])
def test_what_is_prepared_and_run_in_one_text_waits(tmp_path: Path, text: str) -> None:
    async def use() -> None:
        async with held(tmp_path) as (house, desk):
            client = await house.begun()
            client.send(query(text))
            await desk.decide(await desk.hold(), "deny")
            assert "denied by bob" in await client.error()
            assert house.server.ran == []

    play(use())


def test_nothing_is_held_in_a_transaction_that_has_failed_but_its_end(tmp_path: Path) -> None:
    async def use() -> None:
        hold_all = POLICIES.replace('context.kinds.contains("DELETE")', "true")
        async with held(tmp_path, policies=hold_all) as (house, desk):
            client = await house.begun()
            client.send(query("BEGIN"))
            await desk.decide(await desk.hold())
            await client.until("Z")
            house.server.models[0].block = "E"
            client.send(query("SELECT 1"))
            await desk.decide(await desk.hold())
            assert (await client.until("Z"))[-1] == ("Z", b"E")
            assert (await client.ask(DELETE))[-1] == ("Z", b"E")
            client.send(query("ROLLBACK"))
            await desk.decide(await desk.hold())
            await client.until("Z")

    play(use())


def rest() -> tuple[asyncio.Event, Callable[[object, object], Awaitable[None]]]:
    """What lets the server go on, and the server's rest before it answers."""
    event = asyncio.Event()

    async def answer(*_: object) -> None:
        await event.wait()

    return event, answer


def test_a_cancel_ends_the_wait_and_what_runs_before_it(tmp_path: Path) -> None:
    async def use() -> None:
        async with held(tmp_path) as (house, desk):
            client = await house.begun()
            (served,) = house.listener.connections.values()
            gate_of(served).key(7, b"abcd")
            resting, house.server.answer = rest()
            client.send(query("SELECT 1"), query(DELETE))
            await desk.hold()
            key, _ = next((k, g) for k, g in house.services.keys.items() if g is served.gate)
            await cancel(house, *key)
            await until(lambda: house.server.cancelled)
            resting.set()
            assert (await client.error()).startswith("57014")
            assert DELETE not in house.server.ran

    play(use())


def test_what_the_server_would_skip_is_not_waited_for(tmp_path: Path) -> None:
    async def use() -> None:
        async with held(tmp_path) as (house, desk):
            client = await house.begun()
            client.send(parse("a", "SELECT 1"), SYNC)
            await client.until("Z")
            resting, house.server.answer = rest()
            # the server fails at the second Parse of one name while the DELETE behind it is held
            client.send(parse("a", "SELECT 2"), parse("", DELETE), bind("", ""), execute(""), SYNC)
            hold = await desk.hold()
            resting.set()
            assert (await client.until("Z"))[-1] == ("Z", b"I")
            await house.holds.close()
            answer = await desk._call("GET", f"/v1/holds/{hold.id}", house.issuer.issue_service().text)
            assert answer.json()["state"] == "cancelled"
            assert (ends(house), house.server.ran) == (["cancelled"], [])

    play(use())


def test_the_bytes_that_go_are_those_that_were_approved(tmp_path: Path) -> None:
    async def use() -> None:
        async with held(tmp_path) as (house, desk):
            client = await house.begun()
            other = "DELETE FROM customers"
            client.send(parse("s", DELETE), bind("", "s"), execute(""), SYNC)
            # meanwhile the same name comes to stand for something else
            client.send(close("S", "s"), parse("s", other), bind("", "s"), execute(""), SYNC)
            hold = await desk.hold()
            assert hold.statement == DELETE
            await desk.decide(hold)
            await client.until("Z")
            assert house.server.ran == [DELETE]
            again = await desk.hold()
            assert again.statement == other
            await desk.decide(again, "deny")
            await client.until("Z")
            assert house.server.ran == [DELETE]

    play(use())


def test_outside_a_transaction_the_extended_protocol_waits_its_full_time(tmp_path: Path) -> None:
    async def use() -> None:
        async with held(tmp_path) as (house, desk):
            client = await house.begun()
            client.send(parse("", DELETE), bind("", ""), execute(""), SYNC)
            hold = await desk.hold()
            assert hold.in_transaction_since is None
            await desk.decide(hold, "deny")
            await client.until("Z")
            # in one segment with another that has run, nothing is committed yet
            client.send(
                parse("", "SELECT 1"), bind("", ""), execute(""), parse("", DELETE), bind("", ""), execute(""), SYNC
            )
            hold = await desk.hold()
            assert hold.in_transaction_since is not None
            await desk.decide(hold, "deny")
            await client.until("Z")

    play(use())
