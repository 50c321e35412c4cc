"""`python -m tests.bench.inside judge|detectors|catalog PORT`: parts of the agent by themselves, as a JSON object.

Each is repeated in short runs of which the shortest counts: what else goes on on the machine only ever adds.

judge      CPU of one statement through session, gate, judge and recorder without sockets, in us: judged before (a hit),
           or of a new shape (a miss); also where it is only observed, and with a bundle beside that is only tried
detectors  the row kernel on rows of text, in MB/s
catalog    reading the catalog of the server on PORT with 300 and 3,000 relations more, in ms
"""

from __future__ import annotations

import asyncio
import itertools
import json
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import uvloop

from lockgate.config import Credential
from lockgate.masking import RootKey, build_plan, mask_rows
from lockgate.masking.detectors import KINDS
from lockgate.proxy.postgresql.catalog_reader import CatalogReader
from lockgate.values.identity import Endpoint
from lockgate.wire.postgresql.frames import Field, frame
from lockgate.wire.session import WireSession
from tests.proxy.house import CLASSIFICATION, House
from tests.support.playbook import SYNC, bind, execute, parse, query, ready, row

STATEMENTS = 250
RUNS = 12
RELATIONS = (300, 3000)
POLICIES = """
@id("work") permit (principal, action == Action::"execute", resource);
@id("alone") permit (principal, action in [Action::"execute_alone", Action::"reveal"], resource);
@id("pii") @mask("partial") forbid (principal, action == Action::"reveal", resource in Tag::"pii");
"""
TRIED = (
    POLICIES
    + """
@id("no-writes") forbid (principal, action == Action::"execute", resource) when { context.effects.contains("write") };
"""
)
DONE = frame(b"C", b"SELECT 1\0") + ready()
MISSES = {
    "one table": "SELECT id, email AS a{} FROM customers WHERE id = 7",
    "a join": "SELECT c.email, s.body AS a{} FROM customers c JOIN scratch s ON s.id = c.id WHERE c.note = 'x'",
    "nested": "WITH w AS (SELECT id, lower(email) AS e FROM customers) SELECT e, (SELECT max(body) FROM scratch s "
              "WHERE s.id = w.id) AS a{} FROM w WHERE id IN (SELECT id FROM scratch) ORDER BY id",
    "an update": "UPDATE scratch SET body = 'x' WHERE id = 7 RETURNING body AS a{}",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Exchange:
    """What the client says and what the server answers to it."""

    asked: list[bytes]
    answer: bytes


def described(*columns: tuple[int, int]) -> bytes:
    """A RowDescription of text columns, each by table OID and number."""
    fields = b"".join(b"c\0" + struct.pack("!IhIhih", table, number, 25, -1, -1, 0) for table, number in columns)
    return frame(b"T", struct.pack("!H", len(columns)) + fields)


def hits() -> dict[str, Exchange]:
    """Each kind of statement that was judged before."""
    numbers = itertools.count()
    plain, masked = described((102, 2)) + row(b"text") + DONE, described((101, 2)) + row(b"ann@example.org") + DONE
    extended = [bind("", "p") + frame(b"D", b"P\0") + execute("") + SYNC] * STATEMENTS
    return {
        "plain": Exchange([query("SELECT body FROM scratch WHERE id = 7")] * STATEMENTS, plain),
        "plain, new constants": Exchange(
            [query(f"SELECT body FROM scratch WHERE id = {next(numbers)}") for _ in range(STATEMENTS)], plain
        ),
        "masked": Exchange([query("SELECT email FROM customers WHERE id = 7")] * STATEMENTS, masked),
        "masked, new constants": Exchange(
            [query(f"SELECT email FROM customers WHERE id = {next(numbers)}") for _ in range(STATEMENTS)], masked
        ),
        "prepared": Exchange(extended, frame(b"2") + plain),
    }


async def judge() -> dict[str, float]:
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        async with House(Path(folder), policies=POLICIES, classification=CLASSIFICATION) as house:
            client = await house.begun()
            await client.ask("SELECT 1")
            (connection,) = house.listener.connections
            session = connection.session
            session.server_data(frame(b"S", b"client_encoding\0UTF8\0"))
            exchange(session, parse("p", "SELECT body FROM scratch WHERE id = $1") + SYNC, frame(b"1") + ready())
            for name, each in hits().items():
                found[f"hit {name}"] = await shortest(lambda each=each: each, session)  # type: ignore[misc]
            shapes = itertools.count()
            for name, text in MISSES.items():

                def anew(text: str = text) -> Exchange:
                    return Exchange(
                        [query(text.format(next(shapes))) for _ in range(20)], frame(b"C", b"X\0") + ready()
                    )

                found[f"miss {name}"] = await shortest(anew, session)
            client.writer.close()
    for name, more in (("observed", {"mode": "observe"}), ("tried", {"shadow": TRIED})):
        found |= {f"{name} {key}": took for key, took in (await beside(more)).items()}
    return found | {"masked adds": found["hit masked"] - found["hit plain"]}


async def beside(more: dict[str, Any]) -> dict[str, float]:
    """The same of a house with `more`, where that may cost something."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        async with House(Path(folder), policies=POLICIES, classification=CLASSIFICATION, **more) as house:
            client = await house.begun()
            await client.ask("SELECT 1")
            (connection,) = house.listener.connections
            session = connection.session
            session.server_data(frame(b"S", b"client_encoding\0UTF8\0"))
            exchange(session, parse("p", "SELECT body FROM scratch WHERE id = $1") + SYNC, frame(b"1") + ready())
            for name in ("plain", "masked", "prepared"):
                each = hits()[name]
                found[f"hit {name}"] = await shortest(lambda each=each: each, session)  # type: ignore[misc]
            shapes = itertools.count()

            def anew() -> Exchange:
                text = MISSES["one table"]
                return Exchange([query(text.format(next(shapes))) for _ in range(20)], frame(b"C", b"X\0") + ready())

            found["miss one table"] = await shortest(anew, session)
            client.writer.close()
    return found


async def shortest(make: Callable[[], Exchange], session: WireSession) -> float:
    """us of CPU of one statement, in the shortest of RUNS."""
    taken: list[float] = []
    for _ in range(RUNS):
        each = make()
        began = time.process_time()
        for asked in each.asked:
            exchange(session, asked, each.answer)
        taken.append((time.process_time() - began) / len(each.asked) * 1e6)
        await asyncio.sleep(0)
    return min(taken)


def exchange(session: WireSession, asked: bytes, answer: bytes) -> None:
    session.client_data(memoryview(asked))
    if session.drain_server() != asked:
        raise RuntimeError(f"it was not forwarded: {session.drain_client()!r}")
    session.server_data(memoryview(answer))
    if session.drain_client()[:1] == b"E":
        raise RuntimeError("the answer was refused")


async def detectors() -> dict[str, float]:
    """Clean text, and text in which one row in a hundred has something."""
    clean = b"".join(row(f"the customer called about order {n} and wants it sent to the other address".encode())
                     for n in range(3000))  # fmt: skip
    hit = row(b"the customer called from ann@example.org and wants it sent to the other address")
    found = b"".join(itertools.chain.from_iterable(_with(hit, clean)))
    plan = build_plan(
        [Field("note", 0, 0, 25, 0)], [None], keys=RootKey(bytes(32)).keys("orders"),
        detectors=dict.fromkeys(KINDS, "partial"),
    )  # fmt: skip
    rates: dict[str, float] = {}
    for name, rows in (("detectors clean", clean), ("detectors found", found)):
        taken: list[float] = []
        for _ in range(4 * RUNS):
            began = time.process_time()
            mask_rows(rows, 0, len(rows), plan)
            taken.append(time.process_time() - began)
        rates[name] = len(rows) / min(taken) / 1e6
    return rates | {"detectors ns": 1000 / rates["detectors clean"]}


def _with(hit: bytes, rows: bytes) -> Iterator[list[bytes]]:
    """`rows` with `hit` behind every hundredth."""
    at = number = 0
    while at < len(rows):
        end = at + 1 + int.from_bytes(rows[at + 1 : at + 5], "big")
        number += 1
        yield [rows[at:end], hit] if number % 100 == 0 else [rows[at:end]]
        at = end


async def catalog(port: int) -> dict[str, float]:
    found: dict[str, float] = {}
    connect: Any = asyncpg.connect  # untyped
    setting = await connect(host="127.0.0.1", port=port, user="postgres", database="postgres", ssl=False)
    reader = CatalogReader(Credential(user="lockgate"))
    try:
        for relations in RELATIONS:
            name = f"bench_{relations}"
            await setting.execute(f"DROP DATABASE IF EXISTS {name}")
            await setting.execute(f"CREATE DATABASE {name}")
            filling = await connect(host="127.0.0.1", port=port, user="postgres", database=name, ssl=False)
            try:
                for n in range(relations):
                    await filling.execute(
                        f"CREATE TABLE t{n} (id int, name text, email text, note text, at timestamptz)"
                    )
            finally:
                await filling.close()
            taken: list[float] = []
            for _ in range(3):
                began = time.perf_counter()
                await reader.read(Endpoint("127.0.0.1", port), name)
                taken.append(time.perf_counter() - began)
            await setting.execute(f"DROP DATABASE {name}")
            found[f"catalog {relations}"] = min(taken) * 1000
    finally:
        await setting.close()
    return found


def main(what: str, port: int) -> None:
    works: dict[str, Callable[[], Coroutine[Any, Any, dict[str, float]]]] = {
        "judge": judge,
        "detectors": detectors,
        "catalog": lambda: catalog(port),
    }
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(works[what]())))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
