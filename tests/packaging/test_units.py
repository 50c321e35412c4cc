"""The units as systemd itself judges them, and what they have to agree on with the program."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from lockgate.kernel.prepare import SERVICE

UNITS = Path(__file__).parents[2] / "packaging" / "systemd"


def settings(unit: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (UNITS / unit).read_text().splitlines():
        if match := re.fullmatch(r"([A-Za-z]+)=(.*)", line):
            found.setdefault(match[1], []).append(match[2])
    return found


@pytest.mark.parametrize(("unit", "most"), [("lockgate-agent.service", 30), ("lockgate-collector.service", 15)])
def test_the_exposure_is_within_its_bound(unit: str, most: int) -> None:
    """In tenths of systemd's own points, of which an unprotected service has 9.6."""
    run = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={most}", str(UNITS / unit)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout
    assert "Overall exposure level" in run.stdout


@pytest.mark.parametrize("unit", sorted(path.name for path in UNITS.glob("*.service")))
def test_nothing_in_a_unit_is_unknown_to_systemd(unit: str, tmp_path: Path) -> None:
    # the programs and pages it names are not installed here; everything else has to be right
    text = re.sub(r"/usr/bin/lockgate\b", "/bin/true", (UNITS / unit).read_text())
    (tmp_path / unit).write_text(re.sub(r"^Documentation=.*$", "", text, flags=re.M))
    run = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(tmp_path / unit)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert [line for line in run.stderr.splitlines() if unit in line] == []


def test_the_agent_s_unit_is_the_one_whose_cgroup_it_takes_for_its_own() -> None:
    assert (UNITS / SERVICE).exists()


def test_the_agent_keeps_no_right_that_only_preparing_needs() -> None:
    held = settings(SERVICE)
    assert held["CapabilityBoundingSet"] == held["AmbientCapabilities"]
    assert not {"CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_PERFMON"} & set(held["AmbientCapabilities"][0].split())
    assert held["User"] == ["lockgate"]


def test_every_right_that_is_left_has_a_reason_beside_it() -> None:
    text = (UNITS / SERVICE).read_text()
    for capability in settings(SERVICE)["AmbientCapabilities"][0].split():
        assert re.search(rf"^# {capability}: \S", text, re.M), capability


def test_the_listeners_of_two_agents_fit_into_what_is_kept() -> None:
    # two addresses of loopback for each of the datastores, of an agent and of the one before it
    assert int(settings(SERVICE)["FileDescriptorStoreMax"][0]) // 4 >= 100


def calls(names: str) -> set[str]:
    """System calls by name, and those of systemd's groups."""
    found: set[str] = set()
    for name in names.split():
        if name.startswith("@"):
            listed = subprocess.run(
                ["systemd-analyze", "--no-pager", "syscall-filter", name], capture_output=True, text=True, check=True
            ).stdout.splitlines()
            found |= calls(" ".join(line.strip() for line in listed[1:] if not line.strip().startswith("#")))
        else:
            found.add(name)
    return found


def allowed(unit: str) -> set[str]:
    """As systemd.exec(5) merges SystemCallFilter=: the first line says that it lists what is allowed."""
    found: set[str] = set()
    for line in settings(unit)["SystemCallFilter"]:
        found = found - calls(line[1:]) if line.startswith("~") else found | calls(line)
    return found


def test_the_right_to_read_about_processes_is_none_to_change_them() -> None:
    """CAP_SYS_PTRACE and process_vm_writev(2), which is in @system-service, are root."""
    granted = allowed(SERVICE)
    assert {"bpf", "prlimit64", "setrlimit", "pidfd_open", "connect", "accept4"} <= granted
    assert not {"ptrace", "process_vm_writev", "process_vm_readv", "process_madvise", "pidfd_getfd"} & granted
    assert not {"mount", "init_module", "reboot", "setuid"} & granted
