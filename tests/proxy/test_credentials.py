"""Where passwords come from: read anew each time, bounded, and never repeated in an error."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lockgate.config import Credential
from lockgate.config.secrets import PASSWORD_BYTES, SecretError
from lockgate.proxy import credentials
from lockgate.proxy.credentials import COMMAND_RETRY_SECONDS, COMMAND_TTL_SECONDS, Passwords
from tests.proxy.house import play, until


def get(passwords: Passwords, credential: Credential) -> str | None:
    secret = asyncio.run(passwords.of(credential))
    return None if secret is None else secret.reveal()


def program(folder: Path, body: str) -> Credential:
    """A program whose runs are counted in `runs`."""
    path = folder / "fetch"
    path.write_text(f"#!/bin/sh\necho . >> {folder}/runs\n{body}\n")
    path.chmod(0o755)
    return Credential(user="app", command=[str(path), "t0ken"])


def runs(folder: Path) -> int:
    return len((folder / "runs").read_text().split())


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_credential_may_have_none() -> None:
    assert get(Passwords(), Credential(user="app")) is None


def test_a_file_is_read_each_time(tmp_path: Path) -> None:
    path = tmp_path / "pw"
    path.touch(0o600)
    passwords, credential = Passwords(), Credential(user="app", password_file=str(path))
    for text in ("one", "two"):
        path.write_text(text + "\n")
        assert get(passwords, credential) == text
    path.chmod(0o644)
    with pytest.raises(SecretError, match="open to everyone"):
        get(passwords, credential)


def test_systemd_passes_credentials_in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    credential = Credential(user="app", systemd="orders.app")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(SecretError, match="no credentials"):
        get(Passwords(), credential)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(SecretError, match="No such file"):
        get(Passwords(), credential)
    (tmp_path / "orders.app").write_text("s3cret")
    (tmp_path / "orders.app").chmod(0o400)
    assert get(Passwords(), credential) == "s3cret"


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    credential = Credential(user="app", env="LOCKGATE_TEST_PW")
    monkeypatch.delenv("LOCKGATE_TEST_PW", raising=False)
    with pytest.raises(SecretError, match="has no LOCKGATE_TEST_PW"):
        get(Passwords(), credential)
    monkeypatch.setenv("LOCKGATE_TEST_PW", "s3cret")
    assert get(Passwords(), credential) == "s3cret"
    monkeypatch.setitem(os.environ, "LOCKGATE_TEST_PW", "s3cret\udcff")
    with pytest.raises(SecretError, match="not UTF-8") as refused:
        get(Passwords(), credential)
    assert "s3cret" not in str(refused.value)


def test_a_command_is_run_without_a_shell_and_with_nothing_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANOTHER_SECRET", "x")
    credential = program(tmp_path, f'env > {tmp_path}/env; read line; echo "$1:$line"; echo oops >&2')
    assert get(Passwords(), credential) == "t0ken:"
    assert "ANOTHER_SECRET" not in (tmp_path / "env").read_text()


def test_what_it_printed_is_used_for_a_moment(tmp_path: Path) -> None:
    clock = Clock()
    passwords, credential = Passwords(clock=clock), program(tmp_path, f"wc -l < {tmp_path}/runs")
    assert [get(passwords, credential) for _ in range(3)] == ["1"] * 3
    clock.now += COMMAND_TTL_SECONDS
    assert get(passwords, credential) == "2"


def test_but_not_again_once_the_datastore_refused_it(tmp_path: Path) -> None:
    clock = Clock()
    passwords, credential = Passwords(clock=clock), program(tmp_path, f"wc -l < {tmp_path}/runs")
    assert get(passwords, credential) == "1"
    passwords.refused(credential)
    assert get(passwords, credential) == "1"  # clients that try again and again are not the vault's trouble
    clock.now += COMMAND_RETRY_SECONDS
    assert get(passwords, credential) == "2"
    clock.now += COMMAND_RETRY_SECONDS
    assert get(passwords, credential) == "2"


def test_connections_that_begin_together_share_one_run(tmp_path: Path) -> None:
    passwords, credential = Passwords(), program(tmp_path, "sleep 0.2; echo s3cret")

    async def use() -> None:
        found = await asyncio.gather(*(passwords.of(credential) for _ in range(20)))
        assert {secret.reveal() for secret in found if secret is not None} == {"s3cret"}

    play(use())
    assert runs(tmp_path) == 1


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("echo s3cret; exit 3", "failed with status 3"),
        ("true", "no password"),
        ("printf 's3cret\\377'", "not UTF-8"),
        (f"head -c {PASSWORD_BYTES + 1} /dev/zero | tr '\\0' s", "more than"),
        ("yes s3cret", "more than"),
    ],
)
def test_a_command_that_gives_no_password(tmp_path: Path, body: str, why: str) -> None:
    clock = Clock()
    passwords, credential = Passwords(clock=clock), program(tmp_path, body)
    for expected in (1, 1, 2):
        with pytest.raises(SecretError, match=why) as refused:
            get(passwords, credential)
        assert not any(secret in str(refused.value) for secret in ("s3cret", "t0ken"))
        assert runs(tmp_path) == expected
        clock.now += COMMAND_RETRY_SECONDS / 1.5


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match="can't be run: No such file"):
        get(Passwords(), Credential(user="app", command=[str(tmp_path / "absent")]))


def gone(folder: Path) -> Callable[[], bool]:
    def check() -> bool:
        pid = int((folder / "pid").read_text())
        return not Path(f"/proc/{pid}").exists() or "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()

    return check


def test_a_command_that_hangs_is_ended_with_what_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "COMMAND_SECONDS", 0.5)
    credential = program(tmp_path, f"sleep 60 & echo $! > {tmp_path}/pid; wait")
    with pytest.raises(SecretError, match=r"took more than 0\.5 s"):
        get(Passwords(), credential)
    deadline = time.monotonic() + 5
    while not gone(tmp_path)():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_one_whose_connection_has_gone_is_ended_too(tmp_path: Path) -> None:
    credential = program(tmp_path, f"echo $$ > {tmp_path}/pid; exec sleep 60")

    async def use() -> None:
        passwords = Passwords()
        waiting = asyncio.create_task(passwords.of(credential))
        await until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await until(gone(tmp_path))

    play(use())
