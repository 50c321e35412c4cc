"""A command line as it may be recorded."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.identity.cmdline import CMDLINE_LIMIT, arguments


def shown(*words: str) -> tuple[str, ...]:
    return arguments(b"".join(word.encode() + b"\0" for word in words))


def test_arguments_are_told_apart() -> None:
    assert shown("python3", "app.py", "--port", "80", "", "a b") == ("python3", "app.py", "--port", "80", "", "a b")


def test_a_kernel_thread_has_none() -> None:
    assert arguments(b"") == ()


def test_a_title_that_a_process_wrote_is_one_word() -> None:
    assert arguments(b"nginx: worker process" + bytes(200)) == ("nginx: worker process",)


def test_odd_bytes_are_spelled_out() -> None:
    assert arguments(b"a\xff\0") == ("a\\xff",)


def test_it_is_cut_and_says_so() -> None:
    found = arguments(b"x" * (CMDLINE_LIMIT + 1))
    assert found == ("x" * CMDLINE_LIMIT, "...")
    assert arguments(b"x" * (CMDLINE_LIMIT - 1) + b"\0") == ("x" * (CMDLINE_LIMIT - 1),)


@pytest.mark.parametrize(
    "words",
    [
        ("psql", "postgresql://ann:hunter2@db/orders"),
        ("psql", "host=db password=hunter2 user=ann"),
        ("psql", "host=db password = 'hunter2 and more' user=ann"),
        ("psql", "-c", "ALTER ROLE ann PASSWORD 'hunter2'"),
        ("psql", "-cSELECT 'hunter2'"),
        ("psql", "--command=SELECT hunter2"),
        ("/usr/bin/psql", "--command", "SELECT hunter2"),
        ("mysql", "-phunter2", "orders"),
        ("mysql", "-e", "SELECT hunter2"),
        ("mysqldump", "--password=hunter2 with spaces", "orders"),
        ("redis-cli", "-a", "hunter2"),
        ("sshpass", "-p", "hunter2", "ssh", "db"),
        ("app", "--password", "hunter2"),
        ("app", "--db-password=hunter2"),
        ("app", "--api-key", "hunter2"),
        ("app", "-token", "hunter2"),
        ("sh", "-c", "PGPASSWORD=hunter2 psql"),
        ("sh", "-c", 'PGPASSWORD="hunter2" psql'),
        ("sh", "-c", "psql -c \"UPDATE t SET a = 'hunter2'\""),
        ("curl", "https://ann:hunter2@db/"),
        ("app", '{"password": "hunter2"}'),
        ("app", "client_secret=hunter2&grant=x"),
        ("app", "API_KEY: hunter2"),
    ],
)
def test_no_secret_is_shown(words: tuple[str, ...]) -> None:
    found = shown(*words)
    assert "hunter2" not in " ".join(found)
    assert "***" in " ".join(found)
    assert found[0] == words[0]


def test_what_is_no_secret_stays() -> None:
    words = ("mysql", "-u", "ann", "--host=db", "-P3306", "-p", "orders", "postgresql://ann@db:5432/orders")
    assert shown(*words) == words
    assert shown("psql", "-U", "ann", "-d", "orders") == ("psql", "-U", "ann", "-d", "orders")


@given(st.binary(max_size=CMDLINE_LIMIT + 10))
def test_any_bytes_are_shown_as_text(raw: bytes) -> None:
    for word in arguments(raw):
        word.encode()


@pytest.mark.parametrize("piece", [b"pass", b"--pass", b"pass=", b"://a:", b"'", b'token:"', b"secret ", b"://"])
def test_a_hostile_command_line_takes_no_longer(piece: bytes) -> None:
    start = time.process_time()
    arguments((piece * CMDLINE_LIMIT)[:CMDLINE_LIMIT])
    assert time.process_time() - start < 0.1
