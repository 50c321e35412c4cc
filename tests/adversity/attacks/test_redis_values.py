"""What an engineer may try to get a masked value out of Redis: by copies, slices, scripts, orders, listening."""

from __future__ import annotations

from hashlib import sha1

import pytest

from tests.adversity.attacks.conftest import SERVER, USERS
from tests.support.markers import marker
from tests.support.redis import Redis
from tests.support.redis_attacks import Attacked, RedisAttack, RedisAttacker, refused, works
from tests.support.redis_raw import RedisRaw, encoded

READ = "return redis.call('GET', KEYS[1])"
SHA = sha1(READ.encode(), usedforsecurity=False).hexdigest()
LIBRARY = """#!lua name=l
redis.register_function{function_name = 'f', flags = {'no-writes'},
    callback = function(keys) return redis.call('GET', keys[1]) end}"""
HIDDEN = r"\*\*\*"
MASKED_OR_REFUSED = r"b'\*\*\*'|lockgate: "

COPYING = [
    refused("COPY to a name that nobody classified", "COPY secret:1 session:x"),
    refused("COPY to another database", "COPY secret:1 secret:1 DB 2"),
    refused("COPY to another name there", "COPY secret:1 session:x DB 2"),
    refused("RENAME", "RENAME secret:1 session:x"),
    refused("RENAMENX", "RENAMENX secret:1 session:x"),
    refused("MOVE to another database", "MOVE secret:1 3"),
    refused("DUMP", "DUMP secret:1"),
    RedisAttack("RESTORE under another name", ["DUMP secret:1", ["RESTORE", "session:x", "0", "\x00\x01x"]],
        "lockgate: ", never=("DUMP",)),
    refused("MIGRATE to a server of one's own", "MIGRATE 127.0.0.1 1 secret:1 0 100"),
    refused("MIGRATE with KEYS",
        ["MIGRATE", "127.0.0.1", "1", "", "0", "100", "COPY", "KEYS", "session:1", "secret:1"]),
    refused("SORT STORE", "SORT secret:list ALPHA STORE session:x"),
    refused("SORT BY and GET of another key", "SORT ids BY nosort GET secret:*"),
    refused("SORT GET of a field", "SORT ids BY nosort GET profile:*->email"),
    refused("SORT GET behind GET #", "SORT ids BY nosort GET # GET session:* GET secret:*"),
    refused("SORT_RO GET", "SORT_RO ids BY nosort GET secret:*"),
    refused("SORT BY a secret, which orders by it", "SORT ids BY secret:* ALPHA"),
    refused("SUNIONSTORE", "SUNIONSTORE session:x secret:set"),
    refused("SDIFFSTORE", "SDIFFSTORE session:x secret:set session:none"),
    refused("SINTERSTORE", "SINTERSTORE session:x secret:set secret:set"),
    refused("SMOVE", "SMOVE secret:set session:x user1@example.org"),
    refused("LMOVE", "LMOVE secret:list session:x LEFT LEFT"),
    refused("BLMOVE", "BLMOVE secret:list session:x LEFT LEFT 0.1"),
    refused("RPOPLPUSH", "RPOPLPUSH secret:list session:x"),
    refused("ZUNIONSTORE", "ZUNIONSTORE session:x 1 secret:zset"),
    refused("ZRANGESTORE", "ZRANGESTORE session:x secret:zset 0 -1"),
    refused("ZINTERSTORE of a set", "ZINTERSTORE session:x 1 secret:set"),
    refused("BITOP", "BITOP NOT session:x secret:1"),
    refused("PFMERGE", "PFMERGE session:x secret:hll", given=["PFADD secret:hll user1@example.org"]),
    refused("GEOSEARCHSTORE", "GEOSEARCHSTORE session:x secret:geo FROMLONLAT 0 0 BYRADIUS 1 km",
        given=["GEOADD secret:geo 0 0 user1@example.org"]),
]  # fmt: skip

