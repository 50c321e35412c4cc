"""What one release has and another hasn't: its commands, its modules, and every command of each that takes keys."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import hiredis
import pytest

from lockgate.masking.replies import ReplyMasker, Unmaskable
from lockgate.masking.replies.commands import COMMANDS
from lockgate.understand.redis import Understanding
from lockgate.values.command import Call
from tests.masking.replies.server import Client, as_bytes, parsed, running
from tests.masking.replies.test_commands import DOCUMENT, compare, fill, holds_marker, plan
from tests.masking.replies.test_random_commands import BLOCKING, OUT_OF_BOUNDS, words
from tests.support.redis_servers import REDIS_8, STACK, VALKEY, Release
from tests.understand.redis.calls import calls

NEWER = {
    # of releases behind 7.0: how many values are masked, None where it is refused
    "HEXPIRE secret:hash 100 FIELDS 1 s3cret-f1": 0,
    "HPEXPIREAT secret:hash 9999999999999 NX FIELDS 2 s3cret-f1 s3cret-f2": 0,
    "HTTL secret:hash FIELDS 1 s3cret-f1": 0,
    "HPERSIST profile:1 FIELDS 1 email": 0,
    "HGETEX secret:hash FIELDS 2 s3cret-f1 s3cret-f3": 2,
    "HGETEX profile:1 EX 100 FIELDS 3 name email city": 1,
    "HGETEX profile:1 PERSIST FIELDS 1 email": 1,
    "HGETDEL profile:1 FIELDS 2 email name": 1,
    "HGETDEL secret:hash FIELDS 1 nothing": 0,
    "HSETEX profile:1 EX 100 FIELDS 1 email s3cret-new": 0,
    "HSETEX secret:hash FNX FIELDS 1 s3cret-new v": 0,
    "HSCAN secret:hash 0 NOVALUES": 3,
    "HSCAN profile:1 0 NOVALUES": 0,
    "ZSCAN secret:zset 0 NOSCORES": 3,
    "ZSCAN doc:zset 0 NOSCORES": 2,
    "XDELEX secret:stream KEEPREF IDS 1 1-1": 0,
    "XACKDEL secret:stream group DELREF IDS 1 1-1": 0,
    "XADD secret:stream KEEPREF MAXLEN 1 7-7 f v": 0,
    "SET secret:str s3cret-new IFEQ guess": None,
    "SET secret:str s3cret-new IFEQ guess GET": None,
    "DELIFEQ secret:str guess": None,
    "MSETEX 1 secret:str s3cret-new EX 100": 0,
    "BITOP DIFF secret:bits2 secret:bits plain:str": None,
    "BITOP ONE secret:bits2 plain:str secret:bits": None,
    "GEOSEARCH secret:geo FROMLONLAT 15 37 BYPOLYGON 3 1 1 2 2 3 1": None,
    "COMMANDLOG GET 10 slow": None,
    "SCRIPT SHOW 0000000000000000000000000000000000000000": 0,
}
VECTORS = {
    "VADD secret:v VALUES 2 1 1 s3cret-c": 0,
    "VADD secret:v VALUES 2 1 1 s3cret-a SETATTR {}": 0,
    "VREM secret:v s3cret-a": 0,
    "VSETATTR secret:v s3cret-a {}": 0,
    "VCARD secret:v": 0,
    "VDIM secret:v": 0,
    "VRANDMEMBER secret:v": 1,
    "VRANDMEMBER secret:v 5": 2,
    **dict.fromkeys(
        (
            "VSIM secret:v ELE s3cret-a WITHSCORES WITHATTRIBS",
            "VSIM secret:v VALUES 2 1 0",
            "VEMB secret:v s3cret-a RAW",
            "VGETATTR secret:v s3cret-a",
            "VISMEMBER secret:v s3cret-a",
            "VLINKS secret:v s3cret-a WITHSCORES",
            "VINFO secret:v",
        )
    ),
}
JSON = {
    "JSON.GET doc:j": 1,
    "JSON.GET doc:j $": 1,
    "JSON.GET doc:j .user": 1,
    "JSON.GET doc:j $.user.email": 1,
    "JSON.GET doc:j user.email": 1,
    "JSON.GET doc:j $.user.email $.list": 1,
    "JSON.GET doc:j .user .n": 1,
    "JSON.GET doc:j $['user']": 1,
    "JSON.GET doc:j $.user.name": 0,
    "JSON.GET doc:j INDENT x $.user": 1,
    "JSON.GET doc:j $..email": None,
    "JSON.GET doc:j FORMAT EXPAND $.user": None,
    "JSON.GET secret:j $.n": 1,
    "JSON.MGET doc:j doc:j secret:j $.user": 3,
    "JSON.MGET doc:j doc:j user.email": 2,
    "JSON.TYPE doc:j $..email": 0,
    "JSON.OBJLEN doc:j $.user": 0,
    "JSON.ARRLEN secret:j $.list": 0,
    'JSON.SET doc:j $.user.email "s3cret-new"': 0,
    "JSON.MSET doc:j $.user.email 1 secret:j $.n 2": 0,
    "JSON.DEL doc:j": 0,
    "JSON.CLEAR doc:j $.user": 0,
    **dict.fromkeys(
        (
            'JSON.TYPE doc:j $[?(@.email=="s3cret")]',
            'JSON.TYPE secret:j $..[?(@=~"s3.*")]',
            'JSON.OBJLEN doc:j $[?(@.email=="s3cret")]',
            'JSON.ARRLEN doc:j $..[?(@.email=="s3cret")]',
            'JSON.DEL doc:j $[?(@.email=="s3cret")]',
            'JSON.CLEAR doc:j $[?(@.email=="s3cret")]',
            'JSON.SET doc:j $[?(@.email=="s3cret")].x 1',
            'JSON.MSET secret:j $.a 1 doc:j $[?(@.email=="s3cret")].x 1',
            'JSON.MERGE doc:j $[?(@.email=="s3cret")] {"x":1}',
            'JSON.ARRAPPEND doc:j $[?(@.email=="s3cret")] 1',
            "JSON.STRLEN doc:j $.user.email",
            "JSON.RESP doc:j $.user",
            "JSON.OBJKEYS secret:j $",
            "JSON.ARRINDEX secret:j $.list 1",
            "JSON.ARRPOP doc:j $.list",
            "JSON.NUMINCRBY secret:j $.n 1",
            "JSON.NUMPOWBY secret:j $.n 1",
        )
    ),
}
OTHERS = dict.fromkeys((
    "TS.GET secret:t", "TS.RANGE secret:t - +", "TS.MGET FILTER kind=a", "TS.MRANGE - + FILTER k=a", "TS.INFO secret:t",
    "TS.CREATERULE secret:t plain:t AGGREGATION avg 10", "TS.QUERYINDEX kind=a", "BF.EXISTS secret:b s3cret",
    "BF.ADD secret:b s3cret", "CF.COUNT secret:c s3cret", "CMS.QUERY secret:m s3cret", "TOPK.LIST secret:k",
    "TDIGEST.MIN secret:d", "CMS.MERGE plain:m 1 secret:m", "FT.SEARCH idx s3cret", "FT.AGGREGATE idx *",
    "FT.TAGVALS idx f", "FT.SPELLCHECK idx s3cre", "FT.SUGGET secret:s s3", "FT.DEBUG DUMP_TERMS idx",
    "FT.CURSOR READ idx 1",
    "FT.PROFILE idx SEARCH QUERY s3cret", "FT.EXPLAIN idx s3*", "FT.GET idx secret:hash", "FT.MGET idx secret:hash",
))  # fmt: skip


def held(client: Client) -> None:
    """Nothing but what every test finds."""
    client.ask("FLUSHALL")
    fill(client)
    client.ask("ZADD", "doc:zset", "1", DOCUMENT, "2", "s3cret, and no document")


def understood(line: str) -> Call:
    call = Understanding().request(as_bytes(tuple(line.split(" ")))).detail
    assert isinstance(call, Call)
    return call


def planned(line: str) -> ReplyMasker | None:
    """How its reply is masked, as the command is understood. Raises Unmaskable."""
    return plan(understood(line))


def names(client: Client) -> set[str]:
    return {name.decode().upper().replace("|", " ") for name in parsed(client.ask("COMMAND", "LIST"))}


def is_masked(client: Client, line: str, cells: int | None) -> None:
    if cells is None:
        with pytest.raises(Unmaskable) as refused:
            planned(line)
        assert "s3cret" not in str(refused.value)
        return
    masker = planned(line)
    reply = client.ask(*line.split(" "))
    assert not isinstance(parsed(reply), hiredis.ReplyError) or "SHOW" in line, (line, reply)
    if masker is None:
        assert cells == 0
        assert not holds_marker(reply)
        return
    shown = masker.mask(reply, resp3=client.resp3)[0]
    if line.startswith("JSON"):
        assert cells or not holds_marker(reply)
        assert shown.count(b"***") == cells
        assert not holds_marker(shown)
    else:
        assert compare(parsed(reply), parsed(shown)) == cells


def test_what_is_newer(client: Client) -> None:
    known = names(client)
    tried = 0
    for line, cells in NEWER.items():
        held(client)
        if understood(line).name in known and not is_without_the_option(client, line):
            is_masked(client, line, cells)
            tried += 1
    assert tried >= 5


def is_without_the_option(client: Client, line: str) -> bool:
    """Whether the server has the command, and not what became of it later."""
    if not any(option in line for option in ("NOVALUES", "NOSCORES", "KEEPREF")):
        return False
    unknown = client.ask(*line.split(" ")).startswith((b"-ERR syntax", b"-ERR Invalid stream ID", b"-ERR wrong number"))
    held(client)
    return unknown


def test_what_a_later_release_tells_of_a_stream_is_shown_if_it_is_a_number() -> None:
    masker = planned("XINFO STREAM secret:stream")
    assert masker is not None
    told = b"*4\r\n$6\r\nlength\r\n:2\r\n$5\r\nnewer\r\n:1\r\n"
    assert masker.mask(told)[0] == told
    for value in (b"$6\r\ns3cret\r\n", b"*1\r\n$6\r\ns3cret\r\n", b"+s3cret\r\n"):
        with pytest.raises(Unmaskable, match="isn't known"):
            masker.mask(told.removesuffix(b":1\r\n") + value)


@pytest.mark.parametrize("score", [b"s3cret", b"", b"1 s3cret", b"1\ns3cret"])
def test_where_scores_stand_nothing_else_is_shown(score: bytes) -> None:
    for line in ("ZRANGE doc:zset 0 -1 WITHSCORES", "ZRANGE secret:zset 0 -1 WITHSCORES", "ZPOPMIN doc:zset"):
        masker = planned(line)
        assert masker is not None
        with pytest.raises(Unmaskable, match="where a score stands"):
            masker.mask(b"*2\r\n$2\r\n{}\r\n$%d\r\n%b\r\n" % (len(score), score))
        for known in (b"$1\r\n1", b"$4\r\n-1.5", b"$5\r\n1e+20", b"$4\r\n-inf", b",1.5"):
            masker.mask(b"*2\r\n$2\r\n{}\r\n%b\r\n" % known)


@contextlib.contextmanager
def one(tmp_path_factory: pytest.TempPathFactory, release: Release, *, resp3: bool) -> Iterator[Client]:
    with (
        running(tmp_path_factory.mktemp("redis"), release=release) as path,
        contextlib.closing(Client(path, resp3=resp3)) as client,
    ):
        yield client


@pytest.fixture(scope="module", params=[False, True], ids=["resp2", "resp3"])
def vectors(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Client]:
    with one(tmp_path_factory, REDIS_8, resp3=request.param) as client:
        yield client


@pytest.fixture(scope="module", params=[False, True], ids=["resp2", "resp3"])
def modules(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Client]:
    with one(tmp_path_factory, STACK, resp3=request.param) as client:
        yield client


@pytest.mark.parametrize(("line", "cells"), VECTORS.items(), ids=list(VECTORS))
def test_vector_sets(vectors: Client, line: str, cells: int | None) -> None:
    vectors.ask("FLUSHALL")
    vectors.ask("VADD", "secret:v", "VALUES", "2", "1", "0", "s3cret-a", "SETATTR", '{"y":"s3cret"}')
    vectors.ask("VADD", "secret:v", "VALUES", "2", "0", "1", "s3cret-b")
    is_masked(vectors, line, cells)


@pytest.mark.parametrize(("line", "cells"), JSON.items(), ids=list(JSON))
def test_documents_of_the_module(modules: Client, line: str, cells: int | None) -> None:
    modules.ask("FLUSHALL")
    document = {"user": {"email": "s3cret", "name": "Ann"}, "list": ["s3cre", 2], "n": 5}
    for key in ("doc:j", "secret:j"):
        modules.ask("JSON.SET", key, "$", json.dumps(document))
    is_masked(modules, line, cells)


ASKED = (
    "$[' user']['email']",
    '$["user"]["email "]',
    '[" user"]',
    "$['user'][\t'email']",
    "$['\tuser'].email",
    "$. user.email",
    " $.user.email",
    "$.user.email ",
    "$['us\\u0065r'].email",
    "$['user','n']",
    "$..['email']",
    "$.user[?(@==1 || 1==1)]",
)
PIECES = (
    *(
        "$",
        ".",
        "..",
        "user",
        "email",
        "[",
        "]",
        "'",
        '"',
        "['user']",
        '["email"]',
        "*",
        "[*]",
        " ",
        "\t",
        "\n",
        "\r",
        "\x0b",
    ),
    *(
        "\\u0065mail",
        "\\",
        "0",
        "[0]",
        "[-1]",
        "/",
        ":",
        ",",
        "USER",
        "user\0",
        "\u00a0",
        "\u2003",
        "^",
        "@",
        "()",
        "[ 'user' ]",
    ),
)
WHERE = ("$.user", "$.user.email", ".user.email", "user.email", "$['user']['email']", '$["user"]["email"]')


def bent(random: Random) -> str:
    """A path to what is masked, or to what is around it, with something in it that doesn't belong there."""
    path = random.choice(WHERE)
    for _ in range(random.randint(1, 2)):
        at = random.randint(0, len(path))
        path = path[:at] + random.choice(PIECES) + path[at + random.randint(0, 1) :]
    return path


