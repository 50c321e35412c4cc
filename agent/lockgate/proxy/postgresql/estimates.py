"""How many rows a statement is likely to return or change, as PostgreSQL's planner sees it.

Asked by EXPLAIN, without ANALYZE, as the agent's own reader and read-only. Planning runs what claims to be immutable,
so a text is only explained when everything that it names is PostgreSQL's own or plain data. The reader needs the
rights that the statement needs (SELECT on the tables, for a DELETE also DELETE); without them nobody knows.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec

from lockgate.proxy.postgresql.catalog_reader import CatalogError, CatalogReader
from lockgate.understand.postgresql.planning import plannable
from lockgate.values.catalog import Catalog
from lockgate.values.identity import Endpoint
from lockgate.values.statement import Request

PLAN_MILLISECONDS: Final = 1000
"""The longest planning may take on the server: a join of a dozen tables takes some ten."""
ESTIMATE_SECONDS: Final = 3.0
"""The longest a statement waits for its estimate, with connecting and waiting for others."""
AT_ONCE: Final = 4
"""Estimates at once, of one datastore: each is a connection to it."""
KEPT: Final = 1024
KEPT_SECONDS: Final = 10.0
"""An estimate counts this long for the same text: ANALYZE runs every minute at most."""
KEPT_CHARACTERS: Final = 8192
"""Longer texts are asked about each time."""
MOST_ROWS: Final = 2**63 - 1
"""What policy's numbers hold: the planner expects up to 1e100 of a few tables without a condition between them."""

_PARAMETERS: Final = """
SELECT pg_catalog.cardinality(parameter_types) FROM pg_catalog.pg_prepared_statements WHERE name = 'lockgate'
"""


class Estimates:
    """The estimates of one datastore, read by `reader`."""

    def __init__(self, reader: CatalogReader, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._reader = reader
        self._clock = clock
        self._places = asyncio.Semaphore(AT_ONCE)
        self._kept: OrderedDict[tuple[Endpoint, str, str], tuple[float, int | None]] = OrderedDict()

    async def estimate(self, endpoint: Endpoint, database: str, request: Request, catalog: Catalog) -> int | None:
        """The rows that the request's one statement returns or changes; None when that can't be told.

        `catalog` is the database's. Never raises for what a client sent or a server does.
        """
        schemas = plannable(request, catalog)
        if schemas is None:
            return None
        key = (endpoint, database, request.text)
        kept = self._kept.get(key)
        if kept is not None and self._clock() - kept[0] < KEPT_SECONDS:
            return kept[1]
        try:
            async with asyncio.timeout(ESTIMATE_SECONDS), self._places:
                rows = await self._explain(endpoint, database, request.text, schemas)
        except (CatalogError, TimeoutError):
            rows = None
        if len(request.text) <= KEPT_CHARACTERS:
            self._kept[key] = (self._clock(), rows)
            self._kept.move_to_end(key)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return rows

    async def _explain(self, endpoint: Endpoint, database: str, text: str, schemas: tuple[str, ...]) -> int | None:
        async with self._reader.session(endpoint, database) as connection, connection.transaction(readonly=True):
            await connection.fetch(f"SET LOCAL statement_timeout = {PLAN_MILLISECONDS:d}")
            path = ", ".join('"' + schema.replace('"', '""') + '"' for schema in ("pg_catalog", *schemas))
            await connection.fetchval("SELECT pg_catalog.set_config('search_path', $1, true)", path)
            # whatever the parameters will be; and one statement only: fetch() speaks the extended protocol
            await connection.fetch("SET LOCAL plan_cache_mode = force_generic_plan")
            await connection.fetch(f"PREPARE lockgate AS {text}")
            missing = await connection.fetchval(_PARAMETERS)
            nothing = f"({', '.join(['NULL'] * missing)})" if missing else ""
            return rows_of(await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE lockgate{nothing}"))


class _Plan(msgspec.Struct, frozen=True):
    node: str = msgspec.field(name="Node Type")
    rows: float = msgspec.field(name="Plan Rows")
    relationship: str = msgspec.field(default="", name="Parent Relationship")
    plans: tuple[_Plan, ...] = msgspec.field(default=(), name="Plans")


class _Explained(msgspec.Struct, frozen=True):
    plan: _Plan = msgspec.field(name="Plan")


_read = msgspec.json.Decoder(tuple[_Explained]).decode


def rows_of(explained: str) -> int | None:
    """The rows, at most MOST_ROWS, that what EXPLAIN (FORMAT JSON) says is about; None when it says nothing of them."""
    try:
        (found,) = _read(explained)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    rows = found.plan.rows
    if found.plan.node == "ModifyTable":
        # what it changes, without the sub-queries beside it
        rows = sum(part.rows for part in found.plan.plans if part.relationship in ("Outer", "Member"))
    return int(min(MOST_ROWS, max(0.0, rows)))
