"""Calls that are made to be read in two ways: what is understood is what the real server does.

Each row is run on a server that has a secret in some keys; what was read shows in the reply, what was written is there
afterwards.
"""

from __future__ import annotations

from typing import Any

import hiredis
import pytest

from lockgate.understand.redis import REFUSED, CommandTable, Understanding
from lockgate.values.command import Call
from lockgate.values.statement import Effect, Request
from tests.support.redis_servers import VALKEY
from tests.understand.redis.server import Server

MARKER = b"marker-7f3a"

NAMES = [b"a", b"b", b"c", b"STREAMS", b"STORE", b"GET", b"KEYS", b"", b"w_1", b"BY", b"nosort"]
"""Keys that anything could be taken for."""


def understood(*args: bytes) -> tuple[Request, Call]:
    request = Understanding().request(args)
    call = request.detail
    assert isinstance(call, Call)
    return request, call


def flat(reply: Any) -> list[Any]:
    return [part for one in reply for part in flat(one)] if isinstance(reply, list) else [reply]


def split(text: str) -> tuple[bytes, ...]:
    return tuple(part.encode("latin-1") for part in text.split(" "))


def reads(call: Call) -> set[bytes]:
    return {use.key for use in call.keys if Effect.READ in use.effects}


def writes(call: Call) -> set[bytes]:
    return {use.key for use in call.keys if Effect.WRITE in use.effects}


def values_in(server: Server) -> dict[bytes, object]:
    return {name: server.ask(b"DUMP", name) for name in NAMES}


SETUP = """
RPUSH a 1|SET w_1 marker-7f3a|SADD b y|GEOADD c 13 38 STORE|GEOADD c 13 38 m
XADD STREAMS 1-1 f marker-7f3a|XGROUP CREATE STREAMS g 0
"""


@pytest.fixture
def prepared(server: Server) -> Server:
    for line in SETUP.strip().replace("\n", "|").split("|"):
        assert not isinstance(server.ask(*split(line)), hiredis.ReplyError), line
    return server


WRITING = [
    # call, keys that are changed
    ("SORT a STORE b", {b"b"}),
    ("SORT a STORE STORE", {b"STORE"}),
    ("SORT a STORE b STORE nosort", {b"nosort"}),
    ("SORT a BY STORE STORE GET", {b"GET"}),
    ("SORT a GET STORE GET # LIMIT 0 1", set()),
    ("sort a store\0x b", {b"b"}),
    ("GEORADIUSBYMEMBER c STORE 9 km", set()),
    ("GEORADIUSBYMEMBER c m 9 km STORE a STOREDIST BY", {b"BY"}),
    ("GEORADIUS c 13 38 9 km COUNT 1 STORE STORE", {b"STORE"}),
    ("GEOSEARCHSTORE GET c FROMMEMBER STORE BYRADIUS 9 km", {b"GET"}),
    ("COPY a KEYS DB 0", {b"KEYS"}),
    ("RENAME a GET", {b"a", b"GET"}),
    ("BITOP NOT GET w_1", {b"GET"}),
    ("ZUNIONSTORE GET 1 c WEIGHTS 2", {b"GET"}),
    ("ZRANGESTORE GET c 0 -1", {b"GET"}),
    ("SUNIONSTORE GET b b", {b"GET"}),
    ("LMOVE a GET LEFT RIGHT", {b"a", b"GET"}),
    ("BITFIELD w_1 GET u8 0 SET u8 0 1", {b"w_1"}),
    ("BITFIELD w_1 OVERFLOW FAIL INCRBY u8 0 1", {b"w_1"}),
    ("BITFIELD w_1 GET u8 0", set()),
    ("BITFIELD w_1 get\0 u8 0", set()),
    ("SET GET GET", {b"GET"}),
    ("LMPOP 1 a LEFT", {b"a"}),
    ("XREADGROUP COUNT 1 GROUP g STREAMS STREAMS STREAMS >", {b"STREAMS"}),
    ("EVAL return(redis.call('set',KEYS[1],'1')) 1 BY a", {b"BY"}),
    ("PFMERGE GET KEYS", {b"GET"}),
    ("MSET KEYS 1 BY 2", {b"KEYS", b"BY"}),
    ("RPOPLPUSH a BY", {b"a", b"BY"}),
]


