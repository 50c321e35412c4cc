"""The way to the datastore: connect to the address the application dialled, in TLS as the configuration has it."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

from lockgate.proxy.connection import Connection, UpstreamSide
from lockgate.proxy.upstream_tls import UpstreamTls, UpstreamTlsError, channel_binding, told
from lockgate.values.identity import Endpoint
from lockgate.wire.gate import Refusal, Why

if TYPE_CHECKING:
    from lockgate.proxy.store import Store


class Unreachable(Exception):
    """The upstream can't be had. `refusal` is what the client is told."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


async def dial(
    connection: Connection, store: Store, endpoint: Endpoint, tls: UpstreamTls, seconds: float
) -> UpstreamSide:
    """Connect `connection` to `endpoint` of `store` within `seconds`. Raises Unreachable."""
    try:
        async with asyncio.timeout(seconds):
            transport, side = await store.reach(
                endpoint, tls, lambda: UpstreamSide(connection), client_tls=connection.client.tls is not None
            )
    except TimeoutError:
        raise Unreachable(
            Refusal(Why.UNREACHABLE, f"lockgate: connection to {endpoint} timed out after {seconds:g} s")
        ) from None
    except (OSError, UpstreamTlsError) as error:
        raise Unreachable(
            Refusal(Why.UNREACHABLE, f"lockgate: connection to {endpoint} failed: {_why(error)}")
        ) from None
    encrypted: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    certificate = encrypted.getpeercert(binary_form=True) if encrypted is not None else None
    if certificate is not None:
        side.channel_binding = channel_binding(certificate)
    return side


def _why(error: OSError | UpstreamTlsError) -> str:
    if isinstance(error, ssl.SSLError):
        return told(error)
    if isinstance(error, OSError):
        # uvloop gives a connection that ended in the handshake no word of its own
        return error.strerror or str(error) or "closed during the TLS handshake"
    return str(error)
