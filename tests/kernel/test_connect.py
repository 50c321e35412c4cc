"""bpf/connect.h: what is redirected, what is left alone, and every way around that we could think of."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import json
import os
import socket
from collections.abc import Iterator

import pytest

from lockgate.kernel.layout import Target
from lockgate.values.identity import Endpoint
from tests.kernel.conftest import CONNECT_BY_IO_URING, TICKS, Gate, boot_ticks, finish, isolated, lines, python
from tests.support.cgroup import CgroupTree, run_in

DIAL = """
    s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
    say(peer=s.getpeername()[:2])
"""
ERRNO_OF_DIAL = """
    s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET)
    s.settimeout(5)
    say(errno=s.connect_ex((sys.argv[1], int(sys.argv[2]))))
"""


@pytest.fixture
def elsewhere() -> Iterator[socket.socket]:
    """A server on all addresses that is nobody's datastore until a test says so."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        server.settimeout(5)
        yield server


def network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(text)


# --- what is redirected


@pytest.mark.parametrize(
    ("declared", "dialled", "seen", "listener"),
    [
        ("10.9.8.7/32", "10.9.8.7", "10.9.8.7", 4),
        ("10.9.8.7/32", "::ffff:10.9.8.7", "10.9.8.7", 4),
        ("fd99::7/128", "fd99::7", "fd99::7", 6),
        ("10.0.0.0/8", "10.255.3.4", "10.255.3.4", 4),
        ("fd99::/64", "fd99::abcd:1", "fd99::abcd:1", 6),
        (None, "203.0.113.9", "203.0.113.9", 4),
        (None, "2001:db8::9", "2001:db8::9", 6),
        ("::/0", "203.0.113.9", "203.0.113.9", 4),
    ],
)
def test_a_declared_address_leads_to_the_listener(
    gate: Gate, declared: str | None, dialled: str, seen: str, listener: int
) -> None:
    gate.interceptor.set_targets([gate.target(network(declared) if declared else None, 5432, 7)])
    gate.run(DIAL, dialled, 5432)
    origin, datastore = gate.accept(listener)
    assert origin is not None
    assert origin.destination == Endpoint(seen, 5432)
    assert datastore == 7


def test_the_longest_prefix_decides_which_datastore_it_is(gate: Gate) -> None:
    gate.interceptor.set_targets(
        [
            gate.target(None, 5432, 1),
            gate.target(network("10.0.0.0/8"), 5432, 2),
            gate.target(network("10.9.0.0/16"), 5432, 3),
            gate.target(network("10.9.8.7/32"), 5432, 4),
        ]
    )
    for address, expected in (("192.0.2.77", 1), ("10.1.1.1", 2), ("10.9.1.1", 3), ("10.9.8.7", 4)):
        gate.run(DIAL, address, 5432)
        assert gate.accept()[1] == expected


def test_the_origin_is_the_process_that_called(gate: Gate) -> None:
    gate.interceptor.set_targets([gate.target(network("10.9.8.7/32"), 5432)])
    process = gate.start(
        """
        open('/proc/self/comm', 'w').write('ledger')
        s = socket.socket()
        os.setgid(4321); os.setuid(1234)
        s.connect(('10.9.8.7', 5432)); say(); sys.stdin.read()
        """
    )
    answer = next(lines(process))
    origin, _ = gate.accept()
    assert origin is not None
    assert origin.pid == answer["pid"] == process.pid
    assert origin.start_ns * TICKS // 1_000_000_000 == boot_ticks(process.pid)
    assert (origin.uid, origin.gid, origin.comm) == (1234, 4321, "ledger")
    assert origin.cgroup_id == origin.socket_cgroup_id == gate.tree.hierarchy.id_of(gate.tree.apps)
    assert origin.netns_cookie == int.from_bytes(gate.four.getsockopt(socket.SOL_SOCKET, 71, 8), "little")
    finish(process)


def test_threads_and_forks_answer_for_their_own_process(gate: Gate) -> None:
    gate.interceptor.set_targets([gate.target(network("10.9.8.7/32"), 5432)])
    answer = gate.run(
        """
        import threading
        def dial(): socket.create_connection(('10.9.8.7', 5432)).close()
        thread = threading.Thread(target=dial); thread.start(); thread.join()
        child = os.fork()
        if child == 0: dial(); os._exit(0)
        os.waitpid(child, 0)
        say(child=child)
        """
    )
    (from_thread, _), (from_child, _) = gate.accept(), gate.accept()
    assert from_thread is not None
    assert from_child is not None
    assert (from_thread.pid, from_child.pid) == (answer["pid"], answer["child"])
    assert from_child.start_ns > from_thread.start_ns


