"""One datastore's listener: who connects is identified, then served until either side is gone."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from lockgate.identity.cache import Identified
from lockgate.identity.workload import IdentityError
from lockgate.proxy.connection import Connection, UpstreamSide
from lockgate.proxy.gate import NOT_INTERCEPTED, ConnectionGate
from lockgate.proxy.roles import RoleError
from lockgate.proxy.services import Services
from lockgate.proxy.store import Store
from lockgate.proxy.upstream import Unreachable, dial
from lockgate.proxy.upstream_tls import UpstreamTls
from lockgate.values.identity import Endpoint, Origin
from lockgate.wire.gate import Refusal, Why
from lockgate.wire.session import Observing, WireSession

log = logging.getLogger(__name__)

BACKLOG: Final = 1024
"""Connections that may wait to be accepted: nginx has 511, HAProxy its maxconn."""

NOWHERE: Final = Endpoint("0.0.0.0", 1)

REFUSED_SECONDS: Final = 5.0
"""How long a connection that will be refused has for the start-up packet behind which clients can show why."""

REFUSED_CONNECTIONS: Final = 100
"""How many may be open beside `limits.connections` to be told so: one more is closed without a word."""

OBSERVED_CONNECT_SECONDS: Final = 130.0
"""How long the way to a datastore that is only observed may take: as long as the kernel tries (tcp_syn_retries)."""

STOPPING: Final = Refusal(Why.STOPPING, "lockgate: the agent is stopping")
ENFORCING: Final = Refusal(
    Why.STOPPING, "lockgate: this datastore's mode has become enforce, and not all of this connection was read"
)

_PLAIN: Final = UpstreamTls("disable")

T = TypeVar("T")


@dataclass(slots=True)
class _Served:
    """One open connection. `deadline` ends it unless it is ready by then; `dialing` is its way to the datastore."""

    gate: ConnectionGate[Any, Any, Any]
    refused: bool
    deadline: asyncio.TimerHandle | None = None
    dialing: asyncio.Task[None] | None = None


class Listener:
    """Accepts redirected connections to one datastore, on 127.0.0.1 and, where there is IPv6, on ::1.

    `origin_of` tells from the descriptor of an accepted socket who connected and where to; None for a connection that
    was not redirected, which is refused.
    """

    def __init__(self, services: Services, store: Store, origin_of: Callable[[int], Origin | None]) -> None:
        self._services = services
        self._store = store
        self._origin_of = origin_of
        self._servers: list[asyncio.Server] = []
        self._inherited: list[asyncio.Server] = []
        self.sockets: list[socket.socket] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self.connections: dict[Connection, _Served] = {}
        self.port = 0

    async def start(self) -> None:
        """Listen on a port the kernel chooses, in `sockets`; `port` is then set. Raises OSError."""
        self.sockets = [_listening(socket.AF_INET, "127.0.0.1", 0)]
        self.port = self.sockets[0].getsockname()[1]
        if socket.has_ipv6:
            self.sockets.append(_listening(socket.AF_INET6, "::1", self.port))
        for sock in self.sockets:
            self._servers.append(await self._serve(sock))

    @property
    def name(self) -> str:
        """The datastore's."""
        return self._store.name

    @property
    def services(self) -> Services:
        """The house."""
        return self._services

    @property
    def store(self) -> Store:
        """The datastore."""
        return self._store

    async def inherit(self, sock: socket.socket, is_ours: Callable[[Endpoint], bool]) -> None:
        """Serve who waits at a listener of the agent before this one, until `disinherit()`. Raises OSError.

        Whoever dialled what isn't `is_ours` is refused.
        """
        self._inherited.append(await self._serve(sock, is_ours))

    def disinherit(self) -> None:
        """Nobody is sent there any more."""
        while self._inherited:
            self._inherited.pop().close()

    async def _serve(self, sock: socket.socket, is_ours: Callable[[Endpoint], bool] = lambda _: True) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        return await loop.create_server(lambda: self._connection(is_ours).client, sock=sock, backlog=BACKLOG)

    def stop(self) -> None:
        """Accept no more. Connections redirected from here on are refused by the kernel, or wait for the next agent."""
        self.disinherit()
        for server in self._servers:
            server.close()

    def close_idle(self) -> None:
        """Tell connections between two statements that it is over: nothing of theirs is broken off."""
        for connection in [c for c in self.connections if c.session.idle]:
            self._shut(connection)

    async def close(self) -> None:
        """End what is left, and wait until all of it is recorded and withdrawn."""
        for connection in list(self.connections):
            self._shut(connection)
        for task in self._tasks:
            task.cancel()
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))

    def enforce(self) -> None:
        """The datastore's mode has become enforce: what is open is judged by it from the next statement on.

        Closed is what isn't read, and what keeps something that enforcing would not have let happen.
        """
        for connection, served in list(self.connections.items()):
            session = connection.session
            session.enforce()
            if session.evades or served.gate.lingers or served.gate.blind is not None:
                self._shut(connection, ENFORCING)

    def reconsider(self) -> None:
        """Rules, or who somebody is, have become others: what lasts of what was let pass ends where it would not be."""
        self.spawn(self._reconsider())

    async def _reconsider(self) -> None:
        for connection in list(self.connections):
            if connection in self.connections:
                connection.session.reconsider()
                connection.flush()
            await asyncio.sleep(0)  # there may be ten thousand

    def _shut(self, connection: Connection, why: Refusal = STOPPING) -> None:
        connection.session.failed(why)
        connection.flush()

    def _connection(self, is_ours: Callable[[Endpoint], bool]) -> Connection:
        return Connection(
            pipeline_bytes=self._services.limits.pipeline_bytes,
            alpn=self._store.alpn,
            on_begin=partial(self._begin, is_ours),
            on_introduced=self._introduced,
            on_secure=self._secure,
            on_insecure=self._insecure,
            on_end=self._end,
            unrecorded=self._unrecorded,
        )

    def _begin(self, is_ours: Callable[[Endpoint], bool], connection: Connection) -> WireSession:
        services, limits = self._services, self._services.limits
        identified, endpoint, why, refusal = self._identify(connection.client_fd)
        if refusal is None and len(self.connections) >= limits.connections:
            why = "connections"
            refusal = Refusal(Why.TOO_MANY, f"lockgate: {limits.connections} connections are open already")
        blind = None
        if refusal is not None and self._store.observed and endpoint is not NOWHERE:
            blind, refusal = refusal.message.removeprefix("lockgate: "), None
        if refusal is None and not is_ours(endpoint):  # also where it is observed: whose it is now may be enforced
            why, blind = "moved", None
            refusal = Refusal(Why.UNREACHABLE, f"lockgate: {endpoint} is not of {self.name} any more: try again")
        if refusal is not None:
            services.metrics.refused(why)
        gate = self._store.gate(services, identified, endpoint, refusal, blind)
        session = self._store.session(gate)

        def notice(message: str, hint: str | None) -> None:
            session.notice(message, hint)
            connection.flush()

        gate.spawn, gate.resume, gate.notice = self.spawn, connection.resume, notice
        self._store.wired(self, connection, gate)
        gate.busy = lambda: session.awaits_run
        self.connections[connection] = _Served(gate, refusal is not None)
        if refusal is not None or not self._store.silent:
            self._hurry(connection)
        services.metrics.connected(self._store.name)
        if refusal is not None and len(self.connections) > limits.connections + REFUSED_CONNECTIONS:
            session.client_gone()
        return session

    def _identify(self, fd: int) -> tuple[Identified | None, Endpoint, str, Refusal | None]:
        """Who connected and where to, or a word and a refusal that say why that can't be told."""
        origin = self._origin_of(fd)
        if origin is None:
            return None, NOWHERE, "not-intercepted", Refusal(Why.UNREACHABLE, NOT_INTERCEPTED)
        try:
            return self._services.identities.identify(origin), origin.destination, "", None
        except IdentityError as error:
            return None, origin.destination, "identity", Refusal(Why.UNREACHABLE, f"lockgate: {error}")

    def _hurry(self, connection: Connection) -> None:
        served, seconds = self.connections[connection], self._services.limits.startup_seconds
        if served.refused:
            seconds = min(REFUSED_SECONDS, seconds)
        served.deadline = asyncio.get_running_loop().call_later(seconds, self._expire, connection, seconds)

    def _expire(self, connection: Connection, seconds: float) -> None:
        if self._store.observed and connection.upstream is not None:
            return  # the datastore has a deadline of its own
        if connection in self.connections and not connection.session.ready:
            self._services.metrics.refused("startup-timeout")
            connection.session.failed(Refusal(Why.UNREACHABLE, f"lockgate: not ready after {seconds:g} s"))
            connection.flush()

    def _secure(self, connection: Connection) -> ssl.SSLContext:
        endpoint = self.connections[connection].gate.endpoint
        return self._services.leaves.context(endpoint.host, self._store.tls.names(endpoint))

    def _unrecorded(self, connection: Connection) -> Refusal | None:
        return self.connections[connection].gate.unrecorded()

    def _insecure(self, connection: Connection, why: str) -> None:
        self._services.metrics.refused("client-tls")
        endpoint = self.connections[connection].gate.endpoint
        where = {"datastore": self._store.name, "dialled": str(endpoint)}
        if self._store.observed:
            log.warning("TLS with a client failed: %s. `client_tls: pass` leaves it its own TLS", why, extra=where)
        else:
            log.info("TLS with a client failed: %s", why, extra=where)

    def _introduced(self, connection: Connection) -> None:
        served = self.connections[connection]
        if served.deadline is None:
            self._hurry(connection)
        served.dialing = self.spawn(self._connect(connection, served.gate.endpoint))

    async def _connect(self, connection: Connection, endpoint: Endpoint) -> None:
        try:
            login, side = await self._reach(connection, endpoint)
        except (RoleError, Unreachable) as error:
            if connection in self.connections:
                connection.session.failed(error.refusal)
                connection.flush()
            return
        if connection not in self.connections:  # the client went meanwhile
            side.close()
            return
        connection.upstream = side
        self._store.joined(connection, side, login, self.spawn)
        connection.flush()

    async def _reach(self, connection: Connection, endpoint: Endpoint) -> tuple[Any, UpstreamSide]:
        """The way to the datastore, and who the agent is there. Raises RoleError and Unreachable."""
        session, tls, seconds = connection.session, self._store.tls, self._services.limits.connect_seconds
        if isinstance(session, Observing):
            seconds = max(seconds, OBSERVED_CONNECT_SECONDS)
            if not session.wants_upstream:
                # not read: as the client would be connected, which is in TLS of ours only if it has that with us
                return None, await dial(
                    connection, self._store, endpoint, _PLAIN if connection.client.tls is None else tls, seconds
                )
            if (side := connection.upstream) is not None:
                if not tls.offered or (session.tls_declined and not tls.required):
                    return None, side
                connection.upstream = None
                side.drop()
        found = await self.connections[connection].gate.role.credential()
        login = None if found is None else self._store.answering(*found)
        return login, await dial(connection, self._store, endpoint, tls, seconds)

    def _end(self, connection: Connection) -> None:
        served = self.connections.pop(connection)
        if served.deadline is not None:
            served.deadline.cancel()
        if served.dialing is not None:
            served.dialing.cancel()
        session = connection.session
        if isinstance(session, Observing) and session.bound:
            log.warning(
                "a client and the datastore would bind authentication to TLS, and the agent's is in between. "
                "`client_tls: pass` leaves them their own",
                extra={"datastore": self._store.name},
            )
        well = session.ended_well
        outcome = "refused" if served.refused else "closed" if well else "disconnected"
        self._services.metrics.disconnected(self._store.name, outcome)
        served.gate.close("closed" if well else "disconnected")

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("serving %s failed", self._store.name, exc_info=error)


async def inherit(
    listeners: Iterable[Listener], kept: Iterable[tuple[str, socket.socket]], listener_of: Callable[[Endpoint], int]
) -> None:
    """Have who waits at listeners of the agent before this one served, each by its datastore's. Raises OSError.

    A datastore is known by its name, and that may stand for other addresses by now: `listener_of` tells the port that
    connections to an address are sent to. What belongs to none is closed.
    """
    by_name = {listener.name: listener for listener in listeners}
    for name, sock in kept:
        listener = by_name.get(name.rpartition("@")[0])
        if listener is None:
            sock.close()
        else:
            await listener.inherit(sock, partial(_leads_to, listener_of, listener.port))


def _leads_to(listener_of: Callable[[Endpoint], int], port: int, dialled: Endpoint) -> bool:
    return listener_of(dialled) == port


def _listening(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock
