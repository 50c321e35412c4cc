"""The agent gone is a closed gate (law 7)."""

from __future__ import annotations

import signal

from tests.support.stack import Stack


def test_killed_it_leaves_the_gate_closed_and_comes_back(stack: Stack) -> None:
    assert stack.psql("ann", "SELECT 1").returncode == 0
    stack.stop("agent", signal.SIGKILL)
    run = stack.psql("ann", "SELECT 1")
    assert run.returncode == 2
    assert "Connection refused" in run.stderr
    stack.start("agent")
    stack.wait_ready()
    assert stack.psql("ann", "SELECT 1").returncode == 0
    assert stack.lockgate("audit", "verify", "--config", str(stack.collector_yaml)).returncode == 0


def test_killed_in_the_middle_the_statement_ends_and_is_recorded_as_begun(stack: Stack) -> None:
    running = stack.asleep()
    stack.stop("agent", signal.SIGKILL)
    assert "connection" in running.communicate(timeout=10)[1]


def test_release_opens_the_gate_and_is_refused_while_an_agent_runs(stack: Stack) -> None:
    refused = stack.lockgate("release", "--config", str(stack.agent_yaml))
    assert refused.returncode == 1
    stack.stop("agent", signal.SIGKILL)
    assert stack.lockgate("release", "--config", str(stack.agent_yaml)).returncode == 0
    assert stack.psql("eve", "SELECT 1").stdout == "1\n", "straight to the server"
    assert [r["event"] for r in stack.records(type="agent")][-1] == "release"


def test_a_second_agent_is_refused_and_the_first_goes_on(stack: Stack) -> None:
    second = stack.lockgate("agent", "--config", str(stack.agent_yaml))
    assert second.returncode == 1
    assert len(second.stderr.strip().splitlines()) == 1, second.stderr
    assert stack.psql("ann", "SELECT 1").returncode == 0
