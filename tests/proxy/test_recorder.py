"""The records of one connection: who and where to once, and what became of each statement."""

from __future__ import annotations

import asyncio
from pathlib import Path

from lockgate.proxy.recorder import Recorder
from lockgate.values.identity import Endpoint
from lockgate.wire.gate import Why
from tests.proxy.house import House, play

PLACE = {"datastore": "orders", "protocol": "postgresql", "database": "shop", "user": "app", "application": "psql"}
FIELDS = {"verdict": "allow", "policy": "p", "reason": "r", "mode": "enforce", "epoch": 1, "effects": ["read"],
          "objects": [], "kinds": ["SELECT"]}  # fmt: skip


def test_a_connection_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path) as house:
            recorder = Recorder(house.services.ledger, "c")
            identified = house.identities.identify(house.origin)
            assert recorder.open(identified, Endpoint("::1", 5432), **PLACE) is None
            begun = recorder.next()
            assert recorder.begin("statement", begun, "SELECT 1", FIELDS) is None
            assert recorder.end(begun, "completed", {"rows": 1}) >= 0
            recorder.close("closed")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            found = house.records()
            assert [(r["type"], r["phase"], r["id"]) for r in found] == [
                ("connection", "begin", "c"),
                ("statement", "begin", "c-1"),
                ("statement", "end", "c-1"),
                ("connection", "end", "c"),
            ]
            facts = found[0]["connection"]
            assert facts == found[1]["connection"]
            assert {key: facts[key] for key in PLACE} == PLACE
            assert (facts["upstream"], facts["principal"], facts["id"]) == ("[::1]:5432", "ann", "c")
            assert identified.token_text not in str(found)
            assert (found[3]["statements"], found[3]["outcome"]) == (1, "closed")

    play(use())


def test_a_connection_that_moves_says_so_from_there_on(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path) as house:
            recorder = Recorder(house.services.ledger, "c")
            recorder.open(house.identities.identify(house.origin), Endpoint("::1", 5432), **PLACE)
            for place in ({"database": "3"}, {"database": "3", "user": "other"}):
                recorder.moved(**place)
                recorder.begin("statement", recorder.next(), "SELECT 1", FIELDS)
            facts = [r["connection"] for r in house.records()]
            assert [(one["database"], one["user"]) for one in facts] == [("shop", "app"), ("3", "app"), ("3", "other")]
            assert {one["principal"] for one in facts} == {"ann"}

    play(use())


def test_a_connection_that_was_never_opened_has_no_end(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path) as house:
            Recorder(house.services.ledger, "c").close("disconnected")
            await asyncio.sleep(0)
            assert house.records() == []

    play(use())


def test_text_that_no_encoding_explains_is_a_refusal_and_spoils_nothing(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path) as house:
            recorder = Recorder(house.services.ledger, "c")
            recorder.open(house.identities.identify(house.origin), Endpoint("::1", 5432), **PLACE)
            refusal = recorder.begin("statement", recorder.next(), "SELECT '\udcff'", FIELDS)
            assert refusal is not None
            assert refusal.code == Why.UNRECORDED
            assert recorder.begin("statement", recorder.next(), "SELECT 1", FIELDS) is None
            assert [r["statement"] for r in house.records(type="statement")] == ["SELECT 1"]

    play(use())


def test_a_connection_that_is_not_read_says_so_and_who_it_is_where_that_can_be_told(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path) as house:
            known, unknown = Recorder(house.services.ledger, "k"), Recorder(house.services.ledger, "u")
            assert not known.opened
            known.open(house.identities.identify(house.origin), Endpoint("::1", 5432), "tls", False, **PLACE)
            unknown.open(None, Endpoint("::1", 5432), None, False, **PLACE)
            assert unknown.opened
            unknown.unread("gss")
            first, second, third = house.records()
            assert (first["phase"], first["unread"], first["connection"]["principal"]) == ("begin", "tls", "ann")
            assert second["connection"] == {"id": "u", **PLACE, "upstream": "[::1]:5432"}
            assert (third.get("phase"), third["id"], third["unread"]) == (None, "u", "gss")

    play(use())


def test_what_need_not_be_recorded_is_not_refused_and_has_no_end_either(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path) as house:
            recorder = Recorder(house.services.ledger, "c")
            begun = recorder.next()
            assert recorder.begin("statement", begun, "SELECT '\udcff'", FIELDS, must=False) is None
            assert not begun.recorded
            recorder.end(begun, "completed", {})
            await asyncio.sleep(0.01)
            assert house.records(type="statement") == []

    play(use())