SLICES = [
    RedisAttack("GETRANGE", ["GETRANGE secret:1 0 3"], MASKED_OR_REFUSED),
    RedisAttack("GETRANGE, byte by byte", [f"GETRANGE secret:1 {n} {n}" for n in range(5)], MASKED_OR_REFUSED),
    RedisAttack("SUBSTR", ["SUBSTR secret:1 -4 -1"], MASKED_OR_REFUSED),
    refused("BITFIELD GET", "BITFIELD secret:1 GET u8 0"),
    refused("BITFIELD OVERFLOW tells the old value", "BITFIELD secret:1 OVERFLOW FAIL INCRBY u8 0 0"),
    refused("BITFIELD_RO", "BITFIELD_RO secret:1 GET u32 0"),
    refused("GETBIT", "GETBIT secret:1 1"),
    refused("BITCOUNT", "BITCOUNT secret:1 0 0"),
    refused("BITPOS", "BITPOS secret:1 1"),
    refused("LCS with a guess", "LCS secret:1 session:1"),
    refused("LCS IDX", "LCS secret:1 secret:2 IDX WITHMATCHLEN"),
    RedisAttack("SETRANGE tells no value", ["SETRANGE secret:1 0 x", "GET secret:1"], HIDDEN),
    RedisAttack("APPEND and read the end", ["APPEND secret:1 x", "GETRANGE secret:1 0 4"], MASKED_OR_REFUSED),
    RedisAttack("SET GET", ["SET secret:1 x GET"], MASKED_OR_REFUSED),
    RedisAttack("GETSET", ["GETSET secret:1 x"], MASKED_OR_REFUSED),
    RedisAttack("GETDEL", ["GETDEL secret:1"], MASKED_OR_REFUSED),
    RedisAttack("LPOP", ["LPOP secret:list 2"], MASKED_OR_REFUSED),
    RedisAttack("SPOP", ["SPOP secret:set"], MASKED_OR_REFUSED),
    RedisAttack("ZPOPMIN", ["ZPOPMIN secret:zset"], MASKED_OR_REFUSED),
    RedisAttack("ZMPOP", ["ZMPOP 2 session:none secret:zset MIN"], MASKED_OR_REFUSED),
    RedisAttack("LMPOP, whose key is told by the reply", ["LMPOP 2 session:none secret:list LEFT"], MASKED_OR_REFUSED),
    RedisAttack("BLPOP over several keys", ["BLPOP session:none secret:list 1"], MASKED_OR_REFUSED),
    RedisAttack("HRANDFIELD", ["HRANDFIELD profile:1 -20 WITHVALUES"], MASKED_OR_REFUSED),
    refused("HSTRLEN", "HSTRLEN profile:1 email"),
    refused("STRLEN", "STRLEN secret:1"),
    RedisAttack("HSCAN with a pattern for fields", ["HSCAN profile:1 0 MATCH e*"], MASKED_OR_REFUSED),
    RedisAttack("SSCAN with a guess", ["SSCAN secret:set 0 MATCH user*"], MASKED_OR_REFUSED),
    RedisAttack("ZSCAN with a guess", ["ZSCAN secret:zset 0 MATCH user*"], MASKED_OR_REFUSED),
    RedisAttack("ZRANGEBYLEX", [["ZRANGEBYLEX", "secret:zset", "-", "+"]], MASKED_OR_REFUSED),
    RedisAttack("SINTER with a set of guesses",
        ["SINTER session:guess secret:set"], MASKED_OR_REFUSED, given=["SADD session:guess user1@example.org"]),
    RedisAttack("GET in another case", ["gEt secret:1"], HIDDEN),
    RedisAttack("a key with a blank at its end", [["GET", "secret:1 "]], HIDDEN,
        given=[["SET", "secret:1 ", "user1@example.org"]]),
    RedisAttack("a key with a line's end", [["GET", "secret:\n1"]], HIDDEN,
        given=[["SET", "secret:\n1", "user1@example.org"]]),
    RedisAttack("XINFO STREAM FULL", ["XINFO STREAM letters FULL"], MASKED_OR_REFUSED + "|u\\*\\*\\*"),
    RedisAttack("XRANGE", ["XRANGE letters - +"], r"u\*\*\*@e\*\*\*\.org"),
    RedisAttack("XREADGROUP", ["XGROUP CREATE letters g 0", "XREADGROUP GROUP g c STREAMS letters >"],
        r"u\*\*\*@e\*\*\*\.org|lockgate: "),
    RedisAttack("XAUTOCLAIM", ["XGROUP CREATE letters g 0", "XREADGROUP GROUP g c STREAMS letters >",
        "XAUTOCLAIM letters g d 0 0"], r"u\*\*\*@e\*\*\*\.org|lockgate: "),
    RedisAttack("a JSON value with the path twice", [
        ["SET", "doc:x", '{"user": {"email": "user1@example.org", "email": "user2@example.org"}}'], "GET doc:x"], ""),
    RedisAttack("a JSON value that isn't quite JSON", [["SET", "doc:x", '{"user": {"email": "user1@example.org"'],
        "GET doc:x"], ""),
    RedisAttack("a JSON value with escapes", [
        ["SET", "doc:x", '{"us\\u0065r": {"em\\u0061il": "us\\u0065r1@example.org"}}'], "GET doc:x"], ""),
]  # fmt: skip

