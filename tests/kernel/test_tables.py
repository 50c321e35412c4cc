"""The maps while an agent changes them: what an address matches at every moment in between."""

from __future__ import annotations

import ipaddress

import pytest

from lockgate.kernel.layout import TARGET, Target
from lockgate.kernel.libbpf import Map
from lockgate.values.identity import Endpoint
from tests.kernel.conftest import Gate

ASKED = Target(ipaddress.ip_network("10.1.2.3/32"), 5432, 0, 1).key()


def target(network: str, store: int, *, observed: bool = False) -> Target:
    return Target(ipaddress.ip_network(network), 5432, store, 1, observed)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        # what was enforced as a whole is observed from now on, but for a part, which comes first or last
        ([target("10.0.0.0/8", 0)], [target("10.0.0.0/8", 0, observed=True), target("10.1.0.0/16", 1)]),
        ([target("10.0.0.0/8", 0)], [target("10.1.0.0/16", 1), target("10.0.0.0/8", 0, observed=True)]),
        # and the other way round: with what lies between the two gone as well
        (
            [target("10.1.2.0/24", 1), target("10.1.0.0/16", 2, observed=True)],
            [target("10.0.0.0/8", 3)],
        ),
    ],
)
def test_an_address_goes_where_it_went_or_where_it_will(
    gate: Gate, monkeypatch: pytest.MonkeyPatch, old: list[Target], new: list[Target]
) -> None:
    table = gate.interceptor._maps["targets"]
    gate.interceptor.set_targets(old)
    before = table.lookup(ASKED)
    seen: list[bytes | None] = []

    def update(self: Map, key: bytes, value: bytes) -> None:
        real_update(self, key, value)
        seen.append(table.lookup(ASKED))

    def delete(self: Map, key: bytes) -> None:
        real_delete(self, key)
        seen.append(table.lookup(ASKED))

    real_update, real_delete = Map.update, Map.delete
    monkeypatch.setattr(Map, "update", update)
    monkeypatch.setattr(Map, "delete", delete)
    gate.interceptor.set_targets(new)
    assert before is not None
    assert seen[-1] is not None
    assert len(seen) >= 2
    assert TARGET.unpack(before)[2] is TARGET.unpack(seen[-1])[2] is False, "enforced before and after"
    assert set(seen) <= {before, seen[-1]}, "and never anything else"


def test_what_is_withdrawn_is_exempt_no_more(gate: Gate) -> None:
    exempt = gate.interceptor._maps["exempt"]
    assert list(exempt.keys())
    gate.interceptor.withdraw()
    assert list(exempt.keys()) == []


def test_whether_anything_is_redirected_is_known(gate: Gate) -> None:
    assert not gate.interceptor.has_targets
    gate.interceptor.set_targets([target("10.0.0.0/8", 0)])
    assert gate.interceptor.has_targets


def test_where_an_address_is_sent_is_known(gate: Gate) -> None:
    gate.interceptor.set_targets(
        [
            Target(ipaddress.ip_network("10.0.0.0/8"), 5432, 0, 40001),
            Target(ipaddress.ip_network("10.1.0.0/16"), 5432, 1, 40002),
            Target(ipaddress.ip_network("fd00::/8"), 5432, 2, 40003),
        ]
    )
    asked = [("10.2.3.4", 5432), ("10.1.2.3", 5432), ("fd00::7", 5432), ("10.1.2.3", 5433), ("fe00::7", 5432)]
    found = [gate.interceptor.listener_of(Endpoint(host, port)) for host, port in asked]
    assert found == [40001, 40002, 40003, 0, 0]
