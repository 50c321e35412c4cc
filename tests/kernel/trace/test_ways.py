"""Which way a connect went, by where the datastores are declared to be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from lockgate.config import Datastore
from lockgate.kernel.trace.process import Connect
from lockgate.kernel.trace.ways import Way, Ways

DIALLED = Connect(0.0, 1, 0, "psql", None, "/user.slice", "10.0.0.5", 5432, False, False, "connected")


def store(name: str, *addresses: str) -> Datastore:
    return Datastore(name=name, protocol="postgresql", addresses=list(addresses))


def resolve(name: str) -> Iterable[str]:
    return {"db.internal": ["10.7.7.7", "fd00::7"], "empty.internal": []}[name]


def unresolvable(name: str) -> Iterable[str]:
    raise OSError(f"no {name}")


def way(ways: Ways, address: str, port: int = 5432) -> tuple[str, str | None]:
    dialled = replace(DIALLED, address=address, port=port)
    return ways.way(dialled).value, ways.datastore(dialled)


@pytest.mark.parametrize(
    ("declared", "address", "port", "expected"),
    [
        ("10.0.0.5:5432", "10.0.0.5", 5432, "direct"),
        ("10.0.0.5:5432", "10.0.0.6", 5432, "undeclared"),
        ("10.0.0.5:5432", "10.0.0.5", 5433, "undeclared"),
        ("10.0.0.0/8:5432", "10.255.0.1", 5432, "direct"),
        ("*:5432", "192.0.2.1", 5432, "direct"),
        ("*:5432", "2001:db8::1", 5432, "direct"),
        ("[fd00::5]:5432", "fd00::5", 5432, "direct"),
        ("[fd00::5]:5432", "10.0.0.5", 5432, "undeclared"),
        ("db.internal:5432", "10.7.7.7", 5432, "direct"),
        ("db.internal:5432", "fd00::7", 5432, "direct"),
        ("db.internal:5432", "10.7.7.8", 5432, "undeclared"),
    ],
)
def test_only_declared_addresses_count(declared: str, address: str, port: int, expected: str) -> None:
    ways = Ways.of([store("orders", declared)], resolve)
    assert way(ways, address, port) == (expected, "orders" if expected == "direct" else None)


def test_the_narrowest_decides_which_datastore_it_is() -> None:
    ways = Ways.of([store("any", "*:5432"), store("ten", "10.0.0.0/8:5432"), store("one", "10.0.0.5:5432")], resolve)
    assert [way(ways, address)[1] for address in ("10.0.0.5", "10.0.0.6", "192.0.2.1")] == ["one", "ten", "any"]


def test_the_kernel_tells_the_agent_and_its_listener() -> None:
    ways = Ways.of([store("orders", "10.0.0.5:5432")], resolve)
    assert ways.way(replace(DIALLED, by_agent=True)) is Way.AGENT
    assert ways.way(replace(DIALLED, address="127.0.0.1", port=40001, to_listener=True)) is Way.REDIRECTED
    assert ways.datastore(replace(DIALLED, address="127.0.0.1", port=40001)) is None


def test_every_port_is_watched_once() -> None:
    ways = Ways.of([store("a", "*:5432", "10.0.0.5:5433"), store("b", "10.0.0.6:5432")], resolve)
    assert ways.ports == (5432, 5433)
    assert Ways.of_ports([5433, 5432, 5433]).ports == (5432, 5433)


def test_of_ports_every_address_counts() -> None:
    assert way(Ways.of_ports([5432]), "192.0.2.1") == ("direct", "port 5432")


@pytest.mark.parametrize(("resolver", "name"), [(unresolvable, "db.internal"), (resolve, "empty.internal")])
def test_a_name_without_an_address_hides_nothing(resolver: object, name: str) -> None:
    ways = Ways.of([store("orders", f"{name}:5432")], resolver)  # type: ignore[arg-type]
    assert way(ways, "192.0.2.1") == ("direct", "orders")
    assert [name in problem for problem in ways.problems] == [True]
