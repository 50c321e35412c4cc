from __future__ import annotations

import secrets
import subprocess
from pathlib import Path

import pytest

from lockgate.demo.cgroup import Subtree
from lockgate.kernel.cgroups import Hierarchy
from lockgate.kernel.libbpf import KernelError
from tests.support.cgroup import of_process


def name() -> str:
    return f"/lockgate-test-{secrets.token_hex(6)}"


def test_a_command_runs_inside_from_its_first_instruction_on() -> None:
    with Subtree(name()) as tree:
        ran = subprocess.run(tree.inside(["cat", "/proc/self/cgroup"]), capture_output=True, text=True, check=True)
    assert f"0::{tree.apps}\n" in ran.stdout


def test_who_is_still_inside_is_killed_and_it_is_removed() -> None:
    with Subtree(name()) as tree:
        process = subprocess.Popen(tree.inside(["sleep", "60"]))
        while of_process(process.pid) != tree.apps:
            assert process.poll() is None
    assert process.wait(10) == -9
    assert not Hierarchy.find().directory(tree.root).exists()


def test_it_is_removed_when_what_is_done_in_it_fails() -> None:
    with pytest.raises(ZeroDivisionError), Subtree(name()) as tree:
        _ = 1 / 0
    assert not Hierarchy.find().directory(tree.root).exists()


def test_what_could_not_be_made_is_not_left_half_made(monkeypatch: pytest.MonkeyPatch) -> None:
    create = Hierarchy.create

    def no_second(self: Hierarchy, cgroup: str) -> None:
        if cgroup.endswith("/agent"):
            raise KernelError("no room", 28)
        create(self, cgroup)

    monkeypatch.setattr(Hierarchy, "create", no_second)
    tree = Subtree(name())
    with pytest.raises(KernelError, match="no room"), tree:
        pass
    assert not Path(Hierarchy.find().directory(tree.root)).exists()
