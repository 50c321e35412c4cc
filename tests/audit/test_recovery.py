"""What a crash, a power cut or somebody with an editor may leave in a spool's folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.audit.segment import encode_frame
from lockgate.audit.spool import Spool, SpoolError
from lockgate.config import SpoolSettings
from tests.audit.spooling import HOST, KEY, SMALL, begin, end, ids, on_disk, opened, put, segments, verified


def test_the_chain_goes_on_after_a_clean_end(tmp_path: Path) -> None:
    for number in range(4):
        with opened(tmp_path) as spool:
            assert spool.head.seq == number
            assert spool.dropped == 0
            put(spool, begin(number))
    assert ids(on_disk(tmp_path)) == ["c-0b", "c-1b", "c-2b", "c-3b"]
    verified(tmp_path)


def test_the_chain_goes_on_when_everything_was_shipped_and_deleted(tmp_path: Path) -> None:
    """Only a segment without a record is left: its header knows."""
    with opened(tmp_path) as spool:
        put(spool, begin(1, "x" * 5000))
        spool.seal()
        put(spool, begin(2, "x" * 5000))
        spool.sync()
        spool.release(spool.head.seq + 1)
        head = spool.head
        (newest,) = segments(tmp_path)
    data = newest.read_bytes()
    newest.write_bytes(data[: data.index(b"statement") - 200])
    with opened(tmp_path) as spool:
        assert (spool.head.seq, spool.head.sealed) == (head.seq - 1, 1)
        put(spool, begin(3))
        assert spool.head.seq == head.seq


@given(st.integers(1, 400))
def test_a_torn_end_is_dropped_wherever_it_was_cut(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    folder = tmp_path_factory.mktemp("spool")
    with opened(folder) as spool:
        put(spool, begin(1), end(1))
        size = spool.bytes
        put(spool, begin(2, "x" * 300))
    (path,) = segments(folder)
    os.truncate(path, path.stat().st_size - cut)
    with opened(folder) as spool:
        assert spool.head.seq == 2
        assert (spool.bytes, spool.dropped) == (size, max(path.stat().st_size, spool.bytes + spool.dropped) - size)
        put(spool, begin(3))
    assert ids(on_disk(folder)) == ["c-1b", "c-1e", "c-3b"]
    verified(folder)


def test_blocks_that_a_power_cut_left_empty_are_dropped(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        put(spool, begin(1))
    with segments(tmp_path)[0].open("ab") as file:
        file.write(bytes(4096))
    with opened(tmp_path) as spool:
        assert spool.dropped == 4096
        put(spool, begin(2))
    assert list(tmp_path.glob("*.damaged")) == []
    verified(tmp_path)


def test_records_behind_a_damaged_one_are_kept_beside_the_spool(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        put(spool, begin(1))
        offset = spool.bytes
        put(spool, begin(2))
        put(spool, begin(3))
    (path,) = segments(tmp_path)
    data = bytearray(path.read_bytes())
    data[offset + 40] ^= 1
    path.write_bytes(data)
    with opened(tmp_path) as spool:
        assert spool.head.seq == 1
        assert spool.dropped == len(data) - offset
    (kept,) = tmp_path.glob("*.damaged")
    assert kept.read_bytes() == data[offset:]
    assert kept.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("left", [0, 3, 30])
def test_a_segment_begun_and_not_finished_is_not_the_newest(tmp_path: Path, left: int) -> None:
    with opened(tmp_path) as spool:
        put(spool, begin(1, "x" * 5000))
        put(spool, begin(2))
    newest = segments(tmp_path)[-1]
    os.truncate(newest, left)
    with opened(tmp_path) as spool:
        assert spool.head.seq == 1
        put(spool, begin(3))
    assert ids(on_disk(tmp_path)) == ["c-1b", "c-3b"]
    verified(tmp_path)


def test_a_first_segment_begun_and_not_finished_is_begun_again(tmp_path: Path) -> None:
    with opened(tmp_path):
        pass
    os.truncate(segments(tmp_path)[0], 10)
    with opened(tmp_path) as spool:
        put(spool, begin(1))
    verified(tmp_path)


def test_without_the_head_of_the_chain_nothing_is_begun(tmp_path: Path) -> None:
    """Beginning anew by itself would make a lost spool look like a new host."""
    with opened(tmp_path) as spool:
        put(spool, begin(1, "x" * 5000))
        put(spool, begin(2))
        spool.sync()
        spool.release(2)
    (path,) = segments(tmp_path)
    whole = path.read_bytes()
    for damage in (whole[:20], b"X" + whole[1:], whole[:20] + b"\0" + whole[21:]):
        path.write_bytes(damage)
        with pytest.raises(SpoolError, match="how the chain goes on"):
            Spool(tmp_path, HOST, KEY, SMALL)
    path.write_bytes(whole)
    with opened(tmp_path) as spool:
        assert spool.head.seq == 2


def test_a_damaged_newest_segment_is_not_passed_over_for_an_older_one(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        put(spool, begin(1, "x" * 5000))
        put(spool, begin(2))
    path = segments(tmp_path)[-1]
    path.write_bytes(b"X" + path.read_bytes()[1:])
    with pytest.raises(SpoolError, match="how the chain goes on"):
        Spool(tmp_path, HOST, KEY, SMALL)


def test_a_spool_of_another_host(tmp_path: Path) -> None:
    with opened(tmp_path):
        pass
    with pytest.raises(SpoolError, match=r"of host 'host-1', not of 'host-2'"):
        Spool(tmp_path, "host-2", KEY, SMALL)


def test_a_segment_under_another_name(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        put(spool, begin(1))
    (path,) = segments(tmp_path)
    path.rename(tmp_path / f"{7:020d}.segment")
    with pytest.raises(SpoolError, match="not its name"):
        Spool(tmp_path, HOST, KEY, SMALL)


@pytest.mark.parametrize("extra", [b"\x80", b"\xc1"], ids=["no-envelope", "garbage"])
def test_a_sound_frame_that_holds_no_record(tmp_path: Path, extra: bytes) -> None:
    with opened(tmp_path):
        pass
    with segments(tmp_path)[0].open("ab") as file:
        file.write(encode_frame(extra, 5))
    with pytest.raises(SpoolError, match="not a record"):
        Spool(tmp_path, HOST, KEY, SMALL)


def test_a_record_in_another_ones_place(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        put(spool, begin(1))
    (path,) = segments(tmp_path)
    with path.open("ab") as file:
        file.write(encode_frame(on_disk(tmp_path)[0], 5))
    with pytest.raises(SpoolError, match="record 1 where 2 belongs"):
        Spool(tmp_path, HOST, KEY, SMALL)


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match="Not a directory"):
        Spool(tmp_path / "file" / "spool", HOST, KEY, SMALL)


def test_a_link_in_a_segments_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "elsewhere").write_bytes(b"precious")
    (tmp_path / "spool" / f"{1:020d}.segment").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SpoolError):
        Spool(tmp_path / "spool", HOST, KEY, SMALL)
    assert (tmp_path / "elsewhere").read_bytes() == b"precious"


def test_a_process_killed_while_writing(tmp_path: Path) -> None:
    """Whatever it had said to be committed is there, and the chain goes on."""
    script = (
        "import sys; from pathlib import Path; from tests.audit.spooling import *\n"
        "with opened(Path(sys.argv[1]), SpoolSettings(segment_bytes=20_000)) as spool:\n"
        "    for number in range(10**9):\n"
        "        put(spool, begin(number))\n"
        "        print(spool.head.seq, flush=True)\n"
    )
    settings = SpoolSettings(segment_bytes=20_000)
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
        )
        assert child.stdout is not None
        with child.stdout as said:
            for _ in range(200):
                said.readline()
            child.send_signal(signal.SIGKILL)
            rest = said.read().split(b"\n")
        child.wait()
        known = int(rest[-2]) if len(rest) > 1 else 0
        with opened(tmp_path, settings) as spool:
            assert spool.head.seq >= max(known, 200)
        verified(tmp_path)
