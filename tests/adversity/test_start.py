"""A start that can't be: one clear line, the right status, and nothing left behind."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lockgate.kernel.cgroups import Hierarchy
from tests.support.cgroup import CgroupTree
from tests.support.stack import PROGRAM


@pytest.fixture(scope="module")
def configured() -> Iterator[Path]:
    """A configuration that would start, for tests to break a copy of; anybody may read it."""
    with tempfile.TemporaryDirectory(prefix="lockgate-test-") as name:
        yield _configured(Path(name))


def _configured(folder: Path) -> Path:
    folder.chmod(0o755)
    (folder / "policies").mkdir()
    (folder / "policies" / "all.cedar").write_text("permit (principal, action, resource);")
    (folder / "identities.yaml").write_text("[]\n")
    (folder / "agent.yaml").write_text(
        yaml.safe_dump(
            {
                "agent": {"name": "h", "state_dir": "state", "run_dir": "run"},
                "intercept": {"cgroup": "/lockgate-test-absent/apps", "agent_cgroup": "/lockgate-test-absent/agent"},
                "datastores": [{"name": "orders", "protocol": "postgresql", "addresses": ["127.0.0.1:5"]}],
                "policies": ["policies"],
                "collector": {"address": "127.0.0.1:9", "api": "http://127.0.0.1:9"},
            }
        )
    )
    return folder


def start(folder: Path, *prefix: str) -> subprocess.CompletedProcess[str]:
    argv = [*prefix, PROGRAM, "agent", "--config", str(folder / "agent.yaml")]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30, cwd="/")


def edit(folder: Path, tmp_path: Path, **changes: object) -> Path:
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(folder), str(copy)], check=True)
    settings = yaml.safe_load((copy / "agent.yaml").read_text())
    for key, value in changes.items():
        settings[key] = value
    (copy / "agent.yaml").write_text(yaml.safe_dump(settings))
    return copy


def one_line(run: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in run.stderr.splitlines() if not line.startswith("{")]
    assert len(lines) == 1, run.stderr
    return lines[0]


def test_broken_yaml(configured: Path, tmp_path: Path) -> None:
    copy = edit(configured, tmp_path)
    (copy / "agent.yaml").write_text("agent: {name: h\n")
    run = start(copy)
    assert run.returncode == 2
    assert "agent.yaml:" in one_line(run)


def test_an_unknown_key_is_named_with_its_line(configured: Path, tmp_path: Path) -> None:
    copy = edit(configured, tmp_path, datastore=[])
    run = start(copy)
    assert run.returncode == 2
    assert "datastore" in one_line(run)


def test_a_missing_datastore(configured: Path, tmp_path: Path) -> None:
    run = start(edit(configured, tmp_path, datastores=[]))
    assert run.returncode == 2
    assert "datastores" in one_line(run)


def test_a_policy_that_does_not_parse(configured: Path, tmp_path: Path) -> None:
    copy = edit(configured, tmp_path)
    (copy / "policies" / "all.cedar").write_text("permit (principal")
    run = start(copy)
    assert run.returncode == 2
    assert "all.cedar" in one_line(run)


def test_no_root(configured: Path) -> None:
    run = start(configured, "setpriv", "--reuid=64001", "--regid=64001", "--clear-groups")
    assert run.returncode == 1
    assert "root" in one_line(run)


def test_a_cgroup_that_is_not_there(configured: Path) -> None:
    run = start(configured)
    assert run.returncode == 1
    assert "/lockgate-test-absent" in one_line(run)
    assert not Hierarchy.find().directory("/lockgate-test-absent").exists(), "nothing is made for it"


def test_a_port_that_is_taken(configured: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, CgroupTree() as tree:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        agent = {"name": "h", "state_dir": "state", "run_dir": "run", "metrics": address}
        intercept = {"cgroup": tree.apps, "agent_cgroup": tree.agent}
        run = start(edit(configured, tmp_path, agent=agent, intercept=intercept))
    assert run.returncode == 1
    assert address in one_line(run)


def test_a_collector_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        config = tmp_path / "collector.yaml"
        config.write_text(yaml.safe_dump({"collector": {"listen": address, "http": "127.0.0.1:1", "state_dir": "s"}}))
        argv = [sys.executable, "-m", "lockgate", "collector", "--config", str(config)]
        run = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    assert run.returncode == 1
    assert address in one_line(run)
