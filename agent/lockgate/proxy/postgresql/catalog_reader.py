"""The agent's own reader of a PostgreSQL database's catalog.

What a column of a result is can only be told from the catalog of the very database the client is in, so the agent reads
it over a connection of its own, to the same address, as a role that needs nothing but CONNECT.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from lockgate.config import Credential
from lockgate.config.secrets import SecretError
from lockgate.proxy.credentials import Passwords
from lockgate.proxy.judgement import EvidenceError
from lockgate.proxy.upstream_tls import UpstreamTls, UpstreamTlsError, told
from lockgate.values.catalog import Catalog, Column, Relation, Routine
from lockgate.values.identity import Endpoint

READ_SECONDS: Final = 30.0
"""The longest one reading may take once connected."""
COLUMNS: Final = 250_000
"""The most columns a database may have: some 100 MB. An empty database has 3,000, a large ERP system 200,000."""
ROUTINES: Final = 50_000
"""Functions and operators that facts are kept of: PostGIS has 1,500. Where there are more, none is known."""
BODY_CHARACTERS: Final = 16_384
"""The longest text of a function that is read to find out what it does."""
LOCK_TIMEOUT: Final = "100ms"
"""How long a view's definition waits for a relation that a client's transaction is altering."""
OWN_VIEWS: Final = 16
"""Databases whose server's own views are kept: some 150 definitions, 300 KB."""
FIRST_NORMAL_OID: Final = 16_384
"""What initdb makes has lower numbers (FirstNormalObjectId of access/transam.h)."""

