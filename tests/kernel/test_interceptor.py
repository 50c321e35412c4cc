"""The gate's life: attached, crashed, taken over, moved, opened."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lockgate.demo.cgroup import in_cgroup
from lockgate.kernel import libbpf
from lockgate.kernel.interceptor import Interceptor, detach
from lockgate.kernel.layout import COUNTERS, Target
from lockgate.kernel.libbpf import KernelError
from lockgate.kernel.tables import TARGETS_MAX
from tests.kernel.conftest import Gate, lines
from tests.support.cgroup import CgroupTree
from tests.support.postgres import free_port

DIAL = "s = socket.create_connection((sys.argv[1], int(sys.argv[2]))); say(peer=s.getpeername()[:2])"
ERRNO_OF_DIAL = "s = socket.socket(); s.settimeout(5); say(errno=s.connect_ex(('10.9.8.7', 5432)))"

HAMMER = """
    import select
    tried = 0
    say()
    while not select.select([sys.stdin], [], [], 0)[0]:
        with socket.socket() as s: s.connect_ex(('127.0.0.1', int(sys.argv[1])))
        tried += 1
    say(tried=tried)
"""

AGENT = """
import os, sys, signal
from pathlib import Path
from lockgate.kernel.interceptor import Interceptor
from lockgate.kernel.layout import Target
from tests.kernel.conftest import dual_listener
apps, agent, pins = sys.argv[1:]
four, six = dual_listener()
interceptor = Interceptor(cgroup=apps, agent_cgroup=agent, pin_dir=Path(pins))
interceptor.set_targets([Target(None, 5432, 0, four.getsockname()[1])])
interceptor.attach()
print(four.getsockname()[1], flush=True)
sys.stdin.read()
"""


def attached(tree: CgroupTree) -> list[tuple[str, int]]:
    """What is attached to the tree's cgroups, as another program sees it: (cgroup, link id)."""
    links = json.loads(subprocess.run(["bpftool", "-j", "link"], capture_output=True, text=True, check=True).stdout)
    ids = {tree.hierarchy.id_of(cgroup): cgroup for cgroup in (tree.root, tree.apps, tree.agent)}
    return sorted((ids[link["cgroup_id"]], link["id"]) for link in links if link.get("cgroup_id") in ids)


