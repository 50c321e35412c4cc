"""What the connection of a held statement keeps locked, for the approver to weigh.

Read as the agent's own catalog reader: pg_locks and pg_blocking_pids are open to every role. Which backend is the
client's is told by the number in its cancellation key, and believed only where that backend is in the client's database
as the client's user: behind a pooler the number may be another's, or nobody's.
"""

from __future__ import annotations

import time
from typing import Any, Final

from lockgate.approval.hold import LOCKS_SHOWN, Lock, Locks
from lockgate.proxy.postgresql.catalog_reader import CatalogError, CatalogReader
from lockgate.values.identity import Endpoint

NAME_CHARACTERS: Final = 256
"""Of a relation's name: two of PostgreSQL's 63 bytes fit, quoted."""

# the rest of a row, as where the client connects from, is shown to the same role and to pg_read_all_stats only
_OURS: Final = """
SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE pid = $1 AND datname = $2 AND usename = $3
"""
_HELD: Final = """
SELECT l.mode, n.nspname || '.' || c.relname AS relation, count(*) AS count
  FROM pg_catalog.pg_locks l
  LEFT JOIN pg_catalog.pg_database d ON d.oid = l.database
  LEFT JOIN pg_catalog.pg_class c ON c.oid = l.relation AND d.datname = pg_catalog.current_database()
  LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE l.pid = $1 AND l.granted AND l.locktype <> 'virtualxid'
 GROUP BY 1, 2 ORDER BY l.mode COLLATE "C", 2 LIMIT $2
"""
# pg_blocking_pids holds up the lock tables of the server for a moment: it is asked about so many sessions and no more
_WAITING: Final = """
SELECT count(*) FROM (SELECT DISTINCT pid FROM pg_catalog.pg_locks WHERE NOT granted LIMIT $2) AS waiting
 WHERE $1 = ANY (pg_catalog.pg_blocking_pids(waiting.pid))
"""
WAITING: Final = 200
"""Sessions that wait for any lock of the server, of which it is asked whom they wait for."""

NO_READER: Final = "the datastore has no `catalog` credential to look with"
NOT_OURS: Final = "which session of the datastore this is can't be told: there may be a pooler between"


async def read(reader: CatalogReader | None, endpoint: Endpoint, place: tuple[str, str], pid: int | None) -> Locks:
    """The locks of backend `pid` of the database and user in `place`. What can't be had is said in `unknown`."""
    if reader is None:
        return Locks(at=time.time(), unknown=NO_READER)
    database, user = place
    if pid is None:
        return Locks(at=time.time(), unknown=NOT_OURS)
    try:
        async with reader.session(endpoint, database) as connection:
            if not await connection.fetchval(_OURS, pid, database, user):
                return Locks(at=time.time(), unknown=NOT_OURS)
            held = [_lock(row) for row in await connection.fetch(_HELD, pid, LOCKS_SHOWN)]
            waiting = await connection.fetchval(_WAITING, pid, WAITING)
    except CatalogError as error:
        return Locks(at=time.time(), unknown=str(error)[:NAME_CHARACTERS])
    return Locks(at=time.time(), held=tuple(held), waiting=waiting)


def _lock(row: Any) -> Lock:
    relation = row["relation"]
    return Lock(row["mode"], None if relation is None else relation[:NAME_CHARACTERS], row["count"])
