"""What the service manager hears, on a socket of the test's own."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from lockgate.service import ServiceManager


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(5)
        yield listening


def test_ready_status_and_stopping_are_told(manager: socket.socket) -> None:
    service = ServiceManager({"NOTIFY_SOCKET": manager.getsockname()})
    service.ready("all\nis well")
    service.status("still")
    service.stopping()
    assert [manager.recv(4096) for _ in range(3)] == [b"READY=1\nSTATUS=all is well", b"STATUS=still", b"STOPPING=1"]


def test_an_abstract_socket() -> None:
    name = f"lockgate-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        ServiceManager({"NOTIFY_SOCKET": f"@{name}"}).stopping()
        assert listening.recv(64) == b"STOPPING=1"


def test_signs_of_life_come_twice_as_often_as_asked_for(manager: socket.socket) -> None:
    service = ServiceManager({"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "100000"})
    assert service.watchdog_seconds == 0.1

    async def live() -> None:
        task = asyncio.create_task(service.stay_alive())
        await asyncio.sleep(0.35)
        task.cancel()

    asyncio.run(live())
    manager.settimeout(0)
    heard = 0
    while True:
        try:
            assert manager.recv(64) == b"WATCHDOG=1"
        except BlockingIOError:
            break
        heard += 1
    assert heard >= 3


def test_a_watchdog_of_another_process_is_not_ours(manager: socket.socket) -> None:
    others = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"}
    assert ServiceManager(others).watchdog_seconds == 0


def test_without_a_manager_nothing_is_told_and_nobody_waits() -> None:
    service = ServiceManager({"WATCHDOG_USEC": "100000"})
    service.ready("x")
    service.stopping()
    asyncio.run(asyncio.wait_for(service.stay_alive(), 1))


def test_an_address_that_no_manager_sets() -> None:
    with pytest.raises(ValueError, match="NOTIFY_SOCKET"):
        ServiceManager({"NOTIFY_SOCKET": "vsock:2:1"})
