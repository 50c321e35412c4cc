"""The spool: where the record of a statement is before the statement leaves the host (law 2).

`append` chains and stages records, `commit` puts all that is staged into the newest segment with one write. When
that can't be done, nothing of it stays (neither in the file nor in the chain) and the caller refuses the statement.
Append and commit in one go, without an `await` between them: a commit that fails drops everything that is staged.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from lockgate.audit import chain
from lockgate.audit._forms import Form, framed
from lockgate.audit.chain import Head, Signer, step
from lockgate.audit.errors import SpoolDamaged, SpoolError, SpoolFull
from lockgate.audit.forms import Varying
from lockgate.audit.journal import Batch, Journal
from lockgate.audit.record import MAX_RECORD_BYTES, VERSION, Fields, encoder
from lockgate.config import SpoolSettings

__all__ = ["Batch", "Spool", "SpoolDamaged", "SpoolError", "SpoolFull"]

SEAL_RECORDS = 1000
"""A seal behind so many records, the seal before included: 50 us of signing then cost 0.05 us a record."""

SEAL_SECONDS = 5.0
"""And so long after the first record that has none."""

RESERVE_BYTES = 8 * 1024 * 1024
"""Kept for the ends of statements that are running when the spool is full, and for seals: 10,000 connections, with
some 300 bytes each. Never more than an eighth of the whole."""


Raw = bytes
"""What a record is on disk, where `Spool.bytes` isn't meant."""


class Write:
    """The one write of all that is staged until then. `error` is why it failed: None before it, and where it didn't."""

    __slots__ = ("error",)

    def __init__(self) -> None:
        self.error: SpoolError | None = None


