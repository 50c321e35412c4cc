"""What root prepared, used by a process that could not have: here by a child that has become another account."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lockgate.demo.cgroup import in_cgroup
from lockgate.kernel.interceptor import Interceptor
from lockgate.kernel.libbpf import KernelError
from lockgate.kernel.pins import Pins
from lockgate.kernel.prepared import Prepared
from tests.kernel.conftest import Gate
from tests.support.cgroup import CgroupTree

UID = 64001
USE = """
import json, os, sys
from pathlib import Path
from lockgate.kernel.layout import Target
from lockgate.kernel.libbpf import KernelError
from lockgate.kernel.prepared import Prepared
os.setgid(64001); os.setuid(64001)
try:
    with Prepared(Path(sys.argv[1]), sys.argv[2]) as gate:
        gate.attach()
        gate.set_targets([Target(None, 5432, 3, int(sys.argv[3]))])
        print(json.dumps({'redirected': gate.counters()['redirected']}))
except KernelError as error:
    print(json.dumps({'error': str(error)}))
"""


def use(tree: CgroupTree, pin_dir: Path, port: int) -> dict[str, object]:
    argv = in_cgroup(tree.agent, [sys.executable, "-c", USE, str(pin_dir), tree.agent, str(port)])
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30)
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


@pytest.fixture
def open_to_all(pin_dir: Path) -> Path:
    """The run folder is the agent's, as its unit has it."""
    pin_dir.parent.mkdir()
    os.chown(pin_dir.parent, UID, UID)
    folder = pin_dir.parent
    while folder != Path("/"):
        folder.chmod(folder.stat().st_mode | 0o011)
        folder = folder.parent
    return pin_dir


def prepare(tree: CgroupTree, pin_dir: Path, uid: int = UID) -> None:
    with Interceptor(cgroup=tree.apps, agent_cgroup=tree.agent, pin_dir=pin_dir) as hooks:
        hooks.attach()
        hooks.hand_over(uid, uid)


def test_the_account_it_was_prepared_for_redirects(tree: CgroupTree, open_to_all: Path) -> None:
    prepare(tree, open_to_all)
    gate = Gate(tree)
    try:
        assert use(tree, open_to_all, gate.port) == {"redirected": 0}
        gate.run("socket.create_connection(('10.9.8.7', 5432)).close(); say()")
        gate.four.accept()[0].close()
        assert use(tree, open_to_all, gate.port) == {"redirected": 1}
    finally:
        gate.close()


def test_another_account_can_not_open_it(tree: CgroupTree, open_to_all: Path) -> None:
    prepare(tree, open_to_all, uid=64002)
    assert "error" in use(tree, open_to_all, 1)


def test_prepared_again_it_stays_theirs(tree: CgroupTree, open_to_all: Path) -> None:
    for _ in range(2):
        prepare(tree, open_to_all)
    assert "error" not in use(tree, open_to_all, 1)


def test_nothing_prepared_is_said(tree: CgroupTree, pin_dir: Path) -> None:
    with pytest.raises(KernelError, match="lockgate prepare"):
        Prepared(pin_dir, tree.agent)


def test_one_agent_at_a_time(tree: CgroupTree, pin_dir: Path) -> None:
    prepare(tree, pin_dir, uid=0)
    with Prepared(pin_dir, tree.agent), pytest.raises(KernelError, match="another agent"):
        Prepared(pin_dir, tree.agent)
    Prepared(pin_dir, tree.agent).close()


def test_maps_of_another_version_are_not_taken(tree: CgroupTree, pin_dir: Path) -> None:
    with Interceptor(cgroup=tree.apps, agent_cgroup=tree.agent, pin_dir=pin_dir) as hooks:
        hooks.attach()
        assert hooks._pins is not None
        hooks._pins.put("map_targets", hooks._maps["published"].fd)
    with pytest.raises(KernelError, match="map targets was prepared by another version"):
        Prepared(pin_dir, tree.agent)


def test_a_map_that_is_missing_is_named(tree: CgroupTree, pin_dir: Path) -> None:
    prepare(tree, pin_dir, uid=0)
    pins = Pins(pin_dir)
    pins.drop("map_accepted")
    pins.close()
    with pytest.raises(KernelError, match="map accepted is not prepared"):
        Prepared(pin_dir, tree.agent)
