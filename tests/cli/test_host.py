"""`lockgate exec`, `status`, `doctor` and `release`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from lockgate.cli import main
from tests.support.stack import Stack


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack() as running:
        yield running


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def test_exec_runs_among_the_intercepted(stack: Stack) -> None:
    done = stack.lockgate("exec", "--config", str(stack.agent_yaml), "--", "cat", "/proc/self/cgroup")
    assert done.returncode == 0
    assert stack.tree.apps in done.stdout
    select = stack.lockgate(
        "exec", "--config", str(stack.agent_yaml), "--", "psql", "-h", "127.0.0.1", "-p", str(stack.server.port),
        "-U", "app", "-d", "postgres", "-c", "SELECT 1",
    )  # fmt: skip
    assert "no policy permits unmatched" in select.stderr


@pytest.mark.parametrize(
    ("command", "status"), [(["sh", "-c", "exit 7"], 7), (["/no/such/program"], 127), (["/"], 126)]
)
def test_exec_ends_as_the_command_does(stack: Stack, command: list[str], status: int) -> None:
    done = stack.lockgate("exec", "--config", str(stack.agent_yaml), "--", *command)
    assert done.returncode == status


def test_exec_passes_options_on(stack: Stack) -> None:
    done = stack.lockgate("exec", "--config", str(stack.agent_yaml), "--", "printf", "%s", "--config")
    assert done.stdout == "--config"


def test_status_in_words_and_in_json(stack: Stack) -> None:
    words = run("status", "--config", str(stack.agent_yaml))
    assert (words.exit_code, "datastore orders: enforcing\n" in words.output) == (0, True)
    (line,) = run("status", "--config", str(stack.agent_yaml), "--json").output.splitlines()
    found = json.loads(line)
    assert (found["ready"], found["host"], found["held"]) == (True, "host-1", 0)


OBSERVED = {
    "name": "orders", "mode": "observe", "connections": 1, "statements": 12, "would_deny": 3, "would_hold": 2,
    "would_mask": 4, "shadow_differs": 5, "unread_connections": 6, "caution": "nobody is let in",
}  # fmt: skip


def test_status_says_what_is_only_observed_so_that_nobody_misses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "agent.yaml"
    settings.write_text(
        yaml.safe_dump(
            {
                "intercept": {},
                "datastores": [{"name": "orders", "protocol": "postgresql", "addresses": ["*:5432"]}],
                "collector": {"address": "127.0.0.1:1", "api": "http://127.0.0.1:2"},
            }
        )
    )
    answer = {"ready": True, "datastores": [OBSERVED],
              "shadow": {"configured": True, "epoch": 2, "problem": "next.cedar:1: no"}}  # fmt: skip
    monkeypatch.setattr("lockgate.approval.ask.ask", lambda run_dir, what: {"status": answer})
    told = run("status", "--config", str(settings)).output.splitlines()
    assert told[1] == (
        "datastore orders: OBSERVING: nothing is blocked, masked or held (`mode: enforce` in agent.yaml turns it on)"
    )
    assert told[2] == "datastore orders: CAUTION: nobody is let in"
    assert told[3] == (
        "datastore orders: 1 connections open; since the start 12 statements, of which observed and would be denied 3, "
        "held 2, masked 4; 6 connections not read; 5 statements would end otherwise by the policies that are tried"
    )
    assert told[4:] == ["shadow: policies are tried, epoch 2", "shadow: NOT TAKEN: next.cedar:1: no"]
    assert json.loads(run("status", "--config", str(settings), "--json").output) == answer


def test_status_of_an_agent_that_is_away_is_1(tmp_path: Path) -> None:
    settings = tmp_path / "agent.yaml"
    settings.write_text(
        json.dumps(
            {
                "agent": {"name": "h", "state_dir": str(tmp_path), "run_dir": str(tmp_path)},
                "intercept": {"cgroup": "/x"},
                "datastores": [{"name": "orders", "protocol": "postgresql", "addresses": ["127.0.0.1:5432"]}],
                "collector": {"address": "127.0.0.1:1", "api": "http://127.0.0.1:2"},
            }
        )
    )
    words = run("status", "--config", str(settings))
    assert (words.exit_code, len(words.stderr.splitlines())) == (1, 1)
    answer = run("status", "--config", str(settings), "--json")
    assert (answer.exit_code, json.loads(answer.output)["ready"]) == (1, False)


def test_doctor_says_what_there_is_line_by_line(stack: Stack) -> None:
    words = run("doctor", "--config", str(stack.agent_yaml))
    lines = run("doctor", "--config", str(stack.agent_yaml), "--json").output.splitlines()
    found = [json.loads(line) for line in lines]
    assert words.exit_code == 0
    assert len(words.output.splitlines()) == len(found) > 5
    assert all({"name", "ok", "detail", "cost"} == set(one) for one in found)


def test_release_is_refused_while_an_agent_runs(stack: Stack) -> None:
    told = run("release", "--config", str(stack.agent_yaml))
    assert told.exit_code == 1
    assert "still running" in told.stderr


def test_prepare_with_nothing_kept_does_nothing_and_says_so(tmp_path: Path) -> None:
    told = run("prepare", "--last", str(tmp_path / "gate.json"))
    assert (told.exit_code, len(told.output.splitlines())) == (0, 1)
    (tmp_path / "gate.json").write_text("{")
    broken = run("prepare", "--last", str(tmp_path / "gate.json"))
    assert (broken.exit_code, len(broken.stderr.splitlines())) == (1, 1)


def test_prepare_changes_nothing_for_a_configuration_that_is_none(stack: Stack, tmp_path: Path) -> None:
    settings = yaml.safe_load(stack.agent_yaml.read_text())
    settings["agent"] |= {"run_dir": str(tmp_path / "run"), "state_dir": str(tmp_path / "state"), "nonsense": 1}
    broken = tmp_path / "agent.yaml"
    broken.write_text(yaml.safe_dump(settings))
    told = stack.lockgate("prepare", "--config", str(broken))
    assert (told.returncode, len(told.stderr.splitlines())) == (2, 1)
    quiet = stack.lockgate("prepare", "--service", "--config", str(broken))
    assert (quiet.returncode, quiet.stderr) == (2, "")
    assert not (tmp_path / "run").exists()
    unknown = stack.lockgate("prepare", "--config", str(stack.agent_yaml), "--user", "no-such-user")
    assert (unknown.returncode, unknown.stderr) == (2, "lockgate: there is no user no-such-user\n")


def test_prepare_leaves_it_to_the_agent_to_say_why_it_could_not(stack: Stack, tmp_path: Path) -> None:
    settings = yaml.safe_load(stack.agent_yaml.read_text())
    settings["agent"] |= {"run_dir": str(tmp_path), "state_dir": str(tmp_path / "state")}
    settings["intercept"]["cgroup"] = "/lockgate-test-absent"
    absent = tmp_path / "agent.yaml"
    absent.write_text(yaml.safe_dump(settings))
    told = stack.lockgate("prepare", "--service", "--config", str(absent))
    assert (told.returncode, told.stderr) == (1, "")
    why = (tmp_path / "unprepared").read_text()
    assert "/lockgate-test-absent" in why or "mount namespace" in why, "where process 1 is out of reach it ends there"


def test_prepare_beside_a_running_agent_is_refused(stack: Stack) -> None:
    told = stack.lockgate("prepare", "--config", str(stack.agent_yaml))
    assert (told.returncode, len(told.stderr.splitlines())) == (1, 1)
    assert "another agent" in told.stderr


def test_every_command_is_there_and_starts_lean() -> None:
    for name in (
        "agent",
        "collector",
        "exec",
        "status",
        "doctor",
        "prepare",
        "release",
        "demo",
        "policy",
        "approvals",
        "audit",
    ):
        assert run(name, "--help").exit_code == 0
    assert run("nonsense").exit_code == 2
    lean = "import sys, lockgate.cli; sys.exit(any(m in sys.modules for m in ('pglast', 'httpx', 'uvloop', 'cedarpy')))"
    assert subprocess.run([sys.executable, "-c", lean], check=False).returncode == 0
