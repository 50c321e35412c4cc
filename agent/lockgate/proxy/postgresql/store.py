"""A PostgreSQL datastore: what its statements are understood, judged and masked by."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from lockgate import config, masking
from lockgate.identity.cache import Identified
from lockgate.masking import Keys
from lockgate.policy.generations import Generations
from lockgate.policy.reload import Policies
from lockgate.policy.shadow import Shadow
from lockgate.proxy.connection import Connection, UpstreamSide
from lockgate.proxy.postgresql import cancelling, upstream
from lockgate.proxy.postgresql.catalog import Catalogs
from lockgate.proxy.postgresql.catalog_reader import CatalogError, CatalogReader
from lockgate.proxy.postgresql.estimates import Estimates
from lockgate.proxy.postgresql.judge import Judge
from lockgate.proxy.postgresql.login import SaltedPasswords, UpstreamLogin
from lockgate.proxy.postgresql.patience import Patience
from lockgate.proxy.store import Leads, Spawn, Store
from lockgate.proxy.tls import ALPN
from lockgate.proxy.upstream_tls import UpstreamTls
from lockgate.understand.postgresql import Understanding
from lockgate.values.identity import Endpoint
from lockgate.values.secret import Secret
from lockgate.values.statement import Request
from lockgate.wire.gate import Refusal
from lockgate.wire.postgresql import errors
from lockgate.wire.postgresql.observed import ObservedSession
from lockgate.wire.postgresql.session import Session

if TYPE_CHECKING:
    from lockgate.proxy.listener import Listener
    from lockgate.proxy.postgresql.gate import StatementGate
    from lockgate.proxy.services import Services

RETRIES: Final = 4096
"""Requests remembered for which reading the catalog again didn't help."""


class PostgresStore(Store):
    """`catalogs` is None when nothing in it is classified, or nobody may read its catalog; `reader` only in that case.

    What is classified is `schema.table.column`.
    """

    alpn = ALPN

    def __init__(
        self,
        settings: config.Datastore,
        policies: Policies,
        limits: config.Limits,
        tls: UpstreamTls | None = None,
        *,
        keys: Keys,
        shadow: Shadow | None = None,
        leads: Leads | None = None,
        reader: Catalogs | None = None,
    ) -> None:
        """`reader` keeps the catalogs of its databases: one of its own where the configuration names who reads them."""
        super().__init__(settings, policies, limits, tls, keys=keys, shadow=shadow, leads=leads)
        if reader is None and settings.catalog is not None:
            reader = Catalogs(CatalogReader(settings.catalog, tls=self.tls, connect_seconds=limits.connect_seconds), ())
        self.understanding = Understanding(limit=limits.statement_cache)
        self.patience = Patience()
        """How long statements wait for the catalog in mode observe."""
        self.reader = reader
        self.estimates = None if reader is None else Estimates(reader.reader)
        self.salted = SaltedPasswords()
        self._tried: Generations[bytes, bool] = Generations(RETRIES)
        self.reclassify({})

    def reclassify(self, classification: Mapping[str, tuple[str, ...]]) -> None:
        """See `Store`."""
        self.classification = classification
        self.judge = Judge(self.settings, classification, self.policies, self.shadow, cache=self.limits.verdict_cache)
        if self.reader is not None:
            self.reader.reclassify(classification)
        self.catalogs = self.reader if classification else None

    def native(self, code: str) -> str:
        """The SQLSTATE."""
        return errors.native(code)

    def gate(
        self,
        services: Services,
        identified: Identified | None,
        endpoint: Endpoint,
        refusal: Refusal | None,
        blind: str | None,
    ) -> StatementGate:
        """See `Store`."""
        from lockgate.proxy.postgresql.gate import StatementGate

        return StatementGate(services, self, identified, endpoint, refusal, blind)

    def session(self, gate: Any) -> Session:
        """See `Store`."""
        tls = self.settings.tls_of_clients
        message, row, offered = self.limits.message_bytes, self.limits.row_bytes, tls == "offer"
        if self.enforced:
            return Session(gate, masking, message_bytes=message, row_bytes=row, tls=offered)
        return ObservedSession(gate, masking, message_bytes=message, row_bytes=row, tls=offered, passing=tls == "pass")

    async def reach(
        self, endpoint: Endpoint, tls: UpstreamTls, protocol: Callable[[], UpstreamSide], *, client_tls: bool
    ) -> tuple[asyncio.Transport, UpstreamSide]:
        """See `Store`."""
        return await upstream.connect(endpoint, tls, protocol)

    def answering(self, credential: config.Credential, password: Secret | None) -> UpstreamLogin:
        """See `Store`."""
        return UpstreamLogin(
            self.name, credential.user or "", password, self.settings.channel_binding, self.settings.verified,
            self.salted, on_refused=lambda: self.roles.refused(credential),
        )  # fmt: skip

    def wired(self, listener: Listener, connection: Connection, gate: Any) -> None:
        """See `Store`."""
        gate.on_cancel = partial(cancelling.cancel, listener, connection)

    def joined(self, connection: Connection, side: UpstreamSide, login: Any, spawn: Spawn) -> None:
        """See `Store`."""

        async def derive(salt: bytes, iterations: int) -> None:
            """Authenticate further once the salted password is there."""
            salted = await login.derived(salt, iterations)
            session = connection.session
            if isinstance(session, Session) and not session.closing:
                session.salted(salted)
                connection.flush()

        if login is not None:
            login.derive_with(lambda salt, iterations: spawn(derive(salt, iterations)))
        super().joined(connection, side, login, spawn)

    async def close(self) -> None:
        """See `Store`."""
        if self.reader is not None:
            await self.reader.close()

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