def test_an_exec_is_another_origin_with_the_same_pid(gate: Gate) -> None:
    gate.interceptor.set_targets([gate.target(network("10.9.8.7/32"), 5432)])
    gate.run(
        """
        socket.create_connection(('10.9.8.7', 5432)).close()
        os.execv(sys.executable, [sys.executable, '-S', '-c',
            'import socket; socket.create_connection(("10.9.8.7", 5432)); print("{}")'])
        """
    )
    (before, _), (after, _) = gate.accept(), gate.accept()
    assert before is not None
    assert after is not None
    assert (before.pid, before.start_ns) == (after.pid, after.start_ns)
    assert before.exec_id < after.exec_id


def test_a_cgroup_below_the_intercepted_one_is_intercepted(gate: Gate) -> None:
    gate.interceptor.set_targets([gate.target(network("10.9.8.7/32"), 5432)])
    below = f"{gate.tree.apps}/a/b"
    gate.tree.hierarchy.create(below)
    gate.run(DIAL, "10.9.8.7", 5432, cgroup=below)
    origin, _ = gate.accept()
    assert origin is not None
    assert origin.cgroup_id == gate.tree.hierarchy.id_of(below)


# --- what is left alone


def test_a_port_or_address_that_is_not_declared_is_left_alone(gate: Gate, elsewhere: socket.socket) -> None:
    port = elsewhere.getsockname()[1]
    gate.interceptor.set_targets([gate.target(None, port ^ 1), gate.target(network("127.0.0.9/32"), port)])
    for address in ("127.0.0.1", "::1"):
        assert gate.run(DIAL, address, port)["peer"] == [address, port]
        elsewhere.accept()[0].close()
    assert gate.count("redirected") == 0


def test_udp_is_left_alone(gate: Gate, quiet_port: int) -> None:
    gate.interceptor.set_targets([gate.target(None, quiet_port)])
    answer = gate.run(
        """
        s = socket.socket(type=socket.SOCK_DGRAM); s.connect(('127.0.0.1', int(sys.argv[1]))); say(peer=s.getpeername())
        """,
        quiet_port,
    )
    assert answer["peer"] == ["127.0.0.1", quiet_port]


def test_the_agent_below_the_intercepted_cgroup_is_let_through_and_nobody_else(
    tree: CgroupTree, elsewhere: socket.socket
) -> None:
    port = elsewhere.getsockname()[1]
    gate = Gate(tree, cgroup=tree.root)
    with contextlib.closing(gate):
        gate.interceptor.set_targets([gate.target(None, port)])
        gate.interceptor.attach()
        with socket.create_connection(("127.0.0.1", port)) as upstream:
            elsewhere.accept()[0].close()
            assert upstream.getpeername() == ("127.0.0.1", port)
        assert gate.count("exempt") == 1
        below = f"{tree.agent}/worker"
        tree.hierarchy.create(below)
        for cgroup in (tree.apps, tree.root, below):
            gate.run(DIAL, "127.0.0.1", port, cgroup=cgroup)
            assert gate.accept()[0] is not None


# --- ways around


@pytest.mark.parametrize(
    ("script", "family", "destination"),
    [
        ("s = socket.socket(); s.connect(('0.0.0.0', PORT))", 4, "127.0.0.1"),
        ("s = socket.socket(); s.bind(('127.0.0.5', 0)); s.connect(('0.0.0.0', PORT))", 4, "127.0.0.5"),
        ("s = socket.socket(); s.bind(('127.255.255.255', 0)); s.connect(('0.0.0.0', PORT))", 4, "127.0.0.1"),
        ("s = socket.socket(socket.AF_INET6); s.connect(('::', PORT))", 6, "::1"),
        ("s = socket.socket(socket.AF_INET6); s.connect(('::ffff:0.0.0.0', PORT))", 4, "127.0.0.1"),
        (
            "s = socket.socket(socket.AF_INET6); s.bind(('::ffff:127.0.0.5', 0)); s.connect(('::', PORT))",
            4,
            "127.0.0.1",
        ),
    ],
)
def test_the_unspecified_address_is_what_it_leads_to(
    gate: Gate, elsewhere: socket.socket, script: str, family: int, destination: str
) -> None:
    """connect(0.0.0.0) reaches a server on 127.0.0.1: declaring the one has to cover the other."""
    port = elsewhere.getsockname()[1]
    gate.interceptor.set_targets([gate.target(network(destination), port)])
    gate.run(script.replace("PORT", str(port)) + "; say()")
    origin, _ = gate.accept(family)
    assert origin is not None
    assert origin.destination == Endpoint(destination, port)


