"""A house with every room real but the kernel: connections come from this process, to a scripted or a real server."""

from __future__ import annotations

import asyncio
import os
import struct
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar

import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lockgate.approval.client import ApprovalClient
from lockgate.audit import record, segment
from lockgate.audit.spool import Spool
from lockgate.config import CatalogReader as CatalogSettings
from lockgate.config import Credential, Datastore, Identity, Limits, Selector, SpoolSettings
from lockgate.identity.authority import Authority
from lockgate.identity.cache import Identities
from lockgate.identity.keys import HostKey
from lockgate.identity.principals import Directory
from lockgate.identity.tokens import TokenIssuer
from lockgate.identity.workload import read_start
from lockgate.masking import RootKey
from lockgate.metrics import Metrics
from lockgate.policy.bundle import Bundle, load
from lockgate.policy.reload import Policies
from lockgate.policy.shadow import Shadow
from lockgate.proxy.holds import Holds
from lockgate.proxy.leaves import Leaves
from lockgate.proxy.ledger import Ledger
from lockgate.proxy.listener import Listener
from lockgate.proxy.postgresql.catalog import Catalogs
from lockgate.proxy.postgresql.catalog_reader import CatalogError, CatalogReader, Reading
from lockgate.proxy.postgresql.gate import StatementGate
from lockgate.proxy.postgresql.store import PostgresStore
from lockgate.proxy.services import Services
from lockgate.proxy.store import Store
from lockgate.values.catalog import Catalog, Column, Relation
from lockgate.values.identity import Endpoint, Origin
from lockgate.wire.postgresql.frames import cancel_request, startup
from tests.support.model_server import ModelServer
from tests.support.playbook import query
from tests.support.postgres import free_port

T = TypeVar("T")

POLICIES = """
@id("work")
permit (principal in Group::"engineers", action == Action::"execute", resource in Datastore::"orders");
@id("no-drop")
@reason("schema changes go through migrations")
forbid (principal, action == Action::"execute", resource) when { context.kinds.contains("DROP TABLE") };
@id("alone")
permit (principal, action in [Action::"execute_alone", Action::"reveal"], resource);
@id("two-for-deletes") @approvers("dba") @timeout("20s")
forbid (principal, action == Action::"execute_alone", resource) when { context.kinds.contains("DELETE") };
@id("pii") @mask("redact")
forbid (principal, action == Action::"reveal", resource in Tag::"pii");
@id("dbas-approve")
permit (principal in Group::"dba", action == Action::"approve", resource);
"""
EMAIL = "public.customers.email"
CLASSIFICATION = {EMAIL: ("pii",)}
TEXT, INT4 = 25, 23


def relation(oid: int, name: str, *columns: str) -> Relation:
    return Relation(oid, "public", name, "r", tuple(Column(c, n + 1, TEXT) for n, c in enumerate(columns)))


def catalog(*relations: Relation) -> Catalog:
    return Catalog("shop", {r.oid: r for r in relations}, {r.name: (r,) for r in relations})


SHOP = catalog(relation(101, "customers", "id", "email", "note"), relation(102, "scratch", "id", "body"))


class ScriptedReader(CatalogReader):
    """Reads `catalog`, or fails with `error`, after `delay` seconds; counts its readings."""

    def __init__(self, catalog: Catalog = SHOP) -> None:
        super().__init__(Credential(user="lockgate"))
        self.catalog = catalog
        self.error: str | None = None
        self.delay = 0.0
        self.readings = 0

    async def read(self, endpoint: Endpoint, database: str) -> Reading:
        self.readings += 1
        await asyncio.sleep(self.delay)
        if self.error is not None:
            raise CatalogError(self.error)
        return Reading(self.catalog, {}, {}, frozenset())


