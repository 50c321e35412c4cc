"""Every command of the table, run by a real server on keys that hold a marker, in both protocols."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import hiredis
import pytest

from lockgate.masking import RootKey
from lockgate.masking.replies import NameMask, ReplyMasker, Unmaskable, key_masks, plan_reply
from lockgate.masking.replies.commands import COMMANDS
from lockgate.values.command import Call, KeyUse
from lockgate.values.selector import parse_name
from lockgate.values.statement import Effect
from tests.masking.replies.server import Client, as_bytes, parsed

KEYS = RootKey(bytes(32)).keys("cache")
MARKERS = (b"s3cret", b"7777")
SETUP = """
SET secret:str s3cret-value
SET secret:other s3cret-other
SET secret:num 77775
SET secret:float 7777.5
SET secret:bits s3cret
HSET secret:hash s3cret-f1 s3cret-v1 s3cret-f2 s3cret-v2 s3cret-f3 7777
RPUSH secret:list s3cret-a s3cret-b s3cret-c s3cret-d
RPUSH secret:numbers 17777 77771 7777
SADD secret:set s3cret-a s3cret-b s3cret-c
SADD secret:set2 s3cret-a s3cret-d
ZADD secret:zset 7777 s3cret-a 7777.5 s3cret-b 17777 s3cret-c
ZADD secret:zset2 7777 s3cret-a 7777.25 s3cret-d
GEOADD secret:geo 13.361389 38.115556 s3cret-p 15.087269 37.502669 s3cret-q
XADD secret:stream 1-1 s3cret-f s3cret-v s3cret-g s3cret-w
XADD secret:stream 2-1 s3cret-f s3cret-x
XGROUP CREATE secret:stream group 0
XREADGROUP GROUP group ann COUNT 2 STREAMS secret:stream >
XGROUP CREATE secret:stream fresh 0
PFADD secret:hll s3cret-a
HSET profile:1 name Ann email s3cret@example.org city Oslo count 7777
XADD profile:s 1-1 name Ann email s3cret@example.org
XADD profile:s 2-1 name Bob
XGROUP CREATE profile:s group 0
SET plain:str open
RPUSH plain:list a b c
HSET plain:hash f v
""".strip().splitlines()
DOCUMENT = '{"id": 1.50, "user": {"email": "s3cret", "name": "Ann"}, "x": [1, 2]}'
WHOLE = NameMask(parse_name("secret:*"), "redact")
FIELD = NameMask(parse_name("profile:*#email"), "redact")
PLACE = NameMask(parse_name("doc:*#$.user.email"), "redact")
MASKS = (WHOLE, FIELD, PLACE)


def fill(client: Client) -> None:
    for line in SETUP:
        assert not isinstance(parsed(client.ask(*line.split())), hiredis.ReplyError), line
    client.ask("SET", "doc:1", DOCUMENT)
    client.ask("RPUSH", "doc:list", DOCUMENT, "s3cret, and no document")
    client.ask("HSET", "doc:hash", "f", DOCUMENT)


def plan(call: Call, masks: Sequence[NameMask] = MASKS, **options: Any) -> ReplyMasker | None:
    return plan_reply(call, key_masks(call, masks), elsewhere=masks, keys=KEYS, **options)


def holds_marker(value: object) -> bool:
    # when something was read or sent (XINFO, XPENDING) is a number of milliseconds, with any digits in it
    told = re.sub(rb"[0-9]{13}", b"", str(value).encode())
    return any(marker in told for marker in MARKERS)


def compare(before: Any, after: Any) -> int:
    """What held a marker holds none, and all else is as it was, of the same shape; how many were changed."""
    if isinstance(before, dict):
        # names that are masked alike are one to a client, so this is as many only when they are not
        assert isinstance(after, dict)
        if any(holds_marker(name) for name in before):
            assert not holds_marker(after)
            return 2 * len(before)
        return compare(list(before.items()), list(after.items()))
    if isinstance(before, (list, tuple, set)):
        assert type(before) is type(after)
        if isinstance(before, set):
            assert not holds_marker(after)
            return len(before)
        assert len(before) == len(after)
        return sum(compare(one, other) for one, other in zip(before, after, strict=True))
    if isinstance(before, hiredis.ReplyError):
        assert isinstance(after, hiredis.ReplyError)
        assert not holds_marker(after)
        return 0
    if holds_marker(before):
        assert not holds_marker(after)
        assert type(after) is type(before)
        return 1
    assert after == before
    return 0


MASKED = [
    ("GET secret:str", 1),
    ("GETEX secret:str EX 100", 1),
    ("GETDEL secret:str", 1),
    ("GETSET secret:str s3cret-new", 1),
    ("SET secret:str s3cret-new GET", 1),
    ("SET secret:str s3cret-new EX 10 GET", 1),
    ("SET secret:str s3cret-new", 0),
    ("SET secret:str s3cret-new NX", 0),
    ("MGET secret:str plain:str secret:other nothing", 2),
    ("INCR secret:num", 1),
    ("DECR secret:num", 1),
    ("HGET secret:hash s3cret-f1", 1),
    ("HMGET secret:hash s3cret-f1 nothing s3cret-f3", 2),
    ("HGETALL secret:hash", 6),
    ("HVALS secret:hash", 3),
    ("HKEYS secret:hash", 3),
    ("HRANDFIELD secret:hash", 1),
    ("HRANDFIELD secret:hash 2", 2),
    ("HRANDFIELD secret:hash 3 WITHVALUES", 6),
    ("HSCAN secret:hash 0", 6),
    ("HSCAN secret:hash 0 COUNT 100", 6),
    ("LRANGE secret:list 0 -1", 4),
    ("LINDEX secret:list 1", 1),
    ("LPOP secret:list", 1),
    ("RPOP secret:list", 1),
    ("LPOP secret:list 2", 2),
    ("RPOP secret:list 2", 2),
    ("LPOP secret:list 0", 0),
    ("LMPOP 2 plain:nothing secret:list LEFT COUNT 3", 3),
    ("BLMPOP 1 1 secret:list RIGHT COUNT 2", 2),
    ("BLPOP plain:nothing secret:list 1", 1),
    ("BRPOP secret:list plain:list 1", 1),
    ("LMOVE secret:list secret:list2 LEFT RIGHT", 1),
    ("BLMOVE secret:list secret:list2 LEFT RIGHT 1", 1),
    ("RPOPLPUSH secret:list secret:list2", 1),
    ("BRPOPLPUSH secret:list secret:list2 1", 1),
    ("SMEMBERS secret:set", 3),
    ("SRANDMEMBER secret:set", 1),
    ("SRANDMEMBER secret:set 2", 2),
    ("SRANDMEMBER secret:set -5", 5),
    ("SPOP secret:set", 1),
    ("SPOP secret:set 2", 2),
    ("SSCAN secret:set 0", 3),
    ("SINTER secret:set", 3),
    ("SDIFF secret:set", 3),
    ("SUNION secret:set", 3),
    ("SMOVE secret:set secret:set2 s3cret-c", 0),
    ("SUNIONSTORE secret:set3 secret:set", 0),
    ("ZRANGE secret:zset 0 -1", 3),
    ("ZRANGE secret:zset 0 -1 WITHSCORES", 6),
    ("ZRANGE secret:zset 0 -1 REV WITHSCORES", 6),
    ("ZREVRANGE secret:zset 0 -1", 3),
    ("ZREVRANGE secret:zset 0 -1 WITHSCORES", 6),
    ("ZRANGESTORE secret:zset3 secret:zset 0 -1", 0),
    ("ZRANDMEMBER secret:zset", 1),
    ("ZRANDMEMBER secret:zset 2", 2),
    ("ZRANDMEMBER secret:zset 3 WITHSCORES", 6),
    ("ZPOPMIN secret:zset", 2),
    ("ZPOPMAX secret:zset", 2),
    ("ZPOPMIN secret:zset 2", 4),
    ("BZPOPMIN plain:nothing secret:zset 1", 2),
    ("BZPOPMAX secret:zset 1", 2),
    ("ZMPOP 1 secret:zset MIN COUNT 2", 4),
    ("BZMPOP 1 2 plain:nothing secret:zset MAX", 2),
    ("ZSCAN secret:zset 0", 6),
    ("ZUNION 1 secret:zset", 3),
    ("ZUNION 1 secret:zset WITHSCORES", 6),
    ("ZINTER 1 secret:zset WITHSCORES", 6),
    ("ZDIFF 1 secret:zset", 3),
    ("ZUNIONSTORE secret:zset3 1 secret:zset WEIGHTS 2", 0),
    ("ZINCRBY secret:zset 0 s3cret-a", 1),
    ("ZADD secret:zset INCR 0 s3cret-a", 1),
    ("ZADD secret:zset CH 1 s3cret-a", 0),
    ("XRANGE secret:stream - +", 6),
    ("XREVRANGE secret:stream + -", 6),
    ("XREAD COUNT 9 STREAMS secret:stream profile:s 0 0", 7),
    ("XREAD STREAMS secret:stream 9", 0),
    ("XREADGROUP GROUP fresh ann STREAMS secret:stream >", 6),
    ("XREADGROUP GROUP group ann STREAMS secret:stream 0", 6),
    ("XCLAIM secret:stream group bob 0 1-1 2-1", 6),
    ("XCLAIM secret:stream group bob 0 1-1 JUSTID", 0),
    ("XAUTOCLAIM secret:stream group bob 0 0", 6),
    ("XAUTOCLAIM secret:stream group bob 0 0 COUNT 5 JUSTID", 0),
    ("XPENDING secret:stream group", 0),
    ("XPENDING secret:stream group - + 10", 0),
    ("XINFO STREAM secret:stream", 6),
    ("XINFO STREAM secret:stream FULL", 6),
    ("XINFO GROUPS secret:stream", 0),
    ("XINFO CONSUMERS secret:stream group", 0),
    ("PFCOUNT secret:hll", 0),
    ("PFMERGE secret:hll2 secret:hll", 0),
    ("SORT_RO secret:numbers BY nosort", 3),
    ("SORT secret:list BY nosort GET #", 4),
    ("SORT secret:list BY nosort STORE secret:list2", 0),
    ("RENAME secret:str secret:str2", 0),
    ("RENAMENX secret:str secret:str2", 0),
    ("COPY secret:str secret:str2", 0),
    ("MOVE plain:str 1", 0),
    ("COPY plain:str plain:new DB 1", 0),
    ("RESTORE secret:new 0 x", 0),
    ("EXISTS secret:str", 0),
    ("TYPE secret:str", 0),
    ("TTL secret:str", 0),
    ("OBJECT ENCODING secret:str", 0),
    ("MEMORY USAGE secret:str", 0),
    ("LLEN secret:list", 0),
    ("HLEN secret:hash", 0),
    ("HEXISTS secret:hash s3cret-f1", 0),
    ("SCARD secret:set", 0),
    ("ZCARD secret:zset", 0),
    ("XLEN secret:stream", 0),
    ("DEL secret:str", 0),
    ("EXPIRE secret:str 100", 0),
    ("HSET secret:hash s3cret-new v", 0),
    ("HSETNX secret:hash s3cret-new v", 0),
    ("HDEL secret:hash s3cret-f1", 0),
    ("LPUSH secret:list s3cret-new", 0),
    ("LINSERT secret:list BEFORE s3cret-a x", 0),
    ("LSET secret:list 0 x", 0),
    ("LREM secret:list 0 s3cret-a", 0),
    ("LTRIM secret:list 0 1", 0),
    ("SADD secret:set x", 0),
    ("SREM secret:set s3cret-a", 0),
    ("ZREM secret:zset s3cret-a", 0),
    ("ZREMRANGEBYRANK secret:zset 0 0", 0),
    ("XADD secret:stream 7-7 f v", 0),
    ("XDEL secret:stream 1-1", 0),
    ("XACK secret:stream group 1-1", 0),
    ("MSET secret:str a secret:other b", 0),
    ("SETEX secret:str 10 v", 0),
    # fields
    ("HGET profile:1 email", 1),
    ("HGET profile:1 name", 0),
    ("HMGET profile:1 name email city", 1),
    ("HINCRBY profile:1 visits 1", 0),
    ("HKEYS profile:1", 0),
    ("HRANDFIELD profile:1", 0),
    ("HSTRLEN profile:1 name", 0),
    ("XRANGE profile:s - +", 1),
    ("XREADGROUP GROUP group ann STREAMS profile:s >", 1),
    ("XINFO STREAM profile:s", 1),
    ("RENAME profile:1 profile:2", 0),
    # nothing is masked of these
    ("GET plain:str", 0),
    ("LRANGE plain:list 0 -1", 0),
    ("HGETALL plain:hash", 0),
    ("SORT plain:list ALPHA GET item_*", 0),
    ("SISMEMBER plain:nothing a", 0),
    ("KEYS *", 0),
    ("SCAN 0", 0),
    ("GET secret:missing", 0),
    ("HGETALL secret:missing", 0),
    ("LRANGE secret:missing 0 -1", 0),
    ("GET secret:list", 0),
    ("LPOP secret:missing", 0),
    ("BLPOP secret:missing 0.01", 0),
    ("INCR secret:str", 0),
]


@pytest.mark.parametrize(("line", "cells"), MASKED, ids=[line for line, _ in MASKED])
def test_what_is_shown_is_masked_and_nothing_else_is(client: Client, line: str, cells: int) -> None:
    fill(client)
    args = as_bytes(tuple(line.split()))
    masker = plan(client.call(*args))
    reply = client.ask(*args)
    if masker is None:
        assert cells == 0
        assert not any(marker in reply for marker in MARKERS)
        return
    shown, masked, found = masker.mask(reply, resp3=client.resp3)
    assert compare(parsed(reply), parsed(shown)) == cells
    assert masked >= cells
    assert not found
    assert not any(marker in shown for marker in MARKERS)


@pytest.mark.parametrize("line", ["APPEND secret:str x", "BITOP NOT secret:bits2 secret:bits"])
def test_what_is_said_of_a_value_that_is_changed_in_part_is_nothing(client: Client, line: str) -> None:
    fill(client)
    masker = plan(client.call(*line.split()))
    assert masker is not None
    assert masker.mask(client.ask(*line.split())) == (b":0\r\n", 1, {})


REFUSED = """
GETRANGE secret:str 0 3
SUBSTR secret:str 0 3
STRLEN secret:str
LCS secret:str secret:other
LCS plain:str secret:str LEN
GETBIT secret:bits 1
BITCOUNT secret:bits
BITPOS secret:bits 1
BITFIELD secret:bits GET u8 0
BITFIELD_RO secret:bits GET u8 0
BITOP AND plain:bits secret:bits secret:other
DUMP secret:str
MIGRATE 127.0.0.1 7777 secret:str 0 10
RENAME secret:str plain:new
RENAMENX secret:str plain:new
COPY secret:str plain:new
COPY profile:1 plain:new
RENAME doc:1 plain:new
LMOVE secret:list plain:list LEFT LEFT
LMOVE doc:list plain:list LEFT LEFT
RPOPLPUSH secret:list plain:list
BLMOVE secret:list plain:list LEFT LEFT 1
SMOVE secret:set plain:set s3cret-a
SUNIONSTORE plain:set secret:set
SINTERSTORE plain:set secret:set
SDIFFSTORE plain:set secret:set
ZUNIONSTORE plain:zset 1 secret:zset
ZRANGESTORE plain:zset secret:zset 0 -1
GEOSEARCHSTORE plain:geo secret:geo FROMLONLAT 15 37 BYRADIUS 200 km
SORT secret:list ALPHA STORE plain:list
SORT secret:list BY weight_* ALPHA
SORT plain:list BY secret:* GET #
SORT plain:list ALPHA GET secret:*
SORT plain:list ALPHA GET sec*
SORT plain:list ALPHA GET *
SORT plain:list ALPHA GET profile:*->email
PFMERGE plain:hll secret:hll
PFCOUNT plain:hll secret:hll
PFDEBUG ENCODING secret:hll
HSTRLEN secret:hash s3cret-f1
HSTRLEN profile:1 email
HSCAN secret:hash 0 MATCH s*
SSCAN secret:set 0 MATCH s*
ZSCAN secret:zset 0 MATCH s*
LPOS secret:list s3cret-a
SISMEMBER secret:set s3cret-a
SMISMEMBER secret:set s3cret-a x
SINTER secret:set plain:set
SDIFF plain:set secret:set
SINTERCARD 2 secret:set plain:set
ZINTER 2 secret:zset plain:zset
ZDIFF 2 plain:zset secret:zset
ZINTERCARD 2 secret:zset plain:zset
ZSCORE secret:zset s3cret-a
ZMSCORE secret:zset s3cret-a
ZRANK secret:zset s3cret-a
ZREVRANK secret:zset s3cret-a
ZCOUNT secret:zset 0 10
ZLEXCOUNT secret:zset - +
ZRANGE secret:zset 0 10 BYSCORE
ZRANGE secret:zset - + BYLEX
ZRANGEBYSCORE secret:zset 0 10
ZREVRANGEBYSCORE secret:zset 10 0
ZRANGEBYLEX secret:zset - +
ZREVRANGEBYLEX secret:zset + -
GEOPOS secret:geo s3cret-p
GEODIST secret:geo s3cret-p s3cret-q
GEOHASH secret:geo s3cret-p
GEOSEARCH secret:geo FROMLONLAT 15 37 BYRADIUS 200 km
GEORADIUS secret:geo 15 37 200 km
GEORADIUS_RO secret:geo 15 37 200 km
GEORADIUSBYMEMBER secret:geo s3cret-p 200 km
GEORADIUSBYMEMBER_RO secret:geo s3cret-p 200 km
EVAL return(1) 1 secret:str
EVAL_RO return(1) 0
EVAL return(1) 1 plain:str
FCALL f 0
MONITOR
SLOWLOG GET
DEBUG OBJECT secret:str
SYNC
PSYNC ? -1
SETRANGE secret:str 0 x
SETBIT secret:bits 1 1
BITOP XOR secret:bits2 secret:bits plain:bits
BITOP AND secret:bits2 plain:bits secret:bits
INCRBY secret:num 9223372036854775000
DECRBY secret:num 1
INCRBYFLOAT secret:float 1
HINCRBY secret:hash s3cret-f3 1
HINCRBYFLOAT profile:1 email 1
SUNION secret:set plain:guess
SUNIONSTORE secret:set3 secret:set plain:guess
SINTERSTORE secret:set3 secret:set plain:guess
SDIFFSTORE secret:set3 plain:guess secret:set
ZUNION 2 secret:zset plain:guess
ZUNIONSTORE secret:zset3 2 secret:zset plain:guess
ZINTERSTORE secret:zset3 2 secret:zset plain:guess
ZDIFFSTORE secret:zset3 2 plain:guess secret:zset
ZRANGESTORE secret:zset3 secret:zset 0 10 BYSCORE
ZRANGESTORE secret:zset3 secret:zset [a [b BYLEX
ZREMRANGEBYSCORE secret:zset 0 10
ZREMRANGEBYLEX secret:zset [a [b
ZADD secret:zset XX GT CH 5 s3cret-a
ZADD secret:zset LT CH INCR 5 s3cret-a
GEOSEARCHSTORE secret:geo2 secret:geo FROMLONLAT 15 37 BYRADIUS 200 km
SORT secret:list ALPHA
SORT secret:numbers
SORT secret:list ALPHA LIMIT 0 1 STORE secret:list2
SORT secret:list BY nosort BY weight_* ALPHA
MOVE secret:str 1
MOVE profile:1 1
COPY secret:str secret:str DB 1
COPY profile:1 profile:2 REPLACE DB 0
SWAPDB 0 1
SWAPDB 1 2
APPEND doc:1 x
SETRANGE doc:1 2 x
SETBIT doc:1 1 1
GETRANGE doc:1 0 -1
STRLEN doc:1
""".strip().splitlines()


@pytest.mark.parametrize("line", REFUSED)
def test_what_cannot_be_masked_is_refused(client: Client, line: str) -> None:
    fill(client)
    with pytest.raises(Unmaskable) as refused:
        plan(client.call(*line.split()))
    assert "s3cret" not in str(refused.value)
    assert "\n" not in str(refused.value)


NUL = [
    # options are C strings to the server: what stands behind a NUL is nothing
    ("SORT", "plain:list", "BY", "nosort", "GET\0x", "secret:*"),
    ("SORT", "plain:list", "by\0", "secret:*"),
    ("SORT", "secret:list", "BY", "nosort", "STORE\0", "plain:new"),
    ("SSCAN", "secret:set", "0", "MATCH\0", "s*"),
    ("HSCAN", "secret:hash", "0", "match\0x", "s*"),
    ("ZSCAN", "secret:zset", "0", "MATCH\0", "s*"),
    ("ZRANGE", "secret:zset", "0", "10", "BYSCORE\0"),
    ("ZRANGE", "secret:zset", "-", "+", "bylex\0REV"),
    ("ZRANGESTORE", "secret:zset3", "secret:zset", "0", "10", "BYSCORE\0"),
    ("ZADD", "secret:zset", "GT\0", "CH", "5", "s3cret-a"),
    ("COPY", "secret:str", "secret:new", "DB\0", "1"),
]


@pytest.mark.parametrize("words", NUL, ids=lambda words: repr(" ".join(words)))
def test_an_option_with_a_nul_is_that_option(client: Client, words: tuple[str, ...]) -> None:
    fill(client)
    assert client.ask(*words)[:1] not in (b"-", b"!"), "the server takes it"
    with pytest.raises(Unmaskable):
        plan(client.call(*words))


@pytest.mark.parametrize(
    "line", ["MATCH novalues MATCH *", "MATCH NOVALUES MATCH email COUNT 9", "COUNT 9 MATCH * COUNT 9"]
)
def test_what_reads_like_an_option_of_a_scan_is_none(client: Client, line: str) -> None:
    """The last pattern counts, and the first may be the name of an option."""
    fill(client)
    args = ("HSCAN", "profile:1", "0", *line.split())
    masker = plan(client.call(*args))
    assert masker is not None
    reply = client.ask(*args)
    assert b"s3cret" in reply
    assert b"s3cret" not in masker.mask(reply, resp3=client.resp3)[0]
    with pytest.raises(Unmaskable, match="an option that isn't known"):
        plan(client.call("HSCAN", "profile:1", "0", "NOVALUES", "NEWER"))


def test_values_that_come_by_an_option_with_a_nul_are_masked(client: Client) -> None:
    fill(client)
    words = ("HRANDFIELD", "profile:1", "-20", "WITHVALUES\0")
    masker = plan(client.call(*words))
    assert masker is not None
    reply = client.ask(*words)
    assert b"s3cret" in reply
    assert b"s3cret" not in masker.mask(reply, resp3=client.resp3)[0]


@pytest.mark.parametrize("masker", ["partial", "tokenise", "truncate:4", "truncate:year", "date_shift:9", "hash"])
@pytest.mark.parametrize("line", ["APPEND secret:str x", "INCR secret:num", "BITOP NOT secret:bits2 secret:bits"])
def test_a_value_is_not_changed_into_one_whose_mask_shows_more(client: Client, line: str, masker: str) -> None:
    masks = [NameMask(parse_name("secret:*"), masker)]
    with pytest.raises(Unmaskable, match="changes a part"):
        plan(client.call(*line.split()), masks)


def test_a_copy_needs_a_mask_as_strict(client: Client) -> None:
    masks = [
        NameMask(parse_name("low:*"), "partial"),
        NameMask(parse_name("high:*"), "redact"),
        NameMask(parse_name("field:*#email"), "redact"),
    ]
    assert plan(client.call("RENAME", "low:1", "high:1"), masks) is not None
    assert plan(client.call("COPY", "field:1", "high:1"), masks) is not None
    assert plan(client.call("COPY", "field:1", "field:2"), masks) is not None
    for line in ("RENAME high:1 low:1", "COPY field:1 low:1", "COPY high:1 field:1", "LMOVE high:1 low:1 LEFT LEFT"):
        with pytest.raises(Unmaskable, match="isn't masked at least as strictly"):
            plan(client.call(*line.split()), masks)


def test_values_of_fields_nobody_named_are_masked_alike(client: Client) -> None:
    fill(client)
    masker = plan(client.call("HVALS", "profile:1"))
    assert masker is not None
    shown, masked, _ = masker.mask(client.ask("HVALS", "profile:1"))
    assert parsed(shown) == [b"***"] * 4
    assert masked == 4


def test_fields_by_name_in_every_reply(client: Client) -> None:
    fill(client)
    client.ask("HDEL", "profile:1", "count")
    for line in ("HGETALL profile:1", "HRANDFIELD profile:1 9 WITHVALUES", "HSCAN profile:1 0 MATCH *"):
        args = line.split()
        masker = plan(client.call(*args))
        assert masker is not None
        shown, masked, _ = masker.mask(client.ask(*args))
        assert masked == 1
        assert b"s3cret" not in shown
        for kept in (b"name", b"Ann", b"email", b"city", b"Oslo"):
            assert kept in shown


def test_documents_in_strings_lists_and_hashes(client: Client) -> None:
    fill(client)
    hidden = DOCUMENT.replace("s3cret", "***").encode()
    for line, expected in (
        ("GET doc:1", hidden),
        ("LRANGE doc:list 0 -1", [hidden, b"***"]),
        ("HGET doc:hash f", hidden),
        ("HVALS doc:hash", [hidden]),
        ("HMGET doc:hash f", [hidden]),
        ("LPOP doc:list", hidden),
    ):
        masker = plan(client.call(*line.split()))
        assert masker is not None
        assert parsed(masker.mask(client.ask(*line.split()))[0]) == expected


REVIEWED = """
return {redis.call('GET', KEYS[1]), 7777, {ok = 's3cret'}, {1, {'s3cret'}}, false}
return redis.status_reply('OK')
return redis.error_reply('ERR it is ' .. redis.call('GET', KEYS[1]))
return redis.error_reply('S3 ' .. redis.call('GET', KEYS[1]))
return redis.error_reply('NOGROUP ' .. redis.call('GET', KEYS[1]))
return redis.error_reply('NOPERM ' .. redis.call('GET', KEYS[1]))
error(redis.call('GET', KEYS[1]))
return redis.call('INCR', KEYS[1])
redis.setresp(3); return {double = 7777.5}
redis.setresp(3); return {map = {[redis.call('GET', KEYS[1])] = 7777}}
redis.setresp(3); return {set = {[redis.call('GET', KEYS[1])] = true}}
redis.setresp(3); return {big_number = '7777'}
redis.setresp(3); return {verbatim_string = {string = redis.call('GET', KEYS[1]), format = 'txt'}}
redis.setresp(3); return {true, false}
""".strip().splitlines()


@pytest.mark.parametrize("script", REVIEWED)
def test_all_that_a_reviewed_script_says_of_a_masked_key_is_masked(client: Client, script: str) -> None:
    fill(client)
    args = ("EVAL", script, "1", "secret:str")
    masker = plan(client.call(*args, reviewed=True))
    assert masker is not None
    reply = client.ask(*args)
    shown, _, _ = masker.mask(reply, resp3=client.resp3)
    assert b"s3cret" not in shown
    assert b"7777" not in shown
    assert type(parsed(shown)) is type(parsed(reply))
    if "OK" in script:
        assert shown == reply


def test_a_reviewed_script_copies_nothing(client: Client) -> None:
    for name, allowed in (("EVAL", False), ("EVAL_RO", True)):
        call = client.call(name, "return 1", "2", "secret:str", "plain:str", reviewed=True)
        if allowed:
            assert plan(call) is not None
        else:
            with pytest.raises(Unmaskable, match="copies"):
                plan(call)
    assert plan(client.call("EVAL", "return 1", "1", "plain:str", reviewed=True)) is None


def test_null_is_written_as_the_protocol_has_it(client: Client) -> None:
    fill(client)
    masks = [NameMask(parse_name("secret:*"), "null"), NameMask(parse_name("profile:*#email"), "null")]
    null = b"_\r\n" if client.resp3 else b"$-1\r\n"
    for line, expected in (
        ("GET secret:str", None),
        ("MGET secret:str plain:str", [None, b"open"]),
        ("HMGET profile:1 name email", [b"Ann", None]),
        ("LRANGE secret:list 0 1", [None, None]),
    ):
        masker = plan(client.call(*line.split()), masks)
        assert masker is not None
        shown = masker.mask(client.ask(*line.split()), resp3=client.resp3)[0]
        assert parsed(shown) == expected
        assert null in shown


def test_a_veil_hides_whether_there_is_a_value(client: Client) -> None:
    fill(client)
    masks = [NameMask(parse_name("secret:*"), "veil"), NameMask(parse_name("profile:*#*"), "veil")]
    for line, expected in (
        ("GET secret:missing", b"***"),
        ("MGET secret:missing secret:str", [b"***"] * 2),
        ("HMGET profile:1 email nothing", [b"***"] * 2),
    ):
        masker = plan(client.call(*line.split()), masks)
        assert masker is not None
        assert parsed(masker.mask(client.ask(*line.split()))[0]) == expected


OTHER_MODULES = ("BF.", "CF.", "CMS.", "TOPK.", "TDIGEST.", "TS.", "TIMESERIES.", "FT.")
"""How names begin of what is refused of a masked key, whatever it is."""


def test_no_command_of_the_server_is_forgotten(client: Client) -> None:
    """Each has its line in the table, or is refused for want of one, and these are all that are."""
    names = [name.decode().upper().replace("|", " ") for name in parsed(client.ask("COMMAND", "LIST"))]
    containers = {name.split(" ")[0] for name in names if " " in name}
    forgotten = {name for name in names if name not in COMMANDS and name not in containers}
    assert {name for name in forgotten if not name.startswith(OTHER_MODULES)} == {"EXEC"}
    assert len(names) > 350


@pytest.mark.parametrize("name", ["FT.SEARCH", "TS.RANGE", "NEW", "EXEC"])
def test_a_command_that_nobody_knows_is_refused_where_anything_is_masked(name: str) -> None:
    call = Call(name, (name.encode(), b"x"))
    with pytest.raises(Unmaskable, match="is not known"):
        plan(call)
    assert plan(call, []) is None
    read = frozenset({Effect.READ})
    for key, anywhere, passes in ((b"x", frozenset(), True), (b"x", read, False), (b"secret:1", frozenset(), False)):
        call = Call(name, (name.encode(), key), (KeyUse(key, 1, read, True),), anywhere)
        if passes:
            assert plan(call) is None
        else:
            with pytest.raises(Unmaskable, match="is not known"):
                plan(call)


def test_a_key_that_was_not_understood_is_refused() -> None:
    for name, args in (("GET", (b"GET", b"a")), ("RENAME", (b"RENAME", b"a", b"b")), ("MGET", (b"MGET", b"a", b"b"))):
        with pytest.raises(Unmaskable, match="not understood"):
            plan(Call(name, args))


def test_a_masked_key_that_the_table_does_not_expect_is_refused() -> None:
    read = frozenset({Effect.READ})
    uses = (KeyUse(b"a", 1, read, True), KeyUse(b"secret:1", 2, read, True))
    with pytest.raises(Unmaskable, match="in a way that isn't known"):
        plan(Call("LRANGE", (b"LRANGE", b"a", b"secret:1", b"0"), uses))
