"""Rows through a whole plan: what `lockgate.masking.mask_rows` adds to the kernel is the look at what is left."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from typing import Any

import asyncpg
import psycopg

from lockgate.masking import Plan, Program, RootKey, build_plan, mask_rows
from lockgate.masking.cells import Action, Cell
from lockgate.wire.gate import Asked, Ruling
from lockgate.wire.postgresql.frames import Field
from lockgate.wire.postgresql.gate import Masking
from tests.support.passing_proxy import passing_proxy
from tests.support.playbook import ScriptedGate
from tests.support.postgres import Postgres

KEYS = RootKey(bytes(32)).keys("orders")
QUERY = """
SELECT 12345::int4 AS tokenise, 9007199254740993::int8 AS tokenise, 12345678.90::numeric(12,2) AS tokenise,
  '123e4567-e89b-42d3-a456-426614174000'::uuid AS tokenise, '4111 1111 1111 1111'::text AS tokenise,
  'ann'::varchar(40) AS hash, '{"a": 1}'::jsonb AS hash, 'abcdef'::text AS "truncate:4",
  '2024-02-28'::date AS "date_shift:30", '2024-02-28 12:34:56.5'::timestamp AS "date_shift:30",
  '2024-02-28 12:34:56.5+00'::timestamptz AS "date_shift:30", '2024-02-28'::date AS "truncate:month",
  '2024-03-01 00:30:00+01'::timestamptz AS "truncate:month", 7::int2 AS tokenise, 'infinity'::date AS "date_shift:30",
  'write to ann@example.org'::text AS plain
"""
"""Each column is called as it is masked."""


class _Named(Masking):
    def plan(self, statement: int, fields: Sequence[Field], *, utf8: bool) -> Plan:
        maskers = [None if f.name == "plain" else f.name for f in fields]
        return build_plan(fields, maskers, keys=KEYS, utf8=utf8, detectors={"email": "partial"})

    def copy(self, *_: object, **__: object) -> None:
        raise AssertionError("nothing is copied here")


class _Gate(ScriptedGate):
    def run(self, asked: Asked) -> Ruling | None:
        return Ruling(masking=_Named() if asked.request.text == QUERY else None)


def row(value: bytes) -> bytes:
    return b"D" + struct.pack("!IHi", 10 + len(value), 1, len(value)) + value


def test_without_a_scan_nothing_is_looked_for() -> None:
    cells = (Cell(Action.REDACT),)
    data = row(b"ann@example.org") + b"C\0\0"
    found = mask_rows(data, 0, len(data), Plan(cells, Program(cells)))
    assert found == (row(b"***"), len(data) - 3, 1, 1, {})


def test_clients_of_either_format_are_shown_the_same() -> None:
    """asyncpg asks for binary and psycopg for text; the columns have the types that the server said."""
    gate = _Gate()
    with Postgres() as server, passing_proxy(server.port, lambda: gate) as (port, _):

        async def binary() -> Sequence[Any]:
            connection: Any = await asyncpg.connect(  # type: ignore[no-untyped-call]
                host="127.0.0.1", port=port, user="postgres", database="postgres"
            )
            try:
                record = await connection.fetchrow(QUERY)
            finally:
                await connection.close()
            assert record is not None
            return tuple(str(value) if n == 6 else value for n, value in enumerate(record.values()))

        found = asyncio.run(binary())
        with psycopg.connect(f"host=127.0.0.1 port={port} user=postgres dbname=postgres") as connection:
            row = connection.execute(QUERY).fetchone()
    assert row is not None
    shown = [f'"{value}"' if n == 6 else value for n, value in enumerate(row)]
    assert list(found) == shown
    assert found[0] not in (None, 12345)
    assert found[13:] == (None, None, "write to a***@e***.org")
    assert all(value is not None for value in found[:13])
    assert [run.detected for run in gate.runs if run.detected] == [{"email": 1}] * 2
