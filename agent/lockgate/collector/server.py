"""The collector as a process: the Forward listener and the HTTP API over one store."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Iterator
from types import TracebackType

import uvicorn

from lockgate.collector.api import Api
from lockgate.collector.ingest import Ingest
from lockgate.collector.metrics import Numbers
from lockgate.collector.store import Store, StoreError, database
from lockgate.collector.writer import Writer
from lockgate.config import CollectorFile, split_address
from lockgate.service import ServiceManager

DRAIN_SECONDS = 5
"""How long requests under way may take once the collector was told to stop."""
BACKLOG = 1024

log = logging.getLogger(__name__)


class CannotListen(Exception):
    """The collector can't take its place: an address is taken, or the store can't be opened. Names the key and why."""


class Server:
    """`async with Server(settings) as server:` serves; `forward` and `http` are the addresses it listens on.

    Raises CannotListen.
    """

    def __init__(self, settings: CollectorFile) -> None:
        self._settings = settings.collector
        self.forward = self.http = ("", 0)

    async def __aenter__(self) -> Server:
        settings = self._settings
        try:
            store = await asyncio.to_thread(Store, database(settings.state_dir))
        except StoreError as error:
            raise CannotListen(f"collector.state_dir: {error}") from error
        self._writer = Writer(store)
        self._ingest = Ingest(self._writer)
        try:
            listening = await self._listen()
        except BaseException:
            await self._ingest.close()
            await self._writer.close()
            raise
        self._api = Api(settings, self._writer, Numbers(self._writer, self._ingest).text)
        self._uvicorn = _Uvicorn(
            uvicorn.Config(
                self._api.app,
                log_config=None,
                log_level="warning",
                access_log=False,
                lifespan="off",
                ws="none",
                server_header=False,
                timeout_graceful_shutdown=DRAIN_SECONDS,
            )
        )
        self.serving = asyncio.create_task(self._uvicorn.serve(sockets=[listening]))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._uvicorn.should_exit = True
        self._api.close()
        await self.serving
        await self._ingest.close()
        await self._writer.close()

    async def _listen(self) -> socket.socket:
        host, port = split_address(self._settings.listen)
        try:
            self.forward = await self._ingest.start(host, port)
        except OSError as error:
            raise CannotListen(f"collector.listen: {self._settings.listen}: {error.strerror or error}") from error
        host, port = split_address(self._settings.http)
        try:
            listening = await _tcp_listener(host, port)
        except OSError as error:
            raise CannotListen(f"collector.http: {self._settings.http}: {error.strerror or error}") from error
        self.http = listening.getsockname()[:2]
        return listening


async def _tcp_listener(host: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError."""
    info = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    family, kind, protocol, _, address = info[0]
    # with its protocol said: asyncio sets TCP_NODELAY only on sockets that know they are TCP, and without it the body
    # of an answer waits 40 ms for the acknowledgement of its head
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


class _Uvicorn(uvicorn.Server):
    """Leaves the signals to run(): uvicorn would take them for itself."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def run(settings: CollectorFile) -> None:
    """Serves until SIGTERM or SIGINT, then drains. Raises CannotListen."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        async with Server(settings) as server:
            log.info("ready: forward on %s port %d, http on %s port %d", *server.forward, *server.http)
            manager = ServiceManager()
            manager.ready("forward on {} port {}, http on {} port {}".format(*server.forward, *server.http))
            alive = asyncio.create_task(manager.stay_alive())
            stopped = asyncio.create_task(stop.wait())
            # should HTTP fail, the collector ends with its error instead of living on by half
            await asyncio.wait((stopped, server.serving), return_when=asyncio.FIRST_COMPLETED)
            manager.stopping()
            alive.cancel()
            stopped.cancel()
            log.info("stopping")
        log.info("stopped")
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
