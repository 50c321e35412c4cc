"""The way out, whatever state the agent and the disk are in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from lockgate import config
from lockgate.audit import unrecorded
from lockgate.cli import main
from lockgate.proxy.release import ReleaseError, release, release_unread
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


MANAGER = """#!/bin/sh
echo "$@" >> {folder}/asked
case $1 in
show) cat {folder}/shown ;;
stop) {stop} ;;
esac
"""


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """A service manager that says `shown` of every unit and does `stop`; gives the file of what it was asked."""

    def put(shown: str, stop: str) -> Path:
        program = tmp_path / "systemctl"
        program.write_text(MANAGER.format(folder=tmp_path, stop=stop))
        program.chmod(0o755)
        (tmp_path / "shown").write_text(shown)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        return tmp_path / "asked"

    return put


def packaged(settings: config.AgentFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run folder is the one of the packages' unit."""
    monkeypatch.setattr("lockgate.proxy.release._PACKAGED", Path(settings.agent.run_dir))


def test_an_agent_that_keeps_failing_is_stopped_although_no_process_is_there(
    stack: Stack, killed: config.AgentFile, manager: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next try would close the gate again in a second."""
    packaged(killed, monkeypatch)
    asked = manager("ActiveState=activating\nMainPID=0\n", "exit 0")
    assert release(killed) == "recorded"
    assert "stop -- lockgate-agent.service\n" in asked.read_text()
    assert stack.psql("eve", "SELECT 1").stdout == "1\n"


@pytest.mark.parametrize("state", ["inactive", "failed"])
def test_a_service_that_is_over_is_left_alone(
    killed: config.AgentFile, manager: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    packaged(killed, monkeypatch)
    asked = manager(f"ActiveState={state}\nMainPID=0\n", "exit 0")
    assert release(killed) == "recorded"
    assert "stop" not in asked.read_text()


def test_one_with_folders_of_its_own_is_no_business_of_the_packages_unit(
    killed: config.AgentFile, manager: Callable[[str, str], Path]
) -> None:
    asked = manager("ActiveState=active\nMainPID=1\n", "exit 0")
    release(killed)
    assert not asked.exists()


def test_that_it_was_opened_is_recorded_also_when_the_service_can_not_be_stopped(
    stack: Stack, killed: config.AgentFile, manager: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(stack.records(type="agent", event="release"))
    packaged(killed, monkeypatch)
    manager("ActiveState=active\nMainPID=0\n", "echo no such luck >&2; exit 1")
    with pytest.raises(
        ReleaseError, match=r"is open, but lockgate-agent.service is not stopped: no such luck; recorded"
    ):
        release(killed)
    assert len(stack.records(type="agent", event="release")) == before + 1


def test_no_other_service_is_stopped_by_the_word_of_the_lock_file(
    stack: Stack, manager: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file belongs to the agent's account, and may name sshd."""
    settings = config.load_agent(str(stack.agent_yaml))
    with subprocess.Popen(["sleep", "60"]) as other:
        asked = manager(f"ActiveState=active\nMainPID={other.pid}\n", "exit 0")
        monkeypatch.setattr("lockgate.proxy.release._unit", lambda pid: "ssh.service")
        monkeypatch.setattr("lockgate.proxy.release.lock_holder", lambda pins: other.pid)
        with pytest.raises(ReleaseError, match="stop it first"):
            release(settings)
        assert not asked.exists()
        other.kill()
    # nor one that an agent was only started in, from a shell
    agent = stack.processes["agent"].pid
    asked = manager("ActiveState=active\nMainPID=1\n", "exit 0")
    monkeypatch.setattr("lockgate.proxy.release.lock_holder", lambda pins: agent)
    with pytest.raises(ReleaseError, match="stop it first"):
        release(settings)
    assert "stop" not in asked.read_text()
    assert stack.psql("ann", "SELECT 1").stdout == "1\n"


def test_a_configuration_that_can_not_be_read_keeps_nothing_closed(
    stack: Stack, killed: config.AgentFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be what closed the gate."""
    assert release_unread("line 3 is wrong") is None, "no other agent's"
    packaged(killed, monkeypatch)
    monkeypatch.setattr("lockgate.proxy.release._DEFAULT", killed.agent)
    broken = stack.folder / "broken.yaml"
    broken.write_text("agent: [")
    done = CliRunner().invoke(main, ["release", "--config", str(broken)])
    assert done.exit_code == 0, done.output
    assert "not recorded yet" in done.output
    assert stack.psql("eve", "SELECT 1").stdout == "1\n"
    before = len(stack.records(type="agent", event="release"))
    stack.start("agent")
    stack.wait_ready()
    assert len(stack.records(type="agent", event="release")) == before + 1
    stack.stop("agent")
