"""Requests to cancel, which come over connections of their own and are passed on to where the statement runs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from lockgate.proxy.connection import Connection
from lockgate.proxy.postgresql.upstream import send_cancel
from lockgate.proxy.upstream_tls import UpstreamTlsError
from lockgate.values.identity import Endpoint
from lockgate.wire.gate import Refusal, Why
from lockgate.wire.postgresql.session import Session

if TYPE_CHECKING:
    from lockgate.proxy.listener import Listener
    from lockgate.proxy.postgresql.gate import StatementGate

log = logging.getLogger(__name__)

CANCELLED: Final = Refusal(Why.CANCELLED, "canceling statement due to user request")
"""PostgreSQL's own words."""


def cancel(listener: Listener, connection: Connection, process: int, secret: bytes) -> bool:
    """Pass a CancelRequest that came over `connection` on to where the connection with that key really is.

    False when nothing is on its way: see `lockgate.wire.postgresql.gate.StatementGate.cancel`.
    """
    gate: StatementGate | None = listener.services.keys.get((process, secret))
    if gate is None or gate.store is not listener.store:
        if listener.store.enforced:
            return False  # a key nobody has been given: PostgreSQL says nothing either
        # the server's own, where the two have spoken unread
        own = listener.connections[connection].gate
        listener.spawn(_send(listener, connection, own.endpoint, process, secret))
        return True
    if gate.cancel_wait(CANCELLED) and not gate.busy():
        return False
    # also what was sent before the one that waits may still run
    listener.spawn(_send(listener, connection, gate.endpoint, *gate.upstream_key))
    return True


async def _send(listener: Listener, connection: Connection, endpoint: Endpoint, process: int, secret: bytes) -> None:
    try:
        await send_cancel(endpoint, listener.store.tls, process, secret, listener.services.limits.connect_seconds)
    except (OSError, TimeoutError, UpstreamTlsError) as error:
        log.warning("cancel request to %s failed: %s", endpoint, error)
    session = connection.session
    if isinstance(session, Session):
        session.cancelled()
        connection.flush()
