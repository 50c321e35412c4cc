"""Processes have one number in every pid namespace they are seen from: an origin has the agent's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from lockgate.demo.cgroup import in_cgroup
from tests.kernel.conftest import Gate, python
from tests.support.cgroup import CgroupTree, run_in

CONTAINED = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
DIAL = "socket.create_connection(('10.9.8.7', 5432), 5); say()"

AGENT = """
import json, subprocess, sys
from lockgate.kernel.interceptor import Interceptor
from lockgate.kernel.layout import Network, Target
from tests.kernel.conftest import dual_listener
apps, agent, *client = sys.argv[1:]
four, six = dual_listener()
with Interceptor(cgroup=apps, agent_cgroup=agent) as interceptor:
    interceptor.set_targets([Target(None, 5432, 0, four.getsockname()[1])])
    interceptor.attach()
    dialled = subprocess.run(client, capture_output=True, text=True, check=True)
    connection, _ = four.accept()
    print(json.dumps({"origin": interceptor.accepted(connection.fileno()).origin.pid, **json.loads(dialled.stdout)}))
"""


def test_an_agent_in_a_container_finds_the_processes_there_by_their_numbers_there(tree: CgroupTree) -> None:
    client = in_cgroup(tree.apps, python(DIAL))
    agent = [*CONTAINED, sys.executable, "-c", AGENT, tree.apps, tree.agent, *client]
    ran = subprocess.run(
        in_cgroup(tree.agent, agent), capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["origin"] == found["pid"] < 100, "a young namespace's number, not this machine's"


def test_an_agent_outside_of_a_container_finds_the_processes_in_it_by_its_own_numbers(gate: Gate) -> None:
    gate.interceptor.set_targets([gate.target(None, 5432)])
    ran = run_in(gate.tree.apps, [*CONTAINED, *python(DIAL)])
    assert ran.returncode == 0, ran.stderr
    origin, _ = gate.accept()
    assert origin is not None
    assert origin.pid > 1 == json.loads(ran.stdout)["pid"]