class Spool:
    """One host's records on disk. Not for several threads, but for `sync`."""

    def __init__(
        self,
        folder: str | Path,
        host: str,
        key: Signer,
        settings: SpoolSettings,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """Open or make the spool in `folder` and go on with its chain. `clock` gives nanoseconds since the epoch.

        What a crash left incomplete is dropped: nothing was forwarded that depended on it. Raises SpoolError: in use
        by another process, of another host, not writable, or so damaged that the chain's head is lost.
        """
        self.host = host
        self.settings = settings
        self._key = key
        self._clock = clock
        self._encode = encoder.encode
        self._journal = Journal(Path(folder), host, settings.segment_bytes, settings.fsync)
        self._most = settings.max_bytes
        self._most_to_begin = settings.max_bytes - min(RESERVE_BYTES, settings.max_bytes // 8)
        self._staged: list[bytes] = []
        self._staged_bytes = 0
        self._write = Write()
        self._head = self._journal.head
        self._seq, self._hash, self._sealed = self._head.seq, self._head.hash, self._head.sealed
        self._unsealed_since = clock() if self.unsealed else 0
        self._watcher: Callable[[], None] | None = None

    @property
    def head(self) -> Head:
        """The newest committed record."""
        return self._head

    @property
    def first(self) -> int:
        """The seq of the oldest record still here (`head.seq + 1` when none is)."""
        return self._journal.first

    @property
    def bytes(self) -> int:
        """What the spool takes on disk, which `max_bytes` bounds."""
        return self._journal.bytes

    @property
    def roomy(self) -> bool:
        """Whether there is room for more than a last record or two: a tenth of what may begin."""
        return (self._journal.bytes + self._staged_bytes) * 10 < self._most_to_begin * 9

    @property
    def staged(self) -> bool:
        """Whether `commit` has anything to write."""
        return bool(self._staged)

    @property
    def folder(self) -> Path:
        return self._journal.folder

    @property
    def dropped(self) -> int:
        """Bytes that a crash had left incomplete when the spool was opened."""
        return self._journal.dropped

    @property
    def unsealed(self) -> int:
        """How many committed records no seal covers; the newest seal itself is not counted."""
        return self._head.seq - (self._head.sealed + 1 if self._head.sealed else 0)

    def append(self, fields: Fields | Mapping[str, object]) -> None:
        """Chain and stage one record: `fields` with v, host, seq, prev and time added (the caller's own don't count).

        Raises SpoolFull, SpoolError for a record over MAX_RECORD_BYTES, and TypeError, OverflowError or
        UnicodeEncodeError for what can't be encoded. What was staged before stays staged.
        """
        now = self._clock()
        seq = self._seq + 1
        record = self._encode({**fields, "v": VERSION, "host": self.host, "seq": seq, "prev": self._hash, "time": now})
        self._stage(record, seq, now, self._most_to_begin if fields.get("phase") == "begin" else self._most)

    def form(self, fields: Fields | Mapping[str, object], varying: tuple[str, ...]) -> Form:
        """That of records which have `fields` in common, of this host, and differ in `varying`."""
        return Form({**fields, "v": VERSION, "host": self.host}, varying)

    def append_formed(self, form: Form, values: tuple[Varying, ...], *, begins: bool) -> Write:
        """As `append`, of a record in a form of this spool's. `begins` says that its phase is `begin`.

        The answer tells later whether it was written, whoever commits.
        """
        now = self._clock()
        seq = self._seq + 1
        record = form.record(values, self._hash, seq, now)
        self._stage(record, seq, now, self._most_to_begin if begins else self._most)
        return self._write

    def _stage(self, record: Raw, seq: int, now: int, most: int) -> None:
        if len(record) > MAX_RECORD_BYTES:
            raise SpoolError(f"a record of {len(record)} bytes: {MAX_RECORD_BYTES} are the most")
        frame = framed(record, now)
        staged = self._staged_bytes + len(frame)
        used = self._journal.bytes
        if used + staged > most:
            raise SpoolFull(f"{self.folder}: full, {used} bytes wait for the collector")
        self._staged.append(frame)
        self._staged_bytes = staged
        self._seq = seq
        self._hash = step(record)

    def commit(self) -> None:
        """Write everything staged, with one write. Raises SpoolError: then none of it was, and nothing is staged."""
        if not self._staged:
            return
        if self._seq - self._sealed >= SEAL_RECORDS:
            # the records themselves fit; their seal can wait for room
            with suppress(SpoolFull):
                self._stage_seal()
        write, self._write = self._write, Write()
        try:
            self._journal.write(b"".join(self._staged), self._head)
        except SpoolError as error:
            write.error = error
            self._seq, self._hash, self._sealed = self._head.seq, self._head.hash, self._head.sealed
            raise
        finally:
            self._staged.clear()
            self._staged_bytes = 0
        if self._sealed != self._head.sealed:
            self._unsealed_since = 0
        elif not self._unsealed_since:
            self._unsealed_since = self._clock()
        self._head = Head(self._seq, self._hash, self._sealed)
        if self._watcher is not None:
            watcher, self._watcher = self._watcher, None
            watcher()

    def seal(self) -> None:
        """Seal and commit what is unsealed, if anything is. Raises SpoolError."""
        if self.unsealed:
            self._stage_seal()
            self.commit()

    def seal_due(self) -> bool:
        """Whether the oldest record without a seal has waited for SEAL_SECONDS."""
        return self.unsealed > 0 and self._clock() - self._unsealed_since >= SEAL_SECONDS * 1_000_000_000

    def sync(self) -> None:
        """Wait until all that was committed is on the medium (with `fsync: never`: don't). Raises SpoolError.

        May run in any thread.
        """
        self._journal.sync()

    def watch(self, callback: Callable[[], None]) -> None:
        """Call `callback` once, after the next commit."""
        self._watcher = callback

    def read(self, seq: int, limit: int) -> Batch | None:
        """Committed records from `seq` on (or the oldest there is behind it), about `limit` bytes, at least one.

        None when there is none yet. Raises SpoolDamaged, and SpoolError when a file can't be read.
        """
        return self._journal.read(seq, limit) if seq <= self._head.seq else None

    def release(self, seq: int) -> None:
        """Records before `seq` are safe elsewhere: delete the segments that hold no other. Raises SpoolError."""
        self._journal.release(seq)

    def skip(self, seq: int) -> int:
        """Put the damaged segment of record `seq` aside, and give the seq to go on with. Raises SpoolError."""
        return self._journal.skip(seq, self._head)

    def close(self) -> None:
        """Sync, and let go of the folder. What is staged and not committed is dropped. Raises SpoolError."""
        try:
            self._journal.sync()
        finally:
            self._journal.close()

    def _stage_seal(self) -> None:
        self.append(chain.seal(self.host, Head(self._seq, self._hash, self._sealed), self._key))
        self._sealed = self._seq - 1
