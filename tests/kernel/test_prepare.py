"""Which gate an agent gets, and where it lives."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from lockgate.demo.cgroup import in_cgroup
from lockgate.kernel.prepare import leave_why
from tests.support.cgroup import CgroupTree

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


def test_prepared_for_an_account_the_hooks_outlive_who_prepared_them(tree: CgroupTree, pin_dir: Path) -> None:
    script = """
import json, sys
from lockgate.config import Agent, AgentFile, CollectorClient, Datastore, Intercept
from lockgate.kernel.prepare import prepare
run_dir, apps, agent = sys.argv[1:]
prepare(
    AgentFile(
        agent=Agent(name="h", run_dir=run_dir), intercept=Intercept(cgroup=apps, agent_cgroup=agent),
        datastores=[Datastore(name="o", protocol="postgresql", addresses=["*:5432"])],
        collector=CollectorClient(address="127.0.0.1:1", api="http://127.0.0.1:2"),
    ),
    64001, 64002,
)
"""
    argv = [sys.executable, "-c", script, str(pin_dir.parent), tree.apps, tree.agent]
    subprocess.run(argv, check=True, timeout=30)
    maps = [path for path in pin_dir.iterdir() if path.name.startswith("map_")]
    links = [path for path in pin_dir.iterdir() if path.name.startswith("link_")]
    assert {(path.stat().st_uid, path.stat().st_gid) for path in maps} == {(64001, 64002)}
    assert len(links) == 6
    assert {path.stat().st_uid for path in links} == {0}
    assert (pin_dir.stat().st_uid, pin_dir.stat().st_gid, pin_dir.stat().st_mode & 0o777) == (0, 64002, 0o710)


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
