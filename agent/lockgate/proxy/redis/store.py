"""A Redis datastore: what its commands are understood, judged and masked by."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from lockgate import config
from lockgate.identity.cache import Identified
from lockgate.masking import Keys
from lockgate.policy.reload import Policies
from lockgate.policy.shadow import Shadow
from lockgate.proxy.connection import UpstreamSide
from lockgate.proxy.observing import WAIT_SECONDS
from lockgate.proxy.redis import upstream
from lockgate.proxy.redis.batch import Together
from lockgate.proxy.redis.commands import Commands
from lockgate.proxy.redis.judge import CommandJudge
from lockgate.proxy.store import Leads, Store
from lockgate.proxy.upstream_tls import UpstreamTls
from lockgate.understand.redis import REFUSED, Understanding
from lockgate.values.identity import Endpoint
from lockgate.values.secret import Secret
from lockgate.values.statement import Request
from lockgate.wire.gate import Refusal
from lockgate.wire.redis import errors
from lockgate.wire.redis.gate import Login
from lockgate.wire.redis.observed import ObservedSession
from lockgate.wire.redis.session import Session

if TYPE_CHECKING:
    from lockgate.proxy.redis.gate import CommandGate
    from lockgate.proxy.services import Services

log = logging.getLogger(__name__)


class RedisStore(Store):
    """What is classified is what `lockgate.values.selector` reads."""

    silent: ClassVar = True

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
    ) -> None:
        super().__init__(settings, policies, limits, tls, keys=keys, shadow=shadow, leads=leads)
        self.commands = Commands(settings, self.roles, self.tls, limits.connect_seconds)
        self.understanding = Understanding(limit=limits.statement_cache)
        self.together = Together()
        self.reviewed = frozenset(settings.scripts)
        self.reclassify({})

    def reclassify(self, classification: Mapping[str, tuple[str, ...]]) -> None:
        """See `Store`."""
        self.classification = classification
        self.judge = CommandJudge(
            self.settings, classification, self.policies, self.shadow, keys=self.keys, cache=self.limits.verdict_cache
        )

    def unsettled(self, request: Request, endpoint: Endpoint) -> bool:
        """Whether the server is worth asking what this command is: it is unknown, and may be one of a module's."""
        (first, *more) = request.statements
        return not more and first.kind == REFUSED and self.commands.stale(endpoint)

    async def settled(self, endpoint: Endpoint) -> None:
        """Ask it. What is only observed doesn't wait for long."""
        await self.commands.read(endpoint, None if self.enforced else WAIT_SECONDS)

    def native(self, code: str) -> str:
        """The word that an error of Redis' begins with."""
        return errors.native(code)

    def gate(
        self,
        services: Services,
        identified: Identified | None,
        endpoint: Endpoint,
        refusal: Refusal | None,
        blind: str | None,
    ) -> CommandGate:
        """See `Store`."""
        from lockgate.proxy.redis.gate import CommandGate

        return CommandGate(services, self, identified, endpoint, refusal, blind)

    def session(self, gate: Any) -> Session:
        """See `Store`."""
        tls = self.settings.tls_of_clients
        message, reply, offered = self.limits.message_bytes, self.limits.row_bytes, tls == "offer"
        if self.enforced:
            return Session(gate, message_bytes=message, row_bytes=reply, tls=offered)
        return ObservedSession(gate, message_bytes=message, row_bytes=reply, tls=offered, passing=tls == "pass")

    async def reach(
        self, endpoint: Endpoint, tls: UpstreamTls, protocol: Callable[[], UpstreamSide], *, client_tls: bool
    ) -> tuple[asyncio.Transport, UpstreamSide]:
        """See `Store`."""
        found = await upstream.connect(endpoint, tls, protocol, client_tls=client_tls)
        self.commands.reached(endpoint, client_tls=client_tls)
        return found

    def answering(self, credential: config.Credential, password: Secret | None) -> Login | None:
        """See `Store`. With neither a user nor a password there is nothing to say: the server takes everybody in."""
        if credential.user is None and password is None:
            return None

        def refused() -> None:
            log.warning("datastore %s refused the agent's credential of user %s", self.name, credential.user)
            self.roles.refused(credential)

        return Login(credential.user, password or Secret(""), refused)

    async def close(self) -> None:
        """See `Store`."""
        await self.commands.close()