class House:
    """`async with House(folder) as house:` listens for clients of one datastore; `house.upstream` is its server."""

    protocol: ClassVar = "postgresql"

    def __init__(
        self,
        folder: Path,
        *,
        policies: str = POLICIES,
        classification: Mapping[str, tuple[str, ...]] | None = None,
        limits: Limits | None = None,
        upstream: Endpoint | None = None,
        collector: str = "http://127.0.0.1:1",
        spool: SpoolSettings | None = None,
        shadow: str | None = None,
        **datastore: Any,
    ) -> None:
        self.folder = folder
        self.classification = {"orders": dict(classification or {})}
        self.write_policies(policies)
        self.policies = Policies(
            lambda epoch: self._loaded("p", epoch),
            [folder / "p"],
        )
        self.shadow = Shadow.none()
        if shadow is not None:
            self.write_policies(shadow, "next")
            self.shadow = Shadow(self._tried, [folder / "next"])
        self.limits = limits or Limits()
        self.key = HostKey(Ed25519PrivateKey.generate())
        self.clock = 0.0
        self.issuer = TokenIssuer(self.key, "host-1", clock=lambda: time.time() + self.clock)
        self.identities = Identities(self.directory("engineers"), self.issuer)
        self.spool = Spool(folder / "spool", "host-1", self.key, spool or SpoolSettings(fsync="never"))
        self.authority = Authority.load_or_create(folder / "ca", "host-1")
        self.metrics = Metrics(["orders", "other"])
        self.approvals = ApprovalClient(collector, "host-1", self.key.jwks(), lambda: self.issuer.issue_service().text)
        self.holds = Holds(self.approvals, self.limits.held_statements)
        self.services = Services(
            "host-1",
            self.limits,
            self.policies,
            self.identities,
            Ledger(self.spool, self.metrics),
            self.holds,
            self.metrics,
            Leaves(self.authority),
            shadow=self.shadow,
        )
        self.reader = ScriptedReader()
        self.datastore = datastore
        self.server = ScriptedServer()
        self.endpoint = upstream
        self.intercepted = True
        self.origin = Origin(os.getpid(), read_start(os.getpid()), 1, os.getuid(), 0, 1, 1, 1, "x", Endpoint("::", 1))
        self.stack = AsyncExitStack()

    def write_policies(self, text: str, folder: str = "p") -> None:
        (self.folder / folder).mkdir(exist_ok=True)
        (self.folder / folder / "all.cedar").write_text(text)

    def _tried(self, epoch: int) -> Bundle:
        return self._loaded("next", epoch)

    def _loaded(self, folder: str, epoch: int) -> Bundle:
        datastores = {"orders": self.protocol, "other": self.protocol}
        return load([self.folder / folder], self.classification, datastores, epoch=epoch)

    @staticmethod
    def directory(*groups: str, name: str = "ann") -> Directory:
        me = Selector(user=str(os.getuid()))
        return Directory([Identity(principal=name, person=name, groups=list(groups), when=me)])

    def store(self, name: str = "orders") -> Store:
        settings = Datastore(
            name=name,
            protocol="postgresql",
            addresses=["127.0.0.1:5432"],
            catalog=CatalogSettings(user="lockgate"),
            **{"upstream_tls": "disable", **self.datastore},
        )
        keys = RootKey(bytes(32)).keys(settings.name)
        store = PostgresStore(
            settings, self.policies, self.limits, keys=keys, shadow=self.shadow, reader=Catalogs(self.reader, ())
        )
        store.reclassify(self.classification.get(name, {}))
        return store

    async def listen(self, name: str = "orders") -> Listener:
        listener = Listener(self.services, self.store(name), self._origin)
        await listener.start()
        self.stack.push_async_callback(listener.close)
        self.stack.callback(listener.stop)
        return listener

    @property
    def opened(self) -> PostgresStore:
        """The datastore of `listener`."""
        store = self.listener.store
        assert isinstance(store, PostgresStore)
        return store

    def _origin(self, fd: int) -> Origin | None:
        if not self.intercepted:
            return None
        o = self.origin
        return Origin(o.pid, o.start_ns, o.exec_id, o.uid, o.gid, o.cgroup_id, o.socket_cgroup_id, o.netns_cookie,
                      o.comm, self.endpoint or Endpoint("127.0.0.1", 1))  # fmt: skip

    async def __aenter__(self) -> Self:
        self.stack.callback(self.spool.close)
        self.stack.callback(self.identities.close)
        self.stack.push_async_callback(self.approvals.close)
        self.stack.push_async_callback(self.holds.close)
        if self.endpoint is None:
            self.endpoint = await self.server.start()
            self.stack.push_async_callback(self.server.close)
        self.listener = await self.listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stack.aclose()
        await asyncio.sleep(0.03)  # uvloop can't be closed while a transport says goodbye (TLS)

    async def client(self, listener: Listener | None = None) -> Client:
        port = (listener or self.listener).port
        client = Client(*await asyncio.open_connection("127.0.0.1", port))
        self.stack.callback(client.writer.close)
        return client

    async def begun(self, listener: Listener | None = None, **parameters: str) -> Client:
        """A client that the server has taken in."""
        client = await self.client(listener)
        client.send(startup({"user": "app", "database": "shop", **parameters}))
        await client.until("Z")
        return client

    def records(self, **where: Any) -> list[dict[str, Any]]:
        self.services.ledger.flush()
        found: list[dict[str, Any]] = []
        for path in sorted((self.folder / "spool").glob(f"*{segment.SUFFIX}")):
            data = path.read_bytes()
            _, offset = segment.read_header(data)
            for start, stop in segment.entries(data, offset):
                found.append(record.decode(data[start + segment.ENTRY_PREFIX : stop]))
        return [r for r in found if all(r.get(key) == value for key, value in where.items())]


