"""MULTI, EXEC, WATCH, DISCARD, and commands that block: judged as what they do together."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import hiredis
import pytest

from tests.support.redis_raw import RedisRaw, encoded
from tests.support.redis_stack import RedisStack


@pytest.fixture(scope="module")
def stack() -> Iterator[RedisStack]:
    with RedisStack() as running:
        yield running


@pytest.fixture(autouse=True)
def _filled(stack: RedisStack) -> None:
    stack.refill()


@pytest.fixture
def raw(stack: RedisStack) -> Iterator[RedisRaw]:
    with RedisRaw(stack, "ann") as connected:
        yield connected


def test_what_is_permitted_runs_as_one(raw: RedisRaw) -> None:
    answers = raw.all(["MULTI"], ["INCR", "n"], ["GET", "session:1"], ["GET", "secret:1"], ["EXEC"])
    assert answers == [b"OK", b"QUEUED", b"QUEUED", b"QUEUED", [1, b"session 1", b"***"]]


def test_errors_inside_are_the_servers(raw: RedisRaw) -> None:
    raw.all(["MULTI"], ["INCR", "n"], ["LPUSH", "n", "x"])
    answer = raw.ask("EXEC")
    assert isinstance(answer, list)
    assert answer[0] == 1
    assert str(answer[1]).startswith("WRONGTYPE ")


def test_one_that_is_denied_fails_all_as_redis_would(stack: RedisStack, raw: RedisRaw) -> None:
    """Redis refuses EXEC when a command could not be queued: so it is here."""
    answers = raw.all(["MULTI"], ["SET", "n", "1"], ["GET", "vault:1"], ["SET", "n", "2"], ["EXEC"])
    assert answers[:2] == [b"OK", b"QUEUED"]
    assert str(answers[2]).startswith("NOPERM lockgate: ")
    assert answers[3] == b"QUEUED"
    assert str(answers[4]).startswith("EXECABORT ")
    assert stack.redis.ask("EXISTS", "n") == 0
    assert raw.ask("GET", "session:1") == b"session 1"


def test_discard_and_watch(stack: RedisStack, raw: RedisRaw) -> None:
    assert raw.all(["MULTI"], ["SET", "n", "1"], ["DISCARD"]) == [b"OK", b"QUEUED", b"OK"]
    assert raw.all(["WATCH", "n"], ["MULTI"], ["SET", "n", "1"]) == [b"OK", b"OK", b"QUEUED"]
    stack.redis.ask("SET", "n", "other")
    assert raw.ask("EXEC") is None
    assert raw.ask("GET", "n") == b"other"


def test_what_makes_no_sense_is_told_by_the_server(raw: RedisRaw) -> None:
    for command, expected in ((["EXEC"], "EXEC without MULTI"), (["DISCARD"], "DISCARD without MULTI")):
        assert expected in str(raw.ask(*command))
    assert raw.ask("MULTI") == b"OK"
    assert "can not be nested" in str(raw.ask("MULTI"))
    assert "WATCH inside MULTI" in str(raw.ask("WATCH", "n"))
    raw.ask("DISCARD")


def test_select_inside_is_refused(raw: RedisRaw) -> None:
    """What is queued behind it would be judged for another database."""
    answers = raw.all(["MULTI"], ["SELECT", "1"], ["GET", "session:1"], ["EXEC"])
    assert isinstance(answers[1], hiredis.ReplyError)
    assert "lockgate: " in str(answers[1])
    assert str(answers[3]).startswith("EXECABORT ")


def test_a_record_for_each_that_was_queued_and_one_for_exec(stack: RedisStack, raw: RedisRaw) -> None:
    raw.all(["MULTI"], ["SET", "n:recorded", "1"], ["GET", "secret:2"], ["EXEC"])
    begin = next(
        r
        for r in stack.records(type="statement", phase="begin")
        if "n:recorded" in r["statement"] and "EXEC" in r["statement"]
    )
    assert "GET secret:2" in begin["statement"]
    assert begin["masks"]


def test_a_blocking_command_is_served_and_others_wait_behind_it(stack: RedisStack, raw: RedisRaw) -> None:
    raw.send(encoded("BLPOP", "empty", 10), encoded("GET", "session:1"))
    assert raw.quiet()
    stack.redis.ask("RPUSH", "empty", "work")
    assert raw.replies(2) == [[b"empty", b"work"], b"session 1"]


def test_a_blocking_command_runs_out_of_time(raw: RedisRaw) -> None:
    assert raw.ask("BRPOP", "empty", "0.1") is None
    assert raw.ask("BLMOVE", "empty", "other", "LEFT", "LEFT", "0.1") is None
    assert raw.ask("XREAD", "BLOCK", 100, "STREAMS", "letters", "$") is None
    assert raw.ask("BZPOPMIN", "nothing", "0.1") is None
    assert raw.ask("WAIT", 0, 10) == 0


def test_what_a_blocking_command_brings_is_masked(stack: RedisStack, raw: RedisRaw) -> None:
    raw.send(encoded("BLPOP", "secret:later", 10))
    assert raw.quiet()
    stack.redis.ask("RPUSH", "secret:later", "user1@example.org")
    assert raw.replies(1) == [[b"secret:later", b"***"]]
    raw.send(encoded("XREAD", "BLOCK", 10_000, "STREAMS", "letters", "$"))
    assert raw.quiet()
    stack.redis.ask("XADD", "letters", "9-0", "to", "x", "email", "user9@example.org")
    assert raw.replies(1) == [[[b"letters", [[b"9-0", [b"to", b"x", b"email", b"u***@e***.org"]]]]]]


def test_who_goes_away_while_blocked_is_gone_at_the_server(stack: RedisStack) -> None:
    with RedisRaw(stack, "ann") as raw:
        raw.send(encoded("BLPOP", "empty", 0))
        assert raw.quiet()
        assert b"cmd=blpop" in stack.redis.ask("CLIENT", "LIST")
    ended = threading.Event()
    for _ in range(500):
        if b"cmd=blpop" not in stack.redis.ask("CLIENT", "LIST"):
            ended.set()
            break
        ended.wait(0.02)
    assert ended.is_set()


def test_a_pipeline_of_any_depth_keeps_its_order(raw: RedisRaw) -> None:
    answers = raw.all(*(["INCR", "n"] for _ in range(10_000)))
    assert answers == list(range(1, 10_001))


def test_refusals_stand_in_their_places(raw: RedisRaw) -> None:
    answers = raw.all(*(["GET", "vault:1"] if n % 3 == 0 else ["INCR", "n"] for n in range(300)))
    assert [str(a).startswith("NOPERM") for a in answers] == [n % 3 == 0 for n in range(300)]
    assert [a for a in answers if isinstance(a, int)] == list(range(1, 201))


def test_redis_py_pipelines_and_watches(stack: RedisStack) -> None:
    code = """
    import redis
    with redis.Redis(HOST, PORT) as client:
        with client.pipeline() as pipe:
            while True:
                try:
                    pipe.watch("n")
                    n = int(pipe.get("n") or 0)
                    pipe.multi()
                    pipe.set("n", n + 1).get("secret:1").hgetall("contact:1")
                    print(pipe.execute())
                    break
                except redis.WatchError:
                    continue
        with client.pipeline(transaction=False) as pipe:
            print(pipe.get("session:1").get("vault:1").get("session:2").execute(raise_on_error=False)[::2])
        print(client.transaction(lambda pipe: pipe.multi() or pipe.incr("n"), "n"))
    """
    assert stack.python("ann", code).splitlines() == [
        "[True, b'***', {b'name': b'name1', b'email': b'u***@e***.org'}]",
        "[b'session 1', b'session 2']",
        "[2]",
    ]
