"""What was done while no record could be written, kept for the next agent: opening a gate can't wait for room.

Only what nothing is forwarded on may be kept so. The folder is the agent's run folder: it needs no disk, and is gone
with the host, as are the hooks that the records are about.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

FILE: Final = "unrecorded"
FILE_LIMIT: Final = 64 * 1024
"""Bytes: some 300 records, each of which somebody made by hand."""


def leave(folder: Path, fields: Mapping[str, Any]) -> None:
    """Keep one record. Raises OSError, also when there are too many."""
    # not blocking: a pipe in its place is nothing to wait at
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    descriptor = os.open(folder / FILE, flags, 0o600)
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or facts.st_nlink > 1:
            raise OSError(errno.EINVAL, "not a file, or one that has another name", str(folder / FILE))
        if facts.st_size >= FILE_LIMIT:
            raise OSError(errno.ENOSPC, "holds as much as it may", str(folder / FILE))
        os.write(descriptor, msgspec.json.encode({**fields, "at": time.time_ns()}) + b"\n")
    finally:
        os.close(descriptor)


def left(folder: Path) -> list[dict[str, Any]]:
    """What was kept, oldest first, each with `at`, in ns since the epoch. Raises OSError; a line that can't be read is
    a record of its own, which says so."""
    try:
        descriptor = os.open(folder / FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return []
    with open(descriptor, "rb") as file:
        lines = file.read(2 * FILE_LIMIT).splitlines()
    return [_read(line) for line in lines]


def forget(folder: Path) -> None:
    """It is recorded now. Raises OSError."""
    (folder / FILE).unlink(missing_ok=True)


def _read(line: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {"type": "agent", "event": "unreadable", "detail": "what was left unrecorded can't be read"}
