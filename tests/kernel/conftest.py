"""What kernel tests share: a gate over a cgroup of their own, a listener behind it, and programs to send through it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lockgate.demo.cgroup import in_cgroup
from lockgate.kernel.interceptor import Interceptor, detach
from lockgate.kernel.layout import Network, Target
from lockgate.values.identity import Origin
from tests.support.cgroup import CgroupTree, run_in
from tests.support.postgres import free_port

ACCEPT_SECONDS = 5.0


def dual_listener() -> tuple[socket.socket, socket.socket]:
    """A listener on 127.0.0.1 and one on ::1 with the same port."""
    while True:
        four = socket.create_server(("127.0.0.1", 0), backlog=512)
        try:
            six = socket.create_server(("::1", four.getsockname()[1]), family=socket.AF_INET6, backlog=512)
        except OSError:
            four.close()
            continue
        four.settimeout(ACCEPT_SECONDS)
        six.settimeout(ACCEPT_SECONDS)
        return four, six


def python(script: str, *arguments: object) -> list[str]:
    """A command: `script` with `socket`, `os`, `sys`, `json` imported and `say(**fields)` to answer with."""
    prelude = "import json,os,socket,sys\ndef say(**f): print(json.dumps({'pid':os.getpid(),**f}),flush=True)\n"
    return [sys.executable, "-S", "-E", "-c", prelude + textwrap.dedent(script), *map(str, arguments)]


class Gate:
    """An interceptor attached to a tree's `apps`, its agent's listeners in this process."""

    def __init__(self, tree: CgroupTree, pin_dir: Path | None = None, cgroup: str | None = None) -> None:
        self.tree = tree
        self._started: list[subprocess.Popen[str]] = []
        tree.enter_agent()
        self.four, self.six = dual_listener()
        self.port: int = self.four.getsockname()[1]
        self.interceptor = Interceptor(cgroup=cgroup or tree.apps, agent_cgroup=tree.agent, pin_dir=pin_dir)

    def target(self, network: Network | None, port: int, datastore: int = 0) -> Target:
        return Target(network, port, datastore, self.port)

    def run(self, script: str, *arguments: object, cgroup: str | None = None) -> dict[str, Any]:
        """What the script said last, run as an application. A script that fails is the test's failure."""
        done = run_in(cgroup or self.tree.apps, python(script, *arguments))
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer

    def start(self, script: str, *arguments: object, cgroup: str | None = None) -> subprocess.Popen[str]:
        """Run in the background, over when its standard input is closed or the gate is."""
        process = subprocess.Popen(
            in_cgroup(cgroup or self.tree.apps, python(script, *arguments)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        return process

    def accept(self, family: int = 4) -> tuple[Origin | None, int | None]:
        """The next connection's origin and datastore."""
        connection, _ = (self.four if family == 4 else self.six).accept()
        with connection:
            found = self.interceptor.accepted(connection.fileno())
            return (found.origin, found.datastore) if found else (None, None)

    def count(self, name: str) -> int:
        return self.interceptor.counters()[name]

    def close(self) -> None:
        for process in self._started:
            process.kill()
            if process.stdin:
                process.stdin.close()
            if process.stdout:
                process.stdout.close()
            process.wait()
        self.interceptor.close()
        self.four.close()
        self.six.close()


@pytest.fixture
def tree() -> Iterator[CgroupTree]:
    with CgroupTree() as made:
        yield made


@pytest.fixture
def gate(tree: CgroupTree) -> Iterator[Gate]:
    made = Gate(tree)
    try:
        made.interceptor.attach()
        yield made
    finally:
        made.close()


@pytest.fixture
def pin_dir(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "run" / "bpf"
    yield directory
    if directory.exists():
        detach(directory)


@pytest.fixture
def quiet_port() -> int:
    """A port that nobody listens on."""
    return free_port()


def lines(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert process.stdout
    for line in process.stdout:
        yield json.loads(line)


def finish(process: subprocess.Popen[str]) -> None:
    process.communicate(timeout=30)


def boot_ticks(pid: int) -> int:
    """Field 22 of /proc/PID/stat: start time in clock ticks since boot (proc(5))."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


TICKS = os.sysconf("SC_CLK_TCK")


def isolated(argv: list[str]) -> list[str]:
    """The command that runs `argv` in a network namespace of its own, with loopback up."""
    return ["unshare", "--net", "/bin/sh", "-c", 'ip link set lo up && exec "$@"', "sh", *argv]