_SIZE = """
SELECT coalesce(sum(relnatts), 0)::int8 FROM pg_catalog.pg_class WHERE relkind IN ('r', 'v', 'm', 'p', 'f', 'S')
"""
_View = tuple[int, str, int]
"""What names a view: its number, its name, and the transaction that made its definition."""
_VIEWS = """
SELECT c.oid, c.relname::text AS name, r.xmin::text::int8 AS made
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_rewrite r ON r.ev_class = c.oid AND r.ev_type = '1'
 WHERE c.relkind IN ('v', 'm') ORDER BY c.oid
"""
_DEFINITIONS = """
SELECT view, pg_catalog.pg_get_viewdef(view) AS definition FROM pg_catalog.unnest($1::pg_catalog.oid[]) AS view
"""
# One statement, so that all of it is of one moment. A generated column depends on others through its expression
# (pg_attrdef) or, by server version, itself; the pair of attribute numbers travels as one integer.
_RELATIONS = """
SELECT c.oid, n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind,
       a.names, a.numbers, a.types, a.computed,
       EXISTS (SELECT FROM pg_catalog.pg_depend x WHERE x.objid = c.oid AND x.deptype = 'e'
                  AND x.classid = 'pg_catalog.pg_class'::pg_catalog.regclass) AS extension,
       ARRAY(SELECT i.inhparent FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid) AS parents,
       ARRAY(SELECT DISTINCT (g.attnum::int4 << 16) | d.refobjsubid
               FROM pg_catalog.pg_attribute g
               LEFT JOIN pg_catalog.pg_attrdef e ON e.adrelid = g.attrelid AND e.adnum = g.attnum
               JOIN pg_catalog.pg_depend d
                 ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = c.oid
                AND d.refobjsubid > 0 AND d.refobjsubid <> g.attnum
                AND (d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND d.objid = e.oid
                     OR d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
                        AND d.objsubid = g.attnum)
              WHERE g.attrelid = c.oid AND g.attnum > 0 AND g.attgenerated <> '' AND NOT g.attisdropped) AS generated
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  CROSS JOIN LATERAL (
       SELECT coalesce(array_agg(attname::text ORDER BY attnum), '{}') AS names,
              coalesce(array_agg(attnum::int4 ORDER BY attnum), '{}') AS numbers,
              coalesce(array_agg(atttypid ORDER BY attnum), '{}') AS types,
              coalesce(array_agg(attgenerated <> '' ORDER BY attnum), '{}') AS computed
         FROM pg_catalog.pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped) a
 WHERE c.relkind IN ('r', 'v', 'm', 'p', 'f', 'S')
"""
# Also what somebody put into pg_catalog after initdb, whose objects have lower OIDs (FirstNormalObjectId). Not what
# belongs to an extension: citext has a max() and an = of its own, and whoever calls what PostgreSQL does not have is
# calling something unknown anyway.
_FUNCTIONS = """
SELECT p.proname::text FROM pg_catalog.pg_proc p
 WHERE (p.pronamespace <> 'pg_catalog'::pg_catalog.regnamespace OR p.oid >= 16384)
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e'
                      AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass)
UNION
SELECT o.oprname::text FROM pg_catalog.pg_operator o LEFT JOIN pg_catalog.pg_proc p ON p.oid = o.oprcode
 WHERE (o.oprnamespace <> 'pg_catalog'::pg_catalog.regnamespace OR o.oid >= 16384
    OR p.pronamespace <> 'pg_catalog'::pg_catalog.regnamespace OR p.oid >= 16384)
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = o.oid AND d.deptype = 'e'
                      AND d.classid = 'pg_catalog.pg_operator'::pg_catalog.regclass)
"""
# What is not part of PostgreSQL itself, and what is part of it in C, as facts: see values.catalog.Routine. A text that
# sets parameters of its own (but for the path, under which every name counts as all of that name) may read differently.
_ROUTINES = r"""
WITH extended AS (
  SELECT classid, objid FROM pg_catalog.pg_depend WHERE deptype = 'e'
     AND classid IN ('pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_operator'::pg_catalog.regclass))
SELECT n.nspname::text AS schema, p.proname::text AS name, p.provolatile::text AS volatility, p.prosecdef AS definer,
       l.lanname::text AS language,
       EXISTS (SELECT FROM extended e WHERE e.objid = p.oid
                  AND e.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass) AS extension,
       CASE WHEN l.lanname IN ('sql', 'plpgsql') AND pg_catalog.length(p.prosrc) BETWEEN 1 AND $1
             AND NOT EXISTS (SELECT FROM pg_catalog.unnest(p.proconfig) c WHERE c NOT LIKE 'search\_path=%')
            THEN p.prosrc END AS body,
       CASE WHEN p.pronargdefaults > 0 THEN pg_catalog.pg_get_expr(p.proargdefaults, 0) END AS defaults,
       ARRAY(SELECT DISTINCT f.pronamespace::pg_catalog.regnamespace::text || '.' || f.proname
               FROM pg_catalog.unnest(ARRAY[a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn,
                                            a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn]::pg_catalog.oid[]) u(oid)
               JOIN pg_catalog.pg_proc f ON f.oid = u.oid) AS calls,
       p.pronargs > 0 AND p.pronargs - p.pronargdefaults <= 1 AS unary,
       p.pronargs > 0 AND p.pronargs - p.pronargdefaults <= 1 AND EXISTS (
           SELECT FROM pg_catalog.pg_type t WHERE t.oid = p.proargtypes[0] AND t.typtype IN ('c', 'p')) AS of_row
  FROM pg_catalog.pg_proc p
  JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
  JOIN pg_catalog.pg_language l ON l.oid = p.prolang
  LEFT JOIN pg_catalog.pg_aggregate a ON a.aggfnoid = p.oid
 WHERE p.oid >= 16384 OR l.lanname NOT IN ('internal', 'sql') OR n.nspname NOT IN ('pg_catalog', 'information_schema')
UNION ALL
SELECT n.nspname::text, o.oprname::text, 'i', false, 'operator',
       EXISTS (SELECT FROM extended e WHERE e.objid = o.oid
                  AND e.classid = 'pg_catalog.pg_operator'::pg_catalog.regclass),
       NULL, NULL, ARRAY[p.pronamespace::pg_catalog.regnamespace::text || '.' || p.proname], false, false
  FROM pg_catalog.pg_operator o
  JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
  JOIN pg_catalog.pg_proc p ON p.oid = o.oprcode
 WHERE o.oid >= 16384
 LIMIT $2
"""
# Relations whose writes run code of the database's own, and, below, which relation's writes go on to which. Functions
# that are part of PostgreSQL are pinned, which leaves no trace in pg_depend.
_FIRING = """
SELECT tgrelid AS oid FROM pg_catalog.pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'D'
UNION
SELECT ev_class FROM pg_catalog.pg_rewrite WHERE ev_type <> '1' AND ev_enabled <> 'D'
UNION
SELECT coalesce(e.adrelid, k.conrelid, i.indrelid, p.polrelid, s.stxrelid, t.partrelid)
  FROM pg_catalog.pg_depend d
  LEFT JOIN pg_catalog.pg_attrdef e ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND e.oid = d.objid
  LEFT JOIN pg_catalog.pg_constraint k
    ON d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND k.oid = d.objid
  LEFT JOIN pg_catalog.pg_index i
    ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND i.indexrelid = d.objid
  LEFT JOIN pg_catalog.pg_policy p ON d.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass AND p.oid = d.objid
  LEFT JOIN pg_catalog.pg_statistic_ext s
    ON d.classid = 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass AND s.oid = d.objid
  LEFT JOIN pg_catalog.pg_partitioned_table t
    ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND t.partrelid = d.objid
 WHERE d.refclassid IN ('pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_operator'::pg_catalog.regclass)
"""
# Functions that make or check the values of a type: of the checks of domains, which hold wherever a type is made of
# one, and of casts. `relation` is the table whose row it is, which then fires as well.
_TYPES = """
WITH RECURSIVE made (type, other) AS (
  SELECT oid, typbasetype FROM pg_catalog.pg_type WHERE typtype = 'd'
  UNION ALL
  SELECT oid, typelem FROM pg_catalog.pg_type WHERE typelem >= 16384
  UNION ALL
  SELECT rngtypid, rngsubtype FROM pg_catalog.pg_range WHERE rngsubtype >= 16384
  UNION ALL
  SELECT c.reltype, a.atttypid FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
   WHERE a.atttypid >= 16384 AND c.reltype <> 0 AND NOT a.attisdropped
), checks (type, function) AS (
  SELECT k.contypid, coalesce(o.oprcode, d.refobjid)
    FROM pg_catalog.pg_constraint k
    JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND d.objid = k.oid
    LEFT JOIN pg_catalog.pg_operator o
      ON d.refclassid = 'pg_catalog.pg_operator'::pg_catalog.regclass AND o.oid = d.refobjid
   WHERE k.contypid <> 0
     AND d.refclassid IN ('pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_operator'::pg_catalog.regclass)
  UNION
  SELECT m.type, c.function FROM checks c JOIN made m ON m.other = c.type
)
SELECT t.typname::text AS name, CASE WHEN u.kept THEN nullif(t.typrelid, 0) END AS relation,
       n.nspname::text || '.' || p.proname AS function
  FROM (SELECT type, function, true AS kept FROM checks
        UNION ALL
        SELECT casttarget, castfunc, false FROM pg_catalog.pg_cast
         WHERE casttarget >= 16384 AND castfunc >= 16384) u
  JOIN pg_catalog.pg_type t ON t.oid = u.type
  JOIN pg_catalog.pg_proc p ON p.oid = u.function
  JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
 WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e'
                      AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass)
"""
_GOES_ON = """
SELECT inhparent AS oid, inhrelid AS other FROM pg_catalog.pg_inherits
UNION
SELECT confrelid, conrelid FROM pg_catalog.pg_constraint
 WHERE contype = 'f' AND (confdeltype IN ('c', 'n', 'd') OR confupdtype IN ('c', 'n', 'd'))
UNION
SELECT r.ev_class, d.refobjid FROM pg_catalog.pg_rewrite r
  JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid
   AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid <> r.ev_class
"""
# Relations that are read by the way of somebody's functions, and, below, which relation's reading goes on to which.
_SCREENING = """
SELECT p.polrelid AS oid FROM pg_catalog.pg_policy p
  JOIN pg_catalog.pg_class c ON c.oid = p.polrelid AND c.relrowsecurity
  JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass AND d.objid = p.oid
 WHERE d.refclassid IN ('pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_operator'::pg_catalog.regclass)
"""
_LOOKS_AT = """
SELECT r.ev_class AS oid, d.refobjid AS other FROM pg_catalog.pg_rewrite r
  JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid
   AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid <> r.ev_class
 WHERE r.ev_type = '1'
UNION
SELECT p.polrelid, d.refobjid FROM pg_catalog.pg_policy p
  JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass AND d.objid = p.oid
   AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid <> p.polrelid
"""
_TEXT_TYPES = "SELECT oid FROM pg_catalog.pg_type WHERE typname = 'citext' AND typtype = 'b' AND typcategory = 'S'"