SCRIPTS = [
    refused("EVAL of a declared key", ["EVAL", READ, "1", "secret:1"]),
    refused("EVAL of an undeclared key", ["EVAL", "return redis.call('GET', 'secret:1')", "0"]),
    refused("EVAL of a key made in the script", ["EVAL", "return redis.call('GET', 'sec' .. 'ret:1')", "0"]),
    refused("EVAL of a key given as an argument", ["EVAL", "return redis.call('GET', ARGV[1])", "0", "secret:1"]),
    refused("EVAL_RO", ["EVAL_RO", READ, "1", "secret:1"]),
    refused("EVAL that fails with a value", ["EVAL", "error(redis.call('GET', 'secret:1'))", "0"]),
    refused("EVAL that answers one letter at a time",
        ["EVAL", "return string.byte(redis.call('GET', 'secret:1'), 1)", "0"]),
    refused("EVAL that turns it around", ["EVAL", "return string.reverse(redis.call('GET', 'secret:1'))", "0"]),
    refused("EVAL that publishes it", ["EVAL", "redis.call('PUBLISH', 'c', redis.call('GET', 'secret:1'))", "0"]),
    refused("EVAL that writes it elsewhere",
        ["EVAL", "redis.call('SET', 'session:x', redis.call('GET', 'secret:1'))", "0"]),
    refused("EVAL with a shebang and flags",
        ["EVAL", "#!lua flags=allow-oom\nreturn redis.call('GET', 'secret:1')", "0"]),
    refused("EVALSHA of what nobody reviewed", ["EVALSHA", SHA, "1", "secret:1"], given=[["SCRIPT", "LOAD", READ]]),
    refused("SCRIPT LOAD", ["SCRIPT", "LOAD", READ], never=("SCRIPT LOAD",)),
    refused("EVALSHA in capitals", ["EVALSHA", SHA.upper(), "1", "secret:1"], given=[["SCRIPT", "LOAD", READ]]),
    refused("FUNCTION LOAD",
        ["FUNCTION", "LOAD", LIBRARY], never=("FUNCTION LOAD",)),
    refused("FUNCTION RESTORE", ["FUNCTION", "RESTORE", "\xf5"], never=("FUNCTION RESTORE",)),
    refused("FCALL", "FCALL f 1 secret:1", given=[["FUNCTION", "LOAD", LIBRARY]]),
    refused("FCALL_RO in another case", "FCALL_RO F 1 secret:1", given=[["FUNCTION", "LOAD", LIBRARY]]),
    refused("SCRIPT KILL of somebody else's", "SCRIPT KILL", never=("SCRIPT KILL",)),
    refused("SCRIPT FLUSH", "SCRIPT FLUSH", never=("SCRIPT FLUSH",)),
    refused("FUNCTION DELETE", "FUNCTION DELETE l", never=("FUNCTION DELETE",),
        given=[["FUNCTION", "LOAD", LIBRARY]]),
    refused("FUNCTION FLUSH", "FUNCTION FLUSH", never=("FUNCTION FLUSH",)),
    refused("more keys declared than there are", ["EVAL", READ, "5", "secret:1"]),
    refused("a negative number of keys", ["EVAL", READ, "-1", "secret:1"]),
    refused("a number of keys that isn't one", ["EVAL", READ, "x", "secret:1"]),
]  # fmt: skip

