"""Private files of the agent's own: what the host key's tests don't show (tests/identity/test_keys.py)."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from lockgate.identity.keyfile import KeyFileError, load_or_create, replace


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
