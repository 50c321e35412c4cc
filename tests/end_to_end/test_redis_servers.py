"""Other servers than Debian's behind the agent, and that too: Redis 7.4 with its modules, Redis 8.2, Valkey 9.1."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import hiredis
import pytest

from tests.support.markers import marker
from tests.support.redis import Redis
from tests.support.redis_raw import RedisRaw, Straight, encoded
from tests.support.redis_servers import DEBIAN, REDIS_8, RELEASES, STACK, VALKEY
from tests.support.redis_stack import POLICIES, RedisStack

PASSWORD: Final = "Tr0ub4dor-and-3"
REVIEWED: Final = "return redis.call('GET', KEYS[1])"
DENIED: Final = "NOPERM lockgate: "
WITH_CYD: Final = POLICIES.replace(
    'resource in Keys::"cache/vault:*")\nunless { principal in Group::"dba" };',
    'resource in Keys::"cache/vault:*")\nunless { principal in Group::"dba" || principal in Group::"pii-readers" };',
)
"""Nothing is closed to cyd, who may then search."""


@pytest.fixture(scope="module", params=RELEASES, ids=str)
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisStack]:
    password: Path = tmp_path_factory.mktemp("secrets") / "app.pw"
    password.touch(0o600)
    password.write_text(PASSWORD)
    server = Redis(release=request.param, users={"app": f"on >{PASSWORD} ~* &* +@all"})
    cache = {
        "credential": {"user": "app", "password_file": str(password)},
        "scripts": [hashlib.sha1(REVIEWED.encode(), usedforsecurity=False).hexdigest()],
    }
    with RedisStack(redis=server, policies=WITH_CYD, cache=cache, watched=True) as running:
        yield running


@pytest.fixture(autouse=True)
def _filled(stack: RedisStack) -> None:
    stack.refill()


ORDINARY: Final = """
SET a 1 EX 100|GET a|INCRBY a 5|APPEND a x|GETRANGE a 0 1|STRLEN a|SET a 2 GET KEEPTTL|GETEX a PERSIST|TTL a
MGET a none|HSET h f 1 g 2|HGETALL h|HMGET h f none|HINCRBYFLOAT h f 0.5|HRANDFIELD none|HSCAN h 0|HKEYS h
RPUSH l a b c|LRANGE l 0 -1|LPOS l b|LMOVE l l2 LEFT RIGHT|LMPOP 1 l LEFT|SADD s x|SMEMBERS s|SMISMEMBER s x z
ZADD z 1.5 p inf q|ZSCORE z p|ZRANGE z 0 -1 WITHSCORES|ZRANGEBYSCORE z 0 2|ZPOPMIN z|XADD x 1-1 f v|XRANGE x - +
XGROUP CREATE x g 0|XREADGROUP GROUP g c STREAMS x >|XPENDING x none|XINFO STREAM x|XACK x g 1-1|SETBIT b 7 1
BITFIELD b GET u8 0|GEOADD geo 13 38 m|GEOSEARCH geo FROMLONLAT 13 38 BYRADIUS 9 km WITHCOORD|PFADD pf a|PFCOUNT pf
OBJECT ENCODING l2|TYPE z|COPY l2 l3|RENAME l3 l4|EXISTS l4 l2|SORT ids DESC|DEL l4|LPUSH a x|INCR h|GET
EXPIRE a 100 XX|EXPIRETIME none|HSTRLEN h g|GETDEL a|PING|ECHO hi|HGET secret:1 x|GET secret:1|HGETALL contact:1
XRANGE letters - +|CLIENT SETNAME me|CLIENT GETNAME|COMMAND GETKEYS MSET a 1 b 2|COMMAND COUNT
CLUSTER INFO|LATENCY HELP|MEMORY USAGE none
"""
NEWER: Final = """
HEXPIRE contact:1 100 FIELDS 1 name|HTTL contact:1 FIELDS 2 name email|HPERSIST contact:1 FIELDS 1 name
HPEXPIRETIME contact:1 FIELDS 1 email|HGETEX contact:1 FIELDS 2 name email|HGETEX contact:1 PERSIST FIELDS 1 none
HSETEX contact:1 EX 100 FIELDS 1 new v|HSETEX contact:1 FNX FIELDS 1 name v|HGETDEL contact:1 FIELDS 1 name
HSCAN contact:2 0 NOVALUES|ZSCAN ranking 0 NOSCORES|XADD y 1-1 f v|XGROUP CREATE y g 0|XREADGROUP GROUP g c STREAMS y >
XACKDEL y g IDS 1 1-1|XDELEX letters IDS 2 1-0 9-9|XDELEX letters ACKED IDS 1 2-0|SET session:1 new IFEQ guess
SET session:1 new IFEQ old GET|DELIFEQ session:1 guess|MSETEX 2 m1 a m2 b EX 100|BITOP ONE bits session:1 session:2
BITOP DIFF bits session:1 session:2|GEOADD g2 1 1 p|GEOSEARCH g2 FROMLONLAT 1 1 BYPOLYGON 3 0 0 0 3 3 0
VADD v VALUES 2 1 0 a|VADD v VALUES 2 0 1 b SETATTR {"y":1}|VCARD v|VDIM v|VSIM v ELE a WITHSCORES|VEMB v a
VGETATTR v b|VISMEMBER v c|VREM v a|VSETATTR v b {}|VSIM v ELE none|JSON.SET j $ {"a":[1,{"b":null}],"c":"d"}
JSON.GET j|JSON.GET j $..b|JSON.TYPE j $.a|JSON.ARRPOP j $.a|JSON.MGET j none $.c|JSON.NUMINCRBY j $.a[0] 2|JSON.RESP j
TS.CREATE t LABELS kind warm|TS.ADD t 1 7|TS.RANGE t - +|TS.MGET FILTER kind=warm|TS.INFO none|BF.ADD bf a
BF.EXISTS bf b|CF.ADD cf a|CMS.INITBYDIM cms 5 2|CMS.INCRBY cms a 1|TOPK.RESERVE top 2|TOPK.ADD top a|TDIGEST.CREATE td
TDIGEST.ADD td 1 2|TDIGEST.QUANTILE td 0.5|FT._LIST|FT.SUGADD sug word 1|FT.SUGGET sug wo|FT.SEARCH none x
HSET indexed:1 name ann|FT.SEARCH idx ann NOCONTENT|FT.SUGLEN sug
"""
"""Of each some servers know a part: what the others answer is their answer too."""
ANSWERED: Final = {DEBIAN: 5, STACK: 37, REDIS_8: 30, VALKEY: 20}
"""How many of them are answered with anything but an error."""


def commands(text: str) -> list[list[str]]:
    return [line.split(" ") for line in text.strip().replace("\n", "|").split("|")]


def alike(stack: RedisStack, text: str, version: int, *, pipelined: bool) -> list[object]:
    """What cyd is answered, who is neither refused nor masked: byte for byte what the server says to anybody."""
    heard, answers = [], []
    for talk in (Straight(stack.redis), RedisRaw(stack, "cyd")):
        stack.refill()
        if stack.redis.release is STACK:
            stack.redis.ask("FT.CREATE", "idx", "PREFIX", "1", "indexed:", "SCHEMA", "name", "TEXT")
        with talk:
            talk.ask("HELLO", version)
            talk.heard = b""
            answers = talk.all(*commands(text)) if pipelined else [talk.ask(*words) for words in commands(text)]
            heard.append(talk.heard)
    assert heard[0] == heard[1]
    return answers


def failures(answers: list[object]) -> list[str]:
    return [str(answer) for answer in answers if isinstance(answer, hiredis.ReplyError)]


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("pipelined", [False, True], ids=["each", "pipelined"])
def test_ordinary_commands_are_answered_byte_for_byte(stack: RedisStack, version: int, pipelined: bool) -> None:
    assert len(failures(alike(stack, ORDINARY, version, pipelined=pipelined))) == 6


@pytest.mark.parametrize("version", [2, 3])
def test_newer_ones_too_where_the_server_has_them(stack: RedisStack, version: int) -> None:
    answers = alike(stack, NEWER, version, pipelined=False)
    assert len(answers) - len(failures(answers)) == ANSWERED[stack.redis.release]


CLOSED: Final = """
HEXPIRE vault:1 100 FIELDS 1 f|HTTL vault:1 FIELDS 1 f|HGETEX vault:1 FIELDS 1 f|HSETEX vault:1 FIELDS 1 f v
HGETDEL vault:1 FIELDS 1 f|XACKDEL vault:1 g IDS 1 1-1|XDELEX vault:1 IDS 1 1-1|SET vault:1 v IFEQ guess
DELIFEQ vault:1 v|MSETEX 2 session:1 a vault:1 b|BITOP DIFF session:1 session:2 vault:1
BITOP DIFF vault:1 session:1 session:2|DIGEST vault:1|DELEX vault:1 IFEQ v|VADD vault:1 VALUES 1 1 a|VSIM vault:1 ELE a
VEMB vault:1 a|VGETATTR vault:1 a|VRANDMEMBER vault:1|JSON.GET vault:1|JSON.MGET session:1 vault:1 $
JSON.MSET session:1 $ 1 vault:1 $ 2|JSON.SET vault:1 $ 1|TS.ADD vault:1 1 1|TS.MADD session:1 1 1 vault:1 1 1
TS.GET vault:1|TS.CREATERULE session:1 vault:1 AGGREGATION avg 1|TS.MRANGE - + FILTER a=b|BF.EXISTS vault:1 a
CMS.MERGE session:1 2 session:2 vault:1|TDIGEST.MERGE vault:1 1 session:1|FT.SUGGET vault:1 a|FT.SEARCH idx a
FT.AGGREGATE idx *|FT.GET idx vault:1|FT.MGET idx session:1 vault:1|FT.DEL idx vault:1 DD|CLUSTERSCAN 0|SCAN 0
MEMORY USAGE vault:1|OBJECT FREQ vault:1|GET vault:1|SORT ids BY nosort STORE vault:1|FLUSHALL|KEYS *|RANDOMKEY
"""


def test_a_closed_pattern_is_closed_to_every_command_wherever_it_stands(stack: RedisStack) -> None:
    with RedisRaw(stack, "ann") as raw:
        stack.redis.ask("CONFIG", "RESETSTAT")
        for words in commands(CLOSED):
            said = str(raw.ask(*words))
            assert said.startswith(DENIED), words
            assert "vault-is-closed" in said or "no-flush" in said, words
        ran = {name for name in stack.redis.stats(refused=True) if not name.startswith(("CONFIG", "INFO", "HELLO"))}
        assert ran <= {"AUTH", "CLIENT SETINFO", "COMMAND", "SELECT"}, "the agent's and the test's own"


REFUSED: Final = """
CONFIG SET maxmemory 1|SHUTDOWN|DEBUG SLEEP 0|ACL LIST|REPLICAOF NO ONE|MODULE LIST|CLIENT KILL ID 1|SLOWLOG GET
MONITOR|FUNCTION LOAD x|SCRIPT LOAD x|EVAL return(1) 0|FCALL f 0|COMMANDLOG GET 1 slow|CLUSTER RESET
CLUSTER SYNCSLOTS x|CLUSTER MIGRATESLOTS SLOTSRANGE 0 1 NODE x|FT.CONFIG SET TIMEOUT 1
FT.CREATE i ON HASH PREFIX 1 vault: SCHEMA f TEXT|FT.DROPINDEX i DD|FT.ALIASADD a i|FT.DICTADD d w
FT.DEBUG DUMP_TERMS i|FUNCTION STATS
"""


def test_what_is_not_an_engineers_is_not_on_any_server(stack: RedisStack) -> None:
    with RedisRaw(stack, "ann") as raw:
        for words in commands(REFUSED):
            assert str(raw.ask(*words)).startswith(DENIED), words


def test_what_nobody_knows_is_refused_and_not_sent(stack: RedisStack) -> None:
    with RedisRaw(stack, "cyd") as raw, stack.redis.watched() as seen:
        assert str(raw.ask("NOSUCH", "4712")) == "ERR unknown command 'NOSUCH'"
        assert str(raw.ask("CLIENT", "NOSUCH", "4712")).startswith("ERR unknown subcommand 'NOSUCH'")
        internal = str(raw.ask("TIMESERIES.NETWORKTEST", "4712"))
        # its server says that it reads, and no more
        assert internal.startswith(DENIED if stack.redis.release is STACK else "ERR unknown command")
    assert not any("4712" in command for command in seen.commands)


MASKED: Final = {
    # what ann is answered of the servers that have it
    "HGETEX contact:1 FIELDS 2 name email": [b"name1", b"u***@e***.org"],
    "HGETDEL contact:2 FIELDS 1 email": [b"u***@e***.org"],
    "HGETALL profile:1": [b"name", b"name1", b"email", b"***", b"age", b"1"],
    "HGETEX profile:1 EX 100 FIELDS 3 name email age": [b"name1", b"***", b"1"],
    "GET secret:1": b"***",
    "SET secret:1 new GET": b"***",
    "ZRANGE secret:zset 0 -1": [b"***", b"***"],
    "ZSCAN secret:zset 0 NOSCORES": [b"0", [b"***", b"***"]],
    "VRANDMEMBER secret:v": b"***",
    "JSON.GET doc:j": b'{"user":{"email":"u***@e***.org","name":"Ann"}}',
    "JSON.GET doc:j $.user.email": b'["u***@e***.org"]',
    "JSON.MGET doc:j secret:j $.user.email": [b'["u***@e***.org"]', b"***"],
}
ASKING: Final = """
SET secret:1 v IFEQ user1@example.org|DELIFEQ secret:1 user1@example.org|VSIM secret:v ELE user1@example.org
VINFO secret:v|VISMEMBER secret:v user1@example.org|VEMB secret:v user1@example.org|DIGEST secret:1
DELEX secret:1 IFEQ user1@example.org|JSON.TYPE doc:j $[?(@.email=="user1@example.org")]|JSON.STRLEN doc:j $.user.email
TS.GET secret:t|TS.MGET FILTER kind=warm|BF.EXISTS secret:bf user1@example.org|BITOP DIFF secret:2 secret:1 session:1
HSTRLEN profile:1 email|DUMP secret:1|ZSCORE secret:zset user1@example.org
GEOSEARCH secret:zset FROMLONLAT 1 1 BYPOLYGON 3 0 0 0 3 3 0|SINTER secret:set session:1
"""
ALSO_HELD: Final = """
VADD secret:v VALUES 2 1 0 user1@example.org|JSON.SET doc:j $ {"user":{"email":"user1@example.org","name":"Ann"}}
JSON.SET secret:j $ {"user":{"email":"user1@example.org"}}|TS.ADD secret:t 1 7|BF.ADD secret:bf user1@example.org
"""


@pytest.mark.parametrize("version", [2, 3])
def test_what_is_classified_is_masked_in_the_answers_of_each(stack: RedisStack, version: int) -> None:
    with Straight(stack.redis) as beside, RedisRaw(stack, "ann") as raw:
        beside.all(*commands(ALSO_HELD))
        known = {name.decode().upper() for name in stack.redis.ask("COMMAND", "LIST")}
        raw.ask("HELLO", version)
        raw.heard = b""
        tried = 0
        for line, expected in MASKED.items():
            answer = raw.ask(*line.split(" "))
            if line.split(" ")[0] not in known or (isinstance(answer, hiredis.ReplyError) and "NOSCORES" in line):
                assert str(answer).startswith("ERR ")
                continue
            tried += 1
            if isinstance(answer, dict):
                answer = [part for pair in answer.items() for part in pair]
            assert answer == expected, line
        assert tried >= 4
        for words in commands(ASKING):
            assert str(raw.ask(*words)).startswith(DENIED), words
        assert marker(raw.heard) is None
        for words in commands("VADD secret:v VALUES 2 1 1 new|VREM secret:v new"):
            said = raw.ask(*words)
            assert said in (True, 1) or words[0] not in known, "what is written is answered in either protocol"


@pytest.mark.parametrize("version", [2, 3])
def test_transactions(stack: RedisStack, version: int) -> None:
    with RedisRaw(stack, "ann") as raw:
        raw.ask("HELLO", version)
        answers = raw.all(["MULTI"], ["INCR", "n"], ["GET", "secret:1"], ["LPUSH", "n", "x"], ["EXEC"])
        assert answers[:4] == [b"OK", b"QUEUED", b"QUEUED", b"QUEUED"]
        done = answers[4]
        assert isinstance(done, list)
        assert done[:2] == [1, b"***"]
        assert str(done[2]).startswith("WRONGTYPE ")
        answers = raw.all(["MULTI"], ["SET", "n", "1"], ["GET", "vault:1"], ["EXEC"])
        assert str(answers[2]).startswith(DENIED)
        assert str(answers[3]).startswith("EXECABORT ")
        assert raw.all(["WATCH", "n"], ["MULTI"], ["SET", "n", "1"]) == [b"OK", b"OK", b"QUEUED"]
        stack.redis.ask("SET", "n", "other")
        assert raw.ask("EXEC") is None


def test_blocking(stack: RedisStack) -> None:
    with RedisRaw(stack, "ann") as raw:
        for wait, push, expected in (
            (["BLPOP", "later", "5"], ["RPUSH", "later", "1"], [b"later", b"1"]),
            (["BLMPOP", "5", "1", "later", "LEFT"], ["RPUSH", "later", "1"], [b"later", [b"1"]]),
            (["BZPOPMIN", "zater", "5"], ["ZADD", "zater", "1", "m"], [b"zater", b"m", b"1"]),
            (["XREAD", "BLOCK", "5000", "STREAMS", "xater", "$"], ["XADD", "xater", "9-9", "f", "v"],
             [[b"xater", [[b"9-9", [b"f", b"v"]]]]]),
        ):  # fmt: skip
            late = threading.Timer(0.2, stack.redis.ask, push)
            late.start()
            assert raw.ask(*wait) == expected
            late.join()
        assert raw.ask("BLPOP", "nothing", "0.05") is None


@pytest.mark.parametrize("version", [2, 3])
def test_channels(stack: RedisStack, version: int) -> None:
    with RedisRaw(stack, "ann") as raw:
        raw.ask("HELLO", version)
        raw.heard = b""
        for words in (["SUBSCRIBE", "weather"], ["PSUBSCRIBE", "wea*"], ["SSUBSCRIBE", "shard"]):
            raw.ask(*words)
        assert str(raw.ask("SUBSCRIBE", "backstage:1")).startswith(DENIED)
        stack.redis.ask("PUBLISH", "weather", "rain")
        stack.redis.ask("SPUBLISH", "shard", "sun")
        assert [list(one) for one in raw.replies(3) if isinstance(one, list)] == [
            [b"message", b"weather", b"rain"],
            [b"pmessage", b"wea*", b"weather", b"rain"],
            [b"smessage", b"shard", b"sun"],
        ]
        assert raw.heard.startswith(b">3\r\n" if version == 3 else b"*3\r\n")


def test_a_key_that_changes_is_told_to_who_tracks_it(stack: RedisStack) -> None:
    with RedisRaw(stack, "ann") as raw:
        raw.ask("HELLO", 3)
        assert raw.all(["CLIENT", "TRACKING", "ON"], ["GET", "session:1"]) == [b"OK", b"session 1"]
        stack.redis.ask("SET", "session:1", "new")
        assert list(raw.replies(1)) == [[b"invalidate", [b"session:1"]]]


def test_the_agent_logs_in_and_the_client_needs_nothing(stack: RedisStack) -> None:
    def users() -> set[str]:
        told: bytes = stack.redis.ask("CLIENT", "LIST")
        return {part.removeprefix("user=") for part in told.decode().split() if part.startswith("user=")}

    with RedisRaw(stack, "ann") as raw:
        for words in (["PING"], ["HELLO", "3", "AUTH", "default", "mine"], ["AUTH", "mine"], ["RESET"]):
            assert not isinstance(raw.ask(*words), hiredis.ReplyError)
            assert raw.ask("GET", "session:1") == b"session 1"
            assert "app" in users()
            assert raw.ask("ACL", "WHOAMI") == b"app"


def test_scripts(stack: RedisStack) -> None:
    code = "#!lua name=lib\nredis.register_function('peek', function(k, a) return redis.call('GET', k[1]) end)"
    stack.redis.ask("FUNCTION", "LOAD", "REPLACE", code)
    with RedisRaw(stack, "ann") as raw:
        assert raw.ask("EVAL", REVIEWED, 1, "session:1") == b"session 1"
        assert raw.ask("EVAL", REVIEWED, 1, "secret:1") == b"***"
        assert str(raw.ask("EVAL", REVIEWED, 1, "vault:1")).startswith(DENIED)
        for words in (["EVAL", REVIEWED + " ", "1", "session:1"], ["FCALL", "peek", "1", "session:1"],
                      ["FCALL_RO", "peek", "1", "session:1"], ["EVAL_RO", REVIEWED + " ", "0"]):  # fmt: skip
            assert str(raw.ask(*words)).startswith(DENIED), words
    stack.redis.ask("FUNCTION", "FLUSH")


HELD: Final = {
    DEBIAN: "HSET ledger:h f v",
    STACK: "JSON.SET ledger:j $ 1",
    REDIS_8: "HSETEX ledger:h FIELDS 1 f v",
    VALKEY: "DELIFEQ ledger:1 1",
}


def test_a_held_command_waits_and_runs(stack: RedisStack) -> None:
    newest, key, *words = HELD[stack.redis.release].split(" ")
    before = stack.redis.calls(newest)
    with RedisRaw(stack, "ann") as raw:
        raw.send(encoded(newest, key, *words))
        hold = stack.held(f"{newest} {key}")
        assert raw.quiet()
        assert stack.redis.calls(newest) == before
        stack.decide("approve", hold)
        (answer,) = raw.replies(1)
        assert not isinstance(answer, hiredis.ReplyError)
        assert stack.redis.calls(newest) == before + 1


def test_what_is_recorded_of_a_newer_command(stack: RedisStack) -> None:
    with RedisRaw(stack, "ann") as raw:
        for words in (["HGETEX", "contact:4", "FIELDS", "1", "email"], ["MSETEX", "1", "session:4", "v", "EX", "9"],
                      ["VADD", "secret:v", "VALUES", "1", "1", "hunter3"]):  # fmt: skip
            raw.ask(*words)
    found = {r["statement"].split(" ")[0]: r for r in stack.records(type="statement", phase="begin")}
    assert found["HGETEX"]["effects"] == ["read", "write"]
    assert found["HGETEX"]["masks"]
    assert (found["MSETEX"]["effects"], found["VADD"]["effects"]) == (["write"], ["read", "write"])
    assert "hunter3" not in str(found)


OBSERVED: Final = """
GET vault:1|GET secret:1|HGETEX contact:1 FIELDS 1 email|VADD vault:v VALUES 2 1 0 a|DELIFEQ vault:1 x|NOSUCH command
EVAL return(1) 0|JSON.SET vault:j $ 1|FT.CONFIG GET TIMEOUT|TS.MRANGE - + FILTER a=b|CLIENT REPLY ON
ZSCAN secret:zset 0 NOSCORES
"""


def test_what_is_only_observed_is_answered_by_the_server(stack: RedisStack) -> None:
    with RedisRaw(stack, "ann", host="::1") as raw:
        said = [raw.ask(*words) for words in commands(OBSERVED)]
        heard = raw.heard
    stack.refill()
    with Straight(stack.redis) as beside:
        assert [str(beside.ask(*words)) for words in commands(OBSERVED)] == [str(answer) for answer in said]
        assert beside.heard == heard
    deadline = time.monotonic() + 10
    while True:
        begun = {
            r["statement"]: r for r in stack.records(type="statement", phase="begin", verdict="allow") if "would" in r
        }
        if "VADD vault:v" in " ".join(begun) or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    assert begun["GET vault:1"]["would"] == "deny"
    assert next(r for text, r in begun.items() if text.startswith("VADD vault:v"))["would"] == "deny"