@pytest.mark.parametrize(
    "script",
    [
        "s = socket.socket(); s.sendto(b'x', 0x20000000, ADDRESS)",
        "s = socket.socket(); s.setsockopt(6, 30, 1); s.connect(ADDRESS); s.send(b'x')",
        "s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262); s.connect(ADDRESS)",
        "s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262); s.sendto(b'x', 0x20000000, ADDRESS)",
        "s = socket.socket(); s.setblocking(False); s.connect_ex(ADDRESS); select.select([], [s], [], 5)",
    ],
    ids=["MSG_FASTOPEN", "TCP_FASTOPEN_CONNECT", "multipath", "multipath MSG_FASTOPEN", "non-blocking"],
)
def test_every_way_to_connect_is_redirected(gate: Gate, elsewhere: socket.socket, script: str) -> None:
    port = elsewhere.getsockname()[1]
    gate.interceptor.set_targets([gate.target(None, port)])
    answer = gate.run("import select; " + script.replace("ADDRESS", f"('127.0.0.1', {port})") + "; say()")
    origin, _ = gate.accept()
    assert origin is not None
    assert origin.pid == answer["pid"]
    elsewhere.settimeout(0.05)
    with pytest.raises(TimeoutError):
        elsewhere.accept()


def test_a_connect_by_io_uring_is_its_process_s_though_a_kernel_worker_makes_it(
    gate: Gate, elsewhere: socket.socket
) -> None:
    port = elsewhere.getsockname()[1]
    gate.interceptor.set_targets([gate.target(None, port)])
    answer = gate.run(
        CONNECT_BY_IO_URING,
        port,
    )
    origin, _ = gate.accept()
    assert origin is not None
    assert origin.pid == answer["pid"]
    assert (answer["result"], answer["peer"]) == (0, ["127.0.0.1", port])


def test_a_socket_that_connects_again_takes_nothing_along(gate: Gate) -> None:
    """Redirected, dissolved with AF_UNSPEC, then straight to the listener: the old origin must not come along."""
    gate.interceptor.set_targets([gate.target(network("10.9.8.7/32"), 5432)])
    answer = gate.run(
        """
        import ctypes
        s = socket.create_connection(('10.9.8.7', 5432))
        unspecified = ctypes.create_string_buffer(16)
        assert ctypes.CDLL(None).connect(s.fileno(), unspecified, 16) == 0
        s.connect(('127.0.0.1', int(sys.argv[1])))
        say(peer=s.getpeername())
        """,
        gate.port,
    )
    (first, _), (second, _) = gate.accept(), gate.accept()
    assert first is not None
    assert second is None
    assert answer["peer"] == ["127.0.0.1", gate.port]


def test_a_socket_connected_again_by_another_process_is_that_process_s(gate: Gate) -> None:
    gate.interceptor.set_targets([gate.target(network("10.9.8.7/32"), 5432), gate.target(network("10.9.8.8/32"), 1)])
    answer = gate.run(
        """
        import ctypes
        s = socket.create_connection(('10.9.8.7', 5432))
        assert ctypes.CDLL(None).connect(s.fileno(), ctypes.create_string_buffer(16), 16) == 0
        child = os.fork()
        if child == 0: s.connect(('10.9.8.8', 1)); os._exit(0)
        os.waitpid(child, 0)
        say(child=child)
        """
    )
    (first, _), (second, _) = gate.accept(), gate.accept()
    assert first is not None
    assert second is not None
    assert (first.pid, second.pid) == (answer["pid"], answer["child"])
    assert second.destination == Endpoint("10.9.8.8", 1)


# --- nobody behind the gate, or the wrong one


