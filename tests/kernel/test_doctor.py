"""`lockgate doctor`'s findings: on this kernel, without privileges, and where something is missing."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict
from pathlib import Path

import pytest

from lockgate.kernel import doctor, libbpf
from lockgate.kernel.cgroups import Hierarchy
from lockgate.kernel.doctor import Finding, probe
from lockgate.kernel.libbpf import KernelError
from tests.support.cgroup import CgroupTree


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    assert len({finding.name for finding in findings}) == len(findings)
    return {finding.name: finding for finding in findings}


def test_a_kernel_that_has_it_all(tree: CgroupTree) -> None:
    findings = by_name(probe(tree.apps))
    assert [name for name, finding in findings.items() if finding.required and not finding.ok] == []
    assert all(bool(finding.cost) != finding.ok for finding in findings.values())
    for hook in ("connect4", "connect6", "getpeername4", "getpeername6", "carry"):
        assert findings[f"hook {hook}"] == Finding(f"hook {hook}", True, "loads and attaches")
    assert str(Hierarchy.find().mount) in findings["cgroup2"].detail
    assert findings["libbpf"].detail == f"version {libbpf.version()}"


def test_nothing_is_left_behind(tree: CgroupTree) -> None:
    before = {path.name for path in tree.hierarchy.directory(tree.apps).iterdir()}
    probe(tree.apps)
    assert {path.name for path in tree.hierarchy.directory(tree.apps).iterdir()} == before


def test_an_intercepted_cgroup_that_is_not_there(tree: CgroupTree) -> None:
    missing = by_name(probe(f"{tree.apps}/none"))[f"intercepted cgroup {tree.apps}/none"]
    assert not missing.ok
    assert "No such file" in missing.detail
    assert "hooks could not be tried" in missing.cost


def test_hooks_that_were_not_built_are_named_one_by_one(tree: CgroupTree, tmp_path: Path) -> None:
    findings = by_name(probe(tree.apps, tmp_path))
    assert not findings["hook connect4"].ok
    assert "lockgate.o" in findings["hook connect4"].detail
    assert "reached unjudged" in findings["hook connect4"].cost
    assert findings["hook connect_unix"].required is False


def test_without_root_every_line_still_has_an_answer(tree: CgroupTree) -> None:
    """In a child that gives up its privileges: findings, not a traceback."""
    probe(tree.apps)  # imports and libraries, which the child may no longer read
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            os.write(writing, json.dumps([asdict(finding) for finding in probe(tree.apps)]).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        text = pipe.read()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    findings = by_name([Finding(**fields) for fields in json.loads(text)])
    assert findings["kernel"].ok
    for name in ("CAP_BPF", "CAP_NET_ADMIN", "bpf system call", f"intercepted cgroup {tree.apps}"):
        assert not findings[name].ok
        assert findings[name].required
        assert findings[name].cost
    assert "Operation not permitted" in findings["bpf system call"].detail


def test_without_libbpf(tree: CgroupTree, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise KernelError("libbpf.so.1 can't be loaded; Debian: apt install libbpf1")

    monkeypatch.setattr(libbpf, "library", missing)
    findings = by_name(probe(tree.apps))
    for name in ("libbpf", "bpf system call", "per-socket storage", "longest prefix map", "hook connect4"):
        assert "apt install libbpf1" in findings[name].detail
        assert not findings[name].ok


@pytest.mark.parametrize(
    ("release", "ok"), [("5.14.9", False), ("5.15.0-91-generic", True), ("6.1.0-18-amd64", True), ("strange", False)]
)
def test_a_kernel_too_old_is_told_so(monkeypatch: pytest.MonkeyPatch, release: str, ok: bool) -> None:
    monkeypatch.setattr(platform, "release", lambda: release)
    finding = doctor._kernel()
    assert finding.ok is ok
    assert ok or "5.15" in finding.cost
