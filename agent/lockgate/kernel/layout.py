"""The bytes shared with bpf/maps.h and bpf/counters.h: the same order, the same sizes."""

from __future__ import annotations

import ipaddress
import socket
import struct
from dataclasses import dataclass

from lockgate.values.identity import Endpoint, Origin

COUNTERS = (
    "redirected",
    "exempt",
    "rejected_storage",
    "rejected_device",
    "rejected_absent",
    "rejected_impostor",
    "published",
    "publish_failed",
    "callback_failed",
    "withdrawn",
    "adopted",
    "adopt_failed",
    "passed_observed",
)
"""`enum counter`, in its order."""

ORIGIN = struct.Struct("=5Q4I16s16s2s6x")
"""`struct origin`."""
TARGET_KEY = struct.Struct("=I2s2x16s")
"""`struct target_key`: prefix in bits (port and padding are its first 32), port and address in network order."""
TARGET = struct.Struct("=IH?x")
"""`struct target`: datastore, listener port in host order, whether it is only observed."""
EXEMPT_KEY = struct.Struct("=Q")

MAPPED = bytes(10) + b"\xff\xff"
"""IPv4 in 128 bits: RFC 4291, 2.5.5.2."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def prefix_bits(key: bytes) -> int:
    """How much of an address, behind the port, a `struct target_key` compares: more is narrower."""
    return int(TARGET_KEY.unpack(key)[0])


@dataclass(frozen=True, slots=True)
class Target:
    """Connections to `port` of `network` (None: of any address) go to `listener_port` on loopback, as `datastore`'s.

    An IPv6 network that holds ::ffff:0:0/96 covers IPv4 too, as it does in a dual-stack socket. Where a datastore is
    only `observed`, a connection that no agent can take goes straight to it; otherwise it is refused.
    """

    network: Network | None
    port: int
    datastore: int
    listener_port: int
    observed: bool = False

    def key(self) -> bytes:
        if self.network is None:
            bits, address = 0, bytes(16)
        elif self.network.version == 4:
            bits, address = 96 + self.network.prefixlen, MAPPED + self.network.network_address.packed
        else:
            bits, address = self.network.prefixlen, self.network.network_address.packed
        return TARGET_KEY.pack(32 + bits, self.port.to_bytes(2, "big"), address)

    def value(self) -> bytes:
        return TARGET.pack(self.datastore, self.listener_port, self.observed)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A redirected connection: who asked, and the index of the datastore whose address it dialled."""

    origin: Origin
    datastore: int


def decode_accepted(record: bytes | bytearray) -> Accepted:
    """A `struct origin` as values. Raises struct.error when it is shorter than ORIGIN."""
    start_ns, exec_id, cgroup, socket_cgroup, netns, pid, uid, gid, datastore, comm, address, port = ORIGIN.unpack_from(
        record
    )
    if address[:12] == MAPPED:
        host = socket.inet_ntop(socket.AF_INET, address[12:])
    else:
        host = socket.inet_ntop(socket.AF_INET6, address)
    origin = Origin(
        pid=pid,
        start_ns=start_ns,
        exec_id=exec_id,
        uid=uid,
        gid=gid,
        cgroup_id=cgroup,
        socket_cgroup_id=socket_cgroup,
        netns_cookie=netns,
        comm=comm.split(b"\0", 1)[0].decode("utf-8", "backslashreplace"),
        destination=Endpoint(host, int.from_bytes(port, "big")),
    )
    return Accepted(origin, datastore)
