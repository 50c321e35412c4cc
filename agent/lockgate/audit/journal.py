"""The files of a spool: segments written one behind the other, made durable, read back, deleted.

It keeps bytes and where they are; what they say, and whether there is room for them, is the spool's business. One
process has the folder (a lock on it) and one thread uses a journal, but `sync` may run in any.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lockgate.audit.chain import Head, start, step
from lockgate.audit.errors import SpoolDamaged, SpoolError
from lockgate.audit.recovery import recover
from lockgate.audit.segment import (
    DAMAGED,
    ENTRY_PREFIX,
    FRAME_BYTES,
    HEADER_LIMIT,
    Damaged,
    Header,
    encode_header,
    entries,
    file_name,
    frame_length,
    read_header,
)

RETIRED_SEGMENTS = 4
"""Full segments that may wait for `sync`, each an open file. With more, `write` syncs them itself."""

LOCK = "lock"


@dataclass(frozen=True, slots=True)
class Batch:
    """Committed records `first` to `last` as Forward entries, one behind the other; `hash` is that of the last."""

    first: int
    last: int
    entries: bytes
    hash: bytes


@dataclass(slots=True)
class _Segment:
    """`first` is the seq of its first record, `size` its committed bytes with the header."""

    first: int
    size: int


@dataclass(frozen=True, slots=True)
class _Cursor:
    """Where in the segment `first` the record `seq` begins: reading on from there needs no search."""

    first: int
    seq: int
    offset: int


class Journal:
    """`head` is the chain's head as the newest segment tells it; `dropped` how many bytes of it a crash left torn."""

    def __init__(
        self, folder: Path, host: str, segment_bytes: int, fsync: Literal["always", "interval", "never"]
    ) -> None:
        """Open the folder, or make it. Raises SpoolError: in use, not usable, or not to be gone on with."""
        self.folder = folder
        self._host = host
        self._segment_bytes = segment_bytes
        self._fsync = fsync
        self._rotate_next = False
        self._truncate_next = False
        self._cursor: _Cursor | None = None
        self._syncing = threading.Lock()
        self._swapping = threading.Lock()
        self._retired: list[int] = []
        self._unsynced = True
        self._durable = 0
        with _failing(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            self._take_lock()
            with _failing(folder):
                found = recover(folder, host)
                self.head = found.head if found else start(host)
                self.dropped = found.dropped if found else 0
                self._fd, size = (found.fd, found.size) if found else self._create(self.head)
                self._segments = [_Segment(*older) for older in found.older] if found else []
                self._segments.append(_Segment(found.first if found else 1, size))
        except SpoolError:
            os.close(self._lock)
            raise
        self.bytes = sum(segment.size for segment in self._segments)

    @property
    def first(self) -> int:
        """The seq of the oldest record still here (the next one's when none is)."""
        return self._segments[0].first

    def close(self) -> None:
        """Let go of the folder."""
        with self._swapping:
            for fd in (*self._retired, self._fd, self._lock):
                os.close(fd)
            self._retired.clear()
            self._fd = -1

    # Writing

    def write(self, data: bytes, head: Head) -> None:
        """Put whole frames behind `head`, the newest record so far, with one write.

        Raises SpoolError: then nothing of `data` stays.
        """
        segment = self._segments[-1]
        try:
            if self._truncate_next:
                os.ftruncate(self._fd, segment.size)
                self._truncate_next = False
            # a segment without a record is never left: the next would have the same name
            if (self._rotate_next or segment.size + len(data) > self._segment_bytes) and segment.first <= head.seq:
                segment = self._rotate(head)
                self._rotate_next = False
            if os.pwrite(self._fd, data, segment.size) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._unsynced = True
            if self._fsync == "always":
                self._sync()
        except OSError as error:
            self._cut()
            raise SpoolError(f"{self.folder}: {error.strerror}") from error
        segment.size += len(data)
        self.bytes += len(data)

    def _cut(self) -> None:
        try:
            os.ftruncate(self._fd, self._segments[-1].size)
        except OSError:
            # a shorter write at the same place would leave the end of the failed one behind it: so nothing is written
            # before the file could be cut
            self._truncate_next = True

    def _rotate(self, head: Head) -> _Segment:
        fd, size = self._create(head)
        segment = _Segment(head.seq + 1, size)
        with self._swapping:
            self._retired.append(self._fd)
            self._fd = fd
            self._segments.append(segment)
        self.bytes += size
        if self._fsync == "never":
            os.close(self._retired.pop())
        elif len(self._retired) > RETIRED_SEGMENTS:
            self._sync()
        return segment

    def _create(self, head: Head) -> tuple[int, int]:
        """A new segment's file with its header, and the header's length. Raises OSError, and leaves no file."""
        path = self.folder / file_name(head.seq + 1)
        header = encode_header(Header(self._host, head.seq + 1, head.hash, head.sealed))
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if os.pwrite(fd, header, 0) != len(header):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            os.close(fd)
            os.unlink(path)
            raise
        return fd, len(header)

    # Making durable

    def sync(self) -> None:
        """Wait until all that was written is on the medium (with `never`: don't). Raises SpoolError.

        The kernel forgets a page it could not write and says so once, so a segment that failed is written to no more.
        """
        if self._fsync != "never":
            with _failing(self.folder):
                self._sync()

    def _sync(self) -> None:
        with self._syncing:
            with self._swapping:
                if not self._unsynced and not self._retired:
                    return
                self._unsynced = False
                newest = self._segments[-1].first
                files = (*self._retired, os.dup(self._fd))
                self._retired.clear()
            try:
                for fd in files:
                    os.fdatasync(fd)
                if newest != self._durable:
                    self._sync_folder()
                    self._durable = newest
            except OSError:
                self._unsynced = self._rotate_next = True
                raise
            finally:
                for fd in files:
                    os.close(fd)

    def _sync_folder(self) -> None:
        fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    # Reading back, and letting go

    def read(self, seq: int, limit: int) -> Batch:
        """Records from `seq` on (or the oldest there is behind it), of one segment, about `limit` bytes, at least one.

        `seq` must have been written. Raises SpoolDamaged, and SpoolError when a file can't be read.
        """
        index = max(bisect_right(self._segments, seq, key=lambda segment: segment.first) - 1, 0)
        with _failing(self.folder):
            for segment in self._segments[index:]:
                wanted = max(seq, segment.first)
                place = self._locate(segment, wanted)
                if place is not None and place < segment.size:
                    return self._take(segment, wanted, place, limit)
        raise SpoolDamaged(f"{self.folder}: record {seq} is not there")

    def release(self, seq: int) -> None:
        """Delete the segments that hold nothing but records before `seq`; never the newest, it knows the head."""
        while len(self._segments) > 1:
            after = self._segments[1].first
            # while the next segment is not on the medium, a power cut could leave neither of the two
            if after > seq or (self._fsync != "never" and after > self._durable):
                return
            with _failing(self.folder):
                os.unlink(self.folder / file_name(self._segments[0].first))
            self.bytes -= self._segments.pop(0).size

    def skip(self, seq: int, head: Head) -> int:
        """Put the segment of the record `seq` aside, for an operator to look at; the seq to go on with."""
        index = max(bisect_right(self._segments, seq, key=lambda segment: segment.first) - 1, 0)
        with _failing(self.folder):
            if index == len(self._segments) - 1:
                self._rotate(head)
            segment = self._segments[index]
            name = file_name(segment.first)
            os.rename(self.folder / name, self.folder / (name + DAMAGED))
        del self._segments[index]
        self.bytes -= segment.size
        return self._segments[index].first

    def _locate(self, segment: _Segment, seq: int) -> int | None:
        """The offset at which `seq` begins, or would; None when the segment ends before. Raises SpoolDamaged."""
        cursor = self._cursor
        if cursor is not None and (cursor.first, cursor.seq) == (segment.first, seq):
            return cursor.offset
        head = self._bytes_of(segment, 0, HEADER_LIMIT)
        try:
            _, offset = read_header(head)
        except Damaged as error:
            raise SpoolDamaged(f"{self.folder / file_name(segment.first)}: {error}") from None
        at = segment.first
        if at == seq:
            return offset
        for _, stop in entries(self._bytes_of(segment, 0, segment.size), offset):
            at, offset = at + 1, stop
            if at == seq:
                return offset
        if offset < segment.size:
            raise self._damaged(segment, at, offset)
        return None

    def _take(self, segment: _Segment, seq: int, offset: int, limit: int) -> Batch:
        data = self._bytes_of(segment, offset, max(limit, FRAME_BYTES))
        found = list(entries(data))
        if not found and len(data) >= FRAME_BYTES:
            # a record over the limit: alone then, and whole
            data = self._bytes_of(segment, offset, frame_length(data))
            found = list(entries(data))
        if not found:
            raise self._damaged(segment, seq, offset)
        begin, end = found[-1]
        last = seq + len(found) - 1
        self._cursor = _Cursor(segment.first, last + 1, offset + end)
        return Batch(seq, last, b"".join([data[a:b] for a, b in found]), step(data[begin + ENTRY_PREFIX : end]))

    def _bytes_of(self, segment: _Segment, offset: int, length: int) -> bytes:
        """Committed bytes only: what a write that may yet be taken back has put behind them is not there."""
        fd = os.open(self.folder / file_name(segment.first), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            return os.pread(fd, min(length, segment.size - offset), offset)
        finally:
            os.close(fd)

    def _damaged(self, segment: _Segment, seq: int, offset: int) -> SpoolDamaged:
        return SpoolDamaged(f"{self.folder / file_name(segment.first)}: record {seq} at byte {offset} is damaged")

    # Opening

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SpoolError(f"{self.folder}: in use by another process") from error


@contextmanager
def _failing(folder: Path) -> Iterator[None]:
    """OSError becomes SpoolError, which names the folder and not a number."""
    try:
        yield
    except OSError as error:
        raise SpoolError(f"{folder}: {error.strerror}") from error
