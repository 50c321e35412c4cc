"""What the service manager hears, on a socket of the test's own."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
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


def test_sockets_are_kept_for_the_next_process_under_their_names(manager: socket.socket) -> None:
    service = ServiceManager({"NOTIFY_SOCKET": manager.getsockname()})
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        service.keep("orders@7", [one, two])
        message, descriptors, _, _ = socket.recv_fds(manager, 4096, 8)
        assert (message, len(descriptors)) == (b"FDSTORE=1\nFDNAME=orders@7", 2)
        held = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        ports = [sock.getsockname()[1] for sock in held]
        for sock in held:
            sock.close()
        assert ports == [one.getsockname()[1], two.getsockname()[1]]
    service.let_go("orders@7")
    assert manager.recv(4096) == b"FDSTOREREMOVE=1\nFDNAME=orders@7"


NEXT = """
import os, sys
from lockgate.service import ServiceManager
os.environ["LISTEN_PID"] = str(os.getpid()) if sys.argv[1] == "ours" else "1"
service = ServiceManager()
print(service.kept_names, [(name, sock.getsockname()[1], sock.get_inheritable()) for name, sock in service.kept()])
"""


@pytest.mark.parametrize("whose", ["ours", "another's"])
def test_the_next_process_gets_them_and_nobody_else(whose: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        os.dup2(listening.fileno(), 103)
        script = 'exec 3<&103; exec "$@"'
        run = subprocess.run(
            ["/bin/bash", "-c", script, "sh", sys.executable, "-c", NEXT, whose],
            env={**os.environ, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "orders@7"},
            pass_fds=(103,), capture_output=True, text=True, check=True,
        )  # fmt: skip
        os.close(103)
        expected = f"['orders@7'] [('orders@7', {listening.getsockname()[1]}, False)]"
        assert run.stdout.strip() == (expected if whose == "ours" else "[] []")