@pytest.mark.parametrize(("text", "changed"), WRITING)
def test_what_is_written_is_a_key_that_is_written(prepared: Server, text: str, changed: set[bytes]) -> None:
    args = split(text)
    request, call = understood(*args)
    before = values_in(prepared)
    reply = prepared.ask(*args)
    assert not isinstance(reply, hiredis.ReplyError), reply
    after = values_in(prepared)
    assert {name for name in NAMES if before[name] != after[name]} == changed
    assert request.refusal is None
    assert writes(call) >= changed
    assert (Effect.WRITE in request.effects) == bool(writes(call))


READING = [
    # call, keys whose value is in the reply
    ("GET w_1", {b"w_1"}),
    ("SET w_1 1 GET", {b"w_1"}),
    ("SET w_1 1 GeT\0no", {b"w_1"}),
    ("SET w_1 1 KEEPTTL GET XX", {b"w_1"}),
    ("GETSET w_1 GET", {b"w_1"}),
    ("GETEX w_1 PERSIST", {b"w_1"}),
    ("GETEX w_1", {b"w_1"}),
    ("GETRANGE w_1 0 -1", {b"w_1"}),
    ("SUBSTR w_1 0 -1", {b"w_1"}),
    ("LCS w_1 w_1", {b"w_1"}),
    ("MGET a w_1 b", {b"w_1"}),
    ("XREAD COUNT 5 STREAMS STREAMS 0", {b"STREAMS"}),
    ("XREAD STREAMS STREAMS KEYS 0 0", {b"STREAMS"}),
    ("xread streams\0GROUP STREAMS 0", {b"STREAMS"}),
    ("XREADGROUP COUNT 1 GROUP g STREAMS STREAMS STREAMS >", {b"STREAMS"}),
    ("XREADGROUP NOACK GROUP g GROUP STREAMS STREAMS >", {b"STREAMS"}),
    ("XRANGE STREAMS - +", {b"STREAMS"}),
    ("XINFO STREAM STREAMS FULL", {b"STREAMS"}),
    ("EVAL return(redis.call('get',KEYS[1])) 1 w_1 a", {b"w_1"}),
    ("EVAL_RO return(redis.call('get',KEYS[1])) 1 w_1", {b"w_1"}),
]


@pytest.mark.parametrize(("text", "shown"), READING)
def test_what_is_shown_is_a_key_that_is_read_and_shown(prepared: Server, text: str, shown: set[bytes]) -> None:
    args = split(text)
    request, call = understood(*args)
    assert any(MARKER in part for part in flat(prepared.ask(*args)) if isinstance(part, bytes))
    assert request.refusal is None
    assert {use.key for use in call.keys if use.shows and Effect.READ in use.effects} >= shown


def test_claimed_entries_are_shown_though_the_server_calls_it_a_mere_change(prepared: Server) -> None:
    prepared.ask(*split("XREADGROUP GROUP g one STREAMS STREAMS >"))
    for text in ("XCLAIM STREAMS g two 0 1-1", "XAUTOCLAIM STREAMS g three 0 0"):
        assert MARKER in flat(prepared.ask(*split(text)))
        (use,) = understood(*split(text))[1].keys
        assert use.shows
        assert use.effects >= {Effect.WRITE}


def test_a_comparison_shows_whether_the_guess_was_right() -> None:
    for text in ("SISMEMBER s guess", "SMISMEMBER s guess", "HEXISTS h f", "SET k v IFEQ guess", "DELIFEQ k guess"):
        (use,) = understood(*split(text))[1].keys
        assert use.shows, text


SORTING = [
    # call, whether keys are read that it doesn't name
    ("SORT a BY w_*", True),
    ("SORT a GET w_*", True),
    ("SORT a BY nosort GET w_* GET #", True),
    ("SORT_RO a get w_*", True),
    ("SORT a by\0 nosort get\0 w_*", True),
    ("SORT a BY nosort", False),
    ("SORT a BY nosort GET #", False),
    ("SORT a GET w_1 BY w_1", False),
]


