"""What outlives the agent: links and maps pinned in a bpffs, and the lock that keeps a second agent off them."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
from collections.abc import Iterable
from pathlib import Path

from . import libbpf
from .libbpf import KernelError

_UNFINISHED = "unfinished_"
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8


def pin_dir(run_dir: str | Path) -> Path:
    """Where the hooks of an agent are pinned, below `agent.run_dir`."""
    return Path(run_dir) / "bpf"


class Pins:
    """The pins in `directory`, a bpffs of their own that is mounted there when it isn't yet.

    Not a folder of the host's bpffs: the lock file, which stands beside it, can't be made in one.
    Holds an exclusive lock (`directory`.lock beside it) until `close()`. Raises KernelError: also when another
    living process has it. With `mounted` it has to be there already: who uses it can't mount.
    """

    def __init__(self, directory: Path, *, mounted: bool = False) -> None:
        self.directory = directory
        if mounted and not (directory.is_dir() and is_on_bpffs(directory)):
            raise KernelError(f"no hooks are prepared in {directory}: root has to run `lockgate prepare` first")
        directory.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _Lock(_lock_file(directory))
        try:
            if not mounted:
                _mount(directory)
        except BaseException:
            self._lock.close()
            raise

    def get(self, name: str) -> int | None:
        """A new descriptor, None when nothing has that name."""
        return libbpf.pinned(self.directory / name)

    def put(self, name: str, fd: int) -> None:
        """Pin under `name`. What had it before loses it in the same moment: never is there neither."""
        unfinished = self.directory / f"{_UNFINISHED}{name}"
        unfinished.unlink(missing_ok=True)
        libbpf.pin(fd, unfinished)
        unfinished.rename(self.directory / name)

    def drop(self, name: str) -> None:
        (self.directory / name).unlink(missing_ok=True)

    def hand_over(self, names: Iterable[str], uid: int, gid: int) -> None:
        """Let a process of that account open `names`, and take the lock. It can remove no pin. Raises KernelError."""
        try:
            self._lock.hand_over(uid, gid)
            os.chown(self.directory, 0, gid)
            self.directory.chmod(0o710)
            for name in names:
                os.chown(self.directory / name, uid, gid)
        except OSError as error:
            raise KernelError(f"hand {self.directory} over to uid {uid}", error.errno or 0) from None

    def close(self) -> None:
        """Give up the lock. The pins stay."""
        self._lock.close()


def remove_pins(directory: Path, first: tuple[str, ...] = ()) -> None:
    """Unpin what Pins put in `directory`, `first` ahead of the rest, and take its bpffs and the folder away."""
    for name in first:
        (directory / name).unlink(missing_ok=True)
    if directory.is_dir():
        for path in directory.iterdir():
            if "." not in path.name:  # dots are the kernel's own (maps.debug), which it doesn't let go
                path.unlink()
    if directory.is_mount() and _libc_call("umount2", os.fsencode(directory), 0):
        raise KernelError(f"unmount {directory}", ctypes.get_errno())
    if directory.is_dir():
        directory.rmdir()
    _lock_file(directory).unlink(missing_ok=True)


def _lock_file(directory: Path) -> Path:
    return directory.parent / f"{directory.name}.lock"


def lock_holder(directory: Path) -> int | None:
    """The process that holds the lock of Pins in `directory`; None when nobody does. Raises OSError."""
    try:
        descriptor = os.open(_lock_file(directory), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        told = os.pread(descriptor, 32, 0).strip()
        return int(told) if told.isdigit() else 0
    else:
        return None
    finally:
        os.close(descriptor)


def is_on_bpffs(path: Path) -> bool:
    """Whether `path`, which exists, lies in a bpffs."""
    device = path.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if line.split(" ")[2] == wanted and re.search(r" - bpf ", line):
            return True
    return False


class _Lock:
    """flock(2): gone with the process that holds it, whatever ends it. The file says who that is."""

    def __init__(self, path: Path) -> None:
        while True:
            try:
                self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            except OSError as error:
                raise KernelError(f"lock file {path}", error.errno or 0) from None
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip()
                self.close()
                raise KernelError(
                    f"{path}: another agent (process {holder or 'unknown'}) holds these hooks", errno.EBUSY
                ) from None
            if path.exists() and os.path.samestat(os.fstat(self._fd), path.stat()):
                break
            self.close()  # its last holder took the file away between our open and our lock
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def hand_over(self, uid: int, gid: int) -> None:
        os.fchown(self._fd, uid, gid)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _mount(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        # by descriptor: whoever owns the folder above may put a link there meanwhile
        folder = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError(f"{directory}: make it", error.errno or 0) from None
    try:
        if is_on_bpffs(directory):
            return
        flags = ctypes.c_ulong(_MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
        if _libc_call("mount", b"bpf", f"/proc/self/fd/{folder}".encode(), b"bpf", flags, b"mode=0700"):
            raise KernelError(f"mount a bpffs on {directory}", ctypes.get_errno())
    finally:
        os.close(folder)


def _libc_call(name: str, *arguments: object) -> int:
    result: int = getattr(libbpf.libc(), name)(*arguments)
    return result
