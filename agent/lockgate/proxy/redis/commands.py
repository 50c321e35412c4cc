"""Which commands a server has, asked of the server itself: it may have modules, and be newer than what is built in.

And which code its functions have.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, cast

import hiredis

from lockgate import config
from lockgate.proxy.redis import functions
from lockgate.proxy.redis.upstream import connect
from lockgate.proxy.roles import RoleError, Roles
from lockgate.proxy.upstream_tls import UpstreamTls, UpstreamTlsError
from lockgate.understand.redis import CommandTable
from lockgate.values.identity import Endpoint
from lockgate.values.secret import Secret
from lockgate.wire.redis._resp import ReplyScanner, encode_command
from lockgate.wire.redis.errors import code_of, text_of

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
    """Says what it is given; `answers` has so many replies, whole and as they came."""

    def __init__(self, said: bytes, replies: int) -> None:
        self._said = said
        self._wanted = replies
        self._found: list[bytes] = []
        self._came = bytearray()
        self._bytes = 0
        # hiredis would make room for what is only announced
        self._scanner = ReplyScanner()
        self.answers: asyncio.Future[list[bytes]] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(self._said)

    def data_received(self, data: bytes) -> None:
        if self.answers.done():
            return
        self._bytes += len(data)
        if self._bytes > ANSWER_BYTES:
            self.answers.set_exception(ConnectionError(f"it says more than {ANSWER_BYTES} bytes"))
            return
        held, start = len(self._came), 0
        self._came += data
        for stop in self._scanner.scan(data, 0, len(data)):
            self._found.append(bytes(self._came[start : (end := held + (stop >> 8))]))
            start = end
        del self._came[:start]
        if len(self._found) >= self._wanted:
            self.answers.set_result(self._found)
        elif self._scanner.broken is not None:
            self.answers.set_exception(ConnectionError(f"what it says can't be read: {self._scanner.broken}"))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.answers.done():
            self.answers.set_exception(exc or ConnectionResetError("it closed the connection"))


@dataclass(slots=True)
class Server:
    """One server: `table` is what is known of its commands now, and `until` when it is worth asking again.

    `secured` says that clients come through to it in TLS of theirs.
    """

    table: CommandTable
    until: float = 0.0
    secured: bool = False


@dataclass(frozen=True, slots=True)
class _Reading:
    """A server is being asked. `since` is when that began, in seconds of the clock."""

    task: asyncio.Task[None]
    since: float


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
        self._reading: dict[Endpoint, _Reading] = {}

    def server(self, endpoint: Endpoint) -> Server:
        """What is known of a server, now and as long as a connection to it lasts."""
        found = self._servers.get(endpoint)
        if found is None:
            found = self._servers[endpoint] = Server(CommandTable.builtin())
            if len(self._servers) > SERVERS:
                self._servers.popitem(last=False)
        return found

    def reached(self, endpoint: Endpoint, *, client_tls: bool) -> None:
        """A client got through to a server, in TLS of its own or not: where that decides, it is asked the same way."""
        self.server(endpoint).secured = client_tls

    def stale(self, endpoint: Endpoint) -> bool:
        """Whether the server could be asked, and would be."""
        return self._reader is not None and self._clock() >= self.server(endpoint).until

    async def read(self, endpoint: Endpoint, patience: float | None = None) -> None:
        """Ask it, once for all that wait. What is known stays when it doesn't answer.

        `patience` is for how many seconds since the asking began it is waited for; None: for as long as it takes.
        """
        reading = self._reading.get(endpoint)
        if reading is None:
            task = asyncio.get_running_loop().create_task(self._read(endpoint))
            reading = self._reading[endpoint] = _Reading(task, self._clock())
            task.add_done_callback(lambda _: self._reading.pop(endpoint, None))
        left = None if patience is None else max(0.0, reading.since + patience - self._clock())
        done, _ = await asyncio.wait((reading.task,), timeout=left)
        if done and not reading.task.cancelled():
            reading.task.result()  # a mistake of ours is nothing to pass over

    async def functions(self, endpoint: Endpoint) -> Mapping[str, str] | None:
        """The functions of a server, in lower case, with digests of their code; None where it can't be asked."""
        try:
            async with asyncio.timeout(self._seconds):
                return functions.digests(await self._ask(endpoint, functions.LIST))
        except (OSError, TimeoutError, UpstreamTlsError, RoleError, ValueError) as error:
            why = str(error) or "it took too long"
            log.warning("the functions of %s at %s can't be read: %s", self._name, endpoint, why)
            return None

    async def close(self) -> None:
        """The agent stops."""
        for reading in tuple(self._reading.values()):
            reading.task.cancel()
            await asyncio.gather(reading.task, return_exceptions=True)

    async def _read(self, endpoint: Endpoint) -> None:
        server, wait = self.server(endpoint), RETRY_SECONDS
        try:
            async with asyncio.timeout(self._seconds):
                server.table = CommandTable.from_server(await self._ask(endpoint, (b"COMMAND",)))
            wait = FRESH_SECONDS
        except (OSError, TimeoutError, UpstreamTlsError, RoleError) as error:
            why = str(error) or "it took too long"
            log.warning("the commands of %s at %s can't be read: %s", self._name, endpoint, why)
        server.until = self._clock() + wait

    async def _ask(self, endpoint: Endpoint, command: tuple[bytes, ...]) -> list[object]:
        """The list that it answers, as hiredis reads it. Raises what connecting does, RoleError and TimeoutError."""
        if self._reader is None:
            raise ConnectionError("there is no `catalog` to read them as")
        password = await self._roles.password(self._reader)
        said, commands = b" ".join(command[:2]).decode(), [encode_command(command)]
        if self._reader.user is not None or password is not None:
            commands.insert(0, _authentication(self._reader, password or Secret("")))
        asking = b"".join(commands)
        transport, protocol = await connect(
            endpoint, self._tls, lambda: _Asking(asking, len(commands)), client_tls=self.server(endpoint).secured
        )
        try:
            answers = await protocol.answers
        finally:
            transport.abort()
        for asked, answer in zip(("AUTH", said)[-len(commands) :], answers, strict=False):
            if (text := text_of(answer)) is not None:
                if asked == "AUTH":
                    self._roles.refused(self._reader)
                # the first word only: what else it says could quote the password
                raise ConnectionError(f"it answers {asked} with {code_of(text)}")
        return _array(answers[-1], said)


def _array(answer: bytes, asked: str) -> list[object]:
    reader = hiredis.Reader()
    reader.feed(answer)
    try:
        found: object = reader.gets()
    except (hiredis.ProtocolError, TypeError) as error:  # TypeError: a map whose keys are arrays
        raise ConnectionError(f"what it says can't be read: {error}") from None
    if not isinstance(found, list):
        raise ConnectionError(f"it answers {asked} with something else than a list")
    return found


def _authentication(credential: config.Credential, password: Secret) -> bytes:
    user = () if credential.user is None else (credential.user.encode(),)
    return encode_command((b"AUTH", *user, password.reveal().encode()))
