"""How a container is started, and where its cgroup goes. (That it runs is for `make packages-test`.)"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.machine import Abilities, Machine, hierarchies
from tests.support.system import Trouble

PURE = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
HYBRID = """\
31 24 0:27 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
32 31 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
33 31 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
34 31 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
35 31 0:30 /payload /elsewhere rw - cgroup2 cgroup2 rw
"""


def test_a_cgroup_of_its_own_is_made_in_every_hierarchy_that_systemd_looks_at() -> None:
    assert hierarchies(PURE) == [Path("/sys/fs/cgroup")]
    assert hierarchies(HYBRID) == [Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup/systemd")]


def test_without_cgroup2_there_is_nothing_to_make_it_in() -> None:
    with pytest.raises(Trouble, match="no cgroup2"):
        hierarchies("32 31 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n")


def test_a_container_has_a_network_of_its_own_and_may_load_programs() -> None:
    command = Machine(Path("/base"), Path("/srv"), {Path("/a"): "/b"}).command()
    assert command[0] == "systemd-nspawn"
    assert {"--boot", "--private-network", "--register=no", "--keep-unit", "--directory=/srv/root"} <= set(command)
    assert {"--system-call-filter=bpf", "--bind-ro=/a:/b"} <= set(command)


def test_a_container_may_be_kept_from_loading_any() -> None:
    command = Machine(Path("/base"), Path("/srv"), abilities=Abilities(bpf=False)).command()
    assert "--system-call-filter=~bpf" in command


def test_what_is_to_stay_is_written_to_the_root_itself() -> None:
    assert "--directory=/base" in Machine(Path("/base"), Path("/srv"), transient=False).command()
