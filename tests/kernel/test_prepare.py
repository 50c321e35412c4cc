"""Which gate an agent gets, and where it lives."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lockgate.demo.cgroup import in_cgroup
from lockgate.kernel import libbpf
from lockgate.kernel.layout import Target
from lockgate.kernel.prepare import leave_why, unprepared
from lockgate.kernel.prepared import Prepared
from lockgate.kernel.standing import Standing
from tests.kernel.conftest import python
from tests.support.cgroup import CgroupTree, run_in
from tests.support.postgres import free_port

ASK = """
import json, sys
from lockgate.config import Intercept
from lockgate.kernel.cgroups import Hierarchy
from lockgate.kernel.prepare import own_cgroup
tree = Hierarchy.find()
own = own_cgroup(Intercept(**json.loads(sys.argv[1])), tree)
print(json.dumps({"own": own, "current": tree.current()}))
"""


def ask(where: str, **intercept: str) -> dict[str, Any]:
    argv = in_cgroup(where, [sys.executable, "-c", ASK, json.dumps(intercept)])
    answer: dict[str, Any] = json.loads(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)
    return answer


def test_an_agent_moves_to_its_own_cgroup(tree: CgroupTree) -> None:
    own = f"{tree.root}/made"
    assert ask(tree.apps, cgroup=tree.apps, agent_cgroup=own) == {"own": own, "current": own}


def test_beside_what_it_intercepts_unless_it_is_told(tree: CgroupTree) -> None:
    assert ask(tree.apps, cgroup=tree.apps) == {"own": tree.agent, "current": tree.agent}


def test_a_service_stays_where_its_manager_put_it(tree: CgroupTree) -> None:
    unit = f"{tree.apps}/lockgate-agent.service"
    tree.hierarchy.create(unit)
    assert ask(unit, cgroup=tree.apps) == {"own": unit, "current": unit}
    assert ask(unit, cgroup=tree.apps, agent_cgroup=tree.agent)["own"] == tree.agent, "unless it is told"


def test_another_service_is_not_taken_for_it(tree: CgroupTree) -> None:
    """Everybody who logs in over SSH would be exempt."""
    for name in ("ssh.service", "x-lockgate-agent.service", "lockgate-agent.service.d"):
        unit = f"{tree.apps}/{name}"
        tree.hierarchy.create(unit)
        assert ask(unit, cgroup=tree.apps)["own"] == tree.agent


PREPARE = """
import sys
from lockgate.config import Agent, AgentFile, CollectorClient, Datastore, Intercept
from lockgate.kernel.prepare import prepare
run_dir, apps, agent = sys.argv[1:]
prepare(
    AgentFile(
        agent=Agent(name="h", run_dir=run_dir, state_dir=run_dir),
        intercept=Intercept(cgroup=apps, agent_cgroup=agent),
        datastores=[Datastore(name="o", protocol="postgresql", addresses=["*:5432"])],
        collector=CollectorClient(address="127.0.0.1:1", api="http://127.0.0.1:2"),
    ),
    64001, 64002,
)
"""


def prepared(tree: CgroupTree, pin_dir: Path) -> None:
    argv = [sys.executable, "-c", PREPARE, str(pin_dir.parent), tree.apps, tree.agent]
    subprocess.run(argv, check=True, timeout=30)


def test_prepared_for_an_account_the_hooks_outlive_who_prepared_them(tree: CgroupTree, pin_dir: Path) -> None:
    prepared(tree, pin_dir)
    maps = [path for path in pin_dir.iterdir() if path.name.startswith("map_")]
    links = [path for path in pin_dir.iterdir() if path.name.startswith("link_")]
    assert {(path.stat().st_uid, path.stat().st_gid) for path in maps} == {(64001, 64002)}
    assert len(links) == 6
    assert {path.stat().st_uid for path in links} == {0}
    assert (pin_dir.stat().st_uid, pin_dir.stat().st_gid, pin_dir.stat().st_mode & 0o777) == (0, 64002, 0o710)


DIAL = """
    s = socket.socket(); s.settimeout(5)
    say(errno=s.connect_ex(('127.0.0.1', int(sys.argv[1]))))
"""


def test_a_version_that_keeps_targets_in_another_shape_opens_nothing(tree: CgroupTree, pin_dir: Path) -> None:
    """Its hooks look at a new map. That is not empty until the agent is there: connections would go straight."""
    with socket.create_server(("127.0.0.1", 0)) as datastore:
        port = datastore.getsockname()[1]
        prepared(tree, pin_dir)
        stood = [Target(None, port, 0, free_port())]
        with Prepared(pin_dir, tree.agent) as gate:
            gate.set_targets(stood)
        Standing.of(tree.apps, pin_dir, stood).keep(pin_dir.parent / "gate.json")
        # as another version may have left it: a map of another shape under the name of ours
        counters = libbpf.pinned(pin_dir / "map_counters")
        assert counters is not None
        (pin_dir / "map_targets").unlink()
        libbpf.pin(counters, pin_dir / "map_targets")
        os.close(counters)
        prepared(tree, pin_dir)
        answer = json.loads(run_in(tree.apps, python(DIAL, port)).stdout)
        assert answer["errno"] == errno.ECONNREFUSED
        datastore.setblocking(False)
        with pytest.raises(BlockingIOError):
            datastore.accept()


def test_how_it_stood_is_no_obstacle_when_it_can_t_be_read(tree: CgroupTree, pin_dir: Path) -> None:
    pin_dir.parent.mkdir()
    (pin_dir.parent / "gate.json").write_text("{")
    prepared(tree, pin_dir)
    with Prepared(pin_dir, tree.agent) as gate:
        assert not gate.has_targets


def test_why_nothing_could_be_prepared_is_what_the_agent_says(tree: CgroupTree, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("untouched")
    (tmp_path / "unprepared").symlink_to(elsewhere)
    leave_why(tmp_path, "no hooks: this kernel has none")
    assert elsewhere.read_text() == "untouched"
    script = """
import os, sys
from lockgate.config import Agent, AgentFile, CollectorClient, Datastore, Intercept
from lockgate.kernel.libbpf import KernelError
from lockgate.kernel.prepare import open_gate
os.setuid(64001)
settings = AgentFile(
    agent=Agent(name="h", run_dir=sys.argv[1]), intercept=Intercept(cgroup="/"),
    datastores=[Datastore(name="o", protocol="postgresql", addresses=["*:5432"])],
    collector=CollectorClient(address="127.0.0.1:1", api="http://127.0.0.1:2"),
)
try:
    open_gate(settings, sys.argv[2])
except KernelError as error:
    print(error)
"""
    for folder in (tmp_path, *tmp_path.parents):
        folder.chmod(folder.stat().st_mode | 0o011)
    argv = [sys.executable, "-c", script, str(tmp_path), tree.agent]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "no hooks: this kernel has none\n"


def test_the_reason_comes_before_that_nothing_is_there(tmp_path: Path) -> None:
    leave_why(tmp_path, "cgroup /none: No such file or directory")
    assert unprepared(tmp_path) == "cgroup /none: No such file or directory"
    (tmp_path / "unprepared").unlink()
    assert "root must run `lockgate prepare`" in unprepared(tmp_path)
    (tmp_path / "bpf").mkdir()
    assert unprepared(tmp_path) == ""
