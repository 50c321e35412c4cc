"""bpf/sockops.h: the origin reaches the accepted socket, once, and no other."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from lockgate.kernel import libbpf
from lockgate.kernel.layout import MAPPED, ORIGIN, Target
from lockgate.kernel.libbpf import Map
from tests.kernel.conftest import Gate, finish, isolated, lines, python
from tests.support.cgroup import CgroupTree, run_in
from tests.support.postgres import free_port

SO_NETNS_COOKIE = 71

DIAL_FROM = """
    s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(('127.0.0.1', int(sys.argv[1]))); s.connect((sys.argv[2], int(sys.argv[3])))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\\1\\0\\0\\0\\0\\0\\0\\0')  # reset: no TIME_WAIT keeps the port
    say()
"""


@pytest.fixture
def published(tree: CgroupTree, pin_dir: Path) -> Iterator[tuple[Gate, Map]]:
    """An attached gate and its map of handshakes in flight."""
    gate = Gate(tree, pin_dir)
    try:
        gate.interceptor.attach()
        fd = libbpf.pinned(pin_dir / "map_published")
        assert fd is not None
        yield gate, Map("published", fd)
        gate.interceptor.detach()
    finally:
        gate.close()


def test_a_connection_straight_to_the_listener_has_no_origin(gate: Gate) -> None:
    gate.interceptor.set_targets([gate.target(None, 5432)])
    for cgroup in (gate.tree.apps, gate.tree.root):
        gate.run("s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); say()", gate.port, cgroup=cgroup)
        assert gate.accept() == (None, None)


def test_an_origin_is_for_one_connection(published: tuple[Gate, Map]) -> None:
    """The same four numbers, later, from inside the intercepted cgroup and from outside: nobody's origin."""
    gate, table = published
    gate.interceptor.set_targets([gate.target(None, 5432)])
    source = free_port()
    gate.run(DIAL_FROM, source, "10.9.8.7", 5432)
    assert gate.accept()[0] is not None
    assert not list(table.keys())
    for cgroup in (gate.tree.root, gate.tree.apps):
        gate.run(DIAL_FROM, source, "127.0.0.1", gate.port, cgroup=cgroup)
        assert gate.accept() == (None, None)


def test_an_origin_nobody_took_is_withdrawn_before_its_port_is_free(published: tuple[Gate, Map]) -> None:
    """A listener whose queue is full drops the SYN: the origin is out and waiting when the client gives up."""
    gate, table = published
    with socket.create_server(("127.0.0.1", 0), backlog=0) as busy:
        busy.settimeout(5)
        port = busy.getsockname()[1]
        gate.interceptor.set_targets([Target(None, 5432, 0, port)])
        source = free_port()
        with socket.create_connection(("127.0.0.1", port)):  # fills the queue
            client = gate.start(
                """
                s = socket.socket(); s.bind(('127.0.0.1', int(sys.argv[1]))); s.setblocking(False)
                say(errno=s.connect_ex(('10.9.8.7', 5432))); sys.stdin.readline()
                s.close(); say(); sys.stdin.read()
                """,
                source,
            )
            answers = lines(client)
            assert next(answers)["errno"] == errno.EINPROGRESS
            assert len(list(table.keys())) == 1
            assert client.stdin
            client.stdin.write("\n")
            client.stdin.flush()
            next(answers)
            assert not list(table.keys())
            assert gate.count("withdrawn") == 1
            busy.accept()[0].close()
        gate.run(DIAL_FROM, source, "127.0.0.1", port, cgroup=gate.tree.root)
        connection, address = busy.accept()
        with connection:
            assert address[1] == source
            assert gate.interceptor.origin(connection.fileno()) is None
        finish(client)


def test_a_connection_that_is_refused_leaves_nothing_behind(published: tuple[Gate, Map]) -> None:
    gate, table = published
    gate.interceptor.set_targets([gate.target(None, 5432)])
    for _ in range(3):
        gate.run("s = socket.create_connection(('10.9.8.7', 5432)); s.close(); say()")
    for _ in range(3):
        assert gate.accept()[0] is not None
    assert not list(table.keys())
    assert (gate.count("published"), gate.count("adopted"), gate.count("withdrawn")) == (3, 3, 0)


def test_a_full_map_costs_the_origin_and_is_counted(published: tuple[Gate, Map]) -> None:
    gate, table = published
    gate.interceptor.set_targets([gate.target(None, 5432)])
    assert table.shape.max_entries == 16384
    value = bytes(table.shape.value_size)
    for number in range(table.shape.max_entries):
        table.update(number.to_bytes(table.shape.key_size, "little"), value)
    gate.run("s = socket.create_connection(('10.9.8.7', 5432)); say()")
    assert gate.accept() == (None, None)
    assert gate.count("publish_failed") == 1
    table.delete(bytes(table.shape.key_size))
    gate.run("s = socket.create_connection(('10.9.8.7', 5432)); say()")
    assert gate.accept()[0] is not None