def test_no_path_leads_past_a_mask(modules: Client) -> None:
    """The module reads spaces away that stand inside the quotes of a name."""
    random = Random(20261128)
    modules.ask("JSON.SET", "doc:j", "$", '{"n": 1, "user": {"email": "s3cret", "name": "Ann"}}')
    shown = 0
    for path in (*ASKED, *(bent(random) for _ in range(3000))):
        for args in (
            ("JSON.GET", "doc:j", path),
            ("JSON.GET", "doc:j", path, "$.n"),
            ("JSON.MGET", "doc:j", "doc:j", path),
        ):
            call = Understanding().request(as_bytes(args)).detail
            assert isinstance(call, Call)
            try:
                masker = plan(call)
            except Unmaskable:
                continue
            assert masker is not None
            reply = modules.ask(*args)
            shown += b"s3cret" in reply and not reply.startswith(b"-")
            assert b"s3cret" not in masker.mask(reply, resp3=modules.resp3)[0], args
    assert shown > 10


@pytest.mark.parametrize("line", OTHERS)
def test_other_modules_show_nothing_of_a_masked_key(modules: Client, line: str) -> None:
    assert understood(line).name in names(modules)
    is_masked(modules, line, None)


def test_a_function_that_runs_is_not_told_of(tmp_path_factory: pytest.TempPathFactory) -> None:
    """FUNCTION STATS has its arguments."""
    with pytest.raises(Unmaskable):
        planned("FUNCTION STATS")
    with (
        running(tmp_path_factory.mktemp("redis"), "--busy-reply-threshold", "1", release=VALKEY) as path,
        contextlib.closing(Client(path)) as busy,
        contextlib.closing(Client(path)) as client,
    ):
        code = "#!lua name=l\nredis.register_function('spin', function() while true do end end)"
        assert client.ask("FUNCTION", "LOAD", code) == b"$1\r\nl\r\n"
        busy.send("FCALL", "spin", "1", "secret:1", "s3cret")
        while b"spin" not in (told := client.ask("FUNCTION", "STATS")):
            pass
        assert b"s3cret" in told
        assert client.ask("FUNCTION", "KILL") == b"+OK\r\n"
        busy.receive()