LISTENING = [
    refused("MONITOR", "MONITOR"),
    refused("CLIENT TRACKING BCAST of everything", "HELLO 3", "CLIENT TRACKING ON BCAST", never=("CLIENT TRACKING",)),
    refused("CLIENT TRACKING BCAST of a closed prefix", "HELLO 3", "CLIENT TRACKING ON BCAST PREFIX vault:",
        never=("CLIENT TRACKING",)),
    refused("CLIENT TRACKING to another connection", "HELLO 3", "CLIENT TRACKING ON REDIRECT 1",
        never=("CLIENT TRACKING",)),
    refused("PSUBSCRIBE to everything", "PSUBSCRIBE *"),
    refused("PSUBSCRIBE by a class", "PSUBSCRIBE [a-c]ackstage:*"),
    refused("PSUBSCRIBE with an escape", ["PSUBSCRIBE", r"\backstage:*"]),
    refused("SUBSCRIBE behind a harmless one", "SUBSCRIBE weather backstage:1"),
    refused("keyspace notifications of a closed key", "SUBSCRIBE __keyspace@0__:vault:1"),
    refused("keyevent notifications", "PSUBSCRIBE __key*__:*"),
    refused("SLOWLOG, which has arguments", "SLOWLOG GET", never=("SLOWLOG GET",)),
    refused("ACL LOG", "ACL LOG", never=("ACL LOG",)),
    refused("CLIENT LIST, which names others", "CLIENT LIST", never=("CLIENT LIST",)),
    refused("LATENCY", "LATENCY LATEST", never=("LATENCY LATEST",)),
    refused("OBJECT of a closed key", "OBJECT IDLETIME vault:1", never=("OBJECT IDLETIME",)),
    refused("DEBUG OBJECT", "DEBUG OBJECT secret:1"),
    refused("DEBUG RELOAD", "DEBUG RELOAD"),
    refused("DEBUG SLEEP", "DEBUG SLEEP 0"),
    refused("KEYS, where some are closed", "KEYS *"),
    refused("SCAN, where some are closed", "SCAN 0 COUNT 1000"),
    refused("RANDOMKEY", "RANDOMKEY"),
    refused("a stream of all writes", "PSYNC ? -1"),
    refused("SYNC", "SYNC"),
    refused("REPLCONF", "REPLCONF listening-port 1"),
]  # fmt: skip

MAIL = "user1@example.org"
HEARD = r"\*\*\*"


def hears(name: str, *said: str | list[str]) -> RedisAttack:
    """A row in which ann, by RESP3, hears what she has just made somebody publish. (Who publishes knows it: what is
    tried is whether it comes back plain.)"""
    return RedisAttack(name, ["HELLO 3", *said, "PING"], HEARD)


MESSAGES = [
    hears("SUBSCRIBE", "SUBSCRIBE news:1", f"PUBLISH news:1 {MAIL}"),
    hears("PSUBSCRIBE to everything that is open", "PSUBSCRIBE n*", f"PUBLISH news:1 {MAIL}"),
    hears("PSUBSCRIBE by a pattern that is another channel's name", "PSUBSCRIBE n?ws:1", f"PUBLISH news:1 {MAIL}"),
    hears("PSUBSCRIBE by a class", "PSUBSCRIBE n[a-f]ws:*", f"PUBLISH news:1 {MAIL}"),
    hears("PSUBSCRIBE with an escape", ["PSUBSCRIBE", r"n\ews:*"], f"PUBLISH news:1 {MAIL}"),
    hears("several patterns that bring the same", "PSUBSCRIBE n* ne* n*:1", f"PUBLISH news:1 {MAIL}", *["PING"] * 4),
    hears("SSUBSCRIBE", "SSUBSCRIBE news:1", f"SPUBLISH news:1 {MAIL}"),
    hears("SUBSCRIBE behind a plain one, again and again", "SUBSCRIBE weather", "SUBSCRIBE news:1",
        "UNSUBSCRIBE news:1", "SUBSCRIBE news:1", f"PUBLISH news:1 {MAIL}"),
    hears("a channel with a blank at its end", ["SUBSCRIBE", "news:1 "], ["PUBLISH", "news:1 ", MAIL]),
    hears("a channel with a line's end", ["SUBSCRIBE", "news:\r\n1"], ["PUBLISH", "news:\r\n1", MAIL]),
    hears("a channel with a zero byte", ["SUBSCRIBE", "news:\x001"], ["PUBLISH", "news:\x001", MAIL]),
    hears("a message that looks like another", "SUBSCRIBE news:1",
        ["PUBLISH", "news:1", f"\r\n>3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$17\r\n{MAIL}\r\n"]),
    hears("what is no JSON where a place is classified", "SUBSCRIBE events:1", f"PUBLISH events:1 {MAIL}"),
    hears("two documents in one message", "SUBSCRIBE events:1",
        ["PUBLISH", "events:1", '{"user": {}} {"user": {"email": "user1@example.org"}}']),
    hears("a name that is written with escapes", "SUBSCRIBE events:1",
        ["PUBLISH", "events:1", r'{"us\u0065r": {"em\u0061il": "user1@example.org"}}']),
    hears("a name that stands twice", "SUBSCRIBE events:1",
        ["PUBLISH", "events:1", '{"user": {"email": "user1@example.org", "email": "user2@example.org"}}']),
    hears("HELLO again", "SUBSCRIBE news:1", "HELLO 3", f"PUBLISH news:1 {MAIL}"),
    hears("RESET and again", "SUBSCRIBE news:1", "RESET", "HELLO 3", "SUBSCRIBE news:1", f"PUBLISH news:1 {MAIL}"),
    hears("SELECT, as channels have no database", "SUBSCRIBE news:1", "SELECT 3", f"PUBLISH news:1 {MAIL}"),
    hears("AUTH as another user", "SUBSCRIBE news:1", "AUTH other x", f"PUBLISH news:1 {MAIL}"),
    refused("MONITOR, for what others publish", "MONITOR"),
    refused("COMMANDLOG", "COMMANDLOG GET 10 large-request", never=("COMMANDLOG GET",)),
    refused("a script that listens", ["EVAL", "return redis.call('SUBSCRIBE', 'news:1')", "0"]),
]  # fmt: skip


