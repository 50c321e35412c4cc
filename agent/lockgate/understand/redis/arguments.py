"""Which arguments are values of keys, and which are passwords.

`VALUES` has a command's places as ranges: `2` is one, `2-` all from there, `3-/2` every other. Of a command that isn't
there everything counts as a value that isn't a key or part of the name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from lockgate.understand.redis.effects import names
from lockgate.understand.redis.keys import word
from lockgate.understand.redis.tables import Command

Args = tuple[bytes, ...]

_NONE = """
GET, GETDEL, GETEX, GETRANGE, SUBSTR, MGET, STRLEN, LCS, DIGEST, DECR, INCR, DEL, UNLINK, EXISTS, TOUCH, TYPE, TTL, PTTL
EXPIRETIME, PEXPIRETIME, EXPIRE, PEXPIRE, EXPIREAT, PEXPIREAT, PERSIST, RENAME, RENAMENX, COPY, MOVE, DUMP, KEYS, SCAN
RANDOMKEY, DBSIZE, FLUSHALL, FLUSHDB, SWAPDB, SELECT, WAIT, WAITAOF, WATCH, UNWATCH, MULTI, EXEC, DISCARD, SORT, SORT_RO
HGET, HMGET, HGETALL, HKEYS, HVALS, HLEN, HSTRLEN, HEXISTS, HDEL, HRANDFIELD, HSCAN, HEXPIRE, HPEXPIRE, HEXPIREAT
HPEXPIREAT, HTTL, HPTTL, HEXPIRETIME, HPEXPIRETIME, HPERSIST, HGETDEL, HGETEX
LLEN, LINDEX, LRANGE, LTRIM, LPOP, RPOP, BLPOP, BRPOP, RPOPLPUSH, BRPOPLPUSH, LMOVE, BLMOVE, LMPOP, BLMPOP
SCARD, SMEMBERS, SPOP, SRANDMEMBER, SINTER, SUNION, SDIFF, SINTERSTORE, SUNIONSTORE, SDIFFSTORE, SINTERCARD
ZCARD, ZREVRANGE, ZPOPMIN, ZPOPMAX, BZPOPMIN, BZPOPMAX, ZMPOP, BZMPOP, ZINTER, ZUNION, ZDIFF, ZINTERSTORE, ZUNIONSTORE
ZDIFFSTORE, ZINTERCARD, ZRANDMEMBER, ZREMRANGEBYRANK, BITCOUNT, BITPOS, GETBIT, BITOP, BITFIELD_RO, PFCOUNT, PFMERGE
XLEN, XRANGE, XREVRANGE, XDEL, XACK, XTRIM, XREAD, XREADGROUP, XPENDING, XCLAIM, XAUTOCLAIM, XSETID, XACKDEL, XDELEX
SUBSCRIBE, UNSUBSCRIBE, PSUBSCRIBE, PUNSUBSCRIBE, SSUBSCRIBE, SUNSUBSCRIBE, INFO, LOLWUT, TIME, ROLE, COMMAND, MONITOR
AUTH, HELLO, RESET, QUIT, ASKING, READONLY, READWRITE, REPLICAOF, SLAVEOF, FAILOVER, SHUTDOWN, SAVE, BGSAVE, LASTSAVE
BGREWRITEAOF, SYNC, PSYNC, REPLCONF, PFSELFTEST, MIGRATE, CLUSTERSCAN
FUNCTION LOAD, FUNCTION DELETE, FUNCTION FLUSH, FUNCTION DUMP, FUNCTION LIST, FUNCTION STATS, FUNCTION KILL
JSON.GET, JSON.MGET, JSON.DEL, JSON.FORGET, JSON.TYPE, JSON.ARRLEN, JSON.ARRPOP, JSON.ARRTRIM, JSON.CLEAR, JSON.OBJKEYS
JSON.OBJLEN, JSON.STRLEN, JSON.TOGGLE, JSON.RESP, JSON.DEBUG, TS.GET, TS.RANGE, TS.REVRANGE, TS.DEL, TS.INFO, TS.CREATE
TS.CREATERULE, TS.DELETERULE, VCARD, VDIM, VINFO, VRANDMEMBER
"""
_NONE_INSIDE = frozenset(
    names("""
