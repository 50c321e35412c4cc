"""What the kernel is told to redirect, as names, modes and the kernel itself change."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from lockgate.config import load_agent
from lockgate.kernel.layout import Target
from lockgate.kernel.libbpf import KernelError
from lockgate.kernel.standing import FILE, Standing
from lockgate.proxy import redirection as module
from lockgate.proxy.redirection import Redirection
from tests.proxy.house import until as came_about

ORDERS, ALL = 0, 1


@dataclass
class Store:
    observed: bool = False

    @property
    def enforced(self) -> bool:
        return not self.observed


@dataclass
class Listener:
    port: int


class Kernel:
    """Takes targets, after it has raised `errors`."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.taken: list[list[Target]] = []

    def set_targets(self, targets: list[Target]) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.taken.append(list(targets))


class World:
    """A datastore `orders` by name, enforced, and everything else on the port, observed. `answers` is the resolver."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *errors: Exception) -> None:
        self.answers = ["10.9.8.7"]
        self.folder = folder
        self.stores = [Store(), Store(observed=True)]
        self.kernel = Kernel(*errors)
        monkeypatch.setattr(socket, "getaddrinfo", self._resolve)
        self.redirection = self.again()

    def _resolve(self, *_: Any, **__: Any) -> list[Any]:
        if not self.answers:
            raise OSError("no name server answers")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answer, 0)) for answer in self.answers]

    def again(self) -> Redirection:
        """The next agent."""
        settings = {
            "agent": {"name": "h", "state_dir": str(self.folder), "run_dir": str(self.folder)},
            "intercept": {"cgroup": "/x"},
            "datastores": [
                {"name": "orders", "protocol": "postgresql", "addresses": ["orders.example:5432"]},
                {"name": "all", "protocol": "postgresql", "addresses": ["*:5432"], "mode": "observe"},
            ],
            "collector": {"address": "127.0.0.1:1", "api": "http://127.0.0.1:2"},
        }
        (self.folder / "agent.yaml").write_text(yaml.safe_dump(settings))
        listeners: Any = [Listener(4001), Listener(4002)]
        stores: Any = self.stores
        kernel: Any = self.kernel
        self.redirection = Redirection(load_agent(str(self.folder / "agent.yaml")), stores, listeners, kernel)
        return self.redirection


def target(address: str | None, store: int, port: int, *, observed: bool) -> Target:
    return Target(None if address is None else ipaddress.ip_network(address), 5432, store, port, observed)


OBSERVED = target(None, ALL, 4002, observed=True)


def test_what_is_declared_is_redirected_each_as_its_mode_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, monkeypatch)
    asyncio.run(world.redirection.set())
    assert world.kernel.taken == [[target("10.9.8.7", ORDERS, 4001, observed=False), OBSERVED]]
    kept = Standing.load(tmp_path / FILE)
    assert kept is not None
    assert [t.observed for t in kept.closed()] == [False, True]


def test_nothing_is_done_where_nothing_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, monkeypatch)

    async def twice() -> None:
        await world.redirection.set()
        await world.redirection.renew()

    asyncio.run(twice())
    assert len(world.kernel.taken) == 1


def test_a_mode_that_turned_and_a_name_that_moved_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, monkeypatch)

    async def use() -> None:
        await world.redirection.set()
        world.stores[ORDERS].observed = True
        world.answers = ["10.9.8.8"]
        await world.redirection.renew()

    asyncio.run(use())
    old, new = (target(address, ORDERS, 4001, observed=True) for address in ("10.9.8.7", "10.9.8.8"))
    assert set(world.kernel.taken[-1]) == {old, new, OBSERVED}, "what applications still have cached stays a while"


def test_what_was_enforced_is_refused_until_its_name_stands_for_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path, monkeypatch)
    asyncio.run(world.redirection.set())
    world.answers = []

    async def next_agent() -> None:
        redirection = world.again()
        await redirection.set()
        assert world.kernel.taken[-1] == [OBSERVED, target("10.9.8.7", ORDERS, 0, observed=False)]
        assert "1 addresses enforced before are refused" in caplog.text
        world.answers = ["10.9.8.9"]
        await redirection.renew()

    asyncio.run(next_agent())
    assert world.kernel.taken[-1] == [target("10.9.8.9", ORDERS, 4001, observed=False), OBSERVED]


def test_addresses_that_cannot_be_set_leave_the_others_and_are_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "RESOLVE_SECONDS", 0.01)
    world = World(tmp_path, monkeypatch, ValueError("70000 datastore addresses"), KernelError("no room"))
    world.answers = []

    async def use() -> None:
        keeping = asyncio.create_task(world.redirection.keep())
        await came_about(lambda: world.kernel.taken)
        await asyncio.sleep(0.05)
        assert not keeping.done()
        keeping.cancel()

    asyncio.run(use())
    assert len(world.kernel.taken) == 1
    said = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert "orders.example can't be resolved" in said[0]
    assert said[1:] == [
        "the addresses of datastores are not brought up to date: 70000 datastore addresses",
        "the addresses of datastores are not brought up to date: no room",
    ]


def test_at_the_start_what_can_not_be_set_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, monkeypatch, KernelError("no room"))
    with pytest.raises(KernelError, match="no room"):
        asyncio.run(world.redirection.set())
