"""The way to the datastore: connect to the address the application dialled, in TLS where the server offers it."""

from __future__ import annotations

import asyncio
import functools
import ssl
from typing import Literal, cast

from lockgate.proxy.connection import Connection, UpstreamSide
from lockgate.values.identity import Endpoint
from lockgate.wire.gate import Refusal
from lockgate.wire.postgresql import errors, frames


class Unreachable(Exception):
    """The upstream can't be had. `refusal` is what the client is told."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


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


async def dial(
    connection: Connection, endpoint: Endpoint, tls: Literal["prefer", "disable"], seconds: float
) -> UpstreamSide:
    """Connect `connection` to `endpoint` within `seconds`. Raises Unreachable.

    `prefer` is libpq's: TLS without verification where the server offers it, plain where it says no.
    """
    try:
        async with asyncio.timeout(seconds):
            return await _dial(connection, endpoint, tls)
    except TimeoutError:
        raise Unreachable(
            Refusal(errors.CANNOT_CONNECT, f"lockgate: connection to {endpoint} timed out after {seconds:g} s")
        ) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise Unreachable(
            Refusal(errors.CANNOT_CONNECT, f"lockgate: connection to {endpoint} failed: {reason}")
        ) from None


async def _dial(connection: Connection, endpoint: Endpoint, tls: Literal["prefer", "disable"]) -> UpstreamSide:
    loop = asyncio.get_running_loop()
    if tls == "disable":
        _, side = await loop.create_connection(lambda: UpstreamSide(connection), endpoint.host, endpoint.port)
        return side
    transport, negotiation = await loop.create_connection(_Negotiation, endpoint.host, endpoint.port)
    try:
        answer = await negotiation.answer
        if answer not in (b"N", b"S"):
            raise ConnectionError("the server answered the request for TLS with something else")
        side = UpstreamSide(connection)
        if answer == b"S":
            encrypted = await loop.start_tls(transport, side, _context(), server_hostname=None)
            if encrypted is None:
                raise ConnectionError("closed during the TLS handshake")
            side.connection_made(encrypted)
        else:
            transport.set_protocol(side)
            side.connection_made(transport)
            transport.resume_reading()
    except BaseException:
        transport.abort()
        raise
    return side


async def send_cancel(endpoint: Endpoint, process: int, secret: bytes, seconds: float) -> None:
    """Ask the datastore to cancel what a connection runs. Raises OSError or TimeoutError.

    Sent in plain: libpq before 17 did the same, and the key is worth nothing but this.
    """
    async with asyncio.timeout(seconds):
        reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
        try:
            writer.write(frames.cancel_request(process, secret))
            await writer.drain()
            await reader.read(1)  # the server closes when it has passed the signal on
        finally:
            writer.close()


@functools.cache
def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
