"""One agent follows another under a service manager that keeps its listeners: who connects meanwhile waits.

The test is the manager: it hears what sd_notify(3) says, holds the sockets, and hands them to the next agent.
"""

from __future__ import annotations

import copy
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest
import yaml

from tests.support.stack import PROGRAM, Stack, environment

HANDED = 'fds=$1; shift; export LISTEN_PID=$$ LISTEN_FDS=$fds; exec "$@"'


class Manager:
    """Starts the agent of a stack as a service, and has what it was told: `said`, and `kept` by name."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.said: list[str] = []
        self.kept: dict[str, list[int]] = {}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._address = str(stack.folder / "notify")
        self._socket.bind(self._address)
        self._socket.settimeout(30)

    def start(self) -> None:
        self.said.clear()
        handed = [(name, descriptor) for name, descriptors in self.kept.items() for descriptor in descriptors]
        moves = " ".join(f"{3 + number}<&{descriptor}" for number, (_, descriptor) in enumerate(handed))
        argv = ["/bin/bash", "-c", f"exec {moves}; {HANDED}", "sh", str(len(handed)), PROGRAM, "agent",
                "--config", str(self.stack.agent_yaml)]  # fmt: skip
        names = ":".join(name for name, _ in handed)
        with (self.stack.folder / "agent.log").open("ab") as log:
            self.stack.processes["agent"] = subprocess.Popen(
                argv, stderr=log, stdout=log, cwd="/", pass_fds=[descriptor for _, descriptor in handed],
                env={**os.environ, "NOTIFY_SOCKET": self._address, "LISTEN_FDNAMES": names},
            )  # fmt: skip

    def hear(self, wanted: str) -> None:
        """Listen until the agent says it."""
        while not self.said or not self.said[-1].startswith(wanted):
            message, descriptors, _, _ = socket.recv_fds(self._socket, 4096, 16)
            self.said.append(message.decode())
            name = self.said[-1].rpartition("FDNAME=")[2]
            if self.said[-1].startswith("FDSTORE=1"):
                self.kept.setdefault(name, []).extend(descriptors)
            elif self.said[-1].startswith("FDSTOREREMOVE=1"):
                for descriptor in self.kept.pop(name):
                    os.close(descriptor)

    def close(self) -> None:
        for descriptors in self.kept.values():
            for descriptor in descriptors:
                os.close(descriptor)
        self._socket.close()


@pytest.fixture
def managed() -> Iterator[Manager]:
    with Stack() as stack:
        stack.stop("agent")
        manager = Manager(stack)
        try:
            manager.start()
            manager.hear("READY=1")
            yield manager
        finally:
            manager.close()


def connecting(stack: Stack, statement: str, **also: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        stack.psql_command("ann", "-c", statement), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**environment(), **also},
    )  # fmt: skip


def move(stack: Stack, name: str) -> None:
    """The next agent has another cgroup, as a unit has after a restart."""
    settings = yaml.safe_load(stack.agent_yaml.read_text())
    settings["intercept"]["agent_cgroup"] = f"{stack.tree.root}/{name}"
    stack.tree.hierarchy.create(settings["intercept"]["agent_cgroup"])
    stack.agent_yaml.write_text(yaml.safe_dump(settings))


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_who_connects_between_two_agents_waits_and_is_served_by_the_next(managed: Manager, ending: int) -> None:
    stack = managed.stack
    move(stack, "next")
    stack.stop("agent", ending)
    waiting = connecting(stack, "SELECT 'waited'")
    time.sleep(0.5)
    assert waiting.poll() is None, "neither refused nor let past"
    managed.start()
    managed.hear("READY=1")
    out, err = waiting.communicate(timeout=20)
    assert out == "waited\n", err
    assert stack.record(type="statement", phase="begin", statement="SELECT 'waited'")
    time.sleep(2.5)
    assert stack.psql("ann", "SELECT 1").stdout == "1\n", "also when the listeners before are gone"


def test_what_is_kept_is_what_the_newest_agent_listens_on(managed: Manager) -> None:
    stack = managed.stack
    first = set(managed.kept)
    stack.stop("agent", signal.SIGKILL)
    managed.start()
    managed.hear("READY=1")
    assert len(managed.kept) == 1
    assert set(managed.kept) != first
    assert all(name.startswith("orders@") for name in managed.kept)


def test_an_agent_that_can_not_start_lets_nobody_wait(managed: Manager) -> None:
    stack = managed.stack
    stack.stop("agent", signal.SIGKILL)
    waiting = connecting(stack, "SELECT 'waited in vain'")
    with socket.create_server(("127.0.0.1", stack.metrics_port)):
        managed.start()
        managed.hear("FDSTOREREMOVE=1")
        assert stack.processes.pop("agent").wait(30) == 1
    assert waiting.wait(timeout=20) == 2
    assert "closed" in waiting.communicate()[1]
    refused = stack.psql("ann", "SELECT 1")
    assert (refused.returncode, "Connection refused" in refused.stderr) == (2, True)
    managed.start()
    managed.hear("READY=1")
    assert stack.psql("ann", "SELECT 1").stdout == "1\n"


def test_nor_does_one_whose_configuration_can_not_be(managed: Manager) -> None:
    stack = managed.stack
    stack.stop("agent", signal.SIGKILL)
    waiting = connecting(stack, "SELECT 'waited in vain'")
    policy = stack.folder / "policies" / "all.cedar"
    policy.write_text("permit (")
    managed.start()
    managed.hear("FDSTOREREMOVE=1")
    assert stack.processes.pop("agent").wait(30) == 2
    assert waiting.wait(timeout=20) == 2
    waiting.communicate()


def test_whose_address_is_another_datastore_s_by_now_is_not_served_by_the_one_of_that_name(managed: Manager) -> None:
    """What the name stands for now may be only observed."""
    stack = managed.stack
    stack.stop("agent", signal.SIGKILL)
    waiting = connecting(stack, "SELECT 'waited'", PGSSLMODE="disable")  # else libpq tries a second time
    time.sleep(0.5)
    settings = yaml.safe_load(stack.agent_yaml.read_text())
    orders = settings["datastores"][0]
    settings["datastores"] = [
        {**copy.deepcopy(orders), "name": "billing"},
        {**orders, "mode": "observe", "addresses": ["10.9.8.7:5432"]},
    ]
    settings["classify"] = []
    stack.agent_yaml.write_text(yaml.safe_dump(settings))
    managed.start()
    managed.hear("READY=1")
    out, err = waiting.communicate(timeout=20)
    assert (waiting.returncode, out) == (2, ""), err
    assert "is not of orders any more" in err


def test_it_says_that_it_stops_and_what_it_does(managed: Manager) -> None:
    assert managed.said[-1].startswith("READY=1\nSTATUS=")
    assert "orders (enforcing)" in managed.said[-1]
    managed.stack.stop("agent")
    managed.hear("STOPPING=1")


def test_a_datastore_that_is_configured_no_more_is_nobody_s_listener(managed: Manager) -> None:
    stack = managed.stack
    stack.stop("agent", signal.SIGKILL)
    managed.kept = {f"gone@{name}": descriptors for name, descriptors in managed.kept.items()}
    managed.start()
    managed.hear("READY=1")
    assert all(name.startswith("orders@") for name in managed.kept)
    assert stack.psql("ann", "SELECT 1").stdout == "1\n"


def test_an_agent_that_is_stopped_at_once_ends_without_an_error(managed: Manager) -> None:
    stack = managed.stack
    stack.stop("agent")
    managed.start()
    managed.hear("READY=1")
    assert stack.stop("agent") == 0
    assert '"level": "error"' not in stack.log("agent")


def test_what_the_service_does_is_told_anew_when_a_mode_has_changed(managed: Manager) -> None:
    stack = managed.stack
    assert "observing" not in managed.said[-1]
    settings = yaml.safe_load(stack.agent_yaml.read_text())
    settings["datastores"][0]["mode"] = "observe"
    stack.agent_yaml.write_text(yaml.safe_dump(settings))
    stack.processes["agent"].send_signal(signal.SIGHUP)
    managed.hear("STATUS=")
    assert "observing" in managed.said[-1]