@pytest.mark.parametrize(("text", "elsewhere"), SORTING)
def test_sorting_by_patterns_reads_what_nobody_names(prepared: Server, text: str, elsewhere: bool) -> None:
    _, call = understood(*split(text))
    assert call.anywhere == ({Effect.READ} if elsewhere else set())
    if "get" in text.lower():
        assert (MARKER in flat(prepared.ask(*split(text)))) == elsewhere


REFUSALS = [
    # what the server says is an error, and nobody could say the keys of
    "EVAL return(1) 2 a",
    "EVAL return(1) -1 a",
    "EVAL return(1) +1 a",
    "EVAL return(1) 01 a",
    "EVAL return(1) 1.0 a",
    "EVAL return(1) 99999999999999999999 a",
    "EVAL return(1) 18446744073709551617 a",
    "EVAL return(1) x a",
    "EVAL return(1)  a",
    "ZUNIONSTORE d 3 a b",
    "ZUNIONSTORE d -1 a b",
    "ZUNION 4294967297 c",
    "LMPOP 0x1 a LEFT",
    "SINTERCARD 2 b",
    "BLMPOP 0 9 a LEFT",
    "XREAD STREAMS a b 0",
    "XREAD GROUP g c STREAMS a 0",
    "XREAD COUNT 1 NOACK STREAMS a 0",
    "XREADGROUP GROUP g c COUNT 1 streams",
    "SORT a STORE",
    "SORT a LIMIT 0 STORE b",
    "SORT a NOPE",
    "SORT_RO a STORE b",
    "GEORADIUS c 13 38 9 km STORE",
    "GEORADIUS c 13 38 9 km COUNT STORE b",
    "MIGRATE 127.0.0.1 1 a 0 10 KEYS b",
    "MIGRATE 127.0.0.1 1 a 0 10 AUTH",
    "MIGRATE 127.0.0.1 1 a 0 10 AUTH2 KEYS",
    "BITFIELD w_1 GET u8",
    "BITFIELD w_1 STORE a",
    "GET",
    "GET a b",
    "CONFIG",
    "CONFIG SET maxmemory",
    "CONFIG SET maxmemory 1 timeout",
    "CONFIG NOPE",
    "CONFIG|GET maxmemory",
    "OBJECT",
    "OBJECT ENCODINGS a",
    "MEMORY USAGES a",
    "EVALSHA x 0",
    "FCALL no.such 0",
    "XGROUP NOPE a g 0",
    "NOPE a",
    "",
]


@pytest.mark.parametrize("text", REFUSALS)
def test_what_the_server_does_not_take_is_refused(prepared: Server, text: str) -> None:
    args = split(text)
    request, call = understood(*args)
    assert request.refusal is not None
    assert call.keys == ()
    assert Effect.UNKNOWN in request.effects
    before = values_in(prepared)
    assert isinstance(prepared.ask(*args), hiredis.ReplyError)
    assert values_in(prepared) == before


@pytest.mark.parametrize("name", [b"CONFIG GET", b"CONFIG|GET", b"GET ", b" GET", b"\0GET", b"G\xc9T", b"", b"GET\n"])
def test_a_name_that_only_looks_like_one_is_none(server: Server, name: bytes) -> None:
    request, call = understood(name, b"maxmemory")
    assert request.statements[0].kind == call.name == REFUSED
    assert request.refusal is not None
    assert isinstance(server.ask(name, b"maxmemory"), hiredis.ReplyError)


def test_the_server_finds_some_names_with_a_nul_behind_which_are_refused(server: Server) -> None:
    """It compares up to the NUL, and finds what to compare by a hash of the whole: one in some hundred is a match."""
    ran = [b"echo\0%d" % at for at in range(20_000) if server.ask(b"echo\0%d" % at, b"hello") == b"hello"]
    assert ran or server.release is VALKEY, "in Valkey it is one in some thousand"
    for name in ran or [b"echo\0"]:
        assert understood(name, b"hello")[0].refusal is not None


