"""Allowed and refused, as an unmodified redis-cli sees it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.redis_stack import RedisStack

DENIED = "NOPERM lockgate: "


@pytest.fixture(scope="module")
def stack() -> Iterator[RedisStack]:
    with RedisStack() as running:
        yield running


@pytest.mark.parametrize("version", ["-2", "-3"])
def test_what_policy_permits_passes_unchanged(stack: RedisStack, version: str) -> None:
    run = stack.cli("ann", "MGET", "session:1", "nothing", "session:2", options=[version])
    assert (run.returncode, run.stdout, run.stderr) == (0, "session 1\n\nsession 2\n", "")


def test_somebody_nobody_knows_is_told_who_they_are_taken_for(stack: RedisStack) -> None:
    said = stack.said("eve", "GET", "session:1")
    assert said.startswith(DENIED + "no policy permits unmatched to read")
    assert "\n" not in said


def test_a_refusal_names_the_policy_in_one_line_and_the_connection_goes_on(stack: RedisStack) -> None:
    run = stack.cli("ann", script="FLUSHALL\nGET session:1\n")
    refused, rest = run.stdout.rstrip("\n").split("\n")[0], run.stdout.rstrip("\n").split("\n")[-1]
    assert refused == DENIED + "nobody empties the cache (policy no-flush)"
    assert rest == "session 1"
    assert stack.redis.calls("FLUSHALL") == 0


@pytest.mark.parametrize(
    "command",
    [
        ("GET", "vault:1"),
        ("SET", "vault:new", "x"),
        ("MGET", "session:1", "vault:1"),
        ("DEL", "session:none", "vault:1"),
        ("EXISTS", "vault:1"),
        ("RENAME", "session:none", "vault:2"),
        ("COPY", "vault:1", "session:9"),
        ("SUNIONSTORE", "session:9", "vault:set"),
        ("OBJECT", "FREQ", "vault:1"),
        ("PUBLISH", "backstage:1", "x"),
    ],
    ids=" ".join,
)
def test_a_pattern_closes_whatever_it_matches_wherever_it_stands(stack: RedisStack, command: tuple[str, ...]) -> None:
    with stack.redis.watched() as seen:
        said = stack.said("ann", *command)
    assert said.startswith(DENIED)
    assert "vault-is-closed" in said or "backstage-is-closed" in said
    assert not any(command[0] in one.split(" ")[0] for one in seen.commands)


def test_who_is_let_in_by_the_same_pattern(stack: RedisStack) -> None:
    assert stack.said("bob", "GET", "vault:1") == "gold 1"


def test_case_is_redis_own(stack: RedisStack) -> None:
    assert stack.said("ann", "get", "VAULT:1") == "", "another key"
    assert stack.said("ann", "gEt", "vault:1").startswith(DENIED)


def test_ipv6_is_no_way_around(stack: RedisStack) -> None:
    assert "no-flush" in stack.cli("ann", "FLUSHALL", host="::1").stdout


def test_what_redis_does_not_know_is_refused_and_not_sent(stack: RedisStack) -> None:
    with stack.redis.watched() as seen:
        assert stack.said("ann", "NOSUCH", "4712") == "ERR unknown command 'NOSUCH'", "as Redis says it itself"
    assert not any("4712" in command for command in seen.commands)


def test_what_administers_the_server_is_not_an_engineers(stack: RedisStack) -> None:
    for command in (("CONFIG", "SET", "maxmemory", "1"), ("SHUTDOWN",), ("REPLICAOF", "NO", "ONE"), ("ACL", "LIST")):
        assert stack.said("ann", *command).startswith(DENIED), command


def test_another_database_is_told_and_recorded(stack: RedisStack) -> None:
    run = stack.cli("ann", script="SELECT 3\nSET session:elsewhere 4713\nGET session:elsewhere\n")
    assert run.stdout == "OK\nOK\n4713\n"
    record = next(
        r for r in stack.records(type="statement", phase="begin") if r["statement"] == "GET session:elsewhere"
    )
    assert record["connection"]["database"] == "3"
    stack.redis.ask("DEL", "session:elsewhere", database=3)


def test_a_record_stands_before_and_after_each_command(stack: RedisStack) -> None:
    stack.said("ann", "GET", "session:3")
    begin = next(r for r in stack.records(type="statement", phase="begin") if r["statement"] == "GET session:3")
    end = stack.record(type="statement", phase="end", id=begin["id"])
    who = begin["connection"]
    assert (who["principal"], who["person"], who["groups"]) == ("ann", "ann", ["engineers"])
    assert (who["datastore"], who["database"], who["user"]) == ("cache", "0", "default")
    assert who["protocol"] == "redis"
    assert who["workload"]["exe"].endswith("/redis-cli")
    assert (begin["verdict"], begin["policy"], begin["effects"]) == ("allow", "cache-work", ["read"])
    assert end["outcome"] == "completed"
    assert end["duration_us"] > 0
    assert begin["seq"] < end["seq"]


def test_a_refused_command_is_recorded_as_one(stack: RedisStack) -> None:
    stack.said("ann", "GET", "vault:3")
    begin = next(r for r in stack.records(phase="begin", verdict="deny") if r.get("statement") == "GET vault:3")
    end = stack.record(phase="end", id=begin["id"])
    assert (begin["policy"], end["outcome"]) == ("vault-is-closed", "denied")


def test_an_error_of_the_servers_own_is_the_servers(stack: RedisStack) -> None:
    assert stack.said("ann", "INCR", "session:1") == "ERR value is not an integer or out of range"
    assert stack.said("ann", "LPUSH", "session:1", "x").startswith("WRONGTYPE ")
    begin = next(r for r in stack.records(phase="begin") if r.get("statement", "").startswith("LPUSH session:1"))
    assert stack.record(phase="end", id=begin["id"])["outcome"] == "error"


def test_an_argument_that_is_written_is_not_in_the_record_of_a_classified_key(stack: RedisStack) -> None:
    stack.said("ann", "SET", "secret:written", "hunter2")
    (begin,) = [r for r in stack.records(phase="begin") if "secret:written" in r.get("statement", "")]
    assert "hunter2" not in str(begin)
    assert stack.redis.ask("GET", "secret:written") == b"hunter2"
    stack.redis.ask("DEL", "secret:written")
