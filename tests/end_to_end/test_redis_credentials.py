"""Credentials stay with the agent: ordinary clients need none, and none is anywhere that somebody could read it."""

from __future__ import annotations

import base64
import hashlib
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import hiredis
import pytest

from tests.support.redis import Redis
from tests.support.redis_raw import RedisRaw
from tests.support.redis_stack import RedisStack

PASSWORD = "Tr0ub4dor-and-3"
OTHER = "c0rrect-h0rse"
OWN = "what-ann-typed"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisStack]:
    folder = tmp_path_factory.mktemp("secrets")
    (folder / "app.pw").touch(0o600)
    (folder / "app.pw").write_text(PASSWORD + "\n")
    fetch = folder / "fetch"
    fetch.write_text(f"#!/bin/sh\necho {OTHER}\n")
    fetch.chmod(0o700)
    everything = "~* &* +@all"
    users = {
        "default": "off nopass -@all",
        "app": f"on >{PASSWORD} {everything} -@dangerous",
        "owner": f"on >{OTHER} {everything}",
    }
    credentials = {
        "credential": {"user": "app", "password_file": str(folder / "app.pw")},
        "roles": [{"group": "dba", "credential": {"user": "owner", "command": [str(fetch)]}}],
    }
    with RedisStack(redis=Redis(users=users), cache=credentials) as running:
        yield running


def users(stack: RedisStack) -> set[str]:
    """Who is connected to the server, by its own account."""
    told: bytes = stack.redis.ask("CLIENT", "LIST")
    return {part.removeprefix("user=") for part in told.decode().split() if part.startswith("user=")}


@pytest.mark.parametrize("version", [2, 3])
def test_a_client_needs_none(stack: RedisStack, version: int) -> None:
    with RedisRaw(stack, "ann") as raw:
        if version == 3:
            assert isinstance(raw.ask("HELLO", 3), dict)
        assert raw.ask("GET", "session:1") == b"session 1"
        assert "app" in users(stack)
        assert "owner" not in users(stack)


def test_the_user_is_that_of_the_group(stack: RedisStack) -> None:
    with RedisRaw(stack, "bob") as raw:
        assert raw.ask("GET", "session:1") == b"session 1"
        assert "owner" in users(stack)


@pytest.mark.parametrize(
    "words",
    [
        ("AUTH", OWN),
        ("AUTH", "default", OWN),
        ("AUTH", "owner", OTHER),
        ("HELLO", "3", "AUTH", "owner", OWN),
        ("HELLO", "2", "AUTH", "default", OWN, "SETNAME", "mine"),
    ],
    ids=["password", "default", "another user's true one", "HELLO 3", "HELLO 2"],
)
def test_what_a_client_shows_is_swallowed_and_makes_nobody_else_of_it(
    stack: RedisStack, words: tuple[str, ...]
) -> None:
    with RedisRaw(stack, "ann") as raw, stack.redis.watched() as seen:
        assert not isinstance(raw.ask(*words), hiredis.ReplyError)
        assert raw.ask("GET", "session:1") == b"session 1"
        assert "app" in users(stack)
        assert "owner" not in users(stack)
    assert not any(OWN in command for command in seen.commands)


def test_reset_does_not_end_the_agents_login(stack: RedisStack) -> None:
    with RedisRaw(stack, "ann") as raw:
        raw.ask("HELLO", 3)
        assert raw.ask("RESET") == b"RESET"
        assert raw.ask("GET", "session:1") == b"session 1"
        assert "app" in users(stack)


def test_ordinary_clients_with_and_without(stack: RedisStack) -> None:
    assert stack.said("ann", "GET", "session:1") == "session 1"
    assert stack.said("ann", "GET", "session:1", options=["--no-auth-warning", "-a", OWN]).endswith("session 1")
    code = f"""
    import redis
    for options in ({{}}, {{"password": "{OWN}"}}, {{"username": "x", "password": "{OWN}", "protocol": 2}}):
        with redis.Redis(HOST, PORT, **options) as client:
            print(client.get("session:1"))
    """
    assert stack.python("ann", code) == "b'session 1'\n" * 3


def test_acl_rules_of_the_server_hold_for_whom_the_agent_is(stack: RedisStack) -> None:
    said = stack.said("ann", "SORT", "ids")  # it is among the dangerous ones
    assert "lockgate" not in said
    assert said.startswith("NOPERM ")
    assert stack.said("bob", "EXISTS", "session:1") == "1"


def forms(password: str) -> list[bytes]:
    """The password as it could turn up: itself, encoded, and what Redis keeps of it."""
    raw = password.encode()
    return [raw, base64.b64encode(raw).rstrip(b"="), raw.hex().encode(), hashlib.sha256(raw).hexdigest().encode()]


def test_it_is_nowhere(stack: RedisStack) -> None:
    heard = b""
    for person in ("ann", "bob"):
        with RedisRaw(stack, person) as raw:
            for command in (["AUTH", OWN], ["HELLO", "3"], ["GET", "session:1"], ["ACL", "WHOAMI"],
                            ["ACL", "GETUSER", "app"], ["ACL", "LIST"], ["CONFIG", "GET", "requirepass"],
                            ["SLOWLOG", "GET"], ["ACL", "LOG"], ["CLIENT", "LIST"]):  # fmt: skip
                raw.ask(*command)
            heard += raw.heard
    stack.redis.ask("ACL", "SETUSER", "app", "resetpass", ">changed")
    refused = stack.said("ann", "GET", "session:1")
    stack.redis.ask("ACL", "SETUSER", "app", "resetpass", f">{PASSWORD}")
    assert "lockgate: " in refused
    assert "credential" in refused
    places = [heard, refused.encode()]
    places += [path.read_bytes() for path in stack.folder.rglob("*") if path.is_file() and path.parent.name != "bpf"]
    with urllib.request.urlopen(f"http://127.0.0.1:{stack.metrics_port}/metrics") as page:
        places.append(page.read())
    places.append(json.dumps(stack.json("status", "--config", str(stack.agent_yaml))).encode())
    proc = Path(f"/proc/{stack.processes['agent'].pid}")
    places += [(proc / name).read_bytes() for name in ("cmdline", "environ")]
    assert any(b"session:1" in place for place in places)  # it does look where records are
    for password in (PASSWORD, OTHER, OWN):
        for form in forms(password):
            assert not any(form in place for place in places), password
