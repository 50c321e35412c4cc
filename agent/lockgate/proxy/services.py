"""What all connections of one agent share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lockgate import config
from lockgate.audit.spool import Spool
from lockgate.identity.cache import Identities
from lockgate.metrics import Metrics
from lockgate.policy.generations import Generations
from lockgate.policy.reload import Policies
from lockgate.proxy.catalog import Catalogs
from lockgate.proxy.holds import Holds
from lockgate.proxy.judge import Judge
from lockgate.understand.postgresql import Understanding

if TYPE_CHECKING:
    from lockgate.proxy.gate import StatementGate

RETRIES = 4096
"""Requests remembered for which reading the catalog again didn't help."""


@dataclass(frozen=True, slots=True)
class Store:
    """One datastore. `catalogs` is None when nothing in it is classified."""

    settings: config.Datastore
    judge: Judge
    catalogs: Catalogs | None
    _tried: Generations[tuple[str, str], bool] = field(default_factory=lambda: Generations(RETRIES))

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def protocol(self) -> str:
        return self.settings.protocol

    @property
    def enforced(self) -> bool:
        """False in mode observe: everything is recorded, nothing is blocked, held or masked."""
        return self.settings.mode == "enforce"

    def first_try(self, database: str, shape: str) -> bool:
        """Whether a newer catalog is worth reading for this request: once for each shape."""
        if self._tried.get((database, shape)):
            return False
        self._tried.put((database, shape), True)
        return True


@dataclass(frozen=True, slots=True)
class Services:
    """The house. `keys` maps a cancellation key to the connection it cancels."""

    host: str
    limits: config.Limits
    understanding: Understanding
    policies: Policies
    identities: Identities
    spool: Spool
    holds: Holds
    metrics: Metrics
    keys: dict[tuple[int, bytes], StatementGate] = field(default_factory=dict)
