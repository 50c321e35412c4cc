from __future__ import annotations

import itertools
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.audit import record
from lockgate.audit import spool as module
from lockgate.audit.chain import Head, start, step
from lockgate.audit.record import MAX_RECORD_BYTES
from lockgate.audit.spool import Spool, SpoolError, SpoolFull
from lockgate.config import SpoolSettings
from tests.audit.spooling import (
    HOST,
    KEY,
    SMALL,
    Clock,
    begin,
    end,
    files_no_larger_than,
    ids,
    on_disk,
    opened,
    put,
    segments,
    verified,
)


def fill(spool: Spool, kind: Callable[[int], dict[str, Any]]) -> int:
    """Put records until there is no room for more; how many there was room for."""
    for number in itertools.count():
        try:
            put(spool, kind(number))
        except SpoolFull:
            return number
    raise AssertionError


def test_a_statement_has_two_records_in_one_chain(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, clock=clock) as spool:
        assert spool.head == start(HOST)
        put(spool, begin(1))
        clock.now += 5_000
        put(spool, end(1))
        first, second = map(record.decode, on_disk(tmp_path))
        assert (first["seq"], first["host"], first["v"], first["statement"]) == (1, HOST, 1, "select 1")
        assert second["time"] - first["time"] == 5_000
        assert spool.head == Head(2, step(on_disk(tmp_path)[1]))
    verified(tmp_path)


def test_a_committed_record_is_in_the_file_before_commit_returns(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        spool.append(begin(1))
        assert on_disk(tmp_path) == []
        spool.commit()
        assert ids(on_disk(tmp_path)) == ["c-1b"]


def test_everything_staged_is_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = []
    real = os.pwrite

    def counted(fd: int, data: bytes, offset: int) -> int:
        writes.append(len(data))
        return real(fd, data, offset)

    with opened(tmp_path) as spool:
        monkeypatch.setattr(os, "pwrite", counted)
        put(spool, end(1), begin(2), begin(3))
        spool.commit()
    assert len(writes) == 1
    assert ids(on_disk(tmp_path)) == ["c-1e", "c-2b", "c-3b"]


def test_a_caller_cannot_choose_the_envelope(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        put(spool, {**begin(1), "seq": 99, "host": "other", "prev": b"", "time": 0, "v": 7})
    verified(tmp_path)


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with opened(tmp_path / "spool") as spool:
            put(spool, begin(1))
            modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "spool").iterdir()}
    finally:
        os.umask(before)
    assert modes == {0o600}
    assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("bad", "error"),
    [({"rows": 2**64}, OverflowError), ({"tag": "\ud800"}, UnicodeEncodeError), ({"tag": object()}, TypeError)],
    ids=["too-large", "not-unicode", "not-plain"],
)
def test_what_cannot_be_encoded_is_not_staged(tmp_path: Path, bad: dict[str, object], error: type[Exception]) -> None:
    with opened(tmp_path) as spool:
        spool.append(begin(1))
        with pytest.raises(error):
            spool.append({**end(1), **bad})
        spool.commit()
        put(spool, begin(2))
    assert ids(on_disk(tmp_path)) == ["c-1b", "c-2b"]
    verified(tmp_path)


def test_a_record_has_a_largest_size(tmp_path: Path) -> None:
    with opened(tmp_path, SpoolSettings(max_bytes=2 * MAX_RECORD_BYTES)) as spool:
        with pytest.raises(SpoolError, match="the most"):
            spool.append(begin(1, "x" * MAX_RECORD_BYTES))
        put(spool, begin(2))
    assert ids(on_disk(tmp_path)) == ["c-2b"]


# Full


