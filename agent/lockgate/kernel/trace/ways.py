"""By which way a connect went: past the agent or through it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from lockgate.config import Datastore, split_address
from lockgate.kernel.addresses import Resolver, literal, resolve_host
from lockgate.kernel.layout import Network

from .process import Connect


class Way(Enum):
    """`DIRECT` is the one that must not be: to a declared datastore, and not by the agent."""

    DIRECT = "direct"
    REDIRECTED = "redirected"
    AGENT = "agent"
    UNDECLARED = "undeclared"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a datastore is declared to be: `network` None is every address."""

    datastore: str
    network: Network | None
    port: int

    def has(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> bool:
        return port == self.port and (self.network is None or address in self.network)

    @property
    def _narrow(self) -> int:
        return -1 if self.network is None else self.network.prefixlen


@dataclass(frozen=True, slots=True)
class Ways:
    """What the declared datastores are, and the words for names that don't resolve.

    A name that doesn't resolve stands for every address: nothing is called undeclared for want of a resolver.
    """

    places: tuple[Place, ...]
    problems: tuple[str, ...] = ()

    @classmethod
    def of(cls, datastores: Iterable[Datastore], resolve: Resolver = resolve_host) -> Ways:
        """Resolves names: blocks."""
        places: list[Place] = []
        problems: list[str] = []
        for store in datastores:
            for host, port in map(split_address, store.addresses):
                try:
                    networks = [None] if host == "*" else [literal(host)] if literal(host) else _answers(host, resolve)
                except OSError as error:
                    problems.append(f"{host} can't be resolved ({error}): every address on port {port} counts as it")
                    networks = [None]
                places += [Place(store.name, network, port) for network in networks]
        return cls(tuple(places), tuple(problems))

    @classmethod
    def of_ports(cls, ports: Iterable[int]) -> Ways:
        """Every address on these ports counts."""
        return cls(tuple(Place(f"port {port}", None, port) for port in ports))

    @property
    def ports(self) -> tuple[int, ...]:
        return tuple(sorted({place.port for place in self.places}))

    def datastore(self, connect: Connect) -> str | None:
        """Which one it is: of several the narrowest declared, as in the kernel."""
        address = ipaddress.ip_address(connect.address)
        fitting = [place for place in self.places if place.has(address, connect.port)]
        return max(fitting, key=lambda place: place._narrow).datastore if fitting else None

    def way(self, connect: Connect) -> Way:
        if connect.by_agent:
            return Way.AGENT
        if connect.to_listener:
            return Way.REDIRECTED
        return Way.UNDECLARED if self.datastore(connect) is None else Way.DIRECT


def _answers(host: str, resolve: Resolver) -> list[Network | None]:
    answers = [network for answer in resolve(host) if (network := literal(answer)) is not None]
    if not answers:
        raise OSError("it has no address")
    return list(answers)
