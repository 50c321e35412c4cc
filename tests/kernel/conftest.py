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


CONNECT_BY_IO_URING = """
    import ctypes, mmap, struct
    libc = ctypes.CDLL(None, use_errno=True)
    parameters = bytearray(120)
    ring = libc.syscall(425, 2, (ctypes.c_char * 120).from_buffer(parameters))  # io_uring_setup
    assert ring >= 0, os.strerror(ctypes.get_errno())
    tail, array = (struct.unpack_from('I', parameters, 40 + at)[0] for at in (4, 24))  # struct io_sqring_offsets
    done = struct.unpack_from('I', parameters, 80 + 20)[0]  # struct io_cqring_offsets: cqes
    rings, entries = mmap.mmap(ring, 4096, offset=0), mmap.mmap(ring, 4096, offset=0x10000000)
    s = socket.socket()
    address = ctypes.create_string_buffer(struct.pack('=H2s4s8x', 2, int(sys.argv[1]).to_bytes(2, 'big'),
        socket.inet_aton('127.0.0.1')))
    struct.pack_into('=BBHiQQ', entries, 0, 16, 1 << 4, 0, s.fileno(), 16, ctypes.addressof(address))
    struct.pack_into('I', rings, array, 0)
    struct.pack_into('I', rings, tail, 1)
    assert libc.syscall(426, ring, 1, 1, 1, None, 0) == 1  # io_uring_enter
    say(result=struct.unpack_from('=Qi', rings, done)[1], peer=s.getpeername())
"""
"""To 127.0.0.1, port argument 1, without the connect() system call, which seccomp filters and tracers look for; with
IOSQE_ASYNC not even an own thread makes it."""


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
