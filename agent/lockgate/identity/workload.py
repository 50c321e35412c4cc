"""Origin -> Workload: what the host knows of the process that connected, read from /proc (proc(5)).

Selection rests on what the kernel keeps and a process can't write: the link to its executable, its cgroup, and the uid
that the kernel recorded at connect(). Its name, command line and environment are its own to write.

What an executable's path proves is which program the kernel loaded, not that its code is unchanged: whoever may start
a program may also preload code into it, trace it, or exec it over a connection already made. So `exe` tells one service
from another; against people, add `user` or `unit`.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from lockgate.identity.cgroups import placement
from lockgate.identity.cmdline import CMDLINE_LIMIT, arguments
from lockgate.identity.images import image_of
from lockgate.values.identity import Origin, Workload

PROC: Final = Path("/proc")
ROOT: Final = Path("/")

FILE_LIMIT: Final = 64 * 1024
"""Bytes read of `stat` and `cgroup`: a path has at most 4096, and there are at most some fifteen hierarchies."""

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_START_FIELD: Final = 22
_DELETED: Final = b" (deleted)"


class IdentityError(Exception):
    """A process that can't be identified, and so is nobody."""


class ProcessGone(IdentityError):
    """The process has ended, or another one has its number now."""


def describe(origin: Origin, proc: Path = PROC, root: Path = ROOT) -> Workload:
    """Everything the host knows of an origin. Raises ProcessGone, or IdentityError when /proc won't tell.

    The start time is compared before and after the rest is read, and all is read through one descriptor of
    `/proc/PID`, which stays with the process it was opened for: what comes back is never a mixture of two processes.
    `uid` is the origin's: the kernel noted it at connect(), and a process may have changed it since. `root` is
    where the container runtimes' files are looked for.
    """
    ticks = start_ticks(origin.start_ns)
    with _process(origin.pid, proc) as folder:
        _expect(folder, origin.pid, ticks)
        exe, exe_stat = _executable(folder)
        cmdline = arguments(_read(folder, "cmdline", CMDLINE_LIMIT + 1))
        try:
            place = placement(_read(folder, "cgroup", FILE_LIMIT).decode("utf-8", "backslashreplace"))
        except ValueError as error:
            raise IdentityError(f"pid {origin.pid}: cgroup: {error}") from error
        same_mounts = os.readlink("ns/mnt", dir_fd=folder) == os.readlink(proc / "self" / "ns" / "mnt")
        _expect(folder, origin.pid, ticks)
    return Workload(
        pid=origin.pid,
        start_ns=origin.start_ns,
        exec_id=origin.exec_id,
        exe=exe,
        cmdline=cmdline,
        uid=origin.uid,
        user=user_name(origin.uid),
        cgroup=place.cgroup,
        unit=place.unit,
        container=place.container,
        runtime=place.runtime,
        image=image_of(place.runtime, place.container, root) if place.container else None,
        pod=place.pod,
        exe_is_local=place.container is None and (same_mounts or _is_same_file(exe, exe_stat)),
    )


def start_ticks(start_ns: int) -> int:
    """Nanoseconds since boot as the clock ticks of `/proc/PID/stat` (`nsec_to_clock_t`, kernel/time/time.c)."""
    return start_ns * _TICKS // 1_000_000_000


def read_start(pid: int, proc: Path = PROC) -> int:
    """When a process started, in nanoseconds since boot, cut to whole ticks. Raises ProcessGone."""
    with _process(pid, proc) as folder:
        return _ticks(folder, pid) * 1_000_000_000 // _TICKS


def user_name(uid: int) -> str:
    """The account's name, or the number when there is none (in a container, or removed)."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


@contextmanager
def _process(pid: int, proc: Path) -> Iterator[int]:
    try:
        folder = os.open(proc / str(pid), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield folder
        finally:
            os.close(folder)
    except (FileNotFoundError, ProcessLookupError) as error:
        raise ProcessGone(f"pid {pid} has ended") from error
    except OSError as error:
        raise IdentityError(f"pid {pid}: {error.strerror or error}") from error


def _expect(folder: int, pid: int, ticks: int) -> None:
    found = _ticks(folder, pid)
    if found != ticks:
        raise ProcessGone(f"pid {pid} is another process now (started at tick {found}, not {ticks})")


def _ticks(folder: int, pid: int) -> int:
    # the second field is the name in parentheses, and may itself hold spaces and parentheses
    fields = _read(folder, "stat", FILE_LIMIT).rpartition(b")")[2].split()
    if len(fields) <= _START_FIELD - 3 or not fields[_START_FIELD - 3].isdigit():
        raise IdentityError(f"pid {pid}: stat is not as in proc(5)")
    return int(fields[_START_FIELD - 3])


def _executable(folder: int) -> tuple[str, os.stat_result]:
    link = os.readlink(b"exe", dir_fd=folder)
    found = os.stat("exe", dir_fd=folder)
    # an upgraded program still runs from its old file; a file may also really be named so
    if link.endswith(_DELETED) and found.st_nlink == 0:
        link = link.removesuffix(_DELETED)
    return link.decode("utf-8", "backslashreplace"), found


def _is_same_file(path: str, running: os.stat_result) -> bool:
    """Whether the path leads the agent to the very file that is running, for a process with mounts of its own.

    systemd gives many services a mount namespace (`PrivateTmp=`, `ProtectSystem=`), the agent's own included.
    """
    try:
        return os.path.samestat(os.stat(path), running)
    except OSError:
        return False


def _read(folder: int, name: str, limit: int) -> bytes:
    descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    try:
        parts: list[bytes] = []
        while limit > 0 and (part := os.read(descriptor, limit)):
            parts.append(part)
            limit -= len(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)
