"""What the kernel tells the witness: every kind of connect, whoever makes it, wherever it goes in the end."""

from __future__ import annotations

import ast
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lockgate.demo.cgroup import in_cgroup
from lockgate.kernel.interceptor import Interceptor
from lockgate.kernel.layout import Target
from lockgate.kernel.trace.process import PYTHON, SCRIPT, Connect, Witness
from tests.kernel.conftest import CONNECT_BY_IO_URING, dual_listener, isolated
from tests.kernel.trace.conftest import CONNECT, python
from tests.support.cgroup import CgroupTree, run_in
from tests.support.postgres import free_port

Seen = Callable[[], list[Connect]]


@contextmanager
def watching(*ports: int, agent: str | None = None) -> Iterator[Seen]:
    """Yields what to call when everything has happened: it ends the witness, and nothing may be lost."""
    with Witness(ports, agent) as witness:

        def seen() -> list[Connect]:
            witness.stop()
            found = list(witness)
            assert witness.lost == 0
            return found

        yield seen


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as made:
        yield made


@pytest.mark.parametrize(
    ("dialled", "address"),
    [("127.0.0.1", "127.0.0.1"), ("127.8.9.1", "127.8.9.1"), ("::1", "::1"), ("::ffff:127.0.0.1", "127.0.0.1")],
)
def test_by_every_kind_of_address(tree: CgroupTree, server: socket.socket, dialled: str, address: str) -> None:
    port = server.getsockname()[1]
    with watching(port) as seen:
        run_in(tree.apps, python(CONNECT, dialled, port))
        (connect,) = seen()
    assert (connect.address, connect.port, connect.result, connect.cgroup) == (address, port, "connected", tree.apps)


def test_who_it_was(tree: CgroupTree, server: socket.socket) -> None:
    port = server.getsockname()[1]
    began = time.time()
    with watching(port) as seen:
        done = run_in(
            tree.apps,
            python(
                "os.setuid(65534); print(os.getpid(), flush=True)\n" + CONNECT.replace("\n    ", "\n"),
                "127.0.0.1",
                port,
            ),
        )
        (connect,) = seen()
    assert connect.pid == int(done.stdout.split()[0])
    assert (connect.uid, connect.comm) == (65534, os.path.basename(sys.executable)[:15])
    assert connect.exe == os.path.realpath(sys.executable)
    assert began - 1 < connect.time < time.time() + 1


def test_other_ports_are_not_listed(tree: CgroupTree, server: socket.socket) -> None:
    port = server.getsockname()[1]
    with watching(free_port()) as seen:
        run_in(tree.apps, python(CONNECT, "127.0.0.1", port))
        assert seen() == []


def test_in_a_network_namespace_of_its_own(tree: CgroupTree) -> None:
    port = free_port()
    with watching(port) as seen:
        done = run_in(tree.apps, isolated(python(CONNECT, "127.0.0.1", port)))
        (connect,) = seen()
    assert (done.stdout, connect.cgroup, connect.result) == ("111\n", tree.apps, "failed")


