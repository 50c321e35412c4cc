"""Private files of the agent's own: what the host key's tests don't show (tests/identity/test_keys.py)."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from lockgate.config.keyfile import KeyFileError, load_or_create, publish, replace


def test_it_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "state" / "a.pem"
    assert load_or_create(path, lambda: b"first", 100) == b"first"
    assert load_or_create(path, lambda: b"second", 100) == b"first"
    assert load_or_create(path, lambda: b"second", 2) == b"fi"


def test_a_replacement_is_whole_and_as_private(tmp_path: Path) -> None:
    path = tmp_path / "state" / "a.pem"
    load_or_create(path, lambda: b"first", 100)
    replace(path, b"second")
    assert load_or_create(path, lambda: b"third", 100) == b"second"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["a.pem"]


def test_what_can_not_be_replaced_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.pem").mkdir()
    with pytest.raises(KeyFileError, match=r"a\.pem: Is a directory"):
        replace(tmp_path / "a.pem", b"second")
    assert os.listdir(tmp_path) == ["a.pem"]
    with pytest.raises(KeyFileError, match="No such file"):
        replace(tmp_path / "absent" / "a.pem", b"second")


def test_what_is_published_takes_the_place_of_whatever_is_there(tmp_path: Path) -> None:
    """Somebody may have put a link there, to a file that would be written through it."""
    other = tmp_path / "shadow"
    other.write_bytes(b"root:*:1")
    folder = tmp_path / "run"
    folder.mkdir(mode=0o755)
    (folder / "ca.crt").symlink_to(other)
    before = os.umask(0o077)
    try:
        publish(folder / "ca.crt", b"certificate")
    finally:
        os.umask(before)
    assert other.read_bytes() == b"root:*:1"
    assert not (folder / "ca.crt").is_symlink()
    assert (folder / "ca.crt").read_bytes() == b"certificate"
    assert stat.S_IMODE((folder / "ca.crt").stat().st_mode) == 0o644
    assert os.listdir(folder) == ["ca.crt"]


def test_nothing_is_published_where_others_may_write(tmp_path: Path) -> None:
    """They would put an authority of their own in its place."""
    folder = tmp_path / "run"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(KeyFileError, match="others may write here"):
        publish(folder / "ca.crt", b"certificate")
    folder.chmod(0o755)
    os.chown(folder, 64001, 64001)
    with pytest.raises(KeyFileError, match="belongs to uid 64001"):
        publish(folder / "ca.crt", b"certificate")
    assert os.listdir(folder) == []