def test_names_are_folded_as_ascii(server: Server) -> None:
    assert server.ask(b"cOnFiG", b"gEt", b"maxmemory") == [b"maxmemory", b"0"]
    assert understood(b"cOnFiG", b"gEt", b"maxmemory")[1].name == "CONFIG GET"
    for args in (("PıNG".encode(),), ("ſet".encode(), b"k", b"v")):
        assert understood(*args)[0].refusal is not None
        assert isinstance(server.ask(*args), hiredis.ReplyError)


def test_a_digest_is_one_script_in_capitals_too(prepared: Server) -> None:
    digest = prepared.ask(b"SCRIPT", b"LOAD", b"return redis.call('get', 'w_1')")
    for spelt in (digest, digest.upper()):
        assert prepared.ask(b"EVALSHA", spelt, b"0") == MARKER
        request, call = understood(b"EVALSHA", spelt, b"0")
        assert call.script == digest.decode()
        assert call.anywhere == {Effect.READ, Effect.WRITE}
        assert request.statements[0].functions == (f"script:{digest.decode()}",)
    assert understood(b"EVAL", b"return redis.call('get', 'w_1')", b"0")[1].script == digest.decode()
    assert understood(b"SCRIPT", b"LOAD", b"return redis.call('get', 'w_1')")[0].statements[0].functions == (
        f"script:{digest.decode()}",
    )


def test_a_function_is_called_by_its_name_in_any_case_that_the_server_takes(prepared: Server) -> None:
    code = b"#!lua name=lib\nredis.register_function('Fun', function(k, a) return redis.call('get', 'w_1') end)"
    assert prepared.ask(b"FUNCTION", b"LOAD", b"REPLACE", code) == b"lib"
    spellings = [s for s in (b"Fun", b"fun", b"FUN") if prepared.ask(b"FCALL", s, b"0") == MARKER]
    assert len(spellings) == 3
    named = {understood(b"FCALL", s, b"0")[0].statements[0].functions for s in spellings}
    assert len(named) == 1
    assert prepared.ask(b"FUNCTION", b"FLUSH") == b"OK"


def test_a_read_only_script_writes_nothing(prepared: Server) -> None:
    code = b"return redis.call('set', 'w_1', 1)"
    assert isinstance(prepared.ask(b"EVAL_RO", code, b"0"), hiredis.ReplyError)
    request, call = understood(b"EVAL_RO", code, b"0")
    assert call.anywhere == {Effect.READ}
    assert request.effects == {Effect.READ, Effect.UNKNOWN}
    assert isinstance(prepared.ask(b"EVAL_RO", b"return redis.call('publish', 'c', 'm')", b"0"), hiredis.ReplyError)
    assert call.channels == ()


def test_migrating_an_empty_key_is_migrating_it() -> None:
    assert understood(*split("MIGRATE h 1  0 10"))[1].keys[0].key == b""
    assert [use.key for use in understood(*split("MIGRATE h 1  0 10 COPY AUTH2 KEYS KEYS KEYS a b"))[1].keys] == [
        b"a",
        b"b",
    ]
    request, call = understood(*split("MIGRATE h 1 a 0 10 COPY AUTH s3cret"))
    assert request.effects == {Effect.READ, Effect.WRITE, Effect.ADMIN, Effect.UNKNOWN}
    assert call.secrets == (8,)


