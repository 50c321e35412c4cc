"""What all connections of one agent share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING

from lockgate import config
from lockgate.identity.cache import Identities
from lockgate.masking import Keys
from lockgate.metrics import Metrics
from lockgate.policy.generations import Generations
from lockgate.policy.reload import Policies
from lockgate.policy.shadow import Shadow
from lockgate.proxy.catalog import Catalogs
from lockgate.proxy.catalog_reader import CatalogError
from lockgate.proxy.estimates import Estimates
from lockgate.proxy.holds import Holds
from lockgate.proxy.judge import Judge
from lockgate.proxy.leaves import Leaves
from lockgate.proxy.ledger import Ledger
from lockgate.proxy.patience import Patience
from lockgate.proxy.roles import Roles
from lockgate.proxy.upstream_tls import UpstreamTls
from lockgate.understand.postgresql import Understanding
from lockgate.values.identity import Endpoint
from lockgate.values.statement import Request

if TYPE_CHECKING:
    from lockgate.proxy.gate import StatementGate

RETRIES = 4096
"""Requests remembered for which reading the catalog again didn't help."""


class Store:
    """One datastore, as its classification has it now: `reclassify` replaces `judge` and `catalogs`.

    `catalogs` is None when nothing in it is classified, or nobody may read its catalog; `reader` only in that case.
    """

    __slots__ = ("_policies", "_shadow", "_tried", "_verdicts", "catalogs", "classification", "enforced", "estimates",
                 "judge", "keys", "name", "patience", "protocol", "reader", "roles", "settings", "tls")  # fmt: skip

    def __init__(
        self,
        settings: config.Datastore,
        policies: Policies,
        limits: config.Limits,
        reader: Catalogs | None,
        tls: UpstreamTls | None = None,
        *,
        keys: Keys,
        shadow: Shadow | None = None,
    ) -> None:
        """`reader` keeps the catalogs of its databases, None when the configuration names nobody to read them; `tls`
        is the way to its servers, None where no address has a name; `keys` are its keyed maskers'. `shadow` is tried
        beside `policies`."""
        self.settings = settings
        self.name = settings.name
        self.protocol = settings.protocol
        self.roles = Roles(settings)
        self.tls = tls or UpstreamTls.of(settings)
        self.enforced = settings.mode == "enforce"
        """False in mode observe: everything is recorded, nothing is blocked, held or masked."""
        self.keys = keys
        self.patience = Patience()
        """How long statements wait for the catalog in mode observe."""
        self._policies = policies
        self._shadow = shadow
        self._verdicts = limits.verdict_cache
        self.reader = reader
        self.estimates = None if reader is None else Estimates(reader.reader)
        self._tried: Generations[bytes, bool] = Generations(RETRIES)
        self.reclassify({})

    def reclassify(self, classification: Mapping[str, tuple[str, ...]]) -> None:
        """`schema.table.column` -> tags. What was judged by another classification counts no more."""
        self.classification = classification
        self.judge = Judge(self.settings, classification, self._policies, self._shadow, cache=self._verdicts)
        if self.reader is not None:
            self.reader.reclassify(classification)
        self.catalogs = self.reader if classification else None

    @property
    def observed(self) -> bool:
        """Whether what is done is only looked at: nothing may fail because Lockgate is there."""
        return not self.enforced

    def become(self, settings: config.Datastore) -> None:
        """Take the mode, and what goes with it, of newer settings. What was judged in the other mode counts no more."""
        self.settings = settings
        self.enforced = settings.mode == "enforce"
        self.reclassify(self.classification)

    async def estimate(self, endpoint: Endpoint, database: str, request: Request) -> int | None:
        """The rows that a request of one statement is estimated to read or change; None where that can't be told."""
        if self.reader is None or self.estimates is None:
            return None
        try:
            catalog = (await self.reader.get(endpoint, database)).catalog
        except CatalogError:
            return None  # where rows are masked that is told on its own; here nobody knows how many
        return await self.estimates.estimate(endpoint, database, request, catalog)

    def first_try(self, database: str, shape: str) -> bool:
        """Whether a newer catalog is worth reading for this request: once for each shape."""
        key = blake2b(f"{database}\0{shape}".encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if self._tried.get(key):
            return False
        self._tried.put(key, True)
        return True


@dataclass(frozen=True, slots=True)
class Services:
    """The house. `keys` maps the cancellation key a client was given to the connection it cancels."""

    host: str
    limits: config.Limits
    understanding: Understanding
    policies: Policies
    identities: Identities
    ledger: Ledger
    holds: Holds
    metrics: Metrics
    leaves: Leaves
    keys: dict[tuple[int, bytes], StatementGate] = field(default_factory=dict)
    shadow: Shadow = field(default_factory=Shadow.none)

    @property
    def estimates(self) -> bool:
        """Whether what a policy decides, also one that is only tried, may depend on estimated rows."""
        tried = self.shadow.engine
        return self.policies.engine.estimates or (tried is not None and tried.estimates)
