"""A private key of the agent's own on disk: made once, whole, readable by nobody else."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path


class KeyFileError(Exception):
    """The file can't be used; the message names it and what is wrong with it."""


def load_or_create(path: Path, make: Callable[[], bytes], limit: int) -> bytes:
    """The first `limit` bytes of `path`; made there with what `make` gives (mode 0600, folder 0700) when it is missing.

    Two processes starting at once end up with the same content: the file is written whole under another name and
    linked into place, and the loser of that race loads the winner's. Raises KeyFileError.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_folder(path.parent)
        if not os.path.lexists(path):
            _create(path, make())
        return load(path, limit)
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror or error}") from error


def load(path: Path, limit: int) -> bytes:
    """The first `limit` bytes of a file that nobody but its owner, who is root or this process, can read.

    Raises KeyFileError.
    """
    try:
        # O_NONBLOCK: a fifo in the key's place is refused below, not waited for
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            mode = stat.S_IMODE(found.st_mode)
            if not stat.S_ISREG(found.st_mode):
                raise KeyFileError(f"{path}: not a regular file")
            if found.st_uid not in (0, os.geteuid()):
                raise KeyFileError(f"{path}: belongs to uid {found.st_uid}, not to uid {os.geteuid()}")
            if mode & 0o077:
                raise KeyFileError(f"{path}: others may read it (mode {mode:04o}): make a new key, or chmod 600")
            return file.read(limit)
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror or error}") from error


def replace(path: Path, content: bytes) -> None:
    """Put `content` in the place of what `load_or_create` gave, at once and whole. Raises KeyFileError."""
    try:
        name = _write(path, content)
        try:
            os.rename(name, path)
        except BaseException:
            os.unlink(name)
            raise
        _sync(path.parent)
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror or error}") from error


def publish(path: Path, content: bytes) -> None:
    """Put `content`, for everyone to read, at `path`: at once and whole, whatever is there now.

    Raises KeyFileError, also where others may write in the folder: what they put there would be taken for ours.
    """
    try:
        _check_folder(path.parent)
        name = _write(path, content)
        try:
            os.chmod(name, 0o644)
            os.rename(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror or error}") from error


def _check_folder(folder: Path) -> None:
    """Whoever may write in the folder may replace what is in it, whatever its own mode."""
    found = folder.stat()
    if found.st_uid != os.geteuid():
        raise KeyFileError(
            f"{folder}: belongs to uid {found.st_uid}, not to uid {os.geteuid()} that keeps its files there"
        )
    if stat.S_IMODE(found.st_mode) & 0o022:
        raise KeyFileError(f"{folder}: others may write here (mode {stat.S_IMODE(found.st_mode):04o}): chmod go-w")


def _create(path: Path, content: bytes) -> None:
    name = _write(path, content)
    try:
        os.link(name, path)
    except FileExistsError:
        return
    finally:
        os.unlink(name)
    _sync(path.parent)


def _write(path: Path, content: bytes) -> str:
    # mkstemp opens with O_EXCL | O_NOFOLLOW, mode 0600
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        os.unlink(name)
        raise
    return name


def _sync(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
