"""The way to a PostgreSQL server: TLS is asked for before it begins, and a cancellation has a connection of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar, cast

from lockgate.proxy.upstream_tls import UpstreamTls
from lockgate.values.identity import Endpoint
from lockgate.wire.postgresql import frames

P = TypeVar("P", bound=asyncio.BaseProtocol)


class _Negotiation(asyncio.Protocol):
    """Reads the one byte a server answers to SSLRequest, and nothing behind it."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(frames.ssl_request())

    def data_received(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.pause_reading()
        if not self.answer.done():
            self.answer.set_result(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc or ConnectionResetError("closed during the TLS negotiation"))
        elif not self.answer.cancelled():
            self.answer.exception()


class _Cancel(asyncio.Protocol):
    """Sends a CancelRequest. `done` when the server has closed, which it does once it has passed the signal on."""

    def __init__(self, process: int, secret: bytes) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = frames.cancel_request(process, secret)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def connect(endpoint: Endpoint, tls: UpstreamTls, protocol: Callable[[], P]) -> tuple[asyncio.Transport, P]:
    """A `protocol` that is connected. Raises OSError or UpstreamTlsError; in plain only where `tls` lets it."""
    loop = asyncio.get_running_loop()
    if not tls.offered:
        return await loop.create_connection(protocol, endpoint.host, endpoint.port)
    context = tls.context(endpoint)
    transport, negotiation = await loop.create_connection(_Negotiation, endpoint.host, endpoint.port)
    try:
        answer = await negotiation.answer
        if answer not in (b"N", b"S"):
            raise ConnectionError("the server answered the request for TLS with something else")
        if answer == b"N" and tls.required:
            raise ConnectionError(f"the server offers no TLS, and upstream_tls is {tls.mode}")
        side = protocol()
        if answer == b"S":
            encrypted = await loop.start_tls(transport, side, context, server_hostname=tls.peer(endpoint))
            if encrypted is None:
                raise ConnectionError("closed during the TLS handshake")
            transport = encrypted
            side.connection_made(transport)
        else:
            transport.set_protocol(side)
            side.connection_made(transport)
            transport.resume_reading()
    except BaseException:
        transport.abort()
        raise
    return transport, side


async def send_cancel(endpoint: Endpoint, tls: UpstreamTls, process: int, secret: bytes, seconds: float) -> None:
    """Ask the datastore to cancel what a connection runs, in TLS like the connection itself.

    Raises OSError, TimeoutError or UpstreamTlsError.
    """
    async with asyncio.timeout(seconds):
        transport, cancel = await connect(endpoint, tls, lambda: _Cancel(process, secret))
        try:
            await cancel.done
        finally:
            transport.abort()
