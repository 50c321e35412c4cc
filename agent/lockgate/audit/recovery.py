"""Where the chain in a spool's folder goes on, after a clean end or a crash.

Only the newest segment is read. What a crash can leave is told apart from what it can't: a torn frame at the end, and
a segment begun and not finished, are dropped, for nothing was forwarded that depended on them; anything else is either
kept beside the spool for an operator, or (when it takes the chain's head with it) refused.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from lockgate.audit.chain import Head, step
from lockgate.audit.errors import SpoolError
from lockgate.audit.record import RecordError, envelope
from lockgate.audit.segment import (
    DAMAGED,
    ENTRY_PREFIX,
    FRAME_BYTES,
    SUFFIX,
    Damaged,
    Header,
    Incomplete,
    entries,
    file_name,
    frame_length,
    read_header,
)

_DIGITS = 20
_NAME = re.compile(rf"\d{{{_DIGITS}}}{re.escape(SUFFIX)}")


@dataclass(frozen=True, slots=True)
class Recovered:
    """The newest segment: its open file (the caller's from now on), first seq and size. `older`: (first, size) each."""

    fd: int
    first: int
    size: int
    head: Head
    older: list[tuple[int, int]]
    dropped: int


def recover(folder: Path, host: str) -> Recovered | None:
    """What is in `folder`; None when there is no segment yet. Raises SpoolError, OSError."""
    names = sorted(entry.name for entry in os.scandir(folder) if _NAME.fullmatch(entry.name))
    while names:
        name = names.pop()
        path = folder / name
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            data = os.pread(fd, os.fstat(fd).st_size, 0)
            header, begin = read_header(data)
            head, end = _read(path, host, header, data, begin)
            if end < len(data):
                _drop(path, data[end:], end)
                os.ftruncate(fd, end)
            older = [(int(other[:_DIGITS]), (folder / other).stat().st_size) for other in names]
            return Recovered(fd, header.first, end, head, older, len(data) - end)
        except Damaged as error:
            os.close(fd)
            if not isinstance(error, Incomplete) or not (names or name == file_name(1)):
                raise SpoolError(
                    f"{path}: {error}, and with it how the chain goes on. Moving the file aside begins a new chain, "
                    "or goes on with an older segment: the collector will report either"
                ) from None
            os.rename(path, f"{path}{DAMAGED}")
        except (OSError, SpoolError):
            os.close(fd)
            raise
    return None


def _read(path: Path, host: str, header: Header, data: bytes, begin: int) -> tuple[Head, int]:
    """The head after the segment's last whole frame, and that frame's end. Raises SpoolError."""
    if header.host != host:
        raise SpoolError(f"{path}: holds the records of host {header.host!r}, not of {host!r}")
    if path.name != file_name(header.first):
        raise SpoolError(f"{path}: begins with record {header.first}, which is not its name")
    head, end = Head(header.first - 1, header.prev, header.sealed), begin
    for first, stop in entries(data, begin):
        record = data[first + ENTRY_PREFIX : stop]
        try:
            found = envelope(record)
        except RecordError as error:
            raise SpoolError(f"{path}: at byte {first}: {error}") from None
        if found.seq != head.seq + 1:
            raise SpoolError(f"{path}: at byte {first}: record {found.seq} where {head.seq + 1} belongs")
        head, end = Head(found.seq, step(record), head.seq if found.type == "seal" else head.sealed), stop
    return head, end


def _drop(path: Path, tail: bytes, offset: int) -> None:
    """Keep a copy of `tail` if it is more than one torn frame, or blocks a power cut left empty."""
    if len(tail) < FRAME_BYTES or frame_length(tail) >= len(tail) or not any(tail):
        return
    fd = os.open(f"{path}.{offset}{DAMAGED}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        file.write(tail)
