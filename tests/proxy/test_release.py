"""The way out, whatever state the agent and the disk are in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lockgate import config
from lockgate.audit import unrecorded
from lockgate.proxy.release import ReleaseError, release
from tests.support.stack import Stack

HOLD = """
import fcntl, sys
locked = open(sys.argv[1])
fcntl.flock(locked, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack() as made:
        yield made


@pytest.fixture
def killed(stack: Stack) -> Iterator[config.AgentFile]:
    """The agent is gone and its hooks are there; afterwards it runs again."""
    assert "Connection refused" not in stack.psql("ann", "SELECT 1").stderr
    stack.stop("agent", signal.SIGKILL)
    assert "Connection refused" in stack.psql("ann", "SELECT 1").stderr
    yield config.load_agent(str(stack.agent_yaml))
    stack.start("agent")
    stack.wait_ready()


def test_it_opens_and_is_recorded_by_who_is_logged_in(stack: Stack, killed: config.AgentFile) -> None:
    assert release(killed) == "recorded"
    assert stack.psql("eve", "SELECT 1").stdout == "1\n"
    assert stack.records(type="agent", event="release")[-1]["detail"].startswith(f"by uid {os.getuid()}")
    assert not (stack.folder / "state" / "gate.json").exists()


def test_twice_is_no_error(killed: config.AgentFile) -> None:
    release(killed)
    assert release(killed) == "recorded"


def test_where_nothing_can_be_recorded_it_opens_and_the_next_agent_records_it(
    stack: Stack, killed: config.AgentFile
) -> None:
    before = len(stack.records(type="agent", event="release"))
    lock = stack.folder / "state" / "spool" / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert release(killed).startswith("not recorded yet")
        holder.kill()
    assert stack.psql("eve", "SELECT 1").stdout == "1\n"
    assert len(stack.records(type="agent", event="release")) == before
    stack.start("agent")
    stack.wait_ready()
    assert len(stack.records(type="agent", event="release")) == before + 1
    assert unrecorded.left(Path(killed.agent.run_dir)) == []
    stack.stop("agent")


def test_while_an_agent_runs_that_nobody_manages_nothing_happens(stack: Stack) -> None:
    with pytest.raises(ReleaseError, match=f"process {stack.processes['agent'].pid}"):
        release(config.load_agent(str(stack.agent_yaml)))
    stack.psql("ann", "SELECT 2")
    assert stack.record(type="statement", phase="begin", statement="SELECT 2")