EVERYTHING = [
    # call, what is done to keys that it doesn't name
    ("FLUSHALL", "write"),
    ("flushdb ASYNC", "write"),
    ("SWAPDB 0 1", "read write"),
    ("SCAN 0", "read"),
    ("SCAN 0 MATCH a:* TYPE string", "read"),
    ("KEYS *", "read"),
    ("RANDOMKEY", "read"),
    ("DBSIZE", ""),
    ("MONITOR", "read"),
    ("DEBUG RELOAD", "read write"),
    ("DEBUG SLEEP 0", "read write"),
    ("SAVE", "read"),
    ("BGSAVE", "read"),
    ("REPLICAOF h 1", "read write"),
    ("SLAVEOF NO ONE", "read write"),
    ("SLOWLOG GET", "read"),
    ("ACL LOG", "read"),
    ("CLIENT TRACKING ON BCAST", "read"),
    ("CLIENT TRACKING ON", ""),
    ("PSUBSCRIBE __keyevent@0__:del", "read"),
    ("SUBSCRIBE a __keyevent@0__:del", "read"),
    ("SUBSCRIBE __subkeyevent@0__:hset", "read"),
    ("PSUBSCRIBE __keyspace@0__:vault:*", "read"),
    ("PSUBSCRIBE __k*", "read"),
    ("PSUBSCRIBE *", "read"),
    ("PSUBSCRIBE ?_key*", "read"),
    ("PSUBSCRIBE [_]*", "read"),
    (r"PSUBSCRIBE \_*", "read"),
    ("PSUBSCRIBE a* _a* __news:*", ""),
    ("SUBSCRIBE * __k*", ""),
    ("SSUBSCRIBE __keyevent@0__:del", ""),
    ("UNSUBSCRIBE __keyevent@0__:del", ""),
    ("PUBLISH __keyevent@0__:del x", ""),
    ("CLUSTER GETKEYSINSLOT 1 10", "read"),
    ("CLUSTERSCAN 0", "read"),
    ("SHUTDOWN NOSAVE", "write"),
    ("FAILOVER", "write"),
    ("MODULE LOAD /x.so", "read write"),
    ("EVAL return(1) 0", "read write"),
    ("FCALL f 0", "read write"),
    ("FCALL_RO f 0", "read"),
    ("SYNC", "read"),
    ("PSYNC ? -1", "read"),
    ("GET a", ""),
    ("INFO", ""),
    ("TS.MRANGE - + FILTER a=b", "read"),
]


def test_who_listens_for_what_becomes_of_a_key_reads_that_key() -> None:
    for name in ("SUBSCRIBE", "PSUBSCRIBE"):
        request, call = understood(name.encode(), b"news", b"__keyspace@10__:vault:\n1")
        assert [(use.key, use.place, use.effects, use.shows) for use in call.keys] == [
            (b"vault:\n1", 2, frozenset({Effect.READ}), False)
        ]
        assert [use.name for use in call.channels] == [b"news", b"__keyspace@10__:vault:\n1"]
        assert (request.effects, call.anywhere) == (frozenset({Effect.READ}), frozenset())


@pytest.mark.parametrize("text", ["ON REDIRECT 1", "on redirect 1 bcast", "ON BCAST PREFIX a REDIRECT 1"])
def test_tracking_speaks_to_nobody_else(text: str) -> None:
    request, _ = understood(*split(f"CLIENT TRACKING {text}"))
    assert request.refusal is not None
    assert "REDIRECT is refused" in request.refusal


@pytest.mark.parametrize(("text", "effects"), EVERYTHING)
def test_what_is_done_to_keys_that_are_not_named(text: str, effects: str) -> None:
    request, call = understood(*split(text))
    assert request.refusal is None
    assert " ".join(sorted(call.anywhere)) == effects
    assert request.effects >= call.anywhere


def test_a_reviewed_script_touches_the_keys_that_it_declares() -> None:
    code = b"return redis.call('get', KEYS[1])"
    _, call = understood(b"EVAL", code, b"1", b"a", b"v")
    assert call.script is not None
    request = Understanding().request((b"EVAL", code, b"1", b"a", b"v"), reviewed=frozenset({call.script}))
    assert isinstance(request.detail, Call)
    assert request.detail.anywhere == frozenset()
    assert request.detail.channels == ()
    assert request.effects == {Effect.READ, Effect.WRITE}
    assert reads(request.detail) == {b"a"}
    assert request.detail.values == (4,)
    other = Understanding().request((b"FCALL", b"f", b"0"), reviewed=frozenset({"f", "function:f"}))
    assert Effect.UNKNOWN in other.effects


def test_the_same_script_is_not_reviewed_for_others() -> None:
    """One cache, two configurations."""
    understanding = Understanding()
    args = (b"EVAL", b"return 1", b"0")
    digest = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db"
    kinds = [understanding.request(args, reviewed=reviewed) for reviewed in (frozenset({digest}), frozenset[str]())]
    assert [Effect.UNKNOWN in request.effects for request in kinds] == [False, True]
    assert kinds[0].shape != kinds[1].shape


def test_no_arguments_at_all() -> None:
    assert Understanding().request(()).refusal == "no command"
    assert len(CommandTable.builtin()) > 400