HELD = {
    # types of what is behind the keys of a command, by its group
    "string": ["secret:str", "secret:other", "secret:num", "doc:1", "plain:str"],
    "hash": ["secret:hash", "profile:1", "doc:hash", "plain:hash"],
    "list": ["secret:list", "secret:numbers", "doc:list", "plain:list"],
    "set": ["secret:set", "secret:set2"],
    "sorted-set": ["secret:zset", "secret:zset2", "doc:zset"],
    "geo": ["secret:geo"],
    "stream": ["secret:stream", "profile:s"],
    "hyperloglog": ["secret:hll"],
    "bitmap": ["secret:bits", "secret:str"],
}
EVERY = [key for keys in HELD.values() for key in keys]
WORDS = words("0 1 -1 - + email name group ann 1-1 0-0 s * u8 100")
NOT_SWEPT = frozenset(
    {*OUT_OF_BOUNDS, "CLIENT", "CONFIG", "CLUSTER", "ACL", "SENTINEL", "MODULE", "FUNCTION", "SCRIPT"}
)


def groups(asker: Asker) -> dict[str, str]:
    told = asker.ask(b"COMMAND", b"DOCS")
    found = {}
    for name, documents in zip(told[::2], told[1::2], strict=True):
        pairs = dict(zip(documents[::2], documents[1::2], strict=True))
        found[name.decode().upper()] = pairs[b"group"].decode()
    return found


