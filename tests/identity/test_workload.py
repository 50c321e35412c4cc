"""Origin -> Workload: real processes in the real /proc, and a /proc made by hand for what is hard to bring about."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.identity.workload import (
    IdentityError,
    ProcessGone,
    describe,
    read_start,
    start_ticks,
    user_name,
)
from lockgate.values.identity import Endpoint, Origin

ORIGIN = Origin(
    pid=42,
    start_ns=5_000_000_000,
    exec_id=7,
    uid=0,
    gid=0,
    cgroup_id=1,
    socket_cgroup_id=1,
    netns_cookie=1,
    comm="psql",
    destination=Endpoint("127.0.0.1", 5432),
)
ID = "4f" * 32
SLEEP = Path(shutil.which("sleep") or "/bin/sleep").resolve()


def origin_of(pid: int, uid: int = 0) -> Origin:
    return replace(ORIGIN, pid=pid, start_ns=read_start(pid), uid=uid)


@contextmanager
def running(*command: str | Path, uid: int | None = None) -> Iterator[int]:
    """A process that has become what it was asked to be (exec is over), by its pid."""
    with subprocess.Popen(
        [str(c) for c in command], user=uid, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            yield process.pid
        finally:
            process.kill()


class FakeProc:
    """Enough of /proc for one process."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.process = root / "42"
        self.exe = root / "program"
        self.exe.touch()
        for folder in (self.process / "ns", root / "self" / "ns"):
            folder.mkdir(parents=True)
            (folder / "mnt").symlink_to("mnt:[4026531832]")
        self.stat(b"psql")
        (self.process / "exe").symlink_to(self.exe)
        (self.process / "cmdline").write_bytes(b"psql\0-h\0db\0")
        self.cgroup("0::/system.slice/billing.service\n")

    def stat(self, comm: bytes, ticks: int = 500) -> None:
        numbers = b" ".join(b"%d" % n for n in range(4, 22))
        (self.process / "stat").write_bytes(b"42 (%s) S %s %d 999 0\n" % (comm, numbers, ticks))

    def cgroup(self, text: str) -> None:
        (self.process / "cgroup").write_text(text)


@pytest.fixture
def proc(tmp_path: Path) -> FakeProc:
    return FakeProc(tmp_path)


def test_this_very_process() -> None:
    found = describe(origin_of(os.getpid(), os.getuid()))
    assert found.exe == os.readlink("/proc/self/exe")
    assert found.exe_is_local
    assert found.cmdline[0] in (sys.orig_argv[0], sys.argv[0])
    assert (found.pid, found.uid, found.user) == (os.getpid(), os.getuid(), pwd.getpwuid(os.getuid()).pw_name)
    assert f"0::{found.cgroup}\n" in Path("/proc/self/cgroup").read_text()
    assert found.exec_id == ORIGIN.exec_id
    assert found.image is None


def test_what_the_kernel_noted_goes_before_what_proc_says_now() -> None:
    """A process that connected as root and then became somebody else connected as root, and the other way round."""
    with running(SLEEP, "60", uid=12345) as pid:
        assert describe(origin_of(pid, uid=0)).user == "root"
        assert describe(origin_of(pid, uid=12345)).user == "12345"


def test_start_times_are_compared_in_whole_ticks() -> None:
    pid = os.getpid()
    start = read_start(pid)
    hertz = os.sysconf("SC_CLK_TCK")
    tick = 1_000_000_000 // hertz
    assert start % tick == 0
    describe(replace(ORIGIN, pid=pid, start_ns=start + tick - 1))
    for other in (start - 1, start + tick):
        with pytest.raises(ProcessGone, match="another process"):
            describe(replace(ORIGIN, pid=pid, start_ns=other))


@given(st.integers(0, 2**62))
def test_nanoseconds_to_ticks_as_the_kernel_does(ns: int) -> None:
    hertz = os.sysconf("SC_CLK_TCK")
    assert start_ticks(ns) == ns // (1_000_000_000 // hertz)


def test_a_process_that_ended_is_gone() -> None:
    with running(SLEEP, "60") as pid:
        origin = origin_of(pid)
    with pytest.raises(ProcessGone, match=str(pid)):
        describe(origin)
    with pytest.raises(ProcessGone):
        read_start(pid)


