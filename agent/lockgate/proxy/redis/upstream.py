"""The way to a Redis server: plain, or in TLS from the first byte."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from lockgate.proxy.upstream_tls import UpstreamTls
from lockgate.values.identity import Endpoint

P = TypeVar("P", bound=asyncio.BaseProtocol)


async def connect(
    endpoint: Endpoint, tls: UpstreamTls, protocol: Callable[[], P], *, client_tls: bool
) -> tuple[asyncio.Transport, P]:
    """A `protocol` that is connected. Raises OSError or UpstreamTlsError.

    A port of a Redis server speaks TLS or it doesn't, and doesn't say: where `tls` leaves it open, it is as the client
    would have it (`client_tls`).
    """
    loop = asyncio.get_running_loop()
    if not (tls.required or (tls.offered and client_tls)):
        return await loop.create_connection(protocol, endpoint.host, endpoint.port)
    return await loop.create_connection(
        protocol, endpoint.host, endpoint.port, ssl=tls.context(endpoint), server_hostname=tls.peer(endpoint)
    )
