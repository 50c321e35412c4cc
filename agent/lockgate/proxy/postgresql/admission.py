"""Letting in who connects to a PostgreSQL datastore in mode observe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lockgate.identity.cache import Identified
from lockgate.proxy.postgresql import startup
from lockgate.wire.gate import Asked, ProtocolError

if TYPE_CHECKING:
    from lockgate.proxy.postgresql.gate import StatementGate

UNREADABLE_OPTIONS = "start-up options that can't be read"


def admit(gate: StatementGate, identified: Identified | None, parameters: Mapping[str, str]) -> None:
    """The client introduced itself: it is let in. What can't be looked at goes on unread (`gate.blind`)."""
    gate.user = claimed = parameters["user"]
    gate.database = parameters.get("database") or claimed
    if identified is not None:
        gone = gate.refresh()
        if gone is not None:
            gate.blind = gate.blind or gone.message.removeprefix("lockgate: ")
        elif gate.role.find(gate.claims.groups) is None:
            gate.user = gate.role.user or claimed
        else:
            # who has no role with the agent authenticates itself, as it would without it
            gate.lingers = True
    gate.open_record(None, user=gate.user, claimed_user=claimed, application=parameters.get("application_name", ""))
    if gate.blind is not None:
        return
    try:
        texts = startup.settings(parameters, any_encoding=True)
    except ProtocolError:
        gate.blind = UNREADABLE_OPTIONS
        return
    for text in texts:
        asked = Asked(gate.understand(text))
        gate.recorder.end(gate.let_pass(asked, gate.judge(asked, None), None, None).handle, "completed", {})
