"""Classified keys, fields and paths, in every reply that Redis has: ann sees masks, cyd what is there."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.support.markers import marker
from tests.support.redis_raw import RedisRaw, Straight
from tests.support.redis_stack import RedisStack

EMAIL = r"u\*\*\*@e\*\*\*\.org"
HIDDEN = r"\*\*\*"

READS = [
    ("GET secret:1", HIDDEN),
    ("MGET session:1 secret:1 session:2", rf"session 1\n{HIDDEN}\nsession 2"),
    ("GETEX secret:1", HIDDEN),
    ("LRANGE secret:list 0 -1", rf"{HIDDEN}\n{HIDDEN}"),
    ("LINDEX secret:list 0", HIDDEN),
    ("SMEMBERS secret:set", rf"{HIDDEN}\n{HIDDEN}"),
    ("SRANDMEMBER secret:set 2", rf"{HIDDEN}\n{HIDDEN}"),
    ("SSCAN secret:set 0", rf"0\n{HIDDEN}\n{HIDDEN}"),
    ("SUNION secret:set", rf"{HIDDEN}\n{HIDDEN}"),
    ("ZRANGE secret:zset 0 -1 WITHSCORES", rf"{HIDDEN}\n0\n{HIDDEN}\n0"),
    ("ZRANDMEMBER secret:zset 1", HIDDEN),
    ("ZSCAN secret:zset 0", rf"0\n{HIDDEN}\n0\n{HIDDEN}\n0"),
    ("HGETALL profile:1", rf"name\nname1\nemail\n{HIDDEN}\nage\n1"),
    ("HGETALL contact:1", rf"name\nname1\nemail\n{EMAIL}"),
    ("HGET contact:1 email", EMAIL),
    ("HGET contact:1 name", "name1"),
    ("HMGET contact:1 name nothing email", rf"name1\n\n{EMAIL}"),
    ("HVALS contact:1", rf"n\*\*\*\*\n{EMAIL}"),  # which field is which isn't told
    ("HKEYS contact:1", r"name\nemail"),
    ("HSCAN contact:1 0", rf"0\nname\nname1\nemail\n{EMAIL}"),
    ("HRANDFIELD contact:1 2 WITHVALUES", rf"(name\nname1\nemail\n{EMAIL}|email\n{EMAIL}\nname\nname1)"),
    ("GET doc:1", rf'\{{"user": ?\{{"name": ?"name1", ?"email": ?"{EMAIL}"\}}, ?"n": ?1\}}'),
    ("XRANGE letters - + COUNT 1", rf"1-0\nto\nname1\nemail\n{EMAIL}"),
    ("XREVRANGE letters + - COUNT 1", rf"5-0\nto\nname5\nemail\n{EMAIL}"),
    ("XREAD COUNT 1 STREAMS letters 0", rf"letters\n1-0\nto\nname1\nemail\n{EMAIL}"),
    ("STRLEN session:1", "9"),
    ("OBJECT ENCODING secret:1", "embstr"),
    ("TTL secret:1", "-1"),
    ("TYPE secret:list", "list"),
    ("LLEN secret:list", "2"),
]


@pytest.fixture(scope="module")
def stack() -> Iterator[RedisStack]:
    with RedisStack() as running:
        yield running


@pytest.mark.parametrize("version", ["-2", "-3"])
@pytest.mark.parametrize(("command", "expected"), READS, ids=[command for command, _ in READS])
def test_a_read(stack: RedisStack, command: str, expected: str, version: str) -> None:
    said = stack.said("ann", *command.split(), options=[version])
    if version == "-3":  # redis-cli has a map's values in one line with their keys
        expected = expected.replace(r"\n", r"[\n ]")
    assert re.fullmatch(expected, said), said
    assert marker(said.encode()) is None


MASKED = [command for command, expected in READS if HIDDEN in expected or EMAIL in expected]


def test_who_may_see_it_sees_what_the_server_says(stack: RedisStack) -> None:
    chosen = [command for command in MASKED if "RANDM" not in command]
    said = [command.split() for command in chosen]
    with RedisRaw(stack, "cyd") as raw, Straight(stack.redis) as beside:
        assert raw.all(*said) == beside.all(*said)
        assert raw.heard == beside.heard


def test_it_is_the_same_in_a_pipeline_and_in_a_transaction(stack: RedisStack) -> None:
    script = "MULTI\nGET secret:1\nGET session:1\nHGET contact:2 email\nEXEC\n"
    said = stack.cli("ann", script=script).stdout
    assert said == "OK\nQUEUED\nQUEUED\nQUEUED\n***\nsession 1\nu***@e***.org\n"
    with RedisRaw(stack, "ann") as raw:
        answers = raw.all(*(["GET", f"secret:{n}"] if n % 2 else ["GET", f"session:{n}"] for n in range(1, 6)))
        assert answers == [b"***", b"session 2", b"***", b"session 4", b"***"]
        assert marker(raw.heard) is None


def test_maps_and_attributes_of_resp3_keep_their_shape(stack: RedisStack) -> None:
    with RedisRaw(stack, "ann") as raw:
        assert isinstance(raw.ask("HELLO", 3), dict)
        assert raw.ask("HGETALL", "contact:1") == {b"name": b"name1", b"email": b"u***@e***.org"}
        assert raw.ask("XREAD", "COUNT", 1, "STREAMS", "letters", "0") == {
            b"letters": [[b"1-0", [b"to", b"name1", b"email", b"u***@e***.org"]]]
        }
        # members that look the same are one where a client makes a set of them: what is there is the wire's own
        raw.heard = b""
        raw.ask("SMEMBERS", "secret:set")
        assert raw.heard == b"~2\r\n$3\r\n***\r\n$3\r\n***\r\n"


SLICES = ["GETRANGE secret:1 0 3", "SUBSTR secret:1 0 3", "BITFIELD secret:1 GET u8 0", "BITFIELD_RO secret:1 GET u8 8",
          "GETBIT secret:1 1", "BITCOUNT secret:1", "BITPOS secret:1 1", "LCS secret:1 secret:2",
          "LCS secret:1 session:1 IDX"]  # fmt: skip


@pytest.mark.parametrize("command", SLICES)
def test_a_slice_tells_nothing(stack: RedisStack, command: str) -> None:
    """Masked as a whole, or refused: what can't be is anything that differs with the value."""
    said = stack.said("ann", *command.split())
    assert said == "***" or said.startswith(("NOPERM lockgate: ", "ERR lockgate: ")), said