@pytest.mark.parametrize("attack", COPYING, ids=str)
def test_no_copy_loses_its_mask(redis: RedisAttacker, attack: RedisAttack) -> None:
    redis.run(attack)


@pytest.mark.parametrize("attack", SLICES, ids=str)
def test_no_part_of_a_value_is_told(redis: RedisAttacker, attack: RedisAttack) -> None:
    redis.run(attack)


@pytest.mark.parametrize("attack", SCRIPTS, ids=str)
def test_no_script_reads_for_an_engineer(redis: RedisAttacker, attack: RedisAttack) -> None:
    redis.run(attack)


@pytest.mark.parametrize("attack", LISTENING, ids=str)
def test_nobody_listens_behind_the_door(redis: RedisAttacker, attack: RedisAttack) -> None:
    redis.run(attack)


@pytest.mark.parametrize("attack", MESSAGES, ids=str)
def test_no_message_is_heard_plain(redis: RedisAttacker, attack: RedisAttack) -> None:
    redis.run(attack)


@pytest.mark.parametrize(
    "way", ["SUBSCRIBE news:1", "PSUBSCRIBE n*:?", "PSUBSCRIBE news:1", "SSUBSCRIBE news:1"], ids=str
)
@pytest.mark.parametrize("turns", [(2,), (3,), (3, 2), (3, 3)], ids=str)
def test_no_message_of_others_is_heard_plain(redis: RedisAttacker, way: str, turns: tuple[int, ...]) -> None:
    """In either version, and over a change of it, in one piece or cut."""
    stack = redis.stack
    with RedisRaw(stack, "ann") as raw:
        raw.ask("HELLO", turns[0])
        raw.ask(*way.split())
        for turn in turns[1:]:
            raw.ask("HELLO", turn)
        for text in (MAIL, MAIL * 20_000, "", MAIL):
            stack.redis.ask("SPUBLISH" if way.startswith("SS") else "PUBLISH", "news:1", text)
            (heard,) = raw.replies(1)
            assert isinstance(heard, list)
            assert heard[-1] == b"***"
        if turns[-1] == 3:
            assert raw.ask("GET", "session:1") == b"session 1"
        assert marker(raw.heard) is None


@pytest.mark.parametrize("published", ["GET session:1", "PUBLISH news:1 user1@example.org", "SET session:x 1"])
def test_a_message_is_no_part_of_what_a_transaction_answers(redis: RedisAttacker, published: str) -> None:
    """Redis 7.0 puts what a transaction has published among its replies, where no push may stand; 7.2 behind them."""
    with RedisRaw(redis.stack, "ann") as raw:
        raw.ask("HELLO", 3)
        raw.ask("SUBSCRIBE", "news:1")
        commands = (["MULTI"], ["GET", "session:1"], published.split(), ["GET", "session:2"], ["EXEC"], ["PING"])
        raw.send(*(encoded(*words) for words in commands))
        redis.stack.redis.ask("PUBLISH", "news:1", MAIL)
        answers = raw.replies(8 if published.startswith("PUBLISH") else 7)
        assert marker(raw.heard) is None
        if not published.startswith("PUBLISH"):
            assert [b"message", b"news:1", b"***"] in answers
            assert b"PONG" in answers


def test_each_works_where_nobody_stands_before_the_server() -> None:
    """So that a row can fail, which proves nothing otherwise."""
    with Redis(SERVER, users=USERS) as server:
        attacked = Attacked(server)
        harmless = [
            row.name for row in (*COPYING, *SLICES, *SCRIPTS, *LISTENING, *MESSAGES) if not works(row, attacked)
        ]
        attacked.close()
    assert harmless == []
