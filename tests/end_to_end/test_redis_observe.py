"""A first install before Redis: everything is identified and recorded, and nothing fails because Lockgate is there."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.support.redis import Redis
from tests.support.redis_raw import RedisRaw, encoded
from tests.support.redis_stack import RedisStack


@pytest.fixture(scope="module")
def stack() -> Iterator[RedisStack]:
    with RedisStack(redis=Redis({"enable-debug-command": "yes"}), cache={"mode": "observe"}) as running:
        yield running


@pytest.fixture(autouse=True)
def _filled(stack: RedisStack) -> None:
    stack.refill()


REFUSED = [
    ["GET", "vault:1"],
    ["GET", "secret:1"],
    ["SET", "ledger:1", "new"],
    ["CONFIG", "GET", "maxmemory"],
    ["EVAL", "return redis.call('GET', 'secret:1')", "0"],
    ["SUBSCRIBE", "backstage:1"],
    ["NOSUCH", "command"],
    ["CLIENT", "REPLY", "ON"],
]
"""What would be denied, held, masked or not supported."""


@pytest.mark.parametrize("command", REFUSED, ids=" ".join)
def test_what_would_be_refused_is_answered_by_the_server(stack: RedisStack, command: list[str]) -> None:
    with RedisRaw(stack, "ann") as raw:
        raw.ask(*command)
        shown = raw.heard
    with socket.create_connection(("127.0.0.1", stack.redis.port), 10) as straight:
        straight.sendall(encoded(*command))
        assert straight.recv(65536) == shown


def test_what_would_have_become_of_it_is_recorded(stack: RedisStack) -> None:
    stack.said("ann", "FLUSHALL")
    stack.said("ann", "GET", "vault:4")
    stack.said("ann", "SET", "ledger:4", "x")
    stack.said("ann", "GET", "secret:4")
    found = {r["statement"]: r for r in stack.records(type="statement", phase="begin")}
    assert (found["FLUSHALL"]["verdict"], found["FLUSHALL"]["would"]) == ("allow", "deny")
    assert found["GET vault:4"]["would"] == "deny"
    assert found["SET ledger:4 x"]["would"] == "hold"
    assert "secret:*" in str(found["GET secret:4"])


def test_what_can_not_be_read_passes_and_is_told(stack: RedisStack) -> None:
    """Garbage is for the server to refuse; the connection is recorded as one that went on unread."""
    with RedisRaw(stack, "ann") as raw:
        raw.send(b"*1\r\n$-5\r\n")
        (answer,) = raw.replies(1)
        assert str(answer).startswith("ERR Protocol error")
    assert stack.record(type="connection", phase="begin")


def test_replication_handshakes_and_monitor_pass(stack: RedisStack) -> None:
    with RedisRaw(stack, "ann") as raw:
        assert raw.ask("MONITOR") == b"OK"
        stack.redis.ask("SET", "session:seen", "1")
        while "session:seen" not in str(raw.replies(1)):  # what redis-py says of itself comes first
            pass
    with RedisRaw(stack, "ann") as raw:
        raw.send(b"*3\r\n$5\r\nPSYNC\r\n$1\r\n?\r\n$2\r\n-1\r\n")
        raw.replies(1)
        assert raw.heard.startswith(b"+FULLRESYNC ")


def test_who_logs_in_does_so_at_the_server(stack: RedisStack) -> None:
    stack.redis.ask("ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all")
    with RedisRaw(stack, "ann") as raw:
        assert "WRONGPASS" in str(raw.ask("AUTH", "app", "wrong"))
        assert raw.ask("AUTH", "app", "pw") == b"OK"
        assert raw.ask("ACL", "WHOAMI") == b"app"
    assert not any("pw" in r.get("statement", "") for r in stack.records(type="statement"))
    stack.redis.ask("ACL", "DELUSER", "app")