WAYS = {
    "fast open by sendto": "s.sendto(b'x', socket.MSG_FASTOPEN, ('127.0.0.1', port))",
    "fast open by connect": "s.setsockopt(socket.IPPROTO_TCP, 30, 1); s.connect(('127.0.0.1', port)); s.send(b'x')",
    "without waiting": "s.setblocking(False); s.connect_ex(('127.0.0.1', port)); time.sleep(0.2)",
    "bound first": "s.bind(('127.0.0.2', 0)); s.connect(('127.0.0.1', port))",
    "to any": "s.connect(('0.0.0.0', port))",
    "mptcp": "s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262); s.connect(('127.0.0.1', port))",
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_by_every_way_of_connecting(tree: CgroupTree, server: socket.socket, way: str) -> None:
    port = server.getsockname()[1]
    script = f"port = int(sys.argv[1]); s = socket.socket(); {way}; time.sleep(0.2)"
    with watching(port) as seen:
        done = run_in(tree.apps, python(script, port))
        assert done.returncode == 0, done.stderr
        (connect,) = seen()
    assert (connect.address, connect.port, connect.result, connect.cgroup) == (
        "127.0.0.1", port, "connected", tree.apps,
    )  # fmt: skip


def test_by_io_uring(tree: CgroupTree, server: socket.socket) -> None:
    """A kernel worker makes the connect: it is its process's all the same."""
    port = server.getsockname()[1]
    script = f"import json; say = lambda **f: print(os.getpid())\n{textwrap.dedent(CONNECT_BY_IO_URING)}"
    with watching(port) as seen:
        done = run_in(tree.apps, python(script, port))
        assert done.returncode == 0, done.stderr
        (connect,) = seen()
    assert (connect.pid, connect.cgroup, connect.result) == (int(done.stdout), tree.apps, "connected")


def test_of_many_at_once_none_is_missed(tree: CgroupTree) -> None:
    """From more processes than there are processors, while answers come in on all of them."""
    port, dialled = free_port(), 1000
    script = f"""
        for _ in range({dialled}):
            socket.socket().connect_ex(('127.0.0.1', {port}))
    """
    with watching(port) as seen:
        processes = [subprocess.Popen(in_cgroup(tree.apps, python(script))) for _ in range(4)]
        assert [process.wait(30) for process in processes] == [0, 0, 0, 0]
        found = seen()
    assert Counter(connect.pid for connect in found) == {process.pid: dialled for process in processes}
    assert {connect.result for connect in found} == {"failed"}


def test_one_that_has_no_answer_is_pending(tree: CgroupTree) -> None:
    """A server whose queue is full drops the first packet."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.create_connection(full.getsockname()):
        port = full.getsockname()[1]
        with watching(port) as seen:
            command = python(CONNECT, "127.0.0.1", port)
            with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
                time.sleep(1)
                found = seen()
                process.kill()
    assert [(connect.port, connect.result) for connect in found] == [(port, "pending")]


def test_the_agent_is_told_by_its_cgroup(tree: CgroupTree, server: socket.socket) -> None:
    port = server.getsockname()[1]
    with watching(port, agent=tree.agent) as seen:
        run_in(tree.agent, python(CONNECT, "127.0.0.1", port))
        run_in(tree.apps, python(CONNECT, "127.0.0.1", port))
        found = seen()
    assert [(connect.by_agent, connect.cgroup) for connect in found] == [(True, tree.agent), (False, tree.apps)]


def test_an_agent_that_starts_anew_is_known(tree: CgroupTree, server: socket.socket) -> None:
    """Its cgroup is made again by then, and has another id."""
    port = server.getsockname()[1]
    with watching(port, agent=tree.agent) as seen:
        for _ in range(2):
            tree.hierarchy.remove(tree.agent)
            tree.hierarchy.create(tree.agent)
            time.sleep(0.2)
            run_in(tree.agent, python(CONNECT, "127.0.0.1", port))
        found = seen()
    assert [connect.by_agent for connect in found] == [True, True]


REDIRECTED = """
    s = socket.create_connection(('203.0.113.9', int(sys.argv[1])))
    print(s.getpeername()[0])
"""


@pytest.mark.parametrize("listens_first", [True, False])
def test_it_sees_where_the_hooks_send_it(tree: CgroupTree, listens_first: bool) -> None:
    """The application believes that it dialled 203.0.113.9. Listeners are known that were there, and that come."""
    port = free_port()
    tree.enter_agent()
    listeners = dual_listener() if listens_first else ()
    with watching(port, agent=tree.agent) as seen:
        four, six = listeners or dual_listener()
        with four, six, Interceptor(cgroup=tree.apps, agent_cgroup=tree.agent) as interceptor:
            listener = four.getsockname()[1]
            interceptor.set_targets([Target(None, port, 0, listener)])
            interceptor.attach()
            done = run_in(tree.apps, python(REDIRECTED, port))
        (connect,) = seen()
    assert done.stdout == "203.0.113.9\n"
    assert (connect.address, connect.port) == ("127.0.0.1", listener)
    assert (connect.to_listener, connect.by_agent, connect.cgroup) == (True, False, tree.apps)


def test_a_listener_that_the_agent_was_handed_is_its_own(tree: CgroupTree) -> None:
    """By systemd, which keeps it open while the agent starts anew."""
    with socket.create_server(("127.0.0.1", 0)) as kept, watching(free_port(), agent=tree.agent) as seen:
        port = kept.getsockname()[1]
        run_in(tree.apps, python(CONNECT, "127.0.0.1", port))
        agent = in_cgroup(tree.agent, ["sleep", "30"])
        with subprocess.Popen(agent, pass_fds=[kept.fileno()]) as process:
            time.sleep(0.5)
            run_in(tree.apps, python(CONNECT, "127.0.0.1", port))
            found = seen()
            process.kill()
    assert [(connect.port, connect.to_listener) for connect in found] == [(port, True)]


def test_what_there_is_no_room_for_is_counted(tree: CgroupTree) -> None:
    """While it is stopped nothing is read: 1 MiB holds some 10,000 of these 40,000 events."""
    port = free_port()
    script = """
        for _ in range(20000):
            socket.socket().connect_ex(('127.0.0.1', int(sys.argv[1])))
    """
    with Witness([port]) as witness:
        os.kill(witness.pid, signal.SIGSTOP)
        try:
            run_in(tree.apps, python(script, port))
        finally:
            os.kill(witness.pid, signal.SIGCONT)
        witness.stop()
        found = list(witness)
        assert len(found) > 1000
        assert witness.lost > 1000
        assert 2 * len(found) + witness.lost >= 40000


def alone(*arguments: object, around: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    command = [*around, PYTHON, "-I", str(SCRIPT), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def lines_of(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    stdout, stderr = process.communicate(timeout=30)
    assert stderr == ""
    return [json.loads(line) for line in stdout.splitlines()]


@pytest.mark.parametrize("around", [(), ("unshare", "--pid", "--fork", "--mount-proc"), ("unshare", "--cgroup")])
def test_the_script_alone(around: tuple[str, ...], tree: CgroupTree) -> None:
    """As a container runs it. In a pid namespace of its own the others have no number, and no program file, there."""
    port = free_port()
    process = alone("--port", port, "--seconds", 2.5, around=around)
    assert process.stdout is not None
    assert json.loads(process.stdout.readline()) == {"ready": True}
    run_in(tree.apps, python(CONNECT, "127.0.0.1", port))
    first, last = lines_of(process)
    assert (first["port"], first["cgroup"], last) == (port, tree.apps, {"end": True, "lost": 0})
    assert (first["exe"] is None) == ("--pid" in around)


@pytest.mark.parametrize("port", ["0", "65536", "postgresql"])
def test_the_script_refuses_what_is_no_port(port: str) -> None:
    process = alone("--port", port)
    assert process.communicate()[1].splitlines()[-1].endswith(f"invalid port_number value: '{port}'")
    assert process.returncode == 2


def test_an_old_python_can_read_it() -> None:
    """Debian 11 and EL9 have 3.9."""
    ast.parse(SCRIPT.read_text(), feature_version=(3, 9))
    with pytest.raises(SyntaxError):
        ast.parse("match 1:\n    case 1: pass", feature_version=(3, 9))
