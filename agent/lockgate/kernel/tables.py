"""The maps as an agent uses them: what is redirected, whose traffic is exempt, and who made each connection."""

from __future__ import annotations

import ctypes
import ipaddress
import struct
from collections.abc import Callable, Iterable, Mapping

from lockgate.values.identity import Endpoint, Origin

from . import libbpf
from .layout import COUNTERS, EXEMPT_KEY, ORIGIN, TARGET, Accepted, Target, decode_accepted, prefix_bits
from .libbpf import Map

TARGETS_MAX = 4096
"""Declared addresses of all datastores together, host names resolved. Half of what the map holds: new before old."""

KEPT_MAX = 8
"""Cgroups of agents before this one whose listeners may still be served: half of what the map holds."""
STARTS, LISTENS = b"\1", b"\2"
"""What is said of a cgroup in `exempt`; the hooks only look whether it is there."""


class Tables:
    """Not thread-safe. Every method raises KernelError when the kernel refuses.

    `maps` are those of bpf/maps.h by name; `agent_id` is the id of the cgroup whose traffic goes straight to the
    datastores, and whose listeners alone connections are sent to.
    """

    def __init__(self, maps: Mapping[str, Map], agent_id: int) -> None:
        self._maps = maps
        self._own = EXEMPT_KEY.pack(agent_id)
        self._enter(maps["exempt"])
        self._socket = ctypes.c_int()
        self._record = ctypes.create_string_buffer(ORIGIN.size)
        # The look-up of every accepted connection: no allocation, no attribute walk.
        self._key_at, self._record_at = ctypes.byref(self._socket), ctypes.byref(self._record)
        self._lookup = libbpf.library().bpf_map_lookup_elem
        self._accepted_fd = maps["accepted"].fd

    def take_over(self, *, alone: bool) -> None:
        """This agent listens. What one before it left listening is still sent to, unless this is now `alone`."""
        table = self._maps["exempt"]
        table.update(self._own, LISTENS)
        if alone:
            _replace(table, {self._own: LISTENS})

    def _enter(self, table: Map) -> None:
        known = {key: table.lookup(key) for key in list(table.keys())}
        # an agent that never listened left nothing to be sent to, and one that often came and went left too much
        stale = [key for key, value in known.items() if value != LISTENS or len(known) > KEPT_MAX]
        for key in stale:
            if key != self._own:
                table.delete(key)
        if known.get(self._own) is None:
            table.update(self._own, STARTS)

    def set_targets(self, targets: Iterable[Target]) -> None:
        """Replace what is redirected: new ones first, so nothing that stays is ever without. Others are untouched.

        At every moment an address goes where it went before or where it will: the narrowest networks come first and
        go last, or one that is enforced could be matched meanwhile by a wider one that is observed from now on.

        Raises ValueError for more than TARGETS_MAX, or one network and port with two answers; then nothing changed.
        """
        wanted: dict[bytes, bytes] = {}
        for target in targets:
            if wanted.setdefault(target.key(), target.value()) != target.value():
                raise ValueError(f"{target.network or '*'} port {target.port} is declared twice, differently")
        if len(wanted) > TARGETS_MAX:
            raise ValueError(f"{len(wanted)} datastore addresses; at most {TARGETS_MAX} can be intercepted")
        _replace(self._maps["targets"], wanted, first=lambda key: -prefix_bits(key))

    def listener_of(self, dialled: Endpoint) -> int:
        """The port that connections to an address are sent to now; 0 when they aren't."""
        key = Target(ipaddress.ip_network(dialled.host), dialled.port, 0, 0).key()
        value = self._maps["targets"].lookup(key)
        return 0 if value is None else int(TARGET.unpack(value)[1])

    @property
    def has_targets(self) -> bool:
        """Whether anything is redirected or refused."""
        return next(self._maps["targets"].keys(), None) is not None

    def withdraw(self) -> None:
        """Nothing in this agent's cgroup is exempt any more: there is no agent."""
        self._maps["exempt"].delete(self._own)

    def accepted(self, fd: int) -> Accepted | None:
        """What the kernel knows of a socket that accept() returned; None for a connection that was not redirected."""
        self._socket.value = fd
        result = self._lookup(self._accepted_fd, self._key_at, self._record_at)
        if result == -2:  # ENOENT
            return None
        libbpf.check(result, f"origin of descriptor {fd}")
        return decode_accepted(self._record.raw)

    def origin(self, fd: int) -> Origin | None:
        """As `accepted()`, without the datastore."""
        found = self.accepted(fd)
        return found.origin if found else None

    def counters(self) -> dict[str, int]:
        """Totals since the maps were made (pinned ones live on), by the names in `layout.COUNTERS`."""
        cpus = libbpf.check(libbpf.library().libbpf_num_possible_cpus(), "number of CPUs")
        totals = {}
        for index, name in enumerate(COUNTERS):
            value = self._maps["counters"].lookup(struct.pack("=I", index), 8 * cpus)
            totals[name] = sum(struct.unpack(f"={cpus}Q", value)) if value else 0
        return totals


def _replace(table: Map, wanted: dict[bytes, bytes], first: Callable[[bytes], int] = len) -> None:
    present = set(table.keys())
    for key in sorted(wanted, key=first):
        table.update(key, wanted[key])
    for key in sorted(present - wanted.keys(), key=first, reverse=True):
        table.delete(key)
