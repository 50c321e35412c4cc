"""What all connections of one agent share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lockgate import config
from lockgate.identity.cache import Identities
from lockgate.metrics import Metrics
from lockgate.policy.reload import Policies
from lockgate.policy.shadow import Shadow
from lockgate.proxy.holds import Holds
from lockgate.proxy.leaves import Leaves
from lockgate.proxy.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Services:
    """The house. `keys` maps the cancellation key a client was given to the connection it cancels."""

    host: str
    limits: config.Limits
    policies: Policies
    identities: Identities
    ledger: Ledger
    holds: Holds
    metrics: Metrics
    leaves: Leaves
    keys: dict[tuple[int, bytes], Any] = field(default_factory=dict)
    shadow: Shadow = field(default_factory=Shadow.none)

    @property
    def estimates(self) -> bool:
        """Whether what a policy decides, also one that is only tried, may depend on estimated rows."""
        tried = self.shadow.engine
        return self.policies.engine.estimates or (tried is not None and tried.estimates)
