"""`lockgate trace`: the verdict on a host with an agent, on one past it, and what it says when it can't tell."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lockgate.cli import main, trace
from tests.support.cgroup import run_in
from tests.support.headers import bcc_headers
from tests.support.postgres import free_port
from tests.support.stack import PROGRAM, Stack

__all__ = ["bcc_headers"]

UNITS = Path(__file__).parents[2] / "packaging/systemd"

Outcome = tuple[int, list[str], list[str]]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack() as running:
        yield running


@pytest.fixture(autouse=True)
def headers(bcc_headers: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in bcc_headers.items():
        monkeypatch.setenv(name, value)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["trace", *arguments])


@contextmanager
def tracing(*arguments: str) -> Iterator[Callable[..., Outcome]]:
    """Runs it until what it yields is called: (exit status, lines of its output, lines of its standard error)."""
    command = [PROGRAM, "trace", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        assert "watching port" in first, first

        def end(interrupt: bool = True) -> Outcome:
            if interrupt:
                process.send_signal(signal.SIGINT)
            stdout, stderr = process.communicate(timeout=30)
            return process.returncode, stdout.splitlines(), [first.strip(), *stderr.splitlines()]

        try:
            yield end
        finally:
            process.kill()


def witness_of(port: int) -> int:
    """The process in the distribution's Python."""
    (found,) = (
        int(place.parent.name)
        for place in Path("/proc").glob("[0-9]*/cmdline")
        if f"witness.py\0--port\0{port}\0" in place.read_text()
    )
    return found


def select(stack: Stack, cgroup: str) -> subprocess.CompletedProcess[str]:
    command = ["psql", "-h", "127.0.0.1", "-p", str(stack.server.port), "-U", "app", "-d", "postgres", "-c", "SELECT 1"]
    return run_in(cgroup, command)