ACL, CLIENT, CLUSTER, COMMAND, COMMANDLOG, CONFIG, LATENCY, MEMORY, MODULE, OBJECT, PUBSUB, SCRIPT, SLOWLOG, XGROUP
XINFO
""")
)
_PLACED = {
    "2": "APPEND, GETSET, SETNX, INCRBY, DECRBY, INCRBYFLOAT, LPOS, DELIFEQ, PUBLISH, SPUBLISH, GEORADIUSBYMEMBER"
    ", GEORADIUSBYMEMBER_RO, FUNCTION RESTORE",
    "3": "SETEX, PSETEX, SETRANGE, SETBIT, LSET, LREM, SMOVE, HSETNX, HINCRBY, HINCRBYFLOAT, RESTORE, RESTORE-ASKING",
    "2-": "LPUSH, RPUSH, LPUSHX, RPUSHX, SADD, SREM, SISMEMBER, SMISMEMBER, ZSCORE, ZMSCORE, ZRANK, ZREVRANK, ZREM"
    ", ZINCRBY, PFADD",
    "2-3": "ZCOUNT, ZLEXCOUNT, ZRANGE, ZRANGEBYSCORE, ZREVRANGEBYSCORE, ZRANGEBYLEX, ZREVRANGEBYLEX, ZREMRANGEBYSCORE"
    ", ZREMRANGEBYLEX, GEORADIUS, GEORADIUS_RO",
    "3-4": "ZRANGESTORE",
    "3-": "LINSERT, SSCAN, ZSCAN, JSON.SET, JSON.MERGE",
    "2-/2": "MSET, MSETNX",
    "3-/2": "HSET, HMSET",
}

_RANGE = re.compile(r"(?P<first>\d+)(?P<on>-)?(?P<last>\d+)?(?:/(?P<step>\d+))?")


def _ranges() -> dict[str, tuple[int, int | None, int]]:
    """First, last (None: to the end) and step of each command's."""
    found: dict[str, tuple[int, int | None, int]] = dict.fromkeys(names(_NONE), (1, 0, 1))
    for text, commands in _PLACED.items():
        match = _RANGE.fullmatch(text)
        assert match is not None
        first = int(match["first"])
        last = int(match["last"]) if match["last"] else None if match["on"] else first
        for name in names(commands):
            found[name] = (first, last, int(match["step"] or 1))
    return found


VALUES: Final = _ranges()


def _all_but_words(*words: bytes) -> Callable[[Args], Iterable[int]]:
    """Options, each a word of its own, come first behind the key; then everything is part of the value."""
    options = frozenset(words)

    def places(args: Args) -> Iterable[int]:
        first = 2
        while first < len(args) and word(args[first]) in options:
            first += 1
        return range(first, len(args))

    return places


def _set(args: Args) -> Iterable[int]:
    found = [2]
    place = 3
    while place < len(args):
        option = word(args[place])
        if option in (b"EX", b"PX", b"EXAT", b"PXAT"):
            place += 1
        elif option not in (b"NX", b"XX", b"GET", b"KEEPTTL", b"IFEQ", b"IFNE", b"IFDEQ", b"IFDNE"):
            found.append(place)
        place += 1
    return found


def _xadd(args: Args) -> Iterable[int]:
    """What comes behind the entry's identifier, every other: names of fields are no values."""
    place = 2
    while place < len(args):
        option = word(args[place])
        if option in (b"MAXLEN", b"MINID"):
            place += 2 if args[place + 1 : place + 2] in ((b"=",), (b"~",)) else 1
        elif option == b"LIMIT":
            place += 1
        elif option not in (b"NOMKSTREAM", b"KEEPREF", b"DELREF", b"ACKED"):
            # what remains are pairs in any entry that the server takes
            return range(place + 2, len(args), 2) if (len(args) - place) % 2 else range(2, len(args))
        place += 1
    return range(2, len(args))


def _bitfield(args: Args) -> Iterable[int]:
    """What is set and added; everything, where that isn't how it stands."""
    found = []
    place = 2
    while place < len(args):
        option = word(args[place])
        if option in (b"SET", b"INCRBY"):
            found.append(place + 3)
            place += 4
        elif option in (b"GET", b"OVERFLOW"):
            place += 3 if option == b"GET" else 2
        else:
            return range(2, len(args))
    return found if place == len(args) else range(2, len(args))


