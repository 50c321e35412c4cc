"""One datastore, with everything that its protocol has of its own: `lockgate.proxy.protocols` has them all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from lockgate import config
from lockgate.identity.cache import Identified
from lockgate.masking import Keys
from lockgate.policy.reload import Policies
from lockgate.policy.shadow import Shadow
from lockgate.proxy.roles import Roles
from lockgate.proxy.upstream_tls import UpstreamTls
from lockgate.values.identity import Endpoint
from lockgate.values.secret import Secret
from lockgate.wire.gate import Refusal
from lockgate.wire.session import WireSession

if TYPE_CHECKING:
    import asyncio

    from lockgate.proxy.connection import Connection, UpstreamSide
    from lockgate.proxy.gate import ConnectionGate
    from lockgate.proxy.listener import Listener
    from lockgate.proxy.services import Services


Spawn = Callable[[Coroutine[Any, Any, Any]], Any]
Leads = Callable[[str, int], bool]


class Store(ABC):
    """One datastore, as its classification has it now: `reclassify` changes that."""

    alpn: ClassVar[str | None] = None
    """The registered name (ALPN) that a client which begins with TLS has to ask for; None where there is none."""

    silent: ClassVar[bool] = False
    """Whether a client may take as long as it likes before it says anything: nobody greets anybody."""

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
        """`tls` is the way to its servers, None where no address has a name; `keys` are its keyed maskers'. `shadow` is
        tried beside `policies`. `leads` tells of a host and a port whether the kernel sends who connects there to the
        agent; None where nobody is sent on."""
        self.settings = settings
        self.name = settings.name
        self.protocol = settings.protocol
        self.limits = limits
        self.roles = Roles(settings)
        self.tls = tls or UpstreamTls.of(settings)
        self.enforced = settings.mode == "enforce"
        """False in mode observe: everything is recorded, nothing is blocked, held or masked."""
        self.keys = keys
        self.policies = policies
        self.shadow = Shadow.none() if shadow is None else shadow
        self.leads: Leads = _nowhere if leads is None else leads
        self.classification: Mapping[str, tuple[str, ...]] = {}

    @abstractmethod
    def reclassify(self, classification: Mapping[str, tuple[str, ...]]) -> None:
        """What is classified (in the protocol's own words) -> tags. What was judged by another counts no more."""

    @abstractmethod
    def native(self, code: str) -> str:
        """The protocol's own code for that of a refusal."""

    @abstractmethod
    def gate(
        self,
        services: Services,
        identified: Identified | None,
        endpoint: Endpoint,
        refusal: Refusal | None,
        blind: str | None,
    ) -> ConnectionGate[Any, Any, Any]:
        """The house, as a new connection sees it; see `ConnectionGate`."""

    @abstractmethod
    def session(self, gate: Any) -> WireSession:
        """A session for a connection with one of this store's gates; in mode observe it is `Observing` too."""

    @abstractmethod
    async def reach(
        self, endpoint: Endpoint, tls: UpstreamTls, protocol: Callable[[], UpstreamSide], *, client_tls: bool
    ) -> tuple[asyncio.Transport, UpstreamSide]:
        """Connect to a server, in TLS as `tls` has it. `client_tls` says that the client came in TLS.

        Raises OSError or UpstreamTlsError.
        """

    @abstractmethod
    def answering(self, credential: config.Credential, password: Secret | None) -> Any:
        """What answers the datastore in the client's place: the `login` of `WireSession.connected`."""

    def wired(self, listener: Listener, connection: Connection, gate: Any) -> None:  # noqa: B027
        """A connection is there whose client hasn't said anything yet: what the protocol has to listen for."""

    def joined(self, connection: Connection, side: UpstreamSide, login: Any, spawn: Spawn) -> None:
        """The upstream of `connection` is there. `spawn` starts what takes time."""
        connection.session.connected(side.channel_binding, login)

    async def close(self) -> None:  # noqa: B027
        """The agent stops."""

    @property
    def observed(self) -> bool:
        """Whether what is done is only looked at: nothing may fail because Lockgate is there."""
        return not self.enforced

    def become(self, settings: config.Datastore) -> None:
        """Take the mode, and what goes with it, of newer settings. What was judged in the other mode counts no more."""
        self.settings = settings
        self.enforced = settings.mode == "enforce"
        self.reclassify(self.classification)


def _nowhere(host: str, port: int) -> bool:
    return False