class CatalogError(EvidenceError):
    """The catalog can't be read. One line, without a secret; a statement that needs it is refused with it."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One database as `CatalogReader` found it.

    `parents` are the relations that each relation inherits from or is a partition of; `generated` its pairs of
    attribute numbers (generated column, column it is computed from); `text_types` the OIDs of further types that hold
    any text. `Catalog.functions` also has the names of operators outside pg_catalog (`<+>`).
    """

    catalog: Catalog
    parents: Mapping[int, tuple[int, ...]]
    generated: Mapping[int, tuple[tuple[int, int], ...]]
    text_types: frozenset[int]


class CatalogReader:
    """Reads catalogs with `credential`, whose password is had anew for each connection.

    `tls` is as for the clients' own upstream connections (None: `prefer`).
    """

    def __init__(
        self,
        credential: Credential,
        *,
        tls: UpstreamTls | None = None,
        connect_seconds: float = 10.0,
    ) -> None:
        self._credential = credential
        self._passwords = Passwords()
        self._tls = tls or UpstreamTls()
        self._connect_seconds = connect_seconds
        self._own_views: OrderedDict[tuple[Endpoint, str], dict[_View, str]] = OrderedDict()

    async def read(self, endpoint: Endpoint, database: str) -> Reading:
        """Connect, read and disconnect. Raises CatalogError."""
        async with self.session(endpoint, database) as connection:
            known = self._own_views.pop((endpoint, database), {})
            reading, self._own_views[endpoint, database] = await _read(connection, database, known)
            if len(self._own_views) > OWN_VIEWS:
                self._own_views.popitem(last=False)
            return reading

    @asynccontextmanager
    async def session(self, endpoint: Endpoint, database: str) -> AsyncIterator[Any]:
        """An asyncpg connection of the agent's own, read-only, for at most READ_SECONDS. Raises CatalogError, also for
        what fails while it is used."""
        # imported late: an agent whose datastores have nothing classified stays the smaller for it
        from asyncpg.exceptions import (
            InterfaceError,
            InternalClientError,
            InvalidAuthorizationSpecificationError,
            PostgresError,
        )

        from lockgate.proxy.postgresql.reader_protocol import connect

        try:
            password = await self._passwords.of(self._credential)
        except SecretError as error:
            raise CatalogError(str(error)) from None
        try:
            connection = await connect(
                host=endpoint.host,
                port=endpoint.port,
                user=self._credential.user,
                # never None, which would send asyncpg to look in the environment and in ~/.pgpass
                password="" if password is None else password.reveal(),
                database=database,
                ssl=self._tls.for_asyncpg(endpoint),
                direct_tls=False,
                target_session_attrs="any",
                timeout=self._connect_seconds,
                command_timeout=READ_SECONDS,
                # pg_get_viewdef qualifies every name that this path does not find
                server_settings={
                    "application_name": "lockgate catalog",
                    "search_path": "pg_catalog, pg_temp",
                    "lock_timeout": LOCK_TIMEOUT,
                    "default_transaction_read_only": "on",
                    "jit": "off",  # compiling such a query takes ten times as long as running it
                },
            )
            try:
                async with asyncio.timeout(READ_SECONDS):
                    yield connection
                    await connection.close()
            finally:
                connection.terminate()  # where it is not closed yet
        except TimeoutError:
            raise CatalogError(f"the catalog of {database!r} at {endpoint} can't be read: it took too long") from None
        except (ssl.SSLError, UpstreamTlsError) as error:
            why = told(error) if isinstance(error, ssl.SSLError) else str(error)
            raise CatalogError(f"the catalog of {database!r} at {endpoint} can't be read: {why}") from None
        except UnicodeDecodeError:
            raise CatalogError(f"the catalog of {database!r} at {endpoint} has names that are not UTF-8") from None
        except (PostgresError, InterfaceError, InternalClientError, OSError) as error:
            if isinstance(error, InvalidAuthorizationSpecificationError):
                self._passwords.refused(self._credential)
            why = " ".join(str(error).split()) or type(error).__name__
            raise CatalogError(f"the catalog of {database!r} at {endpoint} can't be read: {why}") from None