COPIES = ["COPY secret:1 session:copy", "RENAME secret:1 session:copy", "RENAMENX secret:1 session:copy",
          "DUMP secret:1", "SORT secret:list ALPHA STORE session:copy", "SORT ids BY nosort GET secret:*",
          "SUNIONSTORE session:copy secret:set", "SMOVE secret:set session:copy user1@example.org",
          "LMOVE secret:list session:copy LEFT LEFT", "RPOPLPUSH secret:list session:copy",
          "ZUNIONSTORE session:copy 1 secret:zset", "ZRANGESTORE session:copy secret:zset 0 -1",
          "BITOP OR session:copy secret:1", "MIGRATE 127.0.0.1 1 secret:1 0 100",
          "PFMERGE session:copy secret:1"]  # fmt: skip


@pytest.mark.parametrize("command", COPIES)
def test_a_copy_is_refused_or_stays_masked(stack: RedisStack, command: str) -> None:
    try:
        said = stack.said("ann", *command.split())
        assert marker(said.encode()) is None
        for read in ("GET", "LRANGE", "SMEMBERS", "ZRANGE"):
            range_ = ["0", "-1"] if read in ("LRANGE", "ZRANGE") else []
            assert marker(stack.said("ann", read, "session:copy", *range_).encode()) is None
    finally:
        stack.refill()


def test_what_is_masked_is_recorded_and_no_value_is(stack: RedisStack) -> None:
    stack.said("ann", "HGETALL", "contact:5")
    begin = next(r for r in stack.records(phase="begin") if r.get("statement") == "HGETALL contact:5")
    assert begin["masks"]
    end = stack.record(phase="end", id=begin["id"])
    assert end["masked_cells"] == 1
    assert marker(str([begin, end]).encode()) is None


def test_an_error_that_quotes_a_value_does_not_show_it(stack: RedisStack) -> None:
    """A script that fails with what it read: whoever may run scripts at all."""
    script = "return redis.error_reply(redis.call('GET', KEYS[1]))"
    said = stack.said("ann", "EVAL", script, "1", "secret:1")
    assert marker(said.encode()) is None


def test_large_replies_are_masked_and_small_ones_in_between_pass(stack: RedisStack) -> None:
    with stack.redis.client() as client, client.pipeline(transaction=False) as pipe:
        for number in range(20_000):
            pipe.rpush("secret:long", f"user{number}@example.org")
        pipe.execute()
    with RedisRaw(stack, "ann") as raw:
        first, second, third = raw.all(["PING"], ["LRANGE", "secret:long", 0, -1], ["GET", "session:1"])
        assert (first, third) == (b"PONG", b"session 1")
        assert second == [b"***"] * 20_000
        assert marker(raw.heard) is None
    stack.refill()
