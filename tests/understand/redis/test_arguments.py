"""Which arguments are values, and which are passwords."""

from __future__ import annotations

import pytest

from lockgate.understand.redis import CommandTable, Understanding
from lockgate.understand.redis.arguments import VALUES
from lockgate.values.command import Call


def understood(text: str) -> Call:
    call = Understanding().request(tuple(part.encode() for part in text.split(" "))).detail
    assert isinstance(call, Call)
    return call


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("GET k", []),
        ("SET k v", [2]),
        ("SET k v EX 10 NX GET", [2]),
        ("SET k EX EX 10", [2]),
        ("SET k v IFEQ old", [2, 4]),
        ("SET k v NOPE secret", [2, 3, 4]),
        ("SETEX k 10 v", [3]),
        ("GETSET k v", [2]),
        ("SETRANGE k 0 v", [3]),
        ("MSET a 1 b 2", [2, 4]),
        ("MSETEX 2 a 1 b 2 EX 10", [1, 3, 5, 6, 7]),
        ("HSET h f v g w", [3, 5]),
        ("HSETNX h f v", [3]),
        ("HGET h f", []),
        ("HSETEX h EX 10 FIELDS 1 f v", [2, 3, 4, 5, 6, 7]),
        ("LPUSH l a b", [2, 3]),
        ("LREM l 0 a", [3]),
        ("LPOS l a RANK 1", [2]),
        ("LINSERT l BEFORE a b", [3, 4]),
        ("LRANGE l 0 -1", []),
        ("SADD s a b", [2, 3]),
        ("SISMEMBER s a", [2]),
        ("SMOVE a b m", [3]),
        ("SSCAN s 0 MATCH a*", [3, 4]),
        ("ZADD z 1 m", [2, 3]),
        ("ZADD z NX CH 1 NX", [4, 5]),
        ("ZADD z incr gt 1 m", [4, 5]),
        ("ZSCORE z m", [2]),
        ("ZRANGEBYLEX z [a [b LIMIT 0 1", [2, 3]),
        ("ZRANGE z 0 -1 REV", [2, 3]),
        ("ZRANGESTORE d z 0 1", [3, 4]),
        ("ZUNIONSTORE d 2 a b WEIGHTS 1 2", []),
        ("GEOADD g NX 1 2 m", [3, 4, 5]),
        ("GEORADIUSBYMEMBER g m 9 km STORE d", [2]),
        ("XADD x * f v g w", [4, 6]),
        ("XADD x MAXLEN ~ 10 LIMIT 5 * f v", [9]),
        ("XADD x NOMKSTREAM MINID = 1 1-1 f v", [8]),
        ("XADD x MAXLEN 10 * f v", [6]),
        ("XADD x * f v g", [2, 3, 4, 5]),
        ("XREAD COUNT 1 STREAMS x 0", []),
        ("PFADD p a", [2]),
        ("APPEND k v", [2]),
        ("INCRBY k 7", [2]),
        ("SETBIT k 7 1", [3]),
        ("BITFIELD k SET u8 0 7 OVERFLOW FAIL INCRBY u8 #1 2 GET u8 0", [5, 11]),
        ("EVAL s 1 k a b", [4, 5]),
        ("FCALL f 0 a", [3]),
        ("RESTORE k 0 payload", [3]),
        ("PUBLISH c m", [2]),
        ("ECHO m", [1]),
        ("PING m", [1]),
        ("JSON.SET k $ 1", [3]),
        ("JSON.MGET a b $", []),
        ("VADD k VALUES 1 0.5 e", [2, 3, 4, 5]),
        ("CONFIG SET maxmemory 1", []),
        ("CLIENT SETNAME a", []),
        ("KEYS *", []),
        ("SORT k BY w_* STORE d", []),
        ("FUNCTION RESTORE x", [2]),
    ],
)
def test_values(text: str, places: list[int]) -> None:
    call = understood(text)
    assert list(call.values) == places
    assert not {use.place for use in call.keys} & set(call.values)


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("AUTH pw", [1]),
        ("AUTH user pw", [2]),
        ("AUTH a b c", [1, 2, 3]),
        ("HELLO", []),
        ("HELLO 3", []),
        ("HELLO 3 AUTH u pw SETNAME n", [4]),
        ("hello 3 setname n auth u pw", [6]),
        ("HELLO AUTH u pw", [1, 2, 3]),
        ("HELLO 3 AUTH pw", [1, 2, 3]),
        ("HELLO 3 SETNAME AUTH AUTH u pw", [6]),
        ("ACL SETUSER u on >pw #hash ~k:* +@read -get <old !h &c (~x +get) reset", [4, 5, 9, 10]),
        ("ACL SETUSER u on pw", [4]),
        ("ACL SETUSER >pw", []),
        ("ACL DRYRUN u AUTH pw", [4]),
        ("CONFIG SET requirepass pw maxmemory 1", [3]),
        ("CONFIG SET maxmemory 1 masterauth pw masteruser u", [5, 7]),
        ("CONFIG SET REQUIREPASS pw", [3]),
        ("CONFIG SET tls-key-file-pass pw", [3]),
        ("CONFIG SET primaryauth pw", [3]),
        ("CONFIG SET requirepass", [2]),
        ("CONFIG GET requirepass", []),
        ("MIGRATE h 1 k 0 10 AUTH pw", [7]),
        ("MIGRATE h 1 k 0 10 COPY AUTH2 u pw REPLACE", [8, 9]),
        ("MIGRATE h 1  0 10 AUTH KEYS KEYS a", [7]),
        ("MIGRATE h 1 k 0 10 AUTHS pw", [1, 2, 3, 4, 5, 6, 7]),
        ("COMMAND GETKEYS AUTH pw", [3]),
        ("MODULE LOADEX x.so CONFIG a.password pw", [3, 4, 5]),
        ("SENTINEL SET m auth-pass pw", [1, 2, 3, 4]),
        ("AUHT user pw", [1, 2]),
        ("GET a pw", [1, 2]),
    ],
)
def test_secrets(text: str, places: list[int]) -> None:
    assert list(understood(text).secrets) == places


def test_places_are_told_of_commands_that_there_are() -> None:
    assert set(VALUES) <= {command.name for command in CommandTable.builtin()}