def agent_process(tree: CgroupTree, pin_dir: Path) -> tuple[subprocess.Popen[str], int]:
    """An agent in a process of its own, attached and ready; with the port it listens on."""
    process = subprocess.Popen(
        in_cgroup(tree.agent, [sys.executable, "-c", AGENT, tree.apps, tree.agent, str(pin_dir)]),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert process.stdout
    return process, int(process.stdout.readline())


def test_an_agent_that_is_killed_is_a_closed_gate_and_the_next_one_takes_over(tree: CgroupTree, pin_dir: Path) -> None:
    process, _ = agent_process(tree, pin_dir)
    before = attached(tree)
    process.kill()
    process.communicate()
    assert attached(tree) == before
    gate = Gate(tree, pin_dir)
    with contextlib.closing(gate):
        # still the old programs, the old port: nobody is there
        assert gate.run(ERRNO_OF_DIAL)["errno"] == errno.ECONNREFUSED
        gate.interceptor.set_targets([gate.target(None, 5432)])
        gate.interceptor.attach()
        assert attached(tree) == before, "the links are the same: there was no moment without"
        gate.run(DIAL, "10.9.8.7", 5432)
        assert gate.accept()[0] is not None
        assert gate.count("rejected_absent") == 1, "the counters are the same too"


def test_a_takeover_has_no_moment_without_hooks(tree: CgroupTree, pin_dir: Path) -> None:
    """A client dials a declared address that is really served, as fast as it can, while agents come and go."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as datastore:
        datastore.setblocking(False)
        port = datastore.getsockname()[1]
        gate = Gate(tree, pin_dir)
        with contextlib.closing(gate):
            gate.interceptor.set_targets([gate.target(None, port)])
            gate.interceptor.attach()
            client = gate.start(HAMMER, port)
            assert client.stdin
            answers = lines(client)
            next(answers)
            gate.four.settimeout(0.01)
            for _ in range(10):
                gate.interceptor.close()
                gate.interceptor = Interceptor(cgroup=tree.apps, agent_cgroup=tree.agent, pin_dir=pin_dir)
                gate.interceptor.set_targets([gate.target(None, port)])
                gate.interceptor.attach()
                with contextlib.suppress(TimeoutError):
                    for _ in range(100):
                        gate.four.accept()[0].close()
            client.stdin.close()
            assert next(answers)["tried"] > 10
            with pytest.raises(BlockingIOError):
                datastore.accept()


def test_a_second_agent_is_refused_while_the_first_lives(tree: CgroupTree, pin_dir: Path) -> None:
    process, port = agent_process(tree, pin_dir)
    tree.enter_agent()
    with pytest.raises(KernelError, match=f"another agent \\(process {process.pid}\\)") as refused:
        Interceptor(cgroup=tree.apps, agent_cgroup=tree.agent, pin_dir=pin_dir)
    assert refused.value.errno == errno.EBUSY
    process.communicate()
    with Interceptor(cgroup=tree.apps, agent_cgroup=tree.agent, pin_dir=pin_dir) as next_one:
        next_one.set_targets([Target(None, 5432, 0, port)])


def test_without_pins_the_hooks_go_with_the_process(tree: CgroupTree) -> None:
    gate = Gate(tree)
    with contextlib.closing(gate):
        gate.interceptor.attach()
        assert len(attached(tree)) == 6
    assert attached(tree) == []


def test_detach_leaves_nothing(tree: CgroupTree, pin_dir: Path) -> None:
    gate = Gate(tree, pin_dir)
    with contextlib.closing(gate):
        gate.interceptor.set_targets([gate.target(None, 5432)])
        gate.interceptor.attach()
        gate.interceptor.detach()
        assert attached(tree) == []
        assert list(pin_dir.parent.iterdir()) == []
        assert str(pin_dir) not in Path("/proc/self/mountinfo").read_text()
        assert gate.run(ERRNO_OF_DIAL.replace("10.9.8.7", "127.0.0.1"))["errno"] == errno.ECONNREFUSED


def test_what_a_dead_agent_left_can_be_taken_away_by_anyone(tree: CgroupTree, pin_dir: Path) -> None:
    process, _ = agent_process(tree, pin_dir)
    process.kill()
    process.communicate()
    detach(pin_dir)
    assert attached(tree) == []
    assert not pin_dir.exists()
    detach(pin_dir)


def test_attaching_twice_changes_nothing(gate: Gate) -> None:
    before = attached(gate.tree)
    gate.interceptor.attach()
    assert attached(gate.tree) == before


def test_another_cgroup_in_the_configuration_moves_the_hooks(tree: CgroupTree, pin_dir: Path) -> None:
    first = Gate(tree, pin_dir)
    first.interceptor.attach()
    first.close()
    assert sorted({cgroup for cgroup, _ in attached(tree)}) == [tree.agent, tree.apps]
    second = Gate(tree, pin_dir, cgroup=tree.root)
    with contextlib.closing(second):
        second.interceptor.set_targets([second.target(None, 5432)])
        second.interceptor.attach()
        assert {cgroup for cgroup, _ in attached(tree)} == {tree.root}
        second.run(DIAL, "10.9.8.7", 5432)
        assert second.accept()[0] is not None


def test_an_agent_cgroup_made_anew_is_hooked_anew(tree: CgroupTree, pin_dir: Path) -> None:
    """systemd removes a service's cgroup when it stops and makes another when it starts."""
    process, _ = agent_process(tree, pin_dir)
    process.kill()
    process.communicate()
    tree.hierarchy.remove(tree.agent)
    tree.hierarchy.create(tree.agent)
    gate = Gate(tree, pin_dir)
    with contextlib.closing(gate):
        gate.interceptor.set_targets([gate.target(None, 5432)])
        gate.interceptor.attach()
        gate.run(DIAL, "10.9.8.7", 5432)
        assert gate.accept()[0] is not None


def test_a_map_of_another_version_is_replaced_with_its_hooks(tree: CgroupTree, pin_dir: Path) -> None:
    gate = Gate(tree, pin_dir)
    gate.interceptor.set_targets([gate.target(None, 5432)])
    gate.interceptor.attach()
    gate.close()
    # as an older version may have left it: a map of another shape under the name of ours
    counters = libbpf.pinned(pin_dir / "map_counters")
    assert counters is not None
    (pin_dir / "map_published").unlink()
    libbpf.pin(counters, pin_dir / "map_published")
    os.close(counters)
    before = attached(tree)
    gate = Gate(tree, pin_dir)
    with contextlib.closing(gate):
        gate.interceptor.set_targets([gate.target(None, 5432)])
        gate.interceptor.attach()
        assert attached(tree) == before
        gate.run(DIAL, "10.9.8.7", 5432)
        assert gate.accept()[0] is not None


# --- targets


def test_targets_are_replaced_as_a_whole(gate: Gate) -> None:
    one, two = ipaddress.ip_network("10.9.8.7/32"), ipaddress.ip_network("127.0.0.9/32")
    gate.interceptor.set_targets([gate.target(one, 5432, 1), gate.target(two, 1, 1)])
    gate.interceptor.set_targets([gate.target(one, 5432, 2)])
    gate.run(DIAL, "10.9.8.7", 5432)
    assert gate.accept()[1] == 2
    answer = gate.run("s = socket.socket(); say(errno=s.connect_ex(('127.0.0.9', 1)))")
    assert answer["errno"] == errno.ECONNREFUSED
    assert gate.count("redirected") == 1
    gate.interceptor.set_targets([])
    assert list(gate.interceptor._maps["targets"].keys()) == []


def test_a_target_that_stays_is_never_missing_while_others_change(gate: Gate) -> None:
    """A client dials an address that is really served, as fast as it can, while a thousand others come and go."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as datastore:
        datastore.setblocking(False)
        port = datastore.getsockname()[1]
        stays = Target(None, port, 0, free_port())
        turns = [
            [stays, *(gate.target(ipaddress.ip_network(f"10.{turn}.{n // 256}.{n % 256}"), 1) for n in range(1000))]
            for turn in (1, 2)
        ]
        gate.interceptor.set_targets(turns[0])
        client = gate.start(HAMMER, port)
        assert client.stdin
        answers = lines(client)
        next(answers)
        for turn in range(10):
            gate.interceptor.set_targets(turns[turn % 2])
        client.stdin.close()
        assert next(answers)["tried"] > 10
        with pytest.raises(BlockingIOError):
            datastore.accept()


def test_targets_can_be_replaced_when_there_are_as_many_as_allowed(gate: Gate) -> None:
    def many(third: int) -> list[Target]:
        base = int(ipaddress.ip_address(f"10.{third}.0.0"))
        return [gate.target(ipaddress.ip_network(base + n), 5432) for n in range(TARGETS_MAX)]

    gate.interceptor.set_targets(many(1))
    gate.interceptor.set_targets(many(2))
    assert len(list(gate.interceptor._maps["targets"].keys())) == TARGETS_MAX
    with pytest.raises(ValueError, match=f"at most {TARGETS_MAX}"):
        gate.interceptor.set_targets([*many(3), gate.target(None, 1)])
    gate.run(DIAL, "10.2.0.1", 5432)
    assert gate.accept()[0] is not None


def test_one_address_of_two_datastores_is_refused_before_anything_changes(gate: Gate) -> None:
    gate.interceptor.set_targets([gate.target(None, 5432, 1)])
    with pytest.raises(ValueError, match="declared twice"):
        gate.interceptor.set_targets([gate.target(None, 5433, 1), gate.target(None, 5433, 2)])
    gate.run(DIAL, "10.2.0.1", 5432)
    assert gate.accept()[1] == 1


# --- the rest


def test_every_counter_has_a_name(gate: Gate) -> None:
    assert gate.interceptor._maps["counters"].shape.max_entries == len(COUNTERS)
    assert gate.interceptor.counters() == dict.fromkeys(COUNTERS, 0)


def test_a_descriptor_that_is_no_socket_is_an_error(gate: Gate) -> None:
    with Path("/dev/null").open() as file, pytest.raises(KernelError) as wrong:
        gate.interceptor.origin(file.fileno())
    assert wrong.value.errno == errno.ENOTSOCK


def test_a_cgroup_that_is_not_there_is_named(tree: CgroupTree) -> None:
    with pytest.raises(KernelError, match=r"cgroup /lockgate-test-none: No such file"):
        Interceptor(cgroup=tree.apps, agent_cgroup="/lockgate-test-none")


def test_an_object_that_is_not_there_is_named_and_the_lock_is_given_up(
    tree: CgroupTree, tmp_path: Path, pin_dir: Path
) -> None:
    for _ in range(2):
        with pytest.raises(KernelError, match=r"lockgate\.o: can't be opened"):
            Interceptor(tmp_path, cgroup=tree.apps, agent_cgroup=tree.agent, pin_dir=pin_dir)


def test_a_closed_interceptor_says_so(tree: CgroupTree) -> None:
    interceptor = Interceptor(cgroup=tree.apps, agent_cgroup=tree.agent)
    interceptor.close()
    interceptor.close()
    with pytest.raises(KernelError, match="closed"):
        interceptor.attach()