class Asker:
    """A client as the generator of calls asks one: replies as hiredis reads them."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def ask(self, *args: bytes) -> Any:
        return parsed(self._client.ask(*args))


def test_no_marker_comes_back_from_any_command_of_a_release(server: Path) -> None:
    """Whatever arguments the server documents, on classified keys of the types that it is for."""
    random = Random(20261128)
    with contextlib.closing(Client(server)) as two, contextlib.closing(Client(server, resp3=True)) as three:
        group = groups(Asker(two))
        swept: set[str] = set()
        shown: set[str] = set()
        for at, (name, made) in enumerate(calls(Asker(two), random, 16)):
            if name.split(" ")[0] in NOT_SWEPT or not any(part.startswith(b"key:") for part in made):
                continue
            if at % 4 == 0:
                held(two)
            fitting = HELD.get(group[name.split(" ")[0]], EVERY)
            args = [
                random.choice(fitting).encode() if part.startswith(b"key:")
                else random.choice(WORDS).encode() if part.startswith(b"word")
                else part for part in made
            ]  # fmt: skip
            if name in BLOCKING:
                args[BLOCKING[name]] = b"0.01"
            request = Understanding().request(tuple(args))
            swept.add(name)
            if request.refusal is not None:
                continue
            assert isinstance(request.detail, Call)
            try:
                masker = plan(request.detail)
            except Unmaskable:
                continue
            client = random.choice((two, three))
            reply = client.ask(*args)
            if masker is not None:
                reply = masker.mask(reply, resp3=client.resp3)[0]
            # one field of a profile, which is plain, is a number as those are that are masked
            assert b"s3cret" not in reply, args
            assert not holds_marker(reply) or b"profile:1" in args, args
            if reply[:1] not in (b"-", b"!"):
                shown.add(name)
        assert len(swept) > 150
        assert len(shown) > 100
        assert {name for name in swept if name not in COMMANDS} == set()


OPTIONS = {
    # what may stand behind the key, in any order: words, or some at a time
    "HGETEX profile:1": "FIELDS fields 1 2 3 01 name email EX 100 PERSIST FIELDS\0 nothing 0",
    "HGETEX profile:1 FIELDS": "1 2 3 name email FIELDS EX 100 PERSIST nothing",
    "HGETDEL profile:1 FIELDS": "1 2 3 name email FIELDS EX",
    "HSCAN profile:1 0": "MATCH *|MATCH novalues|MATCH NOVALUES\0|COUNT 10|NOVALUES|NOVALUES\0|match email|MATCH COUNT",
    "HRANDFIELD profile:1": "1 2 -3 WITHVALUES WITHVALUES\0 withvalues",
    "ZSCAN doc:zset 0": "MATCH * COUNT 10 NOSCORES noscores NOSCORES\0",
    "ZSCAN profile:1 0": "MATCH * COUNT NOSCORES",
    "ZRANGE doc:zset": "0 -1 WITHSCORES REV BYSCORE LIMIT - + WITHSCORES\0",
    "ZRANDMEMBER doc:zset": "1 2 -3 WITHSCORES",
    "SET doc:1 v": "GET IFEQ NX XX EX 100 KEEPTTL GET\0 PX",
    "XREAD": "COUNT 1 STREAMS profile:s secret:stream 0 + $ STREAMS\0",
    "XREADGROUP GROUP group": "ann COUNT 1 NOACK STREAMS profile:s secret:stream > 0 CLAIM",
    "XAUTOCLAIM secret:stream group ann 0": "0 0-0 JUSTID COUNT 5 JUSTID\0",
    "XCLAIM secret:stream group ann 0 1-1": "2-1 JUSTID FORCE IDLE TIME RETRYCOUNT LASTID 5 JUSTID\0",
    "XINFO STREAM": "profile:s secret:stream FULL COUNT 1 FULL\0",
    "SORT secret:list": "BY nosort GET # LIMIT 0 2 ALPHA GET\0 doc:list",
    "ZUNION": "1 2 secret:zset doc:zset WITHSCORES WEIGHTS AGGREGATE MAX",
    "ZMPOP": "1 2 secret:zset doc:zset MIN MAX COUNT",
}


def test_no_order_of_options_shows_a_marker(client: Client) -> None:
    """What reads like an option may be the argument of another, and what comes last may count."""
    random = Random(20261128)
    masked = 0
    for at in range(6000):
        if at % 60 == 0:
            held(client)
            client.ask("HDEL", "profile:1", "count")
        begin = random.choice(list(OPTIONS))
        told = OPTIONS[begin]
        rest = [random.choice(told.split("|" if "|" in told else " ")) for _ in range(random.randint(1, 6))]
        args = as_bytes(tuple(" ".join([begin, *rest]).split(" ")))
        request = Understanding().request(args)
        if request.refusal is not None:
            continue
        assert isinstance(request.detail, Call)
        try:
            masker = plan(request.detail)
        except Unmaskable:
            continue
        shown, cells = client.ask(*args), 0
        if masker is not None:
            shown, cells, _ = masker.mask(shown, resp3=client.resp3)
        masked += cells > 0
        assert b"s3cret" not in shown, args
    assert masked > 100
