"""What outlives the agent: links and maps pinned in a bpffs, and the lock that keeps a second agent off them."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

from . import libbpf
from .libbpf import KernelError

_UNFINISHED = "unfinished_"
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8
_MNT_DETACH = 2


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
        self._folder = -1
        try:
            if not mounted:
                _mount(directory)
            # by descriptor from here on: whoever owns the folder above may put another one in its place
            self._folder = _opened(directory)
            facts = os.fstat(self._folder)
            if facts.st_uid != 0 or not _is_bpffs(facts):
                raise KernelError(f"{directory} is no bpffs of root's")
        except BaseException:
            self.close()
            raise
        self._inside = _by_descriptor(self._folder)

    def get(self, name: str) -> int | None:
        """A new descriptor, None when nothing has that name."""
        try:
            return libbpf.pinned(self._inside / name)
        except KernelError as error:
            raise KernelError(f"open {self.directory / name}", error.errno) from None

    def put(self, name: str, fd: int) -> None:
        """Pin under `name`. What had it before loses it in the same moment: never is there neither."""
        unfinished = self._inside / f"{_UNFINISHED}{name}"
        unfinished.unlink(missing_ok=True)
        libbpf.pin(fd, unfinished)
        unfinished.rename(self._inside / name)

    def drop(self, name: str) -> None:
        (self._inside / name).unlink(missing_ok=True)

    def hand_over(self, names: Iterable[str], uid: int, gid: int) -> None:
        """Let a process of that account open `names`, and take the lock. It can remove no pin. Raises KernelError."""
        try:
            self._lock.hand_over(uid, gid)
            os.chown(self._inside, 0, gid)
            self._inside.chmod(0o710)
            for name in names:
                os.chown(self._inside / name, uid, gid)
        except OSError as error:
            raise KernelError(f"hand {self.directory} over to uid {uid}", error.errno or 0) from None

    def close(self) -> None:
        """Give up the lock. The pins stay."""
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1
        self._lock.close()


def remove_pins(directory: Path, first: tuple[str, ...] = ()) -> None:
    """Unpin what Pins put in `directory`, `first` ahead of the rest, and take its bpffs and the folder away.

    Raises KernelError, also for what is there and no folder.
    """
    if os.path.lexists(directory):
        folder = _opened(directory)
        try:
            if _is_bpffs(os.fstat(folder)):  # or else it isn't ours: root removes nothing by the word of who owns it
                _empty(_by_descriptor(folder), first)
                # lazily: who looks around in there doesn't keep the hooks
                if _libc_call("umount2", os.fsencode(_by_descriptor(folder)), _MNT_DETACH):
                    raise KernelError(f"unmount {directory}", ctypes.get_errno())
        finally:
            os.close(folder)
    # the hooks are gone; what the owner of the folder above put in these places keeps nothing closed
    with contextlib.suppress(OSError):
        directory.rmdir()
    with contextlib.suppress(OSError):
        _lock_file(directory).unlink()


def _empty(inside: Path, first: tuple[str, ...]) -> None:
    for name in first:
        (inside / name).unlink(missing_ok=True)
    for path in inside.iterdir():
        if "." not in path.name:  # dots are the kernel's own (maps.debug), which it doesn't let go
            path.unlink(missing_ok=True)


def _lock_file(directory: Path) -> Path:
    return directory.parent / f"{directory.name}.lock"


def lock_holder(directory: Path) -> int | None:
    """The process that holds the lock of Pins in `directory`; None when nobody does. Raises OSError."""
    try:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe in its place is not waited for
        descriptor = os.open(_lock_file(directory), flags)
    except FileNotFoundError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        told = os.read(descriptor, 32).strip()
        return int(told) if told.isdigit() else 0
    else:
        return None
    finally:
        os.close(descriptor)


def is_on_bpffs(path: Path) -> bool:
    """Whether `path`, which exists, lies in a bpffs."""
    return _is_bpffs(path.stat())


def _is_bpffs(facts: os.stat_result) -> bool:
    wanted = f"{os.major(facts.st_dev)}:{os.minor(facts.st_dev)}"
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
            facts = os.fstat(self._fd)
            if not stat.S_ISREG(facts.st_mode) or facts.st_nlink > 1:
                # who owns the folder may have put somebody else's file there, to have it emptied and handed over
                self.close()
                raise KernelError(f"lock file {path}: not a file, or one that has another name")
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
    except OSError as error:
        raise KernelError(f"{directory}: make it", error.errno or 0) from None
    folder = _opened(directory)
    try:
        if _is_bpffs(os.fstat(folder)):
            return
        flags = ctypes.c_ulong(_MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
        if _libc_call("mount", b"bpf", os.fsencode(_by_descriptor(folder)), b"bpf", flags, b"mode=0700"):
            raise KernelError(f"mount a bpffs on {directory}", ctypes.get_errno())
    finally:
        os.close(folder)


def _opened(directory: Path) -> int:
    """A descriptor of the folder, which a link in its place is not. The caller closes it. Raises KernelError."""
    try:
        return os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError(f"folder {directory}", error.errno or 0) from None


def _by_descriptor(folder: int) -> Path:
    return Path(f"/proc/self/fd/{folder}")


def _libc_call(name: str, *arguments: object) -> int:
    result: int = getattr(libbpf.libc(), name)(*arguments)
    return result