class Client:
    """Speaks bytes; `until` gives the messages as (letter, payload)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *data: bytes) -> None:
        self.writer.write(b"".join(data))

    async def message(self) -> tuple[str, bytes]:
        kind = await self.reader.readexactly(1)
        (length,) = struct.unpack("!i", await self.reader.readexactly(4))
        return kind.decode("latin-1"), await self.reader.readexactly(length - 4)

    async def until(self, kind: str) -> list[tuple[str, bytes]]:
        found: list[tuple[str, bytes]] = []
        async with asyncio.timeout(20):
            while not found or found[-1][0] != kind:
                found.append(await self.message())
        return found

    async def ask(self, text: str) -> list[tuple[str, bytes]]:
        self.send(query(text))
        return await self.until("Z")

    async def error(self) -> str:
        """`CODE message` of the next error."""
        return told((await self.until("E"))[-1][1])

    async def rest(self) -> bytes:
        async with asyncio.timeout(20):
            return await self.reader.read()


def gate_of(served: Any) -> StatementGate:
    """The gate of one of `Listener.connections`."""
    gate = served.gate
    assert isinstance(gate, StatementGate)
    return gate


def told(payload: bytes) -> str:
    fields = {part[:1]: part[1:].decode() for part in payload.split(b"\0") if part}
    return f"{fields[b'C']} {fields[b'M']}"


def errors_of(messages: list[tuple[str, bytes]]) -> list[str]:
    return [told(payload) for kind, payload in messages if kind == "E"]


class ScriptedServer:
    """The server in miniature behind a socket. `ran` has what it ran; `pause` keeps it from reading."""

    def __init__(self) -> None:
        self.models: list[ModelServer] = []
        self.cancelled: list[bytes] = []
        self.reading = asyncio.Event()
        self.reading.set()
        self.answer: Callable[[ModelServer, asyncio.StreamWriter], Awaitable[None]] | None = None
        self._server: asyncio.Server | None = None
        self._serving: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}

    @property
    def ran(self) -> list[str]:
        return [text for model in self.models for text in model.ran]

    async def start(self) -> Endpoint:
        port = free_port()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        return Endpoint("127.0.0.1", port)

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self.reading.set()
        for writer in self._serving:
            writer.transport.abort()
        await asyncio.gather(*self._serving.values())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving[writer] = task
        try:
            await self._talk(reader, writer)
        except ConnectionError:
            pass  # the other side went first
        finally:
            del self._serving[writer]
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(65536)
        if first[4:8] == cancel_request(0, b"\0\0\0\0")[4:8]:
            self.cancelled.append(first[8:16])
            return
        model = ModelServer()
        self.models.append(model)
        data = first
        while data and not model.dead:
            model.take(data)
            model.step()
            if self.answer is not None:
                await self.answer(model, writer)
            model.flush()
            writer.write(bytes(model.sent))
            model.sent.clear()
            await writer.drain()
            await self.reading.wait()
            data = await reader.read(65536)


def play(work: Coroutine[Any, Any, T]) -> T:
    """On the loop that the agent runs on; whatever it can't deliver to anybody fails the test."""
    lost: list[dict[str, Any]] = []

    async def watched() -> T:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: lost.append(context))
        async with asyncio.timeout(60):
            return await work

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(watched())
    assert not lost, lost
    return result


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until `condition` holds."""
    for _ in range(round(seconds / 0.01)):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError("it never came about")