_READ: Final[dict[str, Callable[[Args], Iterable[int]]]] = {
    "SET": _set,
    "BITFIELD": _bitfield,
    "ZADD": _all_but_words(b"NX", b"XX", b"GT", b"LT", b"CH", b"INCR"),
    "GEOADD": _all_but_words(b"NX", b"XX", b"CH"),
    "XADD": _xadd,
}


def fixed_values(command: Command, count: int) -> tuple[int, ...] | None:
    """The places of values in `count` arguments (the name counted); None where that depends on what they are.

    Keys may be among them.
    """
    name = command.name
    if command.known and name in _READ:
        return None
    if command.known and name.partition(" ")[0] in _NONE_INSIDE:
        return ()
    told = VALUES.get(name) if command.known else None
    if told is None:
        return tuple(range(1 + (" " in name), count))
    first, last, step = told
    return tuple(range(first, count if last is None else min(last + 1, count), step))


def values(command: Command, args: Args) -> tuple[int, ...]:
    """The places of values. Keys may be among them."""
    fixed = fixed_values(command, len(args))
    return tuple(_READ[command.name](args)) if fixed is None else fixed


_SECRET = re.compile(rb"pass|auth|secret|token|credential|user|[^a-z0-9._-]|^$", re.IGNORECASE)
"""In the name of a parameter: its value is no one's business. So is that of a name that can't be one."""

_RULE = re.compile(
    rb"[-+~&%@()].*|on|off|reset(?:keys|channels|pass)?|all(?:keys|commands|channels)|nocommands|nopass"
    rb"|(?:skip-)?sanitize-payload|clearselectors|alldbs|resetdbs|db=[0-9,]*",
    re.IGNORECASE | re.DOTALL,
)
"""Rules of ACL SETUSER that are about anything but passwords."""


def _auth(args: Args) -> Iterable[int]:
    return (2,) if len(args) == 3 else range(1, len(args))


def _hello(args: Args) -> Iterable[int]:
    """The password behind AUTH and a user. Everything, where that isn't how it stands."""
    found = []
    place = 2
    while place < len(args):
        option = word(args[place])
        if option == b"AUTH" and place + 2 < len(args):
            found.append(place + 2)
            place += 2
        elif option == b"SETNAME" and place + 1 < len(args):
            place += 1
        else:
            return range(1, len(args))
        place += 1
    return found if len(args) < 2 or args[1].isdigit() else range(1, len(args))


def _acl_setuser(args: Args) -> Iterable[int]:
    return (place for place in range(3, len(args)) if _RULE.fullmatch(args[place]) is None)


def _config_set(args: Args) -> Iterable[int]:
    if len(args) % 2:
        return range(2, len(args))
    return (place + 1 for place in range(2, len(args), 2) if _SECRET.search(args[place]))


def _migrate(args: Args) -> Iterable[int]:
    place = 6
    found: list[int] = []
    while place < len(args):
        option = word(args[place])
        if option == b"KEYS":
            return found
        if option == b"AUTH":
            found.append(place + 1)
            place += 1
        elif option == b"AUTH2":
            found += (place + 1, place + 2)
            place += 2
        elif option not in (b"COPY", b"REPLACE"):
            return range(6, len(args))
        place += 1
    return found if not found or found[-1] < len(args) else range(6, len(args))


def _from(first: int) -> Callable[[Args], Iterable[int]]:
    """Arguments that are those of any other command, or of a module."""
    return lambda args: range(first, len(args))


_SECRETS: Final[dict[str, Callable[[Args], Iterable[int]]]] = {
    "AUTH": _auth,
    "HELLO": _hello,
    "ACL SETUSER": _acl_setuser,
    "ACL DRYRUN": _from(4),
    "COMMAND GETKEYS": _from(3),
    "COMMAND GETKEYSANDFLAGS": _from(3),
    "CONFIG SET": _config_set,
    "MIGRATE": _migrate,
    "MODULE LOAD": _from(3),
    "MODULE LOADEX": _from(3),
}


def may_hold_secrets(name: str) -> bool:
    return name in _SECRETS


def secrets(name: str, args: Args) -> tuple[int, ...]:
    """The places of arguments that hold a password, or may."""
    read = _SECRETS.get(name)
    return () if read is None else tuple(read(args))
