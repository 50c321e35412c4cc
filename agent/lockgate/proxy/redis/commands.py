"""Which commands a server has, asked of the server itself: it may have modules, and be newer than what is built in."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

import hiredis

from lockgate import config
from lockgate.proxy.redis.upstream import connect
from lockgate.proxy.roles import RoleError, Roles
from lockgate.proxy.upstream_tls import UpstreamTls, UpstreamTlsError
from lockgate.understand.redis import CommandTable
from lockgate.values.identity import Endpoint
from lockgate.wire.redis.requests import encode_command

if TYPE_CHECKING:
    from lockgate.values.secret import Secret

ANSWER_BYTES: Final = 8 * 1024 * 1024
"""The longest answer to COMMAND that is read. Redis 8 with all its modules says some 500 KiB."""

FRESH_SECONDS: Final = 300.0
"""How long an answer counts: a module that is loaded meanwhile is unknown for as long, and so refused."""

RETRY_SECONDS: Final = 30.0
"""The same of an attempt that failed."""

SERVERS: Final = 256
"""Servers of one datastore whose commands are remembered; the oldest goes first. A cluster may have a thousand, most of
them alike: what is forgotten is asked again."""

log = logging.getLogger(__name__)


class _Asking(asyncio.Protocol):
    """Says what it is given; `answers` has so many replies, as hiredis reads them."""

    def __init__(self, said: bytes, replies: int) -> None:
        self._said = said
        self._wanted = replies
        self._found: list[object] = []
        self._bytes = 0
        self._reader = hiredis.Reader()
        self.answers: asyncio.Future[list[object]] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(self._said)

    def data_received(self, data: bytes) -> None:
        if self.answers.done():
            return
        self._bytes += len(data)
        if self._bytes > ANSWER_BYTES:
            self.answers.set_exception(ConnectionError(f"it says more than {ANSWER_BYTES} bytes"))
            return
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                self._found.append(reply)
        except hiredis.ProtocolError as error:
            self.answers.set_exception(ConnectionError(str(error)))
            return
        if len(self._found) >= self._wanted:
            self.answers.set_result(self._found)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.answers.done():
            self.answers.set_exception(exc or ConnectionResetError("it closed the connection"))


@dataclass(slots=True)
class Server:
    """One server: `table` is what is known of its commands now, and `until` when it is worth asking again."""

    table: CommandTable
    until: float = 0.0


class Commands:
    """The command tables of one datastore's servers. `clock` is in seconds.

    They are read as `catalog`, or else as `credential`; with neither, what is built in is all there is.
    """

    def __init__(
        self,
        settings: config.Datastore,
        roles: Roles,
        tls: UpstreamTls,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`seconds` is how long reading may take."""
        self._reader = settings.catalog or settings.credential
        self._name = settings.name
        self._roles = roles
        self._tls = tls
        self._seconds = seconds
        self._clock = clock
        self._servers: OrderedDict[Endpoint, Server] = OrderedDict()
        self._reading: dict[Endpoint, asyncio.Task[None]] = {}

    def server(self, endpoint: Endpoint) -> Server:
        """What is known of a server, now and as long as a connection to it lasts."""
        found = self._servers.get(endpoint)
        if found is None:
            found = self._servers[endpoint] = Server(CommandTable.builtin())
            if len(self._servers) > SERVERS:
                self._servers.popitem(last=False)
        return found

    def stale(self, endpoint: Endpoint) -> bool:
        """Whether the server could be asked, and would be."""
        return self._reader is not None and self._clock() >= self.server(endpoint).until

    async def read(self, endpoint: Endpoint) -> None:
        """Ask it, once for all that wait. What is known stays when it doesn't answer."""
        task = self._reading.get(endpoint)
        if task is None:
            task = self._reading[endpoint] = asyncio.get_running_loop().create_task(self._read(endpoint))
            task.add_done_callback(lambda _: self._reading.pop(endpoint, None))
        await asyncio.shield(task)

    async def close(self) -> None:
        """The agent stops."""
        for task in tuple(self._reading.values()):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _read(self, endpoint: Endpoint) -> None:
        server, wait = self.server(endpoint), FRESH_SECONDS
        try:
            async with asyncio.timeout(self._seconds):
                server.table = CommandTable.from_server(await self._ask(endpoint))
        except (OSError, TimeoutError, UpstreamTlsError, RoleError) as error:
            log.warning("the commands of %s at %s can't be read: %s", self._name, endpoint, error or "it took too long")
            wait = RETRY_SECONDS
        server.until = self._clock() + wait

    async def _ask(self, endpoint: Endpoint) -> object:
        if self._reader is None:
            raise ConnectionError("there is no `catalog` to read them as")
        password = await self._roles.password(self._reader)
        commands = [encode_command((b"COMMAND",))]
        if password is not None:
            commands.insert(0, _authentication(self._reader, password))
        asking = b"".join(commands)
        transport, protocol = await connect(
            endpoint, self._tls, lambda: _Asking(asking, len(commands)), client_tls=self._tls.required
        )
        try:
            answers = await protocol.answers
        finally:
            transport.abort()
        refused = next((answer for answer in answers if isinstance(answer, hiredis.ReplyError)), None)
        if refused is not None:
            raise ConnectionError(" ".join(str(refused).split())[:200])
        return answers[-1]


def _authentication(credential: config.Credential, password: Secret) -> bytes:
    user = () if credential.user is None else (credential.user.encode(),)
    return encode_command((b"AUTH", *user, password.reveal().encode()))