async def _read(connection: Any, database: str, known: Mapping[_View, str]) -> tuple[Reading, dict[_View, str]]:
    """One reading, and the definitions of the server's own views for the next: rendering them is most of the work.

    `known` are those of the last reading. They stand on nothing but the server's own tables, so they are the same while
    nobody replaces them.
    """
    size = await connection.fetchval(_SIZE)
    if size > COLUMNS:
        raise CatalogError(f"the catalog of {database!r} has {size} columns, more than {COLUMNS}")
    async with connection.transaction(isolation="read_committed", readonly=True):
        # Definitions first: what they name stays locked against renaming until the relations are read too.
        views: list[_View] = [(row["oid"], row["name"], row["made"]) for row in await connection.fetch(_VIEWS)]
        definitions = {view[0]: known[view] for view in views if view in known}
        definitions |= await _definitions(connection, [view[0] for view in views if view not in known])
        rows = await connection.fetch(_RELATIONS)
        functions = await connection.fetch(_FUNCTIONS)
        routines = await connection.fetch(_ROUTINES, BODY_CHARACTERS, ROUTINES + 1)
        types = await connection.fetch(_TYPES)
        firing = {*(r["oid"] for r in await connection.fetch(_FIRING)), *(r["relation"] for r in types)}
        fires = _leading_to(firing, await connection.fetch(_GOES_ON))
        screens = _leading_to({r["oid"] for r in await connection.fetch(_SCREENING)}, await connection.fetch(_LOOKS_AT))
        text_types = await connection.fetch(_TEXT_TYPES)
    by_oid: dict[int, Relation] = {}
    by_name: dict[str, list[Relation]] = {}
    for row in rows:
        columns = zip(row["names"], row["numbers"], row["types"], row["computed"], strict=True)
        relation = Relation(
            oid=row["oid"],
            schema=row["schema"],
            name=row["name"],
            kind=row["kind"],
            columns=tuple(Column(*column) for column in columns),
            definition=definitions.get(row["oid"]),
            fires=row["oid"] in fires,
            screens=row["oid"] in screens,
            extension=row["extension"],
        )
        by_oid[relation.oid] = relation
        by_name.setdefault(relation.name, []).append(relation)
    reading = Reading(
        Catalog(
            database=database,
            by_oid=by_oid,
            by_name={name: tuple(relations) for name, relations in by_name.items()},
            functions=frozenset(row[0] for row in functions),
            routines=_routines(routines),
            types=_types(types),
        ),
        parents={row["oid"]: tuple(row["parents"]) for row in rows if row["parents"]},
        generated={
            row["oid"]: tuple((p >> 16, p & 0xFFFF) for p in row["generated"]) for row in rows if row["generated"]
        },
        text_types=frozenset(row[0] for row in text_types),
    )
    own = {view: definitions[view[0]] for view in views if view[0] < FIRST_NORMAL_OID and view[0] in definitions}
    return reading, own


