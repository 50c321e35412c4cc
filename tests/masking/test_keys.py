from __future__ import annotations

import os
from pathlib import Path

import pytest

from lockgate.masking.keys import MaskingKeyError, RootKey

HEX = "0f" * 32


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "masking.key"
    first = RootKey.load_or_create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert RootKey.load_or_create(path).keys("orders") == first.keys("orders")
    assert RootKey.load_or_create(tmp_path / "other.key").keys("orders") != first.keys("orders")


def test_the_same_file_on_another_host_gives_the_same_keys(tmp_path: Path) -> None:
    assert RootKey.load(write(tmp_path / "a", HEX)).keys("orders") == RootKey(bytes.fromhex(HEX)).keys("orders")
    assert RootKey.load(write(tmp_path / "b", HEX.upper() + "\n")).keys("orders") == RootKey.load(tmp_path / "a").keys(
        "orders"
    )


def test_each_purpose_of_each_datastore_has_its_own() -> None:
    root = RootKey(bytes(32))
    one, other = root.keys("orders"), root.keys("billing")
    assert len({one.hash, one.tokenise, one.date_shift, other.hash, other.tokenise, other.date_shift}) == 6
    assert all(len(key) == 32 for key in (one.hash, one.tokenise, one.date_shift))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_one_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "key", HEX, mode)
    with pytest.raises(MaskingKeyError, match="others may read it"):
        RootKey.load(path)
    with pytest.raises(MaskingKeyError, match="others may read it"):
        RootKey.load_or_create(path)


@pytest.mark.parametrize("text", ["", "0f", HEX[:-2], HEX + "00", "zz" * 32, "\u00e9" * 32])
def test_what_is_no_key_is_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    with pytest.raises(MaskingKeyError) as caught:
        RootKey.load(write(tmp_path / "key", text))
    assert "64 hexadecimal digits" in str(caught.value)
    assert not text or text not in str(caught.value)
    assert caught.value.__cause__ is None


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MaskingKeyError, match="No such file"):
        RootKey.load(tmp_path / "none")
    (tmp_path / "link").symlink_to(write(tmp_path / "key", HEX))
    with pytest.raises(MaskingKeyError, match="symbolic links"):
        RootKey.load(tmp_path / "link")
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(MaskingKeyError, match="not a regular file"):
        RootKey.load(tmp_path / "fifo")
    with pytest.raises(MaskingKeyError, match="No such file"):
        RootKey.load_or_create(tmp_path / "nowhere" / "key")


def test_another_users_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "key", HEX)
    os.chown(path, 12345, -1)
    with pytest.raises(MaskingKeyError, match="belongs to uid 12345"):
        RootKey.load(path)


def test_keys_are_not_shown() -> None:
    root = RootKey(bytes.fromhex(HEX))
    for shown in (repr(root), str(root), repr(root.keys("orders")), f"{root.keys('orders')}"):
        assert HEX[:8] not in shown
        assert "\\x" not in shown
    with pytest.raises(ValueError, match="32 bytes"):
        RootKey(b"short")
