"""The cgroup v2 tree. Paths are as in /proc/PID/cgroup: `/a/b` below the mount, which may be anywhere."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from .libbpf import KernelError


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """`mount` is where cgroup2 is mounted; `hybrid` says that version 1 controllers are mounted beside it."""

    mount: Path
    hybrid: bool

    @classmethod
    def find(cls, mountinfo: str | None = None) -> Hierarchy:
        """From /proc/self/mountinfo (`mountinfo` is its text). Raises KernelError when no whole tree is mounted."""
        text = Path("/proc/self/mountinfo").read_text() if mountinfo is None else mountinfo
        mount, hybrid = None, False
        for line in text.splitlines():
            before, _, after = line.partition(" - ")
            kind = after.split(" ", 1)[0]
            hybrid |= kind == "cgroup"
            root, point = before.split(" ")[3:5]
            if kind == "cgroup2" and root == "/" and mount is None:
                # octal escapes: space, tab, newline, backslash (proc(5))
                mount = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), point))
        if mount is None:
            raise KernelError("no cgroup2 file system is mounted: mount -t cgroup2 none /sys/fs/cgroup")
        return cls(mount, hybrid)

    def directory(self, cgroup: str) -> Path:
        """The directory of a cgroup. Raises KernelError for a path that isn't absolute and plain."""
        if not cgroup.startswith("/") or any(part in ("", ".", "..") for part in normal(cgroup).split("/")[2:]):
            raise KernelError(f"{cgroup!r} is not a cgroup path like /system.slice")
        return self.mount / normal(cgroup)[1:]

    def id_of(self, cgroup: str) -> int:
        """The id by which the kernel and BPF know it. Raises KernelError when there is no such cgroup."""
        try:
            return self.directory(cgroup).stat().st_ino  # kernfs: the inode number is the id, on 64-bit kernels
        except OSError as error:
            raise KernelError(f"cgroup {cgroup}", error.errno or 0) from None

    def open(self, cgroup: str) -> int:
        """A descriptor to attach programs to; the caller closes it. Raises KernelError."""
        try:
            return os.open(self.directory(cgroup), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise KernelError(f"cgroup {cgroup}", error.errno or 0) from None

    def create(self, cgroup: str) -> None:
        """Make it and what is missing above it; nothing happens when it is there. Raises KernelError."""
        try:
            self.directory(cgroup).mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as error:
            raise KernelError(f"cgroup {cgroup}: create", error.errno or 0) from None

    def remove(self, cgroup: str) -> None:
        """Raises KernelError (EBUSY: it holds processes or other cgroups)."""
        try:
            self.directory(cgroup).rmdir()
        except OSError as error:
            raise KernelError(f"cgroup {cgroup}: remove", error.errno or 0) from None

    def join(self, cgroup: str, pid: int = 0) -> None:
        """Move a process, all its threads, into a cgroup; 0 is the caller. Sockets it has stay where they were made.

        Raises KernelError (EBUSY: controllers are enabled below it, see `leaf`).
        """
        try:
            (self.directory(cgroup) / "cgroup.procs").write_text(str(pid))
        except OSError as error:
            raise KernelError(f"cgroup {cgroup}: move process {pid or os.getpid()} there", error.errno or 0) from None

    def current(self) -> str:
        """The caller's own. Raises KernelError when it is in none."""
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            if line.startswith("0::/"):
                return line.removeprefix("0::")
        raise KernelError("this process is in no cgroup v2")

    def leaf(self, cgroup: str, name: str) -> str:
        """Where a process may live: `cgroup`, or its child `name`, made here, when controllers are enabled below it.

        The kernel's no-internal-process rule (Documentation/admin-guide/cgroup-v2.rst); the root is free of it.
        """
        if normal(cgroup) == "/" or not (self.directory(cgroup) / "cgroup.subtree_control").read_text().strip():
            return normal(cgroup)
        child = f"{normal(cgroup)}/{name}"
        self.create(child)
        return child

    def members(self, cgroup: str) -> tuple[int, ...]:
        """The processes in it, not those below it."""
        return tuple(int(pid) for pid in (self.directory(cgroup) / "cgroup.procs").read_text().split())


def normal(cgroup: str) -> str:
    """One slash in front, none behind."""
    return "/" + cgroup.strip("/")


def is_within(cgroup: str, ancestor: str) -> bool:
    """Whether `cgroup` is `ancestor` or below it."""
    above = normal(ancestor)
    return above == "/" or normal(cgroup) == above or normal(cgroup).startswith(above + "/")