def _leading_to(relations: Iterable[int | None], goes_on: Sequence[Any]) -> set[int]:
    """These `relations`, and those that by `goes_on` lead to one of them."""
    before: dict[int, list[int]] = {}
    for edge in goes_on:
        before.setdefault(edge["other"], []).append(edge["oid"])
    waiting = [oid for oid in relations if oid is not None]
    found: set[int] = set()
    while waiting:
        oid = waiting.pop()
        if oid not in found:
            found.add(oid)
            waiting += before.get(oid, ())
    return found


def _types(rows: Sequence[Any]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for row in rows:
        found[row["name"]] = (*found.get(row["name"], ()), row["function"])
    return found


def _routines(rows: Sequence[Any]) -> dict[str, tuple[Routine, ...]]:
    if len(rows) > ROUTINES:
        return {}
    found: dict[str, list[Routine]] = {}
    for row in rows:
        fields = dict(row) | {"calls": tuple(row["calls"])}
        found.setdefault(row["name"], []).append(Routine(**fields))
    return {name: tuple(routines) for name, routines in found.items()}


async def _definitions(connection: Any, views: Sequence[int]) -> dict[int, str]:
    """The queries of views. One that can't be had (dropped meanwhile, or over a relation that is being altered) is
    left out, found by halving: lineage then says that it is not known."""
    from asyncpg import exceptions

    if not views:
        return {}
    try:
        async with connection.transaction():
            rows = await connection.fetch(_DEFINITIONS, views)
    except (
        exceptions.LockNotAvailableError,
        exceptions.UndefinedTableError,
        exceptions.UndefinedObjectError,
        exceptions.InternalServerError,
    ):
        if len(views) == 1:
            return {}
        middle = len(views) // 2
        return await _definitions(connection, views[:middle]) | await _definitions(connection, views[middle:])
    return {row["view"]: row["definition"].rstrip().rstrip(";") for row in rows if row["definition"]}
