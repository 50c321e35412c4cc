from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from click.testing import CliRunner

from lockgate.cli import main
from lockgate.demo.errors import DemoError
from lockgate.demo.world import CACHE, COMMAND_SECONDS, ORDERS, World
from tests.demo.leftovers import leftovers


def test_its_policies_are_the_worked_set() -> None:
    assert ORDERS.resolve() == Path(__file__).parents[2] / "policies" / "examples" / "orders"


def test_the_cases_beside_its_policies_hold() -> None:
    config = str(CACHE / "agent.yaml")
    checked = CliRunner().invoke(main, ["policy", "check", "--config", config])
    assert (checked.exit_code, checked.stdout.splitlines()[-1]) == (0, "ok: 27 policies, 0 warnings")
    tested = CliRunner().invoke(main, ["policy", "test", "--config", config])
    assert (tested.exit_code, tested.stdout.splitlines()[-1]) == (0, "ok: 52 of 52 cases hold")


def test_people_work_in_it_and_nothing_is_left_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with World() as world:
        assert world.status()["ready"] is True
        assert world.run("ann", "id", "-u").output == "64001\n"
        assert world.run("ann", "cat", "/proc/self/cgroup").output.splitlines()[-1] == f"0::{world.tree.apps}"
        assert "CapEff:\t0000000000000000\n" in world.run("ann", "cat", "/proc/self/status").output
        assert world.run("root", "id", "-u").output == "0\n"

        seen = world.run("ann", "psql", "-c", "SELECT id, total FROM orders WHERE id = 7")
        assert seen.rows == world.truth("SELECT id, total FROM orders WHERE id = 7")
        assert world.run("ann", "lockgate", "status", "--config", "agent.yaml").status == 0
        read = world.run("ann", "redis-cli", "-p", str(world.cache.port), "GET", "cart:7")
        assert read.output == world.cached("GET", "cart:7") == "2 lamps, 1 kettle\n"

        calls = iter(range(3))
        last = world.until(lambda _: next(calls) == 2, 10, "ann", "true")
        assert (last.status, next(calls, None)) == (0, None)
        assert world.until(lambda _: False, 0.01, "ann", "echo", "no").output == "no\n"

        monkeypatch.setattr("lockgate.demo.world.COMMAND_SECONDS", 0.2)
        with pytest.raises(DemoError, match=r"no answer in 0.2 s: ann\$ sleep 60"):
            world.run("ann", "sleep", "60")
        monkeypatch.setattr("lockgate.demo.world.COMMAND_SECONDS", COMMAND_SECONDS)

        assert world.complaints("agent") == ""
        os.kill(world.pid("agent"), signal.SIGKILL)
        assert world.ended("agent") == -9
        assert world.run("ann", "psql", "-c", "SELECT 1").status == 2
    assert leftovers(os.getpid()) == []


def test_an_agent_that_can_not_start_says_why(tmp_path: Path) -> None:
    policies = tmp_path / "orders"
    shutil.copytree(ORDERS, policies)
    (policies / "access.cedar").write_text("permit (everybody);")
    with pytest.raises(DemoError, match=r"the agent can't start\nlockgate: .*access.cedar:1: "), World(policies):
        pass
    assert leftovers(os.getpid()) == []


def test_taking_it_away_is_not_stopped_half_way(monkeypatch: pytest.MonkeyPatch) -> None:
    release = World._release

    def interrupted(world: World) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        release(world)

    monkeypatch.setattr(World, "_release", interrupted)
    with World():
        pass
    assert leftovers(os.getpid()) == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
