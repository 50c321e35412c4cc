"""Files that hold a secret: who may read them, and what a password is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lockgate.config.secrets import SecretError, read_password, read_private


def secret_file(folder: Path, content: bytes, mode: int = 0o600) -> str:
    path = folder / "secret"
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize("content", [b"s3cret", b"s3cret\n", b"s3cret\r\n"])
@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640])
def test_a_file_of_ours_alone_is_read(tmp_path: Path, content: bytes, mode: int) -> None:
    assert read_password(secret_file(tmp_path, content, mode)).reveal() == "s3cret"


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o644, 0o666])
def test_one_open_to_everyone_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(SecretError, match="open to everyone") as refused:
        read_password(secret_file(tmp_path, b"s3cret", mode))
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(("mode", "group"), [(0o660, 0), (0o610, 0), (0o640, 64009)])
def test_one_open_to_a_group_is_refused(tmp_path: Path, mode: int, group: int) -> None:
    path = secret_file(tmp_path, b"s3cret", mode)
    os.chown(path, 0, group)
    with pytest.raises(SecretError, match="open to its group"):
        read_password(path)


def test_one_that_somebody_else_could_change_is_refused(tmp_path: Path) -> None:
    path = secret_file(tmp_path, b"s3cret")
    os.chown(path, 64001, 0)
    with pytest.raises(SecretError, match="belongs to somebody else"):
        read_password(path)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no password"),
        (b"\n", "no password"),
        (b"s3cret\0b", "no password"),
        (b"s3cret\xff", "UTF-8"),
        (b"s3cret" * 1000, "bytes"),
    ],
)
def test_what_is_no_password_is_refused_and_not_repeated(tmp_path: Path, content: bytes, why: str) -> None:
    with pytest.raises(SecretError, match=why) as refused:
        read_password(secret_file(tmp_path, content))
    assert "s3cret" not in str(refused.value)


def test_what_is_no_file_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    before = len(os.listdir("/proc/self/fd"))
    for path, why in ((tmp_path / "absent", "No such file"), (tmp_path, "not a file"), (tmp_path / "pipe", "not a")):
        with pytest.raises(SecretError, match=why):
            read_password(str(path))
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_key_is_bytes_of_any_kind(tmp_path: Path) -> None:
    assert read_private(secret_file(tmp_path, b"\x00\xff"), 2) == b"\x00\xff"