def test_no_memory_on_the_accepted_socket_costs_the_origin_and_is_counted(gate: Gate) -> None:
    """The accepted socket inherits the listener's filter, sized so that no option memory is left for the origin."""
    gate.interceptor.set_targets([gate.target(None, 5432)])
    script = """
        import ctypes, struct
        limit = '/proc/sys/net/core/optmem_max'
        # BPF_LD|BPF_IMM 2000 times, then BPF_RET: a large filter that lets everything pass
        load, passing = struct.pack('HBBI', 0, 0, 0, 0), struct.pack('HBBI', 6, 0, 0, 0xffff)
        program = ctypes.create_string_buffer(load * 2000 + passing)
        filter = struct.pack('HxxxxxxP', 2001, ctypes.addressof(program))
        def takes(size):
            open(limit, 'w').write(str(size))
            with socket.socket() as s:
                try: s.setsockopt(socket.SOL_SOCKET, 26, filter)
                except OSError: return False
                return True
        low, high = 1, 131072
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if takes(middle) else (middle + 1, high)
        assert takes(low)
        listener = socket.create_server(('127.0.0.1', int(sys.argv[1])))
        listener.setsockopt(socket.SOL_SOCKET, 26, filter)
        child = os.fork()
        if child == 0:
            open(sys.argv[2], 'w').write('0')
            os._exit(socket.socket().connect_ex(('10.9.8.7', 5432)))
        say(errno=os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    procs = gate.tree.hierarchy.directory(gate.tree.apps) / "cgroup.procs"
    done = run_in(gate.tree.agent, isolated(python(script, gate.port, procs)))
    assert '"errno": 0' in done.stdout, done.stderr
    assert (gate.count("adopt_failed"), gate.count("adopted")) == (1, 0)


def entry(gate: Gate, source: int, cookie: int) -> tuple[bytes, bytes]:
    """An entry of the published map for 127.0.0.1:source -> the listener: `struct flow` and a `struct published`."""
    loopback = MAPPED + bytes([127, 0, 0, 1])
    flow = struct.pack("=Q16s16sHHI", cookie, loopback, loopback, source, gate.port, 0)
    record = ORIGIN.pack(1, 2, 3, 4, 5, 6, 7, 8, 9, b"planted", loopback, b"\x15\x38")
    return flow, record + struct.pack("=Q", 1)


def test_an_origin_of_another_network_namespace_is_not_taken_for_ours(published: tuple[Gate, Map]) -> None:
    """The same four numbers occur in every namespace at once."""
    gate, table = published
    here = int.from_bytes(gate.four.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), "little")
    for cookie, taken in ((here + 1, False), (here, True)):
        source = free_port()
        table.update(*entry(gate, source, cookie))
        gate.run(DIAL_FROM, source, "127.0.0.1", gate.port, cgroup=gate.tree.root)
        origin, _ = gate.accept()
        assert (origin is not None and origin.comm == "planted") is taken


def test_an_application_s_own_dial_clears_what_lies_under_its_numbers(published: tuple[Gate, Map]) -> None:
    """Nothing should lie there, as the test above on withdrawal shows; if it did, this is the second gate."""
    gate, table = published
    here = int.from_bytes(gate.four.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), "little")
    source = free_port()
    table.update(*entry(gate, source, here))
    gate.run(DIAL_FROM, source, "127.0.0.1", gate.port)
    assert gate.accept() == (None, None)
    assert not list(table.keys())


def test_a_socket_withdraws_only_what_it_published(published: tuple[Gate, Map]) -> None:
    """Its entry was taken, and a later socket with the same four numbers has published: that one is not its own."""
    gate, table = published
    with socket.create_server(("127.0.0.1", 0), backlog=0) as busy:
        port = busy.getsockname()[1]
        gate.interceptor.set_targets([Target(None, 5432, 0, port)])
        with socket.create_connection(("127.0.0.1", port)):  # fills the queue
            client = gate.start(
                """
                s = socket.socket(); s.setblocking(False); s.connect_ex(('10.9.8.7', 5432)); say()
                sys.stdin.readline(); s.close(); say()
                """
            )
            answers = lines(client)
            next(answers)
            (flow,) = table.keys()
            value = table.lookup(flow)
            assert value is not None
            table.update(flow, value[:-8] + bytes(8))
            assert client.stdin
            client.stdin.write("\n")
            client.stdin.flush()
            next(answers)
            assert list(table.keys()) == [flow]
            assert gate.count("withdrawn") == 0
