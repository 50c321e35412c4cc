"""What is built once and kept."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pack.runtime import SCRIPTS, key, made_whole


def test_a_key_changes_with_every_part_and_with_where_parts_end(tmp_path: Path) -> None:
    file = tmp_path / "script"
    file.write_text("one")
    same = key("a", "b", file)
    assert key("a", "b", b"one") == same
    assert key("ab", file) != same
    file.write_text("two")
    assert key("a", "b", file) != same


def test_what_is_there_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "cache/thing"
    with made_whole(target) as part:
        (part / "file").write_text("content")
        assert not target.exists()
    assert (target / "file").read_text() == "content"


def test_of_what_fails_nothing_stays(tmp_path: Path) -> None:
    def fail(target: Path) -> None:
        with made_whole(target) as part:
            (part / "file").write_text("content")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail(tmp_path / "cache/thing")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("name", ["build-runtime", "inside-root"])
def test_scripts_are_bash(name: str) -> None:
    subprocess.run(["bash", "-n", SCRIPTS / name], check=True)


def test_what_python_is_trained_on_does_the_same_every_time(tmp_path: Path) -> None:
    """The training runs in this Python too, and its own checks hold; it writes nothing where it runs."""
    run = subprocess.run(["python3", "-I", "-X", "importtime", SCRIPTS / "train.py"], cwd=tmp_path, capture_output=True)
    assert run.returncode == 0
    assert run.stdout == b""
    assert list(tmp_path.iterdir()) == []
