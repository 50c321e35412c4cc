"""Identity, judgement, record and hold of each statement, as a client sees them and as the spool has them."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from lockgate.config import SpoolSettings
from lockgate.identity.workload import ProcessGone
from lockgate.policy.decide import Engine
from lockgate.proxy.postgresql.catalog_reader import CatalogReader
from lockgate.proxy.postgresql.estimates import Estimates
from lockgate.values.identity import Endpoint
from lockgate.wire.postgresql.frames import cancel_request, startup
from tests.proxy.house import CLASSIFICATION, POLICIES, House, errors_of, gate_of, play, until
from tests.support.playbook import SYNC, bind, execute, parse, query


def begun(house: House, kind: str = "statement") -> list[tuple[str, str]]:
    return [(r["statement"], r["verdict"]) for r in house.records(type=kind, phase="begin")]


def ends(house: House) -> list[str]:
    return [r["outcome"] for r in house.records(type="statement", phase="end")]


def connection_ends(house: House) -> list[str]:
    return [r["outcome"] for r in house.records(type="connection", phase="end")]


# --- a statement


def test_it_is_recorded_before_and_after(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path) as house:
            client = await house.begun(application_name="psql")
            answer = await client.ask("SELECT 1")
            assert [kind for kind, _ in answer] == ["T", "D", "D", "C", "Z"]
            client.writer.write(b"X\0\0\0\4")
            await client.rest()
            await until(lambda: connection_ends(house))
            assert begun(house) == [("SELECT 1", "allow")]
            (end,) = house.records(type="statement", phase="end")
            assert (end["outcome"], end["rows"], end["id"][-2:]) == ("completed", 2, "-1")
            (opened,) = house.records(type="connection", phase="begin")
            assert {
                k: opened["connection"][k] for k in ("principal", "database", "user", "application", "upstream")
            } == {
                "principal": "ann",
                "database": "shop",
                "user": "app",
                "application": "psql",
                "upstream": str(house.endpoint),
            }
            assert connection_ends(house) == ["closed"]

    play(use())


def test_a_refusal_names_the_policy_and_nothing_leaves(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path) as house:
            client = await house.begun()
            assert errors_of(await client.ask("DROP TABLE t")) == [
                "42501 lockgate: schema changes go through migrations"
            ]
            assert (begun(house), ends(house)) == ([("DROP TABLE t", "deny")], ["denied"])
            assert house.server.ran == []
            assert errors_of(await client.ask("SELECT 1")) == []

    play(use())


def test_what_cannot_be_recorded_is_not_sent(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path, spool=SpoolSettings(max_bytes=4000, fsync="never")) as house:
            client = await house.begun()
            told: list[str] = []
            for n in range(20):
                told = errors_of(await client.ask(f"SELECT {n}"))
                if told:
                    break
            assert told[0].startswith("58030 lockgate: this can't be recorded")
            assert len(house.server.ran) == n

    play(use())


# --- identity


def test_it_is_judged_by_the_claims_in_force_and_not_by_those_of_before(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path) as house:
            client = await house.begun()
            assert errors_of(await client.ask("SELECT 1")) == []
            house.identities.replace(house.directory("visitors"))
            assert errors_of(await client.ask("SELECT 1"))[0].startswith("42501")
            assert begun(house)[-1] == ("SELECT 1", "deny")

    play(use())


def test_a_token_that_ends_is_renewed_and_the_record_has_the_new_one(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path) as house:
            client = await house.begun()
            await client.ask("SELECT 1")
            house.clock = 290.0
            assert errors_of(await client.ask("SELECT 1")) == []
            first, second = house.records(type="statement", phase="begin")
            assert first["connection"]["token"] != second["connection"]["token"]

    play(use())


def test_a_process_that_has_gone_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def use() -> None:
        async with House(tmp_path) as house:
            client = await house.begun()

            def gone(_: object) -> Any:
                raise ProcessGone("pid 5 has become another program")

            monkeypatch.setattr(house.identities, "holds", lambda _: False)
            monkeypatch.setattr(house.identities, "fresh", gone)
            assert errors_of(await client.ask("SELECT 1")) == ["42501 lockgate: pid 5 has become another program"]
            assert (begun(house)[-1], house.server.ran) == (("SELECT 1", "deny"), [])
            client.send(parse("", "SELECT 1"), SYNC)
            assert errors_of(await client.until("Z")) == ["42501 lockgate: pid 5 has become another program"]

    play(use())


# --- the start-up packet


def test_start_up_settings_are_judged_recorded_and_refused(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path, policies=POLICIES + FORBID_SESSION) as house:
            client = await house.client()
            client.send(startup({"user": "app", "options": "-c search_path=evil"}))
            assert (await client.error()).startswith("42501 lockgate: a policy forbids")
            assert await client.rest() == b""
            assert begun(house)[0][1] == "deny"
            assert house.server.models == []

    play(use())


def test_a_start_up_setting_that_would_be_held_is_refused(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path, policies=POLICIES + HOLD_SESSION) as house:
            client = await house.client()
            client.send(startup({"user": "app", "search_path": "evil"}))
            assert "can't wait for approval" in await client.error()
            assert (begun(house)[0][1], house.server.models) == ("deny", [])

    play(use())


FORBID_SESSION = """
@id("no-set") forbid (principal, action == Action::"execute", resource)
when { context.effects.contains("session") };
"""
HOLD_SESSION = """
@id("hold-set") @approvers("dba") forbid (principal, action == Action::"execute_alone", resource)
when { context.effects.contains("session") };
"""


# --- the catalog


def test_the_first_statement_waits_for_the_catalog_and_nothing_overtakes_it(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path, classification=CLASSIFICATION) as house:
            house.reader.delay = 0.2
            client = await house.begun()
            client.send(query("SELECT 1"), query("SELECT 2"), query("SELECT 3"))
            for _ in range(3):
                await client.until("Z")
            assert [text for text, _ in begun(house)] == ["SELECT 1", "SELECT 2", "SELECT 3"]
            assert (house.server.ran, house.reader.readings) == (["SELECT 1", "SELECT 2", "SELECT 3"], 1)

    play(use())


def test_without_a_catalog_only_what_has_no_rows_goes(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path, classification=CLASSIFICATION) as house:
            house.reader.error = "the catalog of 'shop' can't be read: no"
            client = await house.begun()
            assert errors_of(await client.ask("SELECT 1")) == [
                "42501 lockgate: the catalog of 'shop' can't be read: no"
            ]
            assert errors_of(await client.ask("BEGIN")) == []
            assert house.server.ran == ["BEGIN"]
            assert begun(house) == [("SELECT '***'", "deny"), ("BEGIN", "allow")]

    play(use())


def test_observing_nothing_is_blocked_held_or_masked_and_would_is_recorded(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path, classification=CLASSIFICATION, mode="observe") as house:
            client = await house.begun()
            for text in ("DROP TABLE t", "DELETE FROM scratch", "SELECT email FROM customers"):
                client.send(query(text))
                await client.until("Z")
            assert [r["would"] for r in house.records(type="statement", phase="begin")] == ["deny", "hold", "allow"]
            assert {r["verdict"] for r in house.records(type="statement", phase="begin")} == {"allow"}
            assert len(house.server.models[0].ran) + len(house.records(outcome="error")) >= 3

    play(use())


def test_observing_it_does_not_block_without_a_catalog(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path, classification=CLASSIFICATION, mode="observe") as house:
            house.reader.error = "no"
            client = await house.begun()
            assert errors_of(await client.ask("SELECT 1")) == []
            assert [r["would"] for r in house.records(type="statement", phase="begin")] == ["deny"]

    play(use())


def test_a_change_of_the_catalog_counts_from_when_it_is_sent(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path, classification=CLASSIFICATION) as house:
            client = await house.begun()
            await client.ask("SELECT 1")
            assert house.reader.readings == 1
            # both in one go: the second is judged while the first is on its way
            client.send(query("ALTER TABLE customers ADD b int"), query("SELECT upper(note) FROM customers"))
            await client.until("Z")
            await client.until("Z")
            second = house.records(type="statement", phase="begin")[-1]
            assert second["masks"] == [["public.customers.email", "redact"]]
            await client.ask("SELECT 1")
            assert house.reader.readings == 2

    play(use())


def test_a_transaction_that_changes_the_catalog_does_not_wait_for_it_at_every_step(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path, classification=CLASSIFICATION) as house:
            client = await house.begun()
            await client.ask("SELECT 1")
            for text in ("BEGIN", "ALTER TABLE customers ADD b int", "SELECT 2", "ALTER TABLE customers ADD c int",
                         "SELECT upper(note) FROM customers", "COMMIT"):  # fmt: skip
                await client.ask(text)
            assert house.reader.readings == 1
            # judged without trust in names all the same
            reading = [r for r in house.records(type="statement", phase="begin") if "upper" in r["statement"]]
            assert reading[0]["masks"] == [["public.customers.email", "redact"]]
            await client.ask("ROLLBACK")
            assert house.reader.readings == 1
            await client.ask("SELECT 3")
            assert house.reader.readings == 2

    play(use())


def test_a_request_that_stays_unknown_is_read_for_once(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path, classification=CLASSIFICATION) as house:
            client = await house.begun()
            await client.ask("SELECT a FROM newcomer")
            readings = house.reader.readings
            await client.ask("SELECT a FROM newcomer")
            assert house.reader.readings == readings == 2

    play(use())


def test_parse_of_what_an_older_catalog_does_not_know_is_left_to_its_run(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path, classification=CLASSIFICATION) as house:
            client = await house.begun()
            await client.ask("SELECT 1")
            client.send(parse("s", "INSERT INTO newcomer SELECT id FROM customers"), SYNC)
            await client.until("Z")
            assert begun(house, "prepare")[-1][1] == "allow"
            client.send(parse("t", "INSERT INTO scratch SELECT id, email FROM customers"), SYNC)
            assert "copying public.customers.email" in errors_of(await client.until("Z"))[0]

    play(use())


def test_a_client_that_goes_while_the_catalog_is_read_leaves_nothing(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path, classification=CLASSIFICATION) as house:
            house.reader.delay = 0.3
            client = await house.begun()
            client.send(query("SELECT 1"))
            await until(lambda: house.reader.readings)
            client.writer.close()
            await until(lambda: connection_ends(house))
            await asyncio.sleep(0.4)
            assert (house.server.ran, house.listener.connections, begun(house)) == ([], {}, [])

    play(use())


def test_a_cancel_while_the_catalog_is_read_ends_the_wait(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path, classification=CLASSIFICATION) as house:
            house.reader.delay = 5.0
            client = await house.begun()
            (gate,) = (gate_of(served) for served in house.listener.connections.values())
            secret = gate.key(7, b"abcd")
            client.send(query("SELECT 1"))
            await until(lambda: house.reader.readings)
            await cancel(house, 7, secret)
            assert (await client.error()).startswith("57014")
            assert house.server.ran == []

    play(use())


def test_a_judgement_that_fails_is_answered_logged_and_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def use() -> None:
        async with House(tmp_path, classification=CLASSIFICATION) as house:
            client = await house.begun()

            def broken(*_: object, **__: object) -> Any:
                raise ArithmeticError("a bug")

            monkeypatch.setattr(Engine, "decide", broken)
            with caplog.at_level(logging.ERROR):
                assert errors_of(await client.ask("SELECT 1")) == [
                    "XX000 lockgate: judging this statement failed; it was not sent"
                ]
            assert "a bug" in caplog.text
            monkeypatch.undo()
            assert errors_of(await client.ask("SELECT 1")) == []
            assert house.server.ran == ["SELECT 1"]

    play(use())


async def cancel(house: House, process: int, secret: bytes) -> None:
    client = await house.client()
    client.send(cancel_request(process, secret))
    await client.rest()


# --- estimates


class _Planner(Estimates):
    """Answers with `rows` what a server would be asked."""

    def __init__(self, reader: CatalogReader) -> None:
        super().__init__(reader)
        self.rows: int | None = None
        self.asked: list[str] = []

    async def _explain(self, endpoint: Endpoint, database: str, text: str, schemas: tuple[str, ...]) -> int | None:
        self.asked.append(text)
        return self.rows


BY_ROWS = """
@id("many") @approvers("dba") @timeout("1s")
forbid (principal, action == Action::"execute_alone", resource) when { context.kinds.contains("UPDATE") }
unless { context has estimated_rows && context.estimated_rows < 100 };
@id("too-many")
forbid (principal, action == Action::"execute", resource)
when { context has estimated_rows && context.estimated_rows > 5000 };
"""


def test_how_many_rows_are_estimated_decides_where_a_policy_asks_for_it(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path, policies=POLICIES + BY_ROWS) as house:
            planner = _Planner(house.reader)
            house.opened.estimates = planner
            client = await house.begun()
            for rows, told in (
                (7, []),
                (5001, ["42501 lockgate: a policy forbids ann to write in orders (UPDATE scratch)"]),
                (99, []),
            ):
                planner.rows = rows
                # another text each time: an estimate counts for a while
                assert errors_of(await client.ask(f"UPDATE scratch SET id = {rows}")) == told
            assert planner.asked == [f"UPDATE scratch SET id = {rows}" for rows in (7, 5001, 99)]
            # nobody plans these, and nobody waits for it
            assert errors_of(await client.ask("BEGIN")) == []
            assert len(planner.asked) == 3

    play(use())


def test_what_is_parsed_is_not_refused_for_rows_that_nobody_has_counted_yet(tmp_path: Path) -> None:
    few = '@id("few") forbid (principal, action == Action::"execute", resource) when { context.kinds == ["SELECT"] }'
    few += " unless { context has estimated_rows && context.estimated_rows < 100 };"

    async def use() -> None:
        async with House(tmp_path, policies=POLICIES + few) as house:
            planner = _Planner(house.reader)
            house.opened.estimates = planner
            client = await house.begun()
            for rows, told in ((5, 0), (500, 1)):
                planner.rows = rows
                client.send(parse("", f"SELECT id FROM scratch WHERE id > {rows}"), bind("", ""), execute(""), SYNC)
                assert len(errors_of(await client.until("Z"))) == told
            assert len(house.server.ran) == 1

    play(use())
