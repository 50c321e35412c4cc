"""Bytes that are no commands, or more than one, or not the ones that they look like."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.redis_attacks import RedisAttack, RedisAttacker
from tests.support.redis_raw import RedisRaw, encoded

CLOSED, OPEN = encoded("GET", "vault:1"), encoded("GET", "session:1")
DENIED = "NOPERM lockgate: "

SMUGGLING = [
    RedisAttack("inline", [b"GET vault:1\r\n"], DENIED, never=("GET",)),
    RedisAttack("inline with a bare line feed", [b"GET vault:1\n"], DENIED, never=("GET",)),
    RedisAttack("inline in quotes", [b'"\\x47ET" "vault\\x3a1"\r\n'], DENIED, never=("GET",)),
    RedisAttack("inline in single quotes", [b"'GET' 'vault:1'\r\n"], DENIED, never=("GET",)),
    RedisAttack("inline behind blanks", [b"   GET    vault:1   \r\n"], DENIED, never=("GET",)),
    RedisAttack("inline behind empty lines", [b"\r\n\r\n\r\nGET vault:1\r\n"], DENIED, never=("GET",)),
    RedisAttack("inline between others", [OPEN + b"GET vault:1\r\n" + OPEN], DENIED, answers=3),
    RedisAttack("inline with quotes out of balance", [b'GET "vault:1\r\n'], "unbalanced quotes|lockgate: ",
        never=("GET",), ends=True),
    RedisAttack("inline that never ends", [b"G" * 70_000], "too big inline|lockgate: ", ends=True),
    RedisAttack("a line's end in an argument", [encoded("GET", b"x\r\n" + CLOSED)], "^None$"),
    RedisAttack("a line's end in an unknown name", [encoded(b"NOSUCH\r\n-ERR faked\r\n+OK")], "^ERR unknown command$"),
    RedisAttack("a line's end in what a refusal quotes", [encoded("GET", b"vault:\r\n+OK\r\n")], DENIED,
        never=("GET",)),
    RedisAttack("a zero byte in a key", [encoded("GET", b"vault:\x001")], DENIED, never=("GET",)),
    RedisAttack("a key that isn't UTF-8", [encoded("GET", b"vault:\xff\xfe")], DENIED, never=("GET",)),
    RedisAttack("an empty command", [b"*0\r\n" + CLOSED], DENIED, never=("GET",)),
    RedisAttack("a null command", [b"*-1\r\n" + CLOSED], DENIED, never=("GET",)),
    RedisAttack("an empty name", [encoded("")], "lockgate: |unknown command"),
    RedisAttack("a depth of pipelines", [OPEN * 5000 + CLOSED], DENIED, answers=5001),
    RedisAttack("MULTI with a refused one inside",
        [encoded("MULTI") + CLOSED + encoded("EXEC")], "EXECABORT", never=("GET",), answers=3),
    RedisAttack("MULTI inside MULTI", [encoded("MULTI") * 2 + CLOSED + encoded("EXEC")], "nested", never=("GET",),
        answers=4),
    RedisAttack("EXEC before MULTI", [encoded("EXEC") + CLOSED], "EXEC without MULTI.*" + DENIED, never=("GET",),
        answers=2),
    RedisAttack("a transaction left and begun again",
        [encoded("MULTI") + CLOSED + encoded("DISCARD") + encoded("MULTI") + OPEN + encoded("EXEC")],
        r"b'session 1'", answers=6),
    RedisAttack("RESET inside MULTI", [encoded("MULTI") + encoded("SET", "session:x", 1) + encoded("RESET") + CLOSED],
        DENIED, never=("GET", "SET"), answers=4),
    RedisAttack("WATCH of a closed key", [encoded("WATCH", "vault:1")], DENIED, never=("WATCH",)),
]  # fmt: skip

GARBAGE = [
    RedisAttack("a length below zero", [b"*2\r\n$3\r\nGET\r\n$-1\r\n"], "rotocol error|lockgate: ", ends=True),
    RedisAttack("a length that is no number", [b"*1\r\n$x\r\n"], "rotocol error|lockgate: ", ends=True),
    RedisAttack("a length with a sign", [b"*1\r\n$+4\r\nPING\r\n"], "rotocol error|lockgate: ", ends=True),
    RedisAttack("a length with a zero in front", [b"*1\r\n$04\r\nPING\r\n"], "rotocol error|lockgate: ", ends=True),
    RedisAttack("a length behind a blank", [b"*1\r\n$ 4\r\nPING\r\n"], "rotocol error|lockgate: ", ends=True),
    RedisAttack("a length that is huge", [b"*1\r\n$536870913\r\n"], "rotocol error|lockgate: ", ends=True),
    RedisAttack("a length beyond 64 bits", [b"*1\r\n$99999999999999999999\r\n"], "rotocol error|lockgate: ", ends=True),
    RedisAttack("a count that is huge", [b"*2147483648\r\n"], "rotocol error|lockgate: ", ends=True),
    RedisAttack("a count that is no number", [b"*x\r\n"], "rotocol error|lockgate: ", ends=True),
    RedisAttack("another type inside", [b"*2\r\n$3\r\nGET\r\n:1\r\n"], "rotocol error|lockgate: ", ends=True),
    RedisAttack("an array inside", [b"*2\r\n$3\r\nGET\r\n*1\r\n$7\r\nvault:1\r\n"], "rotocol error|lockgate: ",
        never=("GET",), ends=True),
    RedisAttack("HTTP, as a browser is made to send it", [b"POST / HTTP/1.1\r\nHost: x\r\n\r\nFLUSHALL\r\n"], "",
        never=("FLUSHALL",), answers=0, ends=True),
    RedisAttack("HTTP by its other line", [b"Host: 127.0.0.1\r\nFLUSHALL\r\n"], "", never=("FLUSHALL",), answers=0,
        ends=True),
    RedisAttack("a protocol that there isn't", [encoded("HELLO", 4)], "NOPROTO|lockgate: "),
    RedisAttack("HELLO with a word that there isn't", [encoded("HELLO", 3, "X", "Y")], "ERR"),
]  # fmt: skip


@pytest.mark.parametrize("attack", SMUGGLING, ids=str)
def test_nothing_is_smuggled_in(redis: RedisAttacker, attack: RedisAttack) -> None:
    redis.run(attack)


@pytest.mark.parametrize("attack", GARBAGE, ids=str)
def test_garbage_ends_what_it_came_on_and_nothing_else(redis: RedisAttacker, attack: RedisAttack) -> None:
    redis.run(attack)


def test_a_count_is_not_memory(redis: RedisAttacker) -> None:
    """Many connections that announce a million arguments each, and then say nothing."""
    stack = redis.stack
    waiting = [RedisRaw(stack, "ann") for _ in range(20)]
    try:
        for raw in waiting:
            raw.send(b"*1000000\r\n$1000000\r\nx")
        assert stack.said("cyd", "GET", "session:1") == "session 1"
        status = (stack.folder / "agent.log").read_text()
        assert "MemoryError" not in status
        pages = int(Path(f"/proc/{stack.processes['agent'].pid}/statm").read_text().split()[1])
        assert pages * 4096 < 400 * 1024 * 1024
    finally:
        for raw in waiting:
            raw.__exit__(None, None, None)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_commands_in_small_pieces_are_the_same_commands(redis: RedisAttacker, size: int) -> None:
    said = CLOSED + encoded("GET", "secret:1") + b"GET session:1\r\n" + encoded("MULTI") + CLOSED + encoded("EXEC")
    with RedisRaw(redis.stack, "ann") as raw:
        for start in range(0, len(said), size):
            raw.send(said[start : start + size])
        answers = raw.replies(6)
    assert str(answers[0]).startswith(DENIED)
    assert answers[1:4] == [b"***", b"session 1", b"OK"]
    assert str(answers[4]).startswith(DENIED)
    assert str(answers[5]).startswith("EXECABORT")
