"""An agent that isn't root, as packages run it: prepared by root, it serves, masks, holds and closes like any other."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.stack import PROGRAM, Stack, without_root

ACCOUNT = "nobody"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(account=ACCOUNT) as made:
        yield made


def capabilities(pid: int, kind: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{kind}:")), 16)


def test_it_serves_and_masks(stack: Stack) -> None:
    run = stack.psql("ann", "SELECT name, email, ssn FROM customers WHERE id = 7")
    assert run.stdout == "name7|u***@e***.org|***\n", run.stderr
    begun = stack.record(
        type="statement", phase="begin", statement="SELECT name, email, ssn FROM customers WHERE id = 7"
    )
    assert begun["connection"]["workload"]["exe"].endswith("psql"), "who asks is told, whoever's process it is"


def test_it_holds_none_of_the_rights_that_prepared_it(stack: Stack) -> None:
    pid = stack.processes["agent"].pid
    status = Path(f"/proc/{pid}/status").read_text()
    assert "Uid:\t0" not in status
    for kind in ("CapEff", "CapPrm", "CapBnd", "CapAmb"):
        assert capabilities(pid, kind) == 1 << 39 | 1 << 19 | 1 << 2, f"{kind}: BPF, SYS_PTRACE, DAC_READ_SEARCH"


def test_it_can_take_no_hook_away(stack: Stack) -> None:
    pins = stack.folder / "run" / "bpf"
    names = sorted(path.name for path in pins.iterdir() if path.name.startswith("link_"))
    assert names
    tried = subprocess.run(
        without_root(ACCOUNT, ["rm", "-f", *(str(pins / name) for name in names)]), capture_output=True, check=False
    )
    assert tried.returncode
    assert sorted(path.name for path in pins.iterdir() if path.name.startswith("link_")) == names


def test_killed_it_is_a_closed_gate_and_comes_back(stack: Stack) -> None:
    stack.stop("agent", signal.SIGKILL)
    refused = stack.psql("ann", "SELECT 1")
    assert (refused.returncode, "Connection refused" in refused.stderr) == (2, True)
    stack.start("agent")
    stack.wait_ready()
    assert stack.psql("ann", "SELECT 1").stdout == "1\n"


def test_the_way_out_is_recorded_as_its_own_and_it_goes_on_afterwards(stack: Stack) -> None:
    stack.stop("agent", signal.SIGKILL)
    assert stack.lockgate("release", "--config", str(stack.agent_yaml)).returncode == 0
    assert stack.psql("eve", "SELECT 1").stdout == "1\n", "straight to the server"
    assert not (stack.folder / "state" / "gate.json").exists(), "nothing closes it again at boot"
    stack.start("agent")
    stack.wait_ready()
    events = [r["event"] for r in stack.records(type="agent")]
    assert events[-2:] == ["release", "start"]


def test_a_second_one_is_told_of_the_first(stack: Stack) -> None:
    argv = without_root(ACCOUNT, [PROGRAM, "agent", "--config", str(stack.agent_yaml)])
    run = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30, cwd="/")
    assert (run.returncode, len(run.stderr.splitlines())) == (1, 1)
    assert f"another agent (process {stack.processes['agent'].pid})" in run.stderr
    assert stack.psql("ann", "SELECT 1").stdout == "1\n"


def test_nobody_has_prepared_it(stack: Stack) -> None:
    stack.stop("agent")
    stack.lockgate("release", "--config", str(stack.agent_yaml))
    argv = without_root(ACCOUNT, [PROGRAM, "agent", "--config", str(stack.agent_yaml)])
    run = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30, cwd="/")
    assert (run.returncode, len(run.stderr.splitlines())) == (1, 1)
    assert "lockgate prepare" in run.stderr
    stack.start("agent")
    stack.wait_ready()


def test_another_account_is_not_served_by_what_was_prepared(stack: Stack) -> None:
    stack.stop("agent")
    argv = without_root("daemon", [PROGRAM, "agent", "--config", str(stack.agent_yaml)])
    run = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30, cwd="/")
    assert run.returncode == 1
    stack.start("agent")
    stack.wait_ready()
