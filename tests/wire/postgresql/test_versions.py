"""Which version both sides speak."""

from __future__ import annotations

import pytest

from lockgate.wire.gate import ProtocolError
from lockgate.wire.postgresql.frames import negotiate_protocol_version
from lockgate.wire.postgresql.versions import Version

OLDEST = negotiate_protocol_version([])[5:]


@pytest.mark.parametrize("asked", [0, 2])
def test_a_client_that_gets_what_it_asked_for_is_told_nothing(asked: int) -> None:
    version = Version(asked)
    assert (version.minor, version.opening(), version.opening()) == (asked, b"", b"")


@pytest.mark.parametrize(("asked", "minor"), [(1, 0), (3, 2), (9999, 2)])
def test_one_that_asked_for_another_is_told_once(asked: int, minor: int) -> None:
    version = Version(asked)
    assert (version.opening(), version.opening()) == (negotiate_protocol_version([], minor), b"")


def test_unknown_options_are_named() -> None:
    assert Version(2, ["_pq_.a", "_pq_.b"]).opening() == negotiate_protocol_version(["_pq_.a", "_pq_.b"], 2)


def test_what_the_server_does_not_know_the_client_is_told() -> None:
    version = Version(2)
    version.negotiated(OLDEST)
    assert (version.minor, version.opening()) == (0, negotiate_protocol_version([]))
    with pytest.raises(ProtocolError):
        version.negotiated(OLDEST)


def test_a_server_may_not_lower_it_afterwards() -> None:
    version = Version(2)
    version.opening()
    with pytest.raises(ProtocolError):
        version.negotiated(OLDEST)


@pytest.mark.parametrize(("minor", "lengths"), [(0, {4}), (2, set(range(4, 257)))])
def test_secrets_of_keys(minor: int, lengths: set[int]) -> None:
    version = Version(minor)
    taken = set()
    for length in range(300):
        try:
            version.check_secret(b"k" * length)
        except ProtocolError:
            continue
        taken.add(length)
    assert taken == lengths
