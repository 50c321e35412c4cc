"""`lockgate agent` and `lockgate collector`: what stops them at the door is one line and an exit status."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lockgate.cli import main


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


@pytest.mark.parametrize("command", ["agent", "collector"])
def test_a_configuration_is_needed_and_read_first(command: str, tmp_path: Path) -> None:
    assert run(command).exit_code == 2
    missing = run(command, "--config", str(tmp_path / "absent.yaml"))
    assert (missing.exit_code, len(missing.stderr.splitlines())) == (2, 1)
    broken = tmp_path / "broken.yaml"
    broken.write_text("agent: {name: x\n")
    told = run(command, "--config", str(broken))
    assert told.exit_code == 2
    assert told.stderr.startswith(f"lockgate: {broken}:")


def test_policies_that_are_none_stop_the_agent(tmp_path: Path) -> None:
    settings = tmp_path / "agent.yaml"
    settings.write_text(
        json.dumps(
            {
                "agent": {"name": "h", "state_dir": str(tmp_path), "run_dir": str(tmp_path)},
                "intercept": {"cgroup": "/x"},
                "datastores": [{"name": "orders", "protocol": "postgresql", "addresses": ["127.0.0.1:5432"]}],
                "collector": {"address": "127.0.0.1:1", "api": "http://127.0.0.1:2"},
                "policies": [str(tmp_path)],
            }
        )
    )
    told = run("agent", "--config", str(settings))
    assert (told.exit_code, "there is no policy" in told.stderr) == (2, True)


def test_an_address_that_is_taken_stops_the_collector(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = tmp_path / "collector.yaml"
        state = str(tmp_path / "state")
        settings.write_text(json.dumps({"collector": {"listen": address, "http": "127.0.0.1:1", "state_dir": state}}))
        told = run("collector", "--config", str(settings))
        assert (told.exit_code, address in told.stderr) == (1, True)


def configured(folder: Path) -> Path:
    """A pair of configurations that would start."""
    (folder / "all.cedar").write_text("permit (principal, action, resource);")
    settings = folder / "agent.yaml"
    settings.write_text(
        json.dumps(
            {
                "agent": {"name": "h", "state_dir": str(folder / "state"), "run_dir": str(folder / "run")},
                "intercept": {"cgroup": "/x"},
                "datastores": [{"name": "orders", "protocol": "postgresql", "addresses": ["127.0.0.1:5432"]}],
                "collector": {"address": "127.0.0.1:1", "api": "http://127.0.0.1:2"},
                "policies": [str(folder)],
            }
        )
    )
    other = {"collector": {"listen": "127.0.0.1:1", "http": "127.0.0.1:2", "state_dir": str(folder)}}
    (folder / "collector.yaml").write_text(json.dumps(other))
    return folder


def test_a_check_says_that_it_would_start_and_starts_nothing(tmp_path: Path) -> None:
    folder = configured(tmp_path)
    for program in ("agent", "collector"):
        told = run(program, "--check", "--config", str(folder / f"{program}.yaml"))
        assert (told.exit_code, told.stdout) == (0, f"{folder / program}.yaml: the {program} would start with it\n")
    assert not (folder / "run").exists()


def test_a_check_says_why_it_would_not_in_one_line(tmp_path: Path) -> None:
    folder = configured(tmp_path)
    (folder / "all.cedar").write_text("permit (")
    told = run("agent", "--check", "--config", str(folder / "agent.yaml"))
    assert (told.exit_code, len(told.stderr.splitlines())) == (2, 1)
    assert "all.cedar" in told.stderr
    (folder / "collector.yaml").write_text("collector: {listen: x}")
    assert run("collector", "--check", "--config", str(folder / "collector.yaml")).exit_code == 2
