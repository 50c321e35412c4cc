"""What could not be recorded, kept and taken up."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from lockgate.audit import unrecorded


def test_it_is_kept_in_order_with_its_time_until_it_is_forgotten(tmp_path: Path) -> None:
    before = time.time_ns()
    for number in range(3):
        unrecorded.leave(tmp_path, {"type": "agent", "event": "release", "detail": str(number)})
    found = unrecorded.left(tmp_path)
    assert [one["detail"] for one in found] == ["0", "1", "2"]
    assert all(before <= one["at"] <= time.time_ns() for one in found)
    assert (tmp_path / unrecorded.FILE).stat().st_mode & 0o077 == 0
    unrecorded.forget(tmp_path)
    unrecorded.forget(tmp_path)
    assert unrecorded.left(tmp_path) == []


def test_half_a_line_is_a_record_that_says_so(tmp_path: Path) -> None:
    unrecorded.leave(tmp_path, {"type": "agent"})
    with (tmp_path / unrecorded.FILE).open("ab") as file:
        file.write(b'{"type": "ag')
    assert [one.get("event") for one in unrecorded.left(tmp_path)] == [None, "unreadable"]


def test_it_is_bounded(tmp_path: Path) -> None:
    file = tmp_path / unrecorded.FILE
    while not file.exists() or file.stat().st_size < unrecorded.FILE_LIMIT:
        unrecorded.leave(tmp_path, {"detail": "x" * 1000})
    with pytest.raises(OSError, match="as much as it may"):  # and who asked is not told that it is kept
        unrecorded.leave(tmp_path, {"detail": "one more"})
    assert file.stat().st_size < unrecorded.FILE_LIMIT + 2000


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    os.symlink(target, tmp_path / unrecorded.FILE)
    with pytest.raises(OSError, match="symbolic"):
        unrecorded.leave(tmp_path, {})
    assert not target.exists()


def test_another_s_file_is_left_alone_and_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / unrecorded.FILE).hardlink_to(victim)
    with pytest.raises(OSError, match="another name"):
        unrecorded.leave(tmp_path, {})
    assert victim.read_text() == "precious"
    unrecorded.forget(tmp_path)
    os.mkfifo(tmp_path / unrecorded.FILE)
    with pytest.raises(OSError, match=unrecorded.FILE):
        unrecorded.leave(tmp_path, {})