def test_a_zombie_is_gone() -> None:
    with subprocess.Popen([SLEEP, "60"]) as process:
        origin = origin_of(process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(ProcessGone):
            describe(origin)


def test_a_pid_reused_while_it_is_read_is_gone(proc: FakeProc) -> None:
    """The other process comes between the two looks at the start time: while the command line is read."""
    cmdline = proc.process / "cmdline"
    cmdline.unlink()
    os.mkfifo(cmdline)

    def reuse() -> None:
        with cmdline.open("wb") as file:
            proc.stat(b"psql", ticks=501)
            file.write(b"psql\0")

    thread = threading.Thread(target=reuse)
    thread.start()
    with pytest.raises(ProcessGone, match="started at tick 501, not 500"):
        describe(ORIGIN, proc.root)
    thread.join()


@pytest.mark.parametrize("comm", [b"psql", b"a b", b"a) S 1 2", b") R 1 (", b"((", b"\xff\n) S 9 9"])
def test_a_name_cannot_pass_for_the_fields_behind_it(proc: FakeProc, comm: bytes) -> None:
    proc.stat(comm)
    assert describe(ORIGIN, proc.root).cmdline == ("psql", "-h", "db")
    proc.stat(comm, ticks=501)
    with pytest.raises(ProcessGone):
        describe(ORIGIN, proc.root)


@pytest.mark.parametrize("text", [b"", b"42 (psql) S 1 2 3\n", b"42 (psql) " + b"x " * 30])
def test_a_stat_that_is_none_is_an_error(proc: FakeProc, text: bytes) -> None:
    (proc.process / "stat").write_bytes(text)
    with pytest.raises(IdentityError, match="stat"):
        describe(ORIGIN, proc.root)


def test_a_cgroup_file_that_is_none_is_an_error(proc: FakeProc) -> None:
    proc.cgroup("")
    with pytest.raises(IdentityError, match="cgroup"):
        describe(ORIGIN, proc.root)


@pytest.mark.parametrize("missing", ["stat", "exe", "cgroup", "cmdline", "ns/mnt"])
def test_a_process_that_is_half_gone_is_gone(proc: FakeProc, missing: str) -> None:
    (proc.process / missing).unlink()
    with pytest.raises(ProcessGone):
        describe(ORIGIN, proc.root)


def test_an_agent_that_may_not_look_says_so(proc: FakeProc) -> None:
    (proc.process / "cgroup").unlink()
    (proc.process / "cgroup").mkdir()
    with pytest.raises(IdentityError, match="pid 42: ") as caught:
        describe(ORIGIN, proc.root)
    assert not isinstance(caught.value, ProcessGone)


def test_unit_container_and_pod_come_from_the_cgroup(proc: FakeProc) -> None:
    assert describe(ORIGIN, proc.root).unit == "billing.service"
    proc.cgroup(f"0::/kubepods/burstable/pod8f2d1f5e-3c4b-4b8e-9f11-0a1b2c3d4e5f/crio-{ID}\n")
    found = describe(ORIGIN, proc.root)
    assert (found.container, found.runtime, found.unit) == (ID, "cri-o", None)
    assert found.pod == "8f2d1f5e-3c4b-4b8e-9f11-0a1b2c3d4e5f"


def test_the_image_comes_from_the_runtimes_files(proc: FakeProc, tmp_path: Path) -> None:
    state = tmp_path / "var/lib/docker/containers" / ID
    state.mkdir(parents=True)
    (state / "config.v2.json").write_text('{"Config": {"Image": "shop/billing:1"}}')
    assert describe(ORIGIN, proc.root, tmp_path).image is None
    proc.cgroup(f"0::/docker/{ID}\n")
    assert describe(ORIGIN, proc.root, tmp_path).image == "shop/billing:1"


def test_a_container_has_no_path_of_ours(proc: FakeProc) -> None:
    assert describe(ORIGIN, proc.root).exe_is_local
    proc.cgroup(f"0::/docker/{ID}\n")
    assert not describe(ORIGIN, proc.root).exe_is_local


def test_an_upgraded_program_keeps_its_name(tmp_path: Path) -> None:
    program = tmp_path / "program"
    shutil.copy(SLEEP, program)
    with running(program, "60") as pid:
        program.unlink()
        shutil.copy(SLEEP, program)
        found = describe(origin_of(pid))
        assert found.exe == str(program)
        assert found.exe_is_local


def test_a_program_that_is_really_named_deleted_is_another(tmp_path: Path) -> None:
    program = tmp_path / "program (deleted)"
    shutil.copy(SLEEP, program)
    with running(program, "60") as pid:
        assert describe(origin_of(pid)).exe == str(program)


def test_a_program_whose_name_is_no_text_is_spelled_out(tmp_path: Path) -> None:
    program = os.fsencode(tmp_path) + b"/\xff"
    shutil.copy(os.fsencode(SLEEP), program)
    with subprocess.Popen([program, b"60"]) as process:
        try:
            assert describe(origin_of(process.pid)).exe == f"{tmp_path}/\\xff"
        finally:
            process.kill()


SCRIPT = 'mount --bind "$1" "$2" && echo && exec "$2" 60'


def test_another_file_mounted_over_a_program_is_not_that_program(tmp_path: Path) -> None:
    """`unshare -m` and a bind mount give any file any path."""
    trusted, evil = tmp_path / "trusted", tmp_path / "evil"
    shutil.copy(SLEEP, trusted)
    shutil.copy(SLEEP, evil)
    with running("unshare", "-m", "sh", "-c", SCRIPT, "sh", evil, trusted) as pid:
        wait_for(pid, str(trusted))
        found = describe(origin_of(pid))
        assert found.exe == str(trusted)
        assert not found.exe_is_local


def test_a_service_with_mounts_of_its_own_is_still_running_our_program(tmp_path: Path) -> None:
    """systemd's PrivateTmp= and ProtectSystem= give a service its own mount namespace, with the same files."""
    program = tmp_path / "program"
    shutil.copy(SLEEP, program)
    with running("unshare", "-m", program, "60") as pid:
        wait_for(pid, str(program))
        assert os.readlink(f"/proc/{pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt")
        assert describe(origin_of(pid)).exe_is_local


def test_a_program_that_only_the_process_has_is_not_ours(tmp_path: Path) -> None:
    script = 'mount -t tmpfs none "$2" && cp "$1" "$2/program" && exec "$2/program" 60'
    with running("unshare", "-m", "sh", "-c", script, "sh", SLEEP, tmp_path) as pid:
        wait_for(pid, str(tmp_path / "program"))
        assert not describe(origin_of(pid)).exe_is_local


def test_a_number_is_shown_where_there_is_no_name() -> None:
    assert user_name(0) == "root"
    assert user_name(3_999_999_999) == "3999999999"


def wait_for(pid: int, exe: str) -> None:
    """Until the process has become `exe`; pytest's timeout ends it otherwise."""
    while os.readlink(f"/proc/{pid}/exe") != exe:
        time.sleep(0.001)
