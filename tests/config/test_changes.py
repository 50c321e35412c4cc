"""A configuration read again: what is taken at once, and what waits for a restart."""

from __future__ import annotations

from pathlib import Path

from lockgate.config.changes import left, turned
from lockgate.config.files import load_agent
from lockgate.config.shapes import AgentFile

AGENT = """\
agent: {name: host-1}
intercept: {}
datastores:
  - {name: orders, protocol: postgresql, addresses: ["*:5432"], mode: observe}
  - {name: other, protocol: postgresql, addresses: ["*:6432"]}
collector: {address: "127.0.0.1:24224", api: "http://127.0.0.1:8080"}
"""


def read(folder: Path, text: str = AGENT) -> AgentFile:
    path = folder / "agent.yaml"
    path.write_text(text)
    return load_agent(path)


def test_the_same_is_no_change(tmp_path: Path) -> None:
    old, new = read(tmp_path), read(tmp_path, "# a comment\n" + AGENT)
    assert turned(old, new) == old
    assert left(old, new) == ()


def test_a_mode_is_taken(tmp_path: Path) -> None:
    old, new = read(tmp_path), read(tmp_path, AGENT.replace("observe", "enforce"))
    assert turned(old, new) == new
    assert left(old, new) == ()
    assert turned(new, old) == old


def test_what_becomes_of_clients_tls_goes_with_it(tmp_path: Path) -> None:
    passing = read(tmp_path, AGENT.replace("observe", "observe, client_tls: pass"))
    enforcing = read(tmp_path, AGENT.replace("observe", "enforce"))
    assert turned(passing, enforcing).datastores[0].tls_of_clients == "offer"
    assert left(passing, enforcing) == ()


def test_everything_else_waits_for_a_restart(tmp_path: Path) -> None:
    old = read(tmp_path)
    new = read(
        tmp_path,
        AGENT.replace("host-1", "host-2").replace('"*:5432"], mode: observe', '"*:5433"], mode: enforce')
        + "limits: {connections: 7}\npolicies: [p]\nshadow: [next]\n",
    )
    assert left(old, new) == (
        "agent.name", "datastores.orders.addresses", "policies", "shadow", "limits.connections",
    )  # fmt: skip
    taken = turned(old, new)
    assert [store.mode for store in taken.datastores] == ["enforce", "enforce"]
    assert taken.datastores[0].addresses == ["*:5432"]
    assert taken.agent.name == "host-1"


def test_datastores_come_and_go_with_a_restart(tmp_path: Path) -> None:
    old, new = read(tmp_path), read(tmp_path, AGENT.replace("name: other", "name: third"))
    assert left(old, new) == ("datastores.other", "datastores.third")
    assert turned(old, new) == old


def test_their_order_is_none(tmp_path: Path) -> None:
    first, second = AGENT.splitlines()[3:5]
    swapped = AGENT.replace(f"{first}\n{second}", f"{second}\n{first}")
    assert left(read(tmp_path), read(tmp_path, swapped)) == ()