def test_a_socket_with_an_address_of_its_own_is_redirected(gate: Gate) -> None:
    gate.interceptor.set_targets([gate.target(None, 5432)])
    script = """
        listener = socket.create_server(('127.0.0.1', int(sys.argv[1])))
        open(sys.argv[2], 'w').write('0')
        os.system('ip link add d0 type veth peer name d1 && ip addr add 192.0.2.5/24 dev d0 && ip link set d0 up')
        s = socket.socket(); s.settimeout(5); s.bind(('192.0.2.5', 0))
        say(errno=s.connect_ex(('192.0.2.9', 5432)), peer=s.getpeername(), local=s.getsockname())
    """
    procs = gate.tree.hierarchy.directory(gate.tree.apps) / "cgroup.procs"
    answer = json.loads(run_in(gate.tree.agent, isolated(python(script, gate.port, procs))).stdout)
    assert (answer["errno"], answer["peer"], answer["local"][0]) == (0, ["192.0.2.9", 5432], "192.0.2.5")
    assert gate.count("adopted") == 1


@pytest.mark.parametrize("address", ["10.9.8.7", "::ffff:10.9.8.7", "fd99::7"])
def test_nobody_listening_is_connection_refused(gate: Gate, quiet_port: int, address: str) -> None:
    gate.interceptor.set_targets([Target(None, 5432, 0, quiet_port)])
    assert gate.run(ERRNO_OF_DIAL, address, 5432)["errno"] == errno.ECONNREFUSED
    assert gate.count("rejected_absent") == 1


@pytest.mark.parametrize(("address", "listen"), [("10.9.8.7", "127.0.0.1"), ("fd99::7", "::1")])
def test_an_impostor_on_the_listeners_port_gets_nobody_s_connection(
    gate: Gate, quiet_port: int, address: str, listen: str
) -> None:
    """The agent is away and an application binds its port, to be sent everyone's passwords."""
    gate.interceptor.set_targets([Target(None, 5432, 0, quiet_port)])
    impostor = gate.start(
        """
        family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET
        s = socket.create_server((sys.argv[1], int(sys.argv[2])), family=family); say()
        s.settimeout(1)
        try: s.accept(); say(caught=True)
        except TimeoutError: say(caught=False)
        """,
        listen,
        quiet_port,
    )
    answers = lines(impostor)
    next(answers)
    assert gate.run(ERRNO_OF_DIAL, address, 5432)["errno"] == errno.EPERM
    assert gate.count("rejected_impostor") == 1
    assert next(answers)["caught"] is False
    finish(impostor)


