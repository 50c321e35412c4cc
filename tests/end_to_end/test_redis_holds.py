"""The second key: a command that waits in an unmodified client until somebody else decides."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import hiredis
import pytest

from tests.support.redis_raw import RedisRaw, encoded
from tests.support.redis_stack import RedisStack
from tests.support.stack import environment


@pytest.fixture(scope="module")
def stack() -> Iterator[RedisStack]:
    with RedisStack() as running:
        yield running


@pytest.fixture(autouse=True)
def _filled(stack: RedisStack) -> None:
    stack.refill()


def begun(stack: RedisStack, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        stack.cli_command("ann", *words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=environment(), cwd="/",
    )  # fmt: skip


def test_it_waits_until_somebody_else_approves_and_then_runs(stack: RedisStack) -> None:
    client = begun(stack, "SET", "ledger:1", "4711")
    hold = stack.held("SET ledger:1")
    assert (hold["principal"], hold["statement"], hold["approvers"]) == ("ann", "SET ledger:1 4711", ["dba"])
    assert stack.redis.ask("GET", "ledger:1") == b"1"
    stack.decide("approve", hold)
    assert client.communicate(timeout=20)[0] == "OK\n"
    assert stack.redis.ask("GET", "ledger:1") == b"4711"
    approval = next(r for r in stack.records(type="approval") if r["hold"] == hold["id"])
    assert (approval["outcome"], approval["person"], approval["digest"]) == ("approved", "bob", hold["digest"])


def test_it_is_refused_when_they_say_no(stack: RedisStack) -> None:
    client = begun(stack, "DEL", "ledger:1")
    stack.decide("deny", stack.held("DEL ledger:1"))
    said = client.communicate(timeout=20)[0]
    assert said.startswith("NOPERM lockgate: ")
    assert "denied by bob" in said
    assert said.rstrip("\n").count("\n") == 0
    assert stack.redis.calls("DEL") == 0
    assert stack.redis.ask("EXISTS", "ledger:1") == 1


def test_what_stands_behind_it_waits_and_comes_in_order(stack: RedisStack) -> None:
    with RedisRaw(stack, "ann") as raw, stack.redis.watched() as seen:
        commands = [["GET", "session:1"], ["SET", "ledger:2", "22"], *(["INCR", "session:n"] for _ in range(100))]
        raw.send(*(encoded(*command) for command in commands))
        assert raw.replies(1) == [b"session 1"]
        hold = stack.held("SET ledger:2")
        assert raw.quiet()
        assert not any("session:n" in command for command in seen.commands)
        stack.decide("approve", hold)
        assert raw.replies(101) == [b"OK", *range(1, 101)]
    told = [command for command in seen.commands if not command.startswith(("HELLO", "CLIENT"))]
    assert told == [" ".join(command) for command in commands]


def test_others_go_on_meanwhile(stack: RedisStack) -> None:
    client = begun(stack, "SET", "ledger:3", "x")
    hold = stack.held("ledger:3")
    assert stack.said("ann", "GET", "session:1") == "session 1"
    stack.decide("deny", hold)
    client.communicate(timeout=20)


def test_a_transaction_is_held_as_the_whole(stack: RedisStack) -> None:
    with RedisRaw(stack, "ann") as raw:
        queued = raw.all(["MULTI"], ["INCR", "session:n"], ["SET", "ledger:4", "44"], ["GET", "session:1"])
        assert queued == [b"OK", b"QUEUED", b"QUEUED", b"QUEUED"]
        raw.send(encoded("EXEC"))
        hold = stack.held("ledger:4")
        assert "session:n" in hold["statement"], "an approver sees all that runs with it"
        assert stack.redis.ask("EXISTS", "session:n") == 0
        stack.decide("approve", hold)
        assert raw.replies(1) == [[1, b"OK", b"session 1"]]


def test_a_transaction_that_is_denied_leaves_nothing_behind(stack: RedisStack) -> None:
    with RedisRaw(stack, "ann") as raw:
        raw.all(["WATCH", "session:1"], ["MULTI"], ["INCR", "session:n"], ["SET", "ledger:4", "44"])
        raw.send(encoded("EXEC"))
        stack.decide("deny", stack.held("ledger:4"))
        (refused,) = raw.replies(1)
        assert isinstance(refused, hiredis.ReplyError)
        assert raw.ask("GET", "session:1") == b"session 1"
        assert raw.ask("MULTI") == b"OK", "it is over"
        assert raw.ask("DISCARD") == b"OK"
    assert stack.redis.ask("MGET", "session:n", "ledger:4") == [None, b"4"]


def test_watched_keys_that_change_while_it_waits_are_told_by_redis(stack: RedisStack) -> None:
    with RedisRaw(stack, "ann") as raw:
        raw.all(["WATCH", "session:1"], ["MULTI"], ["SET", "ledger:4", "44"])
        raw.send(encoded("EXEC"))
        hold = stack.held("ledger:4")
        stack.redis.ask("SET", "session:1", "changed")
        stack.decide("approve", hold)
        assert raw.replies(1) == [None]
    assert stack.redis.ask("GET", "ledger:4") == b"4"


def test_who_goes_away_takes_it_along(stack: RedisStack) -> None:
    client = begun(stack, "SET", "ledger:5", "55")
    hold = stack.held("ledger:5")
    client.send_signal(signal.SIGKILL)
    client.communicate()
    stack.record(type="approval", hold=hold["id"])
    assert all(waiting["id"] != hold["id"] for waiting in stack.waiting())
    assert stack.redis.ask("GET", "ledger:5") == b"5"


def test_an_asker_does_not_approve_their_own(stack: RedisStack) -> None:
    client = begun(stack, "SET", "ledger:1", "own")
    hold = stack.held("SET ledger:1")
    for person in ("ann", "ann-laptop", "cyd", "eve"):
        done = stack.lockgate("approvals", "approve", hold["id"], "--config", str(stack.agent_yaml), person=person)
        assert done.returncode != 0, person
    assert stack.redis.ask("GET", "ledger:1") == b"1"
    stack.decide("deny", hold)
    client.communicate(timeout=20)


def test_redis_py_waits_and_its_pool_goes_on(stack: RedisStack) -> None:
    code = """
    import asyncio, redis.asyncio
    async def main():
        async with redis.asyncio.Redis(host=HOST, port=PORT, socket_timeout=30) as client:
            held = asyncio.create_task(client.set("ledger:1", "by asyncio"))
            await asyncio.sleep(0.2)
            print(await client.get("session:2"), flush=True)
            print(await held)
    asyncio.run(main())
    """
    program = f"HOST, PORT = '127.0.0.1', {stack.redis.port}\n" + textwrap.dedent(code)
    client = subprocess.Popen(
        stack.command("ann", [sys.executable, "-c", program]), stdout=subprocess.PIPE, text=True, env=environment(),
        cwd="/",
    )  # fmt: skip
    hold = stack.held("by asyncio")
    assert client.stdout is not None
    assert client.stdout.readline() == "b'session 2'\n"
    stack.decide("approve", hold)
    assert client.communicate(timeout=20)[0] == "True\n"


def test_an_approval_is_for_these_bytes_once(stack: RedisStack) -> None:
    first = begun(stack, "SET", "ledger:1", "once")
    stack.decide("approve", stack.held("once"))
    assert first.communicate(timeout=20)[0] == "OK\n"
    again = begun(stack, "SET", "ledger:1", "once")
    stack.decide("deny", stack.held("once"))
    assert again.communicate(timeout=20)[0].startswith("NOPERM lockgate: ")
