"""Every workload is in the report under its name, can be chosen, and goes the way that it says."""

from __future__ import annotations

import click
import pytest

from tests.bench import database, features, redis_workloads
from tests.bench.__main__ import selected
from tests.bench.features import GROUPS, KEPT, TLS, UPSTREAM_TLS, WORKLOADS
from tests.bench.peers import Peer
from tests.bench.report import COSTS, MEASURES
from tests.bench.workloads import STRAIGHT

DIRECT = Peer("direct", 5432)
HAPROXY = Peer("haproxy", 5433, pid=1, tls_port=5434)
LOCKGATE = Peer("lockgate", 5432, pid=1, cgroup="/apps")


def test_every_workload_has_its_measure() -> None:
    names = {measure.name for measure in (*MEASURES, *COSTS)}
    found = {w.name for w in WORKLOADS if not w.name.endswith("latency") and not w.name.startswith("inside ")}
    assert found <= names
    assert len({w.name for w in WORKLOADS}) == len(WORKLOADS)


def test_every_masker_is_measured_in_every_form() -> None:
    measured = {w.name.rpartition(" ")[0].removesuffix(" copy") for w in WORKLOADS if w.group == "maskers"}
    assert measured == {f"mask {name}" for name in database.MASKERS}
    assert sum(w.group == "maskers" for w in WORKLOADS) == 5 * len(database.MASKERS)


def test_groups_are_chosen_by_name() -> None:
    assert selected("tls, maskers") == {"tls", "maskers"}
    assert selected("") == GROUPS | {redis_workloads.GROUP}
    assert "relay" in GROUPS
    with pytest.raises(click.UsageError, match="tsl"):
        selected("tsl")


def test_relaying_is_in_plain_whatever_the_server_offers() -> None:
    for peer in (DIRECT, HAPROXY, LOCKGATE):
        assert STRAIGHT.to(peer) == ("127.0.0.1", peer.port, "disable")
        assert STRAIGHT.environment(peer)["PGSSLMODE"] == "disable"


def test_each_speaks_tls_where_it_can() -> None:
    assert [TLS.to(peer) for peer in (DIRECT, HAPROXY, LOCKGATE)] == [
        ("127.0.0.1", 5432, "require"),
        ("127.0.0.1", 5434, "direct"),
        ("127.0.0.1", 5432, "require"),
    ]
    assert UPSTREAM_TLS.to(DIRECT)[2] == "require"
    assert UPSTREAM_TLS.to(LOCKGATE) == (database.ENCRYPTED, 5432, "disable")


def test_only_who_has_nobody_in_between_has_the_password() -> None:
    assert KEPT.environment(DIRECT)["PGPASSWORD"] == database.PASSWORD
    assert KEPT.environment(LOCKGATE)["PGPASSWORD"] == ""
    assert KEPT.to(LOCKGATE)[0] == database.CREDENTIAL


def test_what_is_granted_is_what_waits() -> None:
    assert features.GRANTED.startswith("DELETE")
    assert '@grant("1h")' in database.POLICY
    assert '"ddl"' not in database.POLICY
