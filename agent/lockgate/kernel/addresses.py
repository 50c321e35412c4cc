"""From addresses as a configuration declares them to what the kernel matches; host names resolved, and again."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lockgate.config import split_address

from .layout import Network, Target

GRACE_SECONDS = 3600.0
"""An address that a name no longer has stays intercepted this long: applications cache names (a JVM, forever by
default under a security manager), and their next connection to it must not pass the gate by."""
ANSWERS_MAX = 64
"""Addresses remembered for one name, oldest dropped first. A DNS answer over UDP holds a few dozen."""

_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")

Resolver = Callable[[str], Iterable[str]]


@dataclass(frozen=True, slots=True)
class Declared:
    """One datastore: its index, the port its connections are sent to, and its addresses as configured."""

    datastore: int
    listener_port: int
    addresses: tuple[str, ...]


def resolve_host(name: str) -> list[str]:
    """Every A and AAAA answer of the host's resolver, in text. Blocks. Raises OSError."""
    answers = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]).partition("%")[0] for *_, sockaddr in answers))


class AddressBook:
    """The targets of all datastores, kept current.

    `refresh()` blocks while names are resolved: call it in a thread. After it `targets` is what to hand to
    `Interceptor.set_targets` and `problems` says in words what could not be done; neither is ever changed in place.
    Raises ValueError at construction for an address that isn't one.
    """

    def __init__(
        self,
        declared: Iterable[Declared],
        resolver: Resolver = resolve_host,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._declared = [
            (store, address, *split_address(address)) for store in declared for address in store.addresses
        ]
        self._resolve, self._clock = resolver, clock
        self._seen: dict[str, dict[Network, float]] = {}
        self.targets: tuple[Target, ...] = ()
        self.problems: tuple[str, ...] = ()
        self.unknown: frozenset[int] = frozenset()
        """The datastores of which a declared name stands for no address yet."""

    def refresh(self) -> bool:
        """Resolve every name again. True when `targets` changed. A name that doesn't resolve keeps what it had."""
        problems: list[str] = []
        names = dict.fromkeys(host for _, _, host, _ in self._declared if host != "*" and literal(host) is None)
        for name in names:
            problems += self._ask(name)
        found: dict[tuple[Network | None, int], Target] = {}
        for store, address, host, port in self._declared:
            for network in self._networks(host):
                target = Target(network, port, store.datastore, store.listener_port)
                first = found.setdefault((network, port), target)
                if first.datastore != store.datastore:
                    problems.append(
                        f"{address}: {network or '*'} port {port} already belongs to datastore {first.datastore}; "
                        f"datastore {store.datastore} is not reached through it"
                    )
        self.unknown = frozenset(
            store.datastore for store, _, host, _ in self._declared if host in names and not self._seen[host]
        )
        targets = tuple(found.values())
        changed = targets != self.targets
        self.targets, self.problems = targets, tuple(problems)
        return changed

    def names(self, datastore: int, address: str, port: int) -> tuple[str, ...]:
        """The host names of datastore number `datastore` that stand for an address, in the order they are declared."""
        network = literal(address)
        declared = (host for store, _, host, its in self._declared if store.datastore == datastore and its == port)
        return tuple(dict.fromkeys(host for host in declared if network in self._seen.get(host, ())))

    def leads(self, host: str, port: int) -> int | None:
        """The datastore that a connection to `host` goes to, an address or a name that is declared; None for none.

        Of several targets the kernel takes the narrowest.
        """
        network = literal(host)
        if network is None:
            declared = (store for store, _, name, its in self._declared if (name.lower(), its) == (host.lower(), port))
            return next((store.datastore for store in declared), None)
        best: Target | None = None
        for target in self.targets:
            if target.port == port and _holds(target.network, network) and _width(target) > _width(best):
                best = target
        return None if best is None else best.datastore

    def _networks(self, host: str) -> list[Network | None]:
        if host == "*":
            return [None]
        network = literal(host)
        return [network] if network is not None else list(self._seen[host])

    def _ask(self, name: str) -> list[str]:
        now = self._clock()
        known = self._seen.setdefault(name, {})
        try:
            answers = [network for answer in self._resolve(name) if (network := literal(answer))]
        except OSError as error:
            kept = f"{len(known)} addresses known before are kept" if known else "nothing is intercepted for it yet"
            return [f"{name} can't be resolved ({error}); {kept}"]
        for answer in answers:
            known.pop(answer, None)  # and in again at the end: the order is that of the last sighting
            known[answer] = now
        problems = [] if answers else [f"{name} resolves to no address"]
        for network in [n for n, seen in known.items() if answers and now - seen > GRACE_SECONDS]:
            del known[network]
        if len(known) > ANSWERS_MAX:
            problems.append(f"{name} has had {len(known)} addresses; the {ANSWERS_MAX} seen last are intercepted")
            for network in list(known)[:-ANSWERS_MAX]:
                del known[network]
        return problems


def literal(host: str) -> Network | None:
    """An address or CIDR range as a network, None for a host name. ::ffff:a.b.c.d is the IPv4 address it stands for."""
    try:
        network = ipaddress.ip_network(host)
    except ValueError:
        return None
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen == 128 and network[0].ipv4_mapped:
        return ipaddress.IPv4Network(network[0].ipv4_mapped)
    return network


def _holds(network: Network | None, address: Network) -> bool:
    if network is None:
        return True
    if network.version != address.version:
        # a dual-stack socket has IPv4 inside IPv6
        return network.version == 6 and _MAPPED.subnet_of(network)
    return address.network_address in network and address.num_addresses == 1


def _width(target: Target | None) -> int:
    """Bits that a target matches by, as the kernel counts them; -1 for none."""
    if target is None:
        return -1
    if target.network is None:
        return 0
    return target.network.prefixlen + (96 if target.network.version == 4 else 0)