def by_way(lines: list[str]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for line in map(json.loads, lines):
        found.setdefault(line["way"], []).append(line)
    return found


def test_it_sees_the_agent_and_nobody_else(stack: Stack) -> None:
    with tracing("--config", str(stack.agent_yaml), "--json") as end:
        stack.psql("ann", "SELECT 1")
        status, lines, told = end()
    seen = by_way(lines)
    assert (status, set(seen)) == (0, {"agent", "redirected"})
    (psql,) = seen["redirected"]
    assert (psql["comm"], psql["cgroup"], psql["address"], psql["datastore"]) == (
        "psql", stack.tree.apps, "127.0.0.1", None,
    )  # fmt: skip
    assert psql["port"] != stack.server.port
    assert {(one["port"], one["cgroup"], one["datastore"]) for one in seen["agent"]} == {
        (stack.server.port, stack.tree.agent, "orders")
    }
    assert told[0].endswith(f"watching port {stack.server.port}; the agent is whoever is in cgroup {stack.tree.agent}")
    assert told[-1] == f"lockgate: 0 direct, 1 redirected, {len(seen['agent'])} agent, 0 undeclared"


def test_somebody_past_it_is_named_and_the_status_is_1(stack: Stack) -> None:
    with tracing("--config", str(stack.agent_yaml)) as end:
        assert select(stack, stack.tree.root).returncode == 0
        status, lines, told = end()
    header, row = lines
    assert header.split() == ["TIME", "WAY", "PID", "UID", "PROGRAM", "DATASTORE", "TO", "RESULT", "CGROUP"]
    _, way, _, uid, program, datastore, to, result, cgroup = row.split()
    assert (way, uid, datastore, to, result, cgroup) == (
        "direct", "0", "orders", f"127.0.0.1:{stack.server.port}", "connected", stack.tree.root,
    )  # fmt: skip
    assert program.endswith("psql")
    assert (status, told[-1]) == (1, "lockgate: 1 direct, 0 redirected, 0 agent, 0 undeclared")


def test_an_address_that_is_not_declared_is_listed_and_does_not_count(stack: Stack) -> None:
    with tracing("--config", str(stack.agent_yaml), "--json") as end:
        run_in(stack.tree.root, ["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.9/{stack.server.port}"])
        status, lines, _ = end()
    assert (status, list(by_way(lines))) == (0, ["undeclared"])


def test_with_the_agent_dead_nobody_passes(stack: Stack) -> None:
    stack.stop("agent", signal.SIGKILL)
    try:
        with tracing("--config", str(stack.agent_yaml), "--json") as end:
            assert select(stack, stack.tree.apps).returncode == 2
            status, lines, _ = end()
        assert (status, lines) == (0, [])
    finally:
        stack.start("agent")
        stack.wait_ready()


def test_who_reads_the_agents_metrics_is_not_listed(stack: Stack) -> None:
    with tracing("--config", str(stack.agent_yaml), "--json") as end:
        run_in(stack.tree.root, ["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{stack.metrics_port}"])
        status, lines, _ = end()
    assert (status, lines) == (0, [])


def test_ports_without_a_configuration(stack: Stack) -> None:
    port = free_port()
    with tracing("--port", str(port), "--port", str(stack.server.port), "--json") as end:
        run_in(stack.tree.root, ["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.9/{port}"])
        status, lines, told = end()
    (seen,) = by_way(lines)["direct"]
    assert (status, seen["datastore"], seen["result"]) == (1, f"port {port}", "failed")
    assert "the agent is nobody" in told[0]


def test_the_agents_cgroup_can_be_given(stack: Stack) -> None:
    arguments = ("--port", str(stack.server.port), "--agent-cgroup", stack.tree.apps, "--json")
    with tracing(*arguments) as end:
        run_in(stack.tree.apps, ["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.9/{stack.server.port}"])
        status, lines, _ = end()
    assert (status, list(by_way(lines))) == (0, ["agent"])


def test_a_witness_with_holes_proves_nothing(stack: Stack) -> None:
    port = free_port()
    flood = f"import socket\nfor _ in range(20000): socket.socket().connect_ex(('127.0.0.1', {port}))"
    with tracing("--port", str(port), "--agent-cgroup", stack.tree.agent, "--json") as end:
        witness = witness_of(port)
        os.kill(witness, signal.SIGSTOP)
        try:
            run_in(stack.tree.agent, ["python3", "-c", flood])
        finally:
            os.kill(witness, signal.SIGCONT)
        status, lines, told = end()
    assert set(by_way(lines)) == {"agent"}
    assert (status, told[-1].endswith(" events lost")) == (1, True)


def test_one_that_is_killed_is_no_proof_either() -> None:
    port = free_port()
    with tracing("--port", str(port)) as end:
        os.kill(witness_of(port), signal.SIGKILL)
        status, _, told = end(interrupt=False)
    assert status == 1
    assert told[-1] == "lockgate: the witness ended before its time (exit status -9)"


def test_it_ends_in_time_and_nothing_is_a_good_answer() -> None:
    done = run("--port", str(free_port()), "--seconds", "0.1", "--json")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr.splitlines()[-1] == "lockgate: 0 direct, 0 redirected, 0 agent, 0 undeclared"


def test_what_is_missing_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = str(free_port())
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(tmp_path))
    for arguments, words in (
        ((), f"no kernel headers in {tmp_path}"),
        (("--python", "/no/python"), "/no/python: No such file or directory"),
    ):
        done = run("--port", port, *arguments)
        assert (done.exit_code, done.stdout) == (2, "")
        assert [words in line for line in done.stderr.splitlines()] == [True]


def test_only_root_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    done = run("--port", "5432")
    assert (done.exit_code, done.stderr) == (2, "lockgate: only root can trace\n")


@pytest.mark.parametrize(
    "arguments",
    [["--port", "0"], ["--port", "x"], ["--seconds", "0"], ["--config", "/no/such/file"], ["--no-such"]],
)
def test_usage_and_configuration_are_2(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


def test_an_agent_that_is_away_is_expected_where_its_unit_will_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "agent.yaml"
    answer = {
        "agent": {"name": "h", "state_dir": str(tmp_path), "run_dir": str(tmp_path)},
        "intercept": {"cgroup": "/"},
        "datastores": [{"name": "orders", "protocol": "postgresql", "addresses": ["*:5432"]}],
        "collector": {"address": "127.0.0.1:1", "api": "http://127.0.0.1:2"},
    }
    settings.write_text(json.dumps(answer))
    for folder, expected in ((tmp_path, "/lockgate-agent"), (UNITS, "/system.slice/lockgate-agent.service")):
        monkeypatch.setattr(trace, "UNIT_FOLDERS", (str(folder),))
        done = run("--config", str(settings), "--seconds", "0.1")
        assert done.exit_code == 0
        assert done.stderr.splitlines()[0].endswith(f"the agent is whoever is in cgroup {expected}")
