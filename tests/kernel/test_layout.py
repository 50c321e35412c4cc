"""The bytes shared with BPF, held against the compiled object's own maps."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.kernel.interceptor import OBJECTS
from lockgate.kernel.layout import (
    COUNTERS,
    EXEMPT_KEY,
    MAPPED,
    ORIGIN,
    TARGET,
    TARGET_KEY,
    Accepted,
    Network,
    Target,
    decode_accepted,
)
from lockgate.kernel.libbpf import Object
from lockgate.values.identity import Endpoint, Origin


@pytest.fixture(scope="module")
def compiled() -> Iterator[Object]:
    opened = Object(OBJECTS / "lockgate.o")
    yield opened
    opened.close()


def test_sizes_are_those_of_the_compiled_maps(compiled: Object) -> None:
    assert compiled.declared("accepted").value_size == ORIGIN.size
    targets = compiled.declared("targets")
    assert (targets.key_size, targets.value_size) == (TARGET_KEY.size, TARGET.size)
    assert compiled.declared("exempt").key_size == EXEMPT_KEY.size
    assert compiled.declared("counters").max_entries == len(COUNTERS)


@pytest.mark.parametrize(
    ("network", "bits", "address"),
    [
        (None, 32, bytes(16)),
        ("10.9.8.7/32", 160, MAPPED + bytes([10, 9, 8, 7])),
        ("10.0.0.0/8", 136, MAPPED + bytes([10, 0, 0, 0])),
        ("0.0.0.0/0", 128, MAPPED + bytes(4)),
        ("fd99::/64", 96, bytes.fromhex("fd99") + bytes(14)),
        ("::/0", 32, bytes(16)),
    ],
)
def test_a_target_s_key(network: str | None, bits: int, address: bytes) -> None:
    target = Target(ipaddress.ip_network(network) if network else None, 5432, 0, 1)
    assert target.key() == struct.pack("=I", bits) + b"\x15\x38" + bytes(2) + address


def longest_match(key: bytes, others: list[bytes]) -> bytes | None:
    """What the kernel's trie answers, in Python."""

    def covers(entry: bytes) -> bool:
        bits = struct.unpack_from("=I", entry)[0]
        ours, theirs = (int.from_bytes(data[4:], "big") >> (160 - bits) for data in (key, entry))
        return bool(ours == theirs)

    return max(filter(covers, others), key=lambda entry: int(struct.unpack_from("=I", entry)[0]), default=None)


def _networks() -> st.SearchStrategy[Network]:
    four = st.tuples(st.ip_addresses(v=4), st.integers(0, 32))
    six = st.tuples(st.ip_addresses(v=6), st.integers(0, 128))
    return st.one_of(four, six).map(
        lambda pair: ipaddress.ip_network((int(pair[0]), pair[1]), strict=False)
    ) | st.one_of(four, six).map(lambda pair: ipaddress.ip_network(f"{pair[0]}/{pair[1]}", strict=False))


@given(st.lists(_networks(), min_size=1, max_size=8), st.data())
def test_the_longest_prefix_of_an_address_s_family_covers_it(networks: list[Network], data: st.DataObject) -> None:
    """ip_network's idea of "in" and the key's agree, for addresses inside and outside of the networks."""
    base = data.draw(st.sampled_from(networks))
    address = base[data.draw(st.integers(0, base.num_addresses - 1))]
    key = Target(ipaddress.ip_network(address), 5432, 0, 1).key()
    same_family = [n for n in networks if n.version == address.version]
    expected = max((n for n in same_family if address in n), key=lambda n: n.prefixlen)
    found = longest_match(key, [Target(n, 5432, 0, 1).key() for n in same_family])
    assert found == Target(expected, 5432, 0, 1).key()
    assert longest_match(Target(ipaddress.ip_network(address), 5433, 0, 1).key(), [found]) is None


def test_a_record_as_values() -> None:
    record = ORIGIN.pack(
        1, 2, 3, 4, 5, 6, 7, 8, 9, b"ledger\0left-over", MAPPED + bytes([10, 9, 8, 7]), (5432).to_bytes(2, "big")
    )
    assert decode_accepted(record) == Accepted(
        Origin(
            pid=6,
            start_ns=1,
            exec_id=2,
            uid=7,
            gid=8,
            cgroup_id=3,
            socket_cgroup_id=4,
            netns_cookie=5,
            comm="ledger",
            destination=Endpoint("10.9.8.7", 5432),
        ),
        9,
    )


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_any_name_and_any_address_decode(comm: bytes, address: bytes) -> None:
    """A process names itself as it likes: bytes that are no text must not stop its connection from being judged."""
    found = decode_accepted(ORIGIN.pack(1, 2, 3, 4, 5, 6, 7, 8, 9, comm, address, b"\x15\x38"))
    assert "\0" not in found.origin.comm
    found.origin.comm.encode()
    assert ipaddress.ip_address(found.origin.destination.host)


def test_a_short_record_is_an_error() -> None:
    with pytest.raises(struct.error):
        decode_accepted(bytes(ORIGIN.size - 1))
