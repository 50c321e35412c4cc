"""Commands that come together share two records, in which each of them can still be read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lockgate.config import SpoolSettings
from lockgate.proxy.recorder import Begun
from lockgate.proxy.redis import batch as module
from lockgate.proxy.redis.batch import Batch, Together
from lockgate.values.statement import Request
from lockgate.wire.gate import Run
from tests.proxy.house import play, until
from tests.proxy.redis.house import MARKER, RedisHouse
from tests.support.redis import Redis

FACTS: dict[str, Any] = {"verdict": "allow", "policy": "p", "reason": "because", "mode": "enforce", "epoch": 1,
                         "effects": ["read"], "objects": [], "kinds": ["GET"]}  # fmt: skip


def ended(batch: Batch, **told: Any) -> bool:
    run = Run(Request("redis", "", "", ()), batch.ruling)
    for name, value in {"outcome": "completed", **told}.items():
        setattr(run, name, value)
    return batch.settle(run)


def test_it_has_ended_once_all_of_it_has() -> None:
    batch = Batch(Begun("c-1", 0), FACTS)
    for text in ("GET a", "INCR b", "GET c"):
        batch.add(text)
    assert not ended(batch, bytes=5)
    assert not ended(batch, bytes=7, error="WRONGTYPE", outcome="error")
    assert ended(batch, bytes=9, masked_cells=1, detected={"email": 2})
    assert batch.ends() == {"rows": 0, "bytes": 21, "masked_cells": 1, "detected": {"email": 2},
                            "error": {"code": "WRONGTYPE"}, "failed": 1}  # fmt: skip
    assert batch.outcome == "error"
    assert batch.commands == 3


@pytest.mark.parametrize(
    ("ends", "outcome"),
    [
        (["completed", "disconnected"], "disconnected"),
        (["error", "broken"], "broken"),
        (["disconnected", "error", "completed"], "disconnected"),
    ],
)
def test_what_became_of_the_worst_is_its_outcome(ends: list[str], outcome: str) -> None:
    batch = Batch(Begun("c-1", 0), FACTS)
    for end in ends:
        batch.add(end)
    for end in ends:
        ended(batch, outcome=end)
    assert batch.outcome == outcome


def test_one_command_is_recorded_as_ever() -> None:
    batch = Batch(Begun("c-1", 0), FACTS)
    batch.add("GET a")
    ended(batch, error="ERR", outcome="error")
    assert batch.ends() == {"rows": 0, "bytes": 0, "error": {"code": "ERR"}}


def test_what_commands_do_is_put_together_and_what_lets_them_pass_is_not() -> None:
    together = Together()
    write = {**FACTS, "effects": ["write"], "kinds": ["SET"], "objects": ["s:*"], "reason": "it may write"}
    both = together.of(FACTS, write)
    assert both is not None
    assert both == {**FACTS, "effects": ["read", "write"], "kinds": ["GET", "SET"], "objects": ["s:*"],
                    "reason": "because; it may write"}  # fmt: skip
    assert together.of(both, write) is both
    assert together.of(FACTS, FACTS) is FACTS
    for other in ({"policy": "q"}, {"masks": [["secret:*", "redact"]]}, {"epoch": 2}, {"shadow": {"would": "deny"}}):
        assert together.of(FACTS, {**write, **other}) is None
    more = both
    for number in range(module.REASONS - 2):
        found = together.of(more, {**write, "reason": f"{number}", "kinds": [f"{number}"]})
        assert found is not None
        more = found
    assert together.of(more, {**write, "reason": "one too many", "kinds": ["X"]}) is None


def test_what_is_remembered_is_bounded_and_nobody_elses() -> None:
    together = Together()
    for number in range(3 * module.TOGETHER):
        other = {**FACTS, "kinds": [str(number)]}
        assert together.of(FACTS, other) == {**FACTS, "kinds": sorted(("GET", str(number)))}
    assert len(together._known) <= module.TOGETHER


def begun(house: RedisHouse) -> list[dict[str, Any]]:
    return house.records(type="statement", phase="begin")


def test_a_pipeline_is_one_statement_with_a_line_a_command(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        async with RedisHouse(tmp_path, server) as house:
            reader, writer = await house.raw()
            writer.write(b"SET a 1\r\nLPUSH a x\r\nGET a\r\n" + b"GET b\r\n" * 3)
            await reader.readuntil(b"$1\r\n1\r\n$-1\r\n$-1\r\n$-1\r\n")
            await until(lambda: house.records(type="statement", phase="end"))
            (first,) = begun(house)
            assert first["statement"] == "SET a 1\nLPUSH a x\nGET a\nGET b\nGET b\nGET b"
            assert (first["commands"], first["effects"], first["kinds"]) == (
                6,
                ["read", "write"],
                ["GET", "LPUSH", "SET"],
            )
            (last,) = house.records(type="statement", phase="end")
            assert (last["id"], last["outcome"], last["failed"]) == (first["id"], "error", 1)
            assert last["error"] == {"code": "WRONGTYPE"}

    play(use())


def test_what_is_refused_among_them_stands_in_its_place(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        async with RedisHouse(tmp_path, server) as house:
            reader, writer = await house.raw()
            writer.write(b"SET a 1\r\nFLUSHALL\r\nGET a\r\nGET secret:1\r\n")
            await reader.readuntil(b"$1\r\n1\r\n$-1\r\n")
            assert [(r["statement"], r["verdict"]) for r in begun(house)] == [
                ("SET a 1", "allow"), ("FLUSHALL", "deny"), ("GET a", "allow"), ("GET secret:1", "allow"),
            ]  # fmt: skip

    play(use())


def test_a_masked_one_among_them_is_masked(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        for number in range(3):
            server.ask("SET", f"secret:{number}", MARKER)
        async with RedisHouse(tmp_path, server) as house:
            reader, writer = await house.raw()
            writer.write(b"GET secret:0\r\nGET secret:1\r\nGET plain\r\nGET secret:2\r\n")
            assert await reader.readexactly(9 * 3 + 5) == b"$3\r\n***\r\n$3\r\n***\r\n$-1\r\n$3\r\n***\r\n"
            assert [r["statement"] for r in begun(house)] == ["GET secret:0\nGET secret:1", "GET plain", "GET secret:2"]
            await until(lambda: len(house.records(type="statement", phase="end")) == 3)
            assert [r.get("masked_cells") for r in house.records(type="statement", phase="end")] == [2, None, 1]

    play(use())


@pytest.mark.parametrize("many", [3000, 40])
def test_no_record_is_too_long_to_be_read(tmp_path: Path, server: Redis, many: int) -> None:
    async def use() -> None:
        async with RedisHouse(tmp_path, server) as house:
            reader, writer = await house.raw()
            size = 100_000 // many
            writer.write(b"".join(b"SET k:%d %b\r\n" % (number, b"x" * size) for number in range(many)))
            assert await reader.readexactly(5 * many) == b"+OK\r\n" * many
            records = begun(house)
            assert sum(r.get("commands", 1) for r in records) == many
            assert all(r.get("commands", 1) <= module.COMMANDS for r in records)
            assert all(len(r["statement"]) <= module.CHARACTERS + size + 20 for r in records)

    play(use())


def test_where_no_record_fits_nothing_is_sent(tmp_path: Path, server: Redis) -> None:
    """Also what comes behind something refused, which was to be recorded before that was."""

    async def use() -> None:
        spool = SpoolSettings(fsync="never", max_bytes=16384, segment_bytes=16384)
        async with RedisHouse(tmp_path, server, spool=spool) as house:
            reader, writer = await house.raw()
            writer.write(b"".join(b"SET k:%d %b\r\n" % (number, b"x" * 400) for number in range(40)) + b"FLUSHALL\r\n")
            told = await asyncio.wait_for(reader.read(), 10)
            assert b"can't be recorded, so it is not sent" in told
            assert b"+OK" not in told
            assert server.calls("SET") == 0

    play(use())


def answered(house: RedisHouse) -> Callable[[], bool]:
    return lambda: bool(house.records(type="statement", phase="end"))


def test_a_client_that_goes_before_the_answer_leaves_a_record_of_that(tmp_path: Path, server: Redis) -> None:
    async def use() -> None:
        async with RedisHouse(tmp_path, server) as house:
            _, writer = await house.raw()
            writer.write(b"SET a 1\r\nBLPOP nothing 0\r\n")
            await until(lambda: server.calls("SET"))
            writer.close()
            await until(answered(house))
            (last,) = house.records(type="statement", phase="end")
            assert last["outcome"] == "disconnected"

    play(use())
