"""Reading back and letting go; writing is tested through the spool, opening in test_recovery."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.audit import journal
from lockgate.audit.chain import step
from lockgate.audit.segment import ENTRY_PREFIX, entries
from lockgate.audit.spool import Batch, Spool, SpoolDamaged, SpoolError
from lockgate.config import SpoolSettings
from tests.audit.spooling import SMALL, begin, on_disk, opened, put, segments


def fill(spool: Spool, count: int, size: int = 300) -> None:
    for number in range(count):
        put(spool, begin(number, "x" * size))


def read_all(spool: Spool, limit: int, seq: int = 1) -> list[Batch]:
    batches = []
    while batch := spool.read(seq, limit):
        batches.append(batch)
        seq = batch.last + 1
    return batches


def records(batch: Batch) -> list[bytes]:
    """Entries have no frames around them: an entry's record begins after its prefix, and is as long as msgpack says."""
    found, data = [], batch.entries
    while data:
        rest = data[ENTRY_PREFIX:]
        length = next(n for n in range(1, len(rest) + 1) if is_whole(rest[:n]))
        found.append(rest[:length])
        data = rest[length:]
    return found


def is_whole(data: bytes) -> bool:
    return data in KNOWN


KNOWN: set[bytes] = set()


@given(limit=st.integers(1, 3000), seq=st.integers(1, 45))
def test_reading_gives_every_record_once_in_order(
    tmp_path_factory: pytest.TempPathFactory, limit: int, seq: int
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    with opened(folder) as spool:
        fill(spool, 40)
        everything = on_disk(folder)
        KNOWN.update(everything)
        assert len(segments(folder)) > 3
        batches = read_all(spool, limit, seq)
    assert [raw for batch in batches for raw in records(batch)] == everything[seq - 1 :]
    for batch in batches:
        assert batch.hash == step(everything[batch.last - 1])
        assert len(batch.entries) <= limit or batch.first == batch.last


def test_a_reader_need_not_begin_where_it_stopped(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        fill(spool, 40)
        whole = {batch.first: batch for batch in read_all(spool, 1)}
        for seq in (40, 3, 3, 4, 39, 1, 17, 18):
            assert spool.read(seq, 1) == whole[seq]


def test_what_is_only_staged_is_not_read(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        put(spool, begin(1))
        spool.append(begin(2))
        batch = spool.read(1, 10_000)
        assert batch is not None
        assert (batch.first, batch.last) == (1, 1)
        assert spool.read(2, 10_000) is None


def test_segments_go_when_all_in_them_is_safe_elsewhere_and_the_newest_never(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        fill(spool, 40)
        spool.sync()
        firsts = [int(path.name[:20]) for path in segments(tmp_path)]
        spool.release(firsts[2] - 1)
        assert spool.first == firsts[1]
        spool.release(firsts[2])
        assert spool.first == firsts[2]
        spool.release(10**6)
        assert [int(path.name[:20]) for path in segments(tmp_path)] == firsts[-1:]
        assert spool.bytes == sum(path.stat().st_size for path in segments(tmp_path))
        batch = spool.read(1, 1)
        assert batch is not None
        assert batch.first == firsts[-1], "what is gone is passed over"


def test_a_segment_stays_until_the_one_that_knows_the_chains_head_is_on_the_medium(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        spool.sync()
        fill(spool, 40)
        count = len(segments(tmp_path))
        spool.release(41)
        assert len(segments(tmp_path)) == count
        spool.sync()
        spool.release(41)
        assert len(segments(tmp_path)) == 1


def test_without_fsync_nothing_waits_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(fd: int) -> None:
        raise AssertionError("synced")

    monkeypatch.setattr(os, "fdatasync", never)
    with opened(tmp_path, SpoolSettings(max_bytes=SMALL.max_bytes, segment_bytes=4096, fsync="never")) as spool:
        fill(spool, 40)
        spool.sync()
        spool.release(41)
        assert len(segments(tmp_path)) == 1


def test_always_means_before_commit_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    real = os.fdatasync

    def counted(fd: int) -> None:
        synced.append(os.fstat(fd).st_size)
        real(fd)

    monkeypatch.setattr(os, "fdatasync", counted)
    with opened(tmp_path, SpoolSettings(fsync="always")) as spool:
        for number in range(3):
            put(spool, begin(number))
            assert synced[-1] == spool.bytes
        assert len(synced) == 3


def test_syncing_nothing_new_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    real = os.fdatasync

    def counted(fd: int) -> None:
        synced.append(fd)
        real(fd)

    monkeypatch.setattr(os, "fdatasync", counted)
    with opened(tmp_path) as spool:
        put(spool, begin(1))
        for _ in range(5):
            spool.sync()
    assert len(synced) == 1


def test_full_segments_do_not_pile_up_unsynced(tmp_path: Path) -> None:
    """When nobody calls `sync`, or it can't keep up, writing pays for it: files open are bounded."""
    with opened(tmp_path, SpoolSettings(max_bytes=1 << 20, segment_bytes=2048)) as spool:
        before = len(os.listdir("/proc/self/fd"))
        fill(spool, 200)
        assert len(segments(tmp_path)) > 30
        assert len(os.listdir("/proc/self/fd")) - before <= journal.RETIRED_SEGMENTS + 1


def test_syncing_in_a_thread_while_writing_and_beginning_segments(tmp_path: Path) -> None:
    failures: list[BaseException] = []
    stop = threading.Event()

    def sync() -> None:
        try:
            while not stop.is_set():
                spool.sync()
        except BaseException as error:  # noqa: BLE001 - reported below, whatever it is
            failures.append(error)

    with opened(tmp_path, SpoolSettings(segment_bytes=4096)) as spool:
        threads = [threading.Thread(target=sync) for _ in range(2)]
        for thread in threads:
            thread.start()
        fill(spool, 600)
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert len(on_disk(tmp_path)) == 600


def test_a_damaged_record_is_not_read_and_those_before_it_are(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        fill(spool, 40)
        path = segments(tmp_path)[1]
        first = int(path.name[:20])
        data = bytearray(path.read_bytes())
        data[-20] ^= 1
        path.write_bytes(data)
        sound = spool.read(first, len(data))
        assert sound is not None
        seen = sound.last
        assert first < seen < 40
        with pytest.raises(SpoolDamaged, match=rf"{path.name}: record {seen + 1} at byte \d+ is damaged"):
            spool.read(seen + 1, 500)
        after = spool.skip(seen + 1)
        assert after == int(segments(tmp_path)[1].name[:20]) > seen + 1
        assert path.with_name(path.name + ".damaged").read_bytes() == data
        assert [batch.first for batch in read_all(spool, 1, seen + 1)] == list(range(after, 41))
        assert spool.bytes == sum(path.stat().st_size for path in segments(tmp_path))


@pytest.mark.parametrize("damage", ["cut", "header", "gone"])
def test_the_newest_segment_damaged_under_us(tmp_path: Path, damage: str) -> None:
    with opened(tmp_path, SpoolSettings()) as spool:
        fill(spool, 5)
        (path,) = segments(tmp_path)
        if damage == "cut":
            os.truncate(path, spool.bytes - 1)
        elif damage == "header":
            path.write_bytes(b"X" + path.read_bytes()[1:])
        else:
            path.rename(tmp_path / "elsewhere")
            with pytest.raises(SpoolError, match="No such file"):
                spool.read(5, 1)
            return
        with pytest.raises(SpoolDamaged):
            spool.read(5, 1)
        assert spool.skip(5) == 6
        put(spool, begin(6))
        batch = spool.read(5, 1)
        assert batch is not None
        assert batch.first == 6


def test_frames_are_not_in_what_is_read(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        put(spool, begin(1))
        batch = spool.read(1, 1000)
    assert batch is not None
    assert list(entries(batch.entries)) == []
    assert batch.entries[:3] == b"\x92\xd7\x00"