def test_a_full_spool_refuses_statements_and_still_takes_the_ends_of_running_ones(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        count = fill(spool, begin)
        reserve = SMALL.max_bytes // 8
        assert SMALL.max_bytes - reserve - 500 < spool.bytes <= SMALL.max_bytes - reserve
        assert count > 100
        for number in range(20):
            put(spool, end(number))
        spool.seal()
        with pytest.raises(SpoolFull):
            spool.append(begin(count))
        fill(spool, end)
        assert spool.bytes <= SMALL.max_bytes
        assert spool.bytes == sum(path.stat().st_size for path in segments(tmp_path))
    verified(tmp_path)


def test_full_refuses_before_it_writes_and_leaves_what_was_staged(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        spool.append(end(1))
        with pytest.raises(SpoolFull):
            spool.append(begin(2, "x" * SMALL.max_bytes))
        spool.commit()
    assert ids(on_disk(tmp_path)) == ["c-1e"]


def test_room_comes_back_when_records_are_shipped(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        fill(spool, begin)
        spool.sync()
        spool.release(spool.head.seq + 1)
        put(spool, begin(1))
    assert len(segments(tmp_path)) == 1


# A disk that fails


@given(room=st.integers(0, 1200))
def test_a_write_cut_short_leaves_nothing_behind(tmp_path_factory: pytest.TempPathFactory, room: int) -> None:
    folder = tmp_path_factory.mktemp("spool")
    with opened(folder, SpoolSettings()) as spool:
        put(spool, begin(1))
        before, size = spool.head, spool.bytes
        with files_no_larger_than(size + room), pytest.raises(SpoolError, match="spool"):
            put(spool, begin(2, "x" * 600), begin(3, "x" * 600))
        assert (spool.head, spool.bytes) == (before, size)
        assert ids(on_disk(folder)) == ["c-1b"]
        put(spool, begin(4))
    assert ids(on_disk(folder)) == ["c-1b", "c-4b"]
    verified(folder)


def test_a_segment_that_cannot_be_begun_leaves_nothing_behind(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        put(spool, begin(1, "x" * 4000))
        for room in (0, 30):
            with files_no_larger_than(room), pytest.raises(SpoolError):
                put(spool, begin(2, "x" * 4000))
        assert len(segments(tmp_path)) == 1
        put(spool, begin(3, "x" * 4000))
    assert ids(on_disk(tmp_path)) == ["c-1b", "c-3b"]
    verified(tmp_path)


def test_nothing_is_written_over_a_failed_write_that_could_not_be_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a shorter record would leave the end of the longer one behind it, perhaps whole frames."""

    def broken(fd: int, length: int) -> None:
        raise OSError(5, "Input/output error")

    with opened(tmp_path, SpoolSettings()) as spool:
        put(spool, begin(1))
        with monkeypatch.context() as patch:
            patch.setattr(os, "ftruncate", broken)
            with files_no_larger_than(spool.bytes + 500), pytest.raises(SpoolError):
                put(spool, begin(2), begin(3, "x" * 400))
            with pytest.raises(SpoolError, match="Input/output"):
                put(spool, begin(4))
        put(spool, begin(5))
    assert ids(on_disk(tmp_path)) == ["c-1b", "c-5b"]
    verified(tmp_path)


def test_a_seal_in_a_failed_commit_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEAL_RECORDS", 4)
    with opened(tmp_path, SpoolSettings()) as spool:
        put(spool, begin(1), begin(2), begin(3))
        with files_no_larger_than(spool.bytes + 100), pytest.raises(SpoolError):
            put(spool, begin(4))
        put(spool, begin(5))
    assert ids(on_disk(tmp_path)) == ["c-1b", "c-2b", "c-3b", "c-5b", "seal"]
    assert verified(tmp_path).sealed == 4


@pytest.mark.parametrize("fsync", ["always", "interval"])
def test_a_segment_that_could_not_be_synced_is_written_to_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fsync: str
) -> None:
    """The kernel forgets the page and says so once: a second fdatasync that succeeds means nothing."""

    def broken(fd: int) -> None:
        raise OSError(5, "Input/output error")

    settings = SpoolSettings(fsync="always" if fsync == "always" else "interval")
    with opened(tmp_path, settings) as spool:
        put(spool, begin(1))
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", broken)
            with pytest.raises(SpoolError, match="Input/output"):  # noqa: PT012
                put(spool, begin(2))
                spool.sync()
        put(spool, begin(3))
    assert ids(on_disk(tmp_path)) == (["c-1b", "c-3b"] if fsync == "always" else ["c-1b", "c-2b", "c-3b"])
    assert len(segments(tmp_path)) == 2
    verified(tmp_path)


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    """On a file system of 64 KiB, mounted in a mount namespace of its own."""
    script = textwrap.dedent(f"""
        import errno, subprocess, sys
        from pathlib import Path
        from lockgate.audit.spool import SpoolError
        from lockgate.config import SpoolSettings
        from tests.audit.spooling import begin, opened, put, verified

        folder = Path({str(tmp_path)!r})
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], check=True)
        with opened(folder / "spool", SpoolSettings(segment_bytes=20_000)) as spool:
            written = 0
            try:
                for written in range(1000):
                    put(spool, begin(written))
            except SpoolError as error:
                assert error.__cause__.errno == errno.ENOSPC, error
            assert spool.head.seq == written > 100, written
            try:
                put(spool, begin(0, "x" * 5000))
            except SpoolError:
                pass
            else:
                raise AssertionError("there was room")
        assert verified(folder / "spool").last == written
    """)
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=60)
    assert done.returncode == 0, done.stderr


# Seals


def test_a_seal_after_so_many_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEAL_RECORDS", 4)
    with opened(tmp_path) as spool:
        for number in range(10):
            put(spool, begin(number))
    kinds = [fields["type"] for fields in map(record.decode, on_disk(tmp_path))]
    assert [place + 1 for place, kind in enumerate(kinds) if kind == "seal"] == [5, 9, 13]
    assert verified(tmp_path).sealed == 12


def test_a_seal_after_so_long_and_never_of_nothing(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, clock=clock) as spool:
        clock.now += 3_600_000_000_000
        assert not spool.seal_due()
        put(spool, begin(1))
        assert not spool.seal_due()
        clock.now += 4_900_000_000
        put(spool, end(1))
        assert not spool.seal_due()
        clock.now += 100_000_000
        assert spool.seal_due()
        spool.seal()
        clock.now += 3_600_000_000_000
        assert not spool.seal_due()
        spool.seal()
    assert ids(on_disk(tmp_path)) == ["c-1b", "c-1e", "seal"]
    assert verified(tmp_path).sealed == 2


def test_seals_go_on_where_they_were_after_a_restart(tmp_path: Path) -> None:
    for number in range(3):
        with opened(tmp_path) as spool:
            assert spool.unsealed == (1 if number else 0)
            spool.seal()
            assert spool.unsealed == 0
            put(spool, begin(number))
    assert ids(on_disk(tmp_path)) == ["c-0b", "seal", "c-1b", "seal", "c-2b"]
    assert verified(tmp_path).sealed == 3


def test_a_seal_that_has_no_room_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEAL_RECORDS", 1)
    with opened(tmp_path) as spool:
        room = SMALL.max_bytes - spool.bytes
        text = "x" * (room - 350)
        put(spool, {**end(1), "tag": text})
        put(spool, end(2))
    assert ids(on_disk(tmp_path)) == ["c-1e", "c-2e"]


# Watching, and one writer


def test_a_watcher_is_called_once_after_the_next_commit(tmp_path: Path) -> None:
    seen = []
    with opened(tmp_path) as spool:
        spool.watch(lambda: seen.append(spool.head.seq))
        spool.commit()
        assert seen == []
        put(spool, begin(1))
        put(spool, begin(2))
    assert seen == [1]


def test_one_folder_has_one_writer(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(SpoolError, match="in use"):
        Spool(tmp_path, HOST, KEY, SMALL)
    with opened(tmp_path):
        pass
