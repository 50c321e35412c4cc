"""The cgroup v2 tree, on a real one; where it is mounted, on mount tables of all kinds."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from lockgate.demo.cgroup import in_cgroup
from lockgate.kernel.cgroups import Hierarchy, is_within, normal
from lockgate.kernel.libbpf import KernelError
from tests.support.cgroup import CgroupTree, of_process, run_in

PURE = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
HYBRID = (
    "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw shared:2 master:1 - cgroup2 cgroup2 rw\n"
)


def test_where_it_is_mounted_is_read_not_assumed() -> None:
    assert Hierarchy.find(PURE) == Hierarchy(Path("/sys/fs/cgroup"), hybrid=False)
    assert Hierarchy.find(HYBRID) == Hierarchy(Path("/sys/fs/cgroup/unified"), hybrid=True)


def test_a_mount_point_with_a_space_in_it() -> None:
    assert Hierarchy.find(PURE.replace("/sys/fs/cgroup", "/a\\040b")).mount == Path("/a b")


def test_a_part_of_the_tree_mounted_elsewhere_is_not_the_tree() -> None:
    """As bind-mounted into a container: paths below it are not the host's."""
    part = PURE.replace("0:26 / ", "0:26 /docker/abc ")
    with pytest.raises(KernelError, match="no cgroup2"):
        Hierarchy.find(part)
    assert Hierarchy.find(part + HYBRID).mount == Path("/sys/fs/cgroup/unified")


def test_a_host_without_cgroup2_is_told_so() -> None:
    with pytest.raises(KernelError, match="mount -t cgroup2"):
        Hierarchy.find("22 27 0:21 / /proc rw - proc proc rw\n")


def test_the_id_of_a_removed_cgroup_is_not_used_again(tree: CgroupTree) -> None:
    gone = f"{tree.apps}/gone"
    tree.hierarchy.create(gone)
    number = tree.hierarchy.id_of(gone)
    tree.hierarchy.remove(gone)
    tree.hierarchy.create(gone)
    assert tree.hierarchy.id_of(gone) != number


def test_a_process_is_moved_and_found(tree: CgroupTree) -> None:
    with subprocess.Popen(in_cgroup(tree.apps, ["cat"]), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"x")
        process.stdin.flush()
        process.stdout.read(1)
        assert of_process(process.pid) == tree.apps
        assert tree.hierarchy.members(tree.apps) == (process.pid,)
        tree.hierarchy.join(tree.root, process.pid)
        assert of_process(process.pid) == tree.root
        with pytest.raises(KernelError) as busy:
            tree.hierarchy.remove(tree.root)
        assert busy.value.errno == errno.EBUSY


def test_the_caller_moves_itself(tree: CgroupTree) -> None:
    home = of_process()
    tree.enter_agent()
    assert of_process() == tree.agent
    tree.leave_agent()
    assert of_process() == home


def test_a_process_that_is_gone_can_t_be_moved(tree: CgroupTree) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    with pytest.raises(KernelError, match=f"move process {process.pid}") as gone:
        tree.hierarchy.join(tree.apps, process.pid)
    assert gone.value.errno == errno.ESRCH


def test_creating_makes_what_is_missing_above_and_minds_nothing_that_is_there(tree: CgroupTree) -> None:
    deep = f"{tree.apps}/a/b/c"
    tree.hierarchy.create(deep)
    tree.hierarchy.create(deep)
    assert tree.hierarchy.id_of(deep)


@pytest.mark.parametrize("path", ["relative", "", "/a/../b", "/a/./b", "/a//b"])
def test_a_path_that_is_not_one_is_refused(tree: CgroupTree, path: str) -> None:
    with pytest.raises(KernelError, match="is not a cgroup path"):
        tree.hierarchy.directory(path)


def test_a_process_lives_in_a_leaf_where_controllers_are_enabled(tmp_path: Path) -> None:
    """On a tree made of files: no controller can be enabled on a host whose controllers belong to version 1."""
    hierarchy = Hierarchy(tmp_path, hybrid=False)
    for name, enabled in (("inner", "memory pids\n"), ("plain", "\n")):
        hierarchy.create(f"/{name}")
        (tmp_path / name / "cgroup.subtree_control").write_text(enabled)
    assert hierarchy.leaf("/plain", "lockgate") == "/plain"
    assert hierarchy.leaf("/inner/", "lockgate") == "/inner/lockgate"
    assert (tmp_path / "inner/lockgate").is_dir()
    assert hierarchy.leaf("/", "lockgate") == "/"


def test_what_is_within_what() -> None:
    assert is_within("/a/b", "/a")
    assert is_within("/a", "/a/")
    assert is_within("/a", "/")
    assert not is_within("/ab", "/a")
    assert not is_within("/", "/a")
    assert normal("a/b/") == "/a/b"


def test_leaving_a_tree_ends_who_is_in_it() -> None:
    with CgroupTree() as tree:
        below = f"{tree.apps}/below"
        tree.hierarchy.create(below)
        process = subprocess.Popen(in_cgroup(below, ["sleep", "60"]))
        assert run_in(tree.apps, ["cat", "/proc/self/cgroup"]).stdout.splitlines()[-1] == f"0::{tree.apps}"
        directory = tree.hierarchy.directory(tree.root)
    assert process.wait() == -9
    assert not directory.exists()
    assert os.path.exists(Path(directory).parent)