def test_no_memory_for_the_origin_rejects_the_connect(gate: Gate) -> None:
    """In a network namespace where a socket may hold no option memory, which is what SK_STORAGE is charged to."""
    gate.interceptor.set_targets([gate.target(None, 5432)])
    script = """
        listener = socket.create_server(('127.0.0.1', int(sys.argv[1])))
        open('/proc/sys/net/core/optmem_max', 'w').write('1')
        child = os.fork()
        if child == 0:
            open(sys.argv[2], 'w').write('0')
            os._exit(socket.socket().connect_ex(('10.9.8.7', 5432)))
        say(errno=os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    procs = gate.tree.hierarchy.directory(gate.tree.apps) / "cgroup.procs"
    done = run_in(gate.tree.agent, isolated(python(script, gate.port, procs)))
    assert f'"errno": {errno.EPERM}' in done.stdout, done.stderr
    assert gate.count("rejected_storage") == 1
    assert gate.count("redirected") == 0


def test_a_socket_bound_to_a_device_is_rejected_at_once_and_to_loopback_redirected(gate: Gate) -> None:
    """Its SYN would leave the host by that device, addressed to 127.0.0.1, and the application would wait for long."""
    gate.interceptor.set_targets([gate.target(None, 5432)])
    script = """
        listener = socket.create_server(('127.0.0.1', int(sys.argv[1])))
        open(sys.argv[2], 'w').write('0')
        os.system('ip link add d0 type veth peer name d1 && ip link set d0 up')
        def dial(device):
            s = socket.socket(); s.settimeout(5)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
            return s.connect_ex(('10.9.8.7', 5432))
        say(device=dial(b'd0'), loopback=dial(b'lo'))
    """
    procs = gate.tree.hierarchy.directory(gate.tree.apps) / "cgroup.procs"
    done = run_in(gate.tree.agent, isolated(python(script, gate.port, procs)))
    answer = json.loads(done.stdout)
    assert (answer["device"], answer["loopback"]) == (errno.EPERM, 0)
    assert (gate.count("rejected_device"), gate.count("redirected")) == (1, 1)


def test_two_hundred_connects_of_ten_processes_at_once_each_have_their_own_origin(gate: Gate) -> None:
    gate.interceptor.set_targets([gate.target(network("10.9.0.0/16"), 5432)])
    script = """
        import threading
        barrier = threading.Barrier(20)
        socks = []
        def dial():
            barrier.wait(); s = socket.create_connection(('10.9.8.7', 5432))
            s.sendall(b'%10d' % os.getpid()); socks.append(s)
        threads = [threading.Thread(target=dial) for _ in range(20)]
        [t.start() for t in threads]; [t.join() for t in threads]
        sys.stdin.read()
    """
    processes = [gate.start(script) for _ in range(10)]
    claimed: dict[int, int] = {}
    for _ in range(200):
        connection, _ = gate.four.accept()
        with connection:
            origin = gate.interceptor.origin(connection.fileno())
            said = int(connection.recv(10, socket.MSG_WAITALL))
        assert origin is not None
        assert origin.pid == said
        claimed[said] = claimed.get(said, 0) + 1
    assert claimed == {process.pid: 20 for process in processes}
    for process in processes:
        finish(process)
    assert gate.count("adopted") == gate.count("published") == 200
    assert os.getpid() not in claimed


# --- what is only observed is never refused


def test_where_nothing_is_enforced_an_absent_agent_is_passed_by(gate: Gate, elsewhere: socket.socket) -> None:
    port = elsewhere.getsockname()[1]
    watched = Target(None, port, 0, gate.port, observed=True)
    gate.interceptor.set_targets([watched])
    gate.run(DIAL, "127.0.0.1", port)
    assert gate.accept()[0] is not None, "an agent that is there gets it"
    gate.four.close()
    gate.six.close()
    for address in ("127.0.0.1", "::1"):
        assert gate.run(DIAL, address, port)["peer"] == [address, port]
    assert gate.count("passed_observed") == 2
    gate.interceptor.set_targets([Target(None, port, 0, gate.port)])
    assert gate.run(ERRNO_OF_DIAL, "127.0.0.1", port)["errno"] == errno.ECONNREFUSED, "enforced, it is refused"
    assert gate.count("passed_observed") == 2


def test_where_nothing_is_enforced_an_impostor_gets_nothing(gate: Gate, elsewhere: socket.socket) -> None:
    port = elsewhere.getsockname()[1]
    gate.four.close()
    gate.six.close()
    gate.interceptor.set_targets([Target(None, port, 0, gate.port, observed=True)])
    taken = gate.start(
        f"""
        s = socket.create_server(('127.0.0.1', {gate.port})); say(); s.settimeout(0.5)
        sys.stdin.read()
        try: s.accept(); say(got=1)
        except TimeoutError: say(got=0)
        """
    )
    answers = lines(taken)
    next(answers)
    assert gate.run(DIAL, "127.0.0.1", port)["peer"] == ["127.0.0.1", port], "the datastore itself"
    assert taken.stdin
    taken.stdin.close()
    assert next(answers)["got"] == 0


def test_where_nothing_is_enforced_another_network_namespace_goes_on_as_it_did(gate: Gate) -> None:
    gate.interceptor.set_targets([Target(None, 5432, 0, gate.port, observed=True)])
    script = """
        s = socket.create_server(('127.0.0.1', 5432))
        c = socket.create_connection(('127.0.0.1', 5432)); say(peer=c.getpeername()[:2])
    """
    done = run_in(gate.tree.apps, isolated(python(script)))
    assert json.loads(done.stdout)["peer"] == ["127.0.0.1", 5432], done.stderr
    assert gate.count("passed_observed") == 1


def test_a_socket_bound_to_a_device_is_passed_where_nothing_is_enforced(gate: Gate) -> None:
    script = """
        os.system('ip link add d0 type veth peer name d1 && ip link set d0 up')
        s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'd0'); s.settimeout(0.2)
        say(errno=s.connect_ex(('10.9.8.7', 5432)))
    """
    gate.interceptor.set_targets([Target(None, 5432, 0, gate.port, observed=True)])
    answer = json.loads(run_in(gate.tree.apps, isolated(python(script))).stdout)
    assert answer["errno"] != errno.EPERM, "whatever the network says to it"
    assert gate.count("passed_observed") == 1
