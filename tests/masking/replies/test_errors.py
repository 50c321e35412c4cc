from __future__ import annotations

import hiredis
import pytest

from lockgate.masking.replies.errors import WITHHELD, shown_error
from tests.masking.replies.server import Client, parsed


@pytest.mark.parametrize(
    "line",
    [
        "LPUSH string x",
        "PFCOUNT string",
        "INCR string",
        "INCRBY string x",
        "INCRBYFLOAT string 1",
        "SET string x EX nought",
        "SET string x EX 0",
        "SET string x WHAT",
        "GET",
        "RENAME missing other",
        "LSET list 9 x",
        "SETRANGE string -1 x",
        "HINCRBY hash f 1",
        "HINCRBYFLOAT hash f 1",
        "ZADD zset x y",
        "ZADD zset INCR nan y",
        "ZRANGEBYSCORE zset x y",
        "ZRANGEBYLEX zset x y",
        "SMOVE list set x",
        "EVALSHA 0000000000000000000000000000000000000000 1 string",
        "XADD stream 0-0 f v",
        "XADD stream x f v",
        "XREADGROUP GROUP group ann STREAMS string >",
        "XREADGROUP GROUP group ann STREAMS missing >",
        "RESTORE new 0 x",
        "SETBIT string -1 1",
        "SETBIT string 1 7",
        "BLPOP list -1",
        "BLPOP list x",
        "COPY string string",
        "LMPOP 0 list LEFT",
        "SSCAN list x",
    ],
)
def test_what_redis_says_is_shown(client: Client, line: str) -> None:
    """Errors that clients act on, as the server writes them today: none of it is a value."""
    for setup in ("SET string s3cret", "RPUSH list s3cret", "HSET hash f s3cret", "ZADD zset 1 s3cret"):
        client.ask(*setup.split())
    reply = client.ask(*line.split())
    assert isinstance(parsed(reply), hiredis.ReplyError), reply
    text = reply[1:-2]
    assert shown_error(text, script=False) == text


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        (b"ERR s3cret", b"ERR"),
        (b"ERR Error running script: user_script:1: s3cret", b"ERR"),
        (b"WRONGTYPE s3cret", b"WRONGTYPE"),
        (b"WRONGTYPE Operation against a key holding the wrong kind of value s3cret", b"WRONGTYPE"),
        (b"MOVED 1 s3cret", b"MOVED"),
        (b"MOVED 1 127.0.0.1:6379 s3cret", b"MOVED"),
        (b"S3CRET is it", b"ERR"),
        (b"s3cret", b"ERR"),
        (b"", b"ERR"),
        (b"NOGROUP s3cret", b"NOGROUP"),
        (b"MOVED 1 s3cret:1", b"MOVED"),
        (b"NOPERM s3cret", b"NOPERM"),
    ],
)
def test_what_may_quote_a_value_is_withheld(text: bytes, prefix: bytes) -> None:
    assert shown_error(text, script=True) == prefix + b" " + WITHHELD


def test_redirections_pass() -> None:
    for text in (b"MOVED 3999 127.0.0.1:6381", b"ASK 3999 ::1:6381", b"MOVED 1 10.0.0.1:6379"):
        assert shown_error(text, script=True) == text
    assert shown_error(b"MOVED 3999 node-1.example:6381", script=False) == b"MOVED 3999 node-1.example:6381"
