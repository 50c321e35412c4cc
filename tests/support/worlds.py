"""Two databases that differ in their classified values only, and what a client would see of a statement in each.

What a client learns of classified values is what differs between the two. So nothing of the masked result may: neither
cells, nor rows, nor their order, when nothing classified was used to choose them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import psycopg

from lockgate.config import Credential
from lockgate.masking import Classified, RootKey, StaleCatalog, Unmaskable, build_plan, choose_maskers, resolve
from lockgate.masking.cells import Cell, mask_value
from lockgate.proxy.postgresql.catalog_reader import CatalogReader, Reading
from lockgate.understand.postgresql import ANYTHING, Understanding, copies, outputs, uses
from lockgate.values.identity import Endpoint
from lockgate.values.output import Output
from lockgate.values.use import Use
from lockgate.values.verdict import Mask
from tests.support.postgres import Postgres
from tests.support.random_schema import Schema

KEYS = RootKey(bytes(32)).keys("orders")
TIMEOUT = "200ms"


@dataclass(frozen=True, slots=True)
class FieldDescription:
    name: str
    table_oid: int
    column_number: int
    type_oid: int
    type_modifier: int
    format: int = 0


@dataclass(frozen=True)
class Seen:
    """What comes of a statement in one world: its masked rows, or why there are none."""

    rows: tuple[tuple[bytes | None, ...], ...] = ()
    masks: int = 0
    refused: str | None = None
    error: str | None = None


class World:
    """One database, as the agent knows it, and a session in it."""

    def __init__(self, server: Postgres, database: str, classified: tuple[str, ...]) -> None:
        where = f"host=127.0.0.1 port={server.port} user=postgres dbname={database}"
        self.connection = psycopg.connect(where, autocommit=True)
        self.connection.execute(f"set statement_timeout = '{TIMEOUT}'".encode())
        reader = CatalogReader(Credential(user="postgres"))
        self.reading: Reading = asyncio.run(reader.read(Endpoint("127.0.0.1", server.port), database))
        self.columns: Classified = resolve(classified, self.reading.catalog, self.reading.parents,
                                           self.reading.generated, {})  # fmt: skip
        self.masks = tuple(Mask(name, "redact", "p") for name in classified)

    def see(self, text: str, *, binary: bool = False) -> Seen:
        """Run a statement, and take it back."""
        known = outputs(Understanding().request(text), self.reading.catalog, statement=0)
        pq = self.connection.pgconn
        pq.exec_(b"begin")
        try:
            result = pq.exec_params(text.encode(), [], result_format=int(binary))
        finally:
            pq.exec_(b"rollback")
        if result.status not in (psycopg.pq.ExecStatus.TUPLES_OK, psycopg.pq.ExecStatus.COMMAND_OK):
            return Seen(error=result.error_message.decode())
        if self.copied(text):
            return Seen(refused="it copies classified values")
        fields = [
            FieldDescription((result.fname(i) or b"").decode(), result.ftable(i), result.ftablecol(i), result.ftype(i),
                             result.fmod(i), int(binary)) for i in range(result.nfields)
        ]  # fmt: skip
        if known is not None and [output.name for output in known] != [f.name for f in fields]:
            raise AssertionError(f"{text}\nis understood to have {known}, and has {fields}")
        maskers = self.maskers(fields, known)
        if isinstance(maskers, str):
            return Seen(refused=maskers)
        cells = build_plan(fields, maskers, keys=KEYS).cells
        rows = tuple(
            tuple(_shown(cell, result.get_value(row, i)) for i, cell in enumerate(cells))
            for row in range(result.ntuples)
        )
        return Seen(rows, sum(masker is not None for masker in maskers))

    def maskers(self, fields: list[FieldDescription], known: tuple[Output, ...] | None) -> tuple[Any, ...] | str:
        try:
            return choose_maskers(fields, self.masks, known, self.columns)
        except StaleCatalog:
            raise
        except Unmaskable as refusal:
            return str(refusal)

    def copied(self, text: str) -> bool:
        """Whether classified values would go where nothing is classified: the agent refuses it."""
        for flow in copies(Understanding().request(text), self.reading.catalog, 0) or ():
            if flow.sources is None:
                return True
            held = {name for source in flow.sources for name in self.columns.held(source).all}
            if held - self.columns.held(flow.target).all:
                return True
        return False

    def used(self, text: str) -> frozenset[Use] | None:
        """What the statement uses classified columns for; None when that is not known."""
        found = uses(Understanding().request(text), self.reading.catalog, 0)
        if found is None or ANYTHING in found:
            return None
        return frozenset(use for name, how in found.items() if self.columns.held(name).all for use in how)

    def close(self) -> None:
        self.connection.close()


def _shown(cell: Cell, value: bytes | None) -> bytes | None:
    return mask_value(cell, value or b"") if value is not None or cell.null else None


class Worlds:
    """`both` databases of one schema, called `name_0` and `name_1`. Call `close` when done."""

    def __init__(self, server: Postgres, name: str, schema: Schema) -> None:
        for world in (0, 1):
            server.psql(f"create database {name}_{world}")
            server.psql(schema.ddl + schema.fill(world), f"{name}_{world}")
        self.both = World(server, f"{name}_0", schema.classified), World(server, f"{name}_1", schema.classified)

    def close(self) -> None:
        for world in self.both:
            world.close()
