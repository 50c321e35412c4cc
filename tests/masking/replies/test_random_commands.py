"""Random commands with random arguments on keys that hold a marker: whatever may run shows none, and copies none."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.masking import RootKey
from lockgate.masking.replies import NameMask, Unmaskable, key_masks, plan_reply
from lockgate.masking.replies.commands import COMMANDS
from lockgate.values.selector import parse_name
from tests.masking.replies.server import Client
from tests.masking.replies.test_commands import MASKED, REFUSED


def words(text: str) -> list[str]:
    return text.split()


KEYS = RootKey(bytes(32)).keys("cache")
MARKER = b"s3cret"
MASKS = (
    NameMask(parse_name("secret:*"), "redact"),
    NameMask(parse_name("profile:*#email"), "hash"),
    NameMask(parse_name("doc:*#$..email"), "null"),
)
DOCUMENT = json.dumps({"user": {"email": "s3cret"}, "list": [{"email": "s3cret"}], "n": 1})
SETUP = (
    ("SET", "secret:str", "s3cret"),
    ("HSET", "secret:hash", "s3cret-f", "s3cret-v", "g", "1s3cret"),
    ("RPUSH", "secret:list", "s3cret-a", "s3cret-b"),
    ("SADD", "secret:set", "s3cret-a", "s3cret-b"),
    ("ZADD", "secret:zset", "1", "s3cret-a", "2", "s3cret-b"),
    ("XADD", "secret:stream", "1-1", "s3cret-f", "s3cret-v"),
    ("XGROUP", "CREATE", "secret:stream", "g", "0"),
    ("HSET", "profile:hash", "email", "s3cret", "name", "Ann"),
    ("XADD", "profile:stream", "1-1", "email", "s3cret", "name", "Ann"),
    ("XGROUP", "CREATE", "profile:stream", "g", "0"),
    ("SET", "doc:str", DOCUMENT),
    ("RPUSH", "doc:list", DOCUMENT, "s3cret"),
    ("HSET", "doc:hash", "f", DOCUMENT),
    ("SADD", "doc:set", DOCUMENT),
    ("ZADD", "doc:zset", "1", DOCUMENT),
    ("XADD", "doc:stream", "1-1", "f", DOCUMENT),
    ("SET", "plain:str", "open"),
    ("RPUSH", "plain:list", "a", "b"),
    ("SADD", "plain:set", "a", "b"),
    ("ZADD", "plain:zset", "1", "a"),
)
OUT_OF_BOUNDS = words(
    """
    SHUTDOWN SYNC PSYNC REPLCONF MONITOR REPLICAOF SLAVEOF FAILOVER QUIT RESET HELLO AUTH WAIT SUBSCRIBE PSUBSCRIBE
    SSUBSCRIBE UNSUBSCRIBE PUNSUBSCRIBE SUNSUBSCRIBE MULTI DISCARD DEBUG SWAPDB SELECT MIGRATE SAVE BGSAVE BGREWRITEAOF
    MOVE PFSELFTEST
    """
)
"""What ends or changes the connection, or the server that others are tested with, or what nobody looks at here."""
NAMES = sorted(
    name
    for name in COMMANDS
    if name not in OUT_OF_BOUNDS
    and name.split(" ")[0] not in ("CLIENT", "CONFIG", "MODULE", "ACL", "CLUSTER", "SCRIPT", "FUNCTION", "LATENCY")
    and not name.startswith(("JSON.", "V"))
)
BLOCKING = {
    **dict.fromkeys(("BLPOP", "BRPOP", "BLMOVE", "BRPOPLPUSH", "BZPOPMIN", "BZPOPMAX"), -1),
    **dict.fromkeys(("BLMPOP", "BZMPOP"), 1),
}
"""Where they have their timeout."""
KEY_NAMES = [setup[1] if setup[0] != "XGROUP" else setup[2] for setup in SETUP]
KEY_NAMES += ["secret:new", "profile:new", "doc:new", "plain:new", "plain:copy"]
WORDS = words(
    """
    0 1 2 -1 - + (1 $ > * # 1-1 0-0 x g email name f LEFT RIGHT MIN MAX COUNT MATCH WITHSCORES WITHVALUES BYSCORE BYLEX
    REV LIMIT STORE STOREDIST GET BY ALPHA DESC NX XX CH INCR EX PX KEEPTTL PERSIST FULL JUSTID STREAMS GROUP FROMLONLAT
    km BYRADIUS AND NOT XOR OR WEIGHTS AGGREGATE REPLACE BEFORE AFTER IDX LEN [a [z u8 i8 SET INCRBY OVERFLOW NOSORT
    secret:* *->email MAXLEN FORCE 0.01 100
    """
)
KEY = st.sampled_from(KEY_NAMES)
ARGUMENTS = st.lists(st.sampled_from(WORDS) | KEY, max_size=7)
ANYTHING = st.tuples(st.sampled_from(NAMES).map(str.split), KEY.map(lambda key: [key]) | st.just([]), ARGUMENTS).map(
    lambda parts: [arg for part in parts for arg in part]
)
LINES = [line for line, _ in MASKED] + REFUSED
LINES = [line for line in LINES if line.split()[0] not in OUT_OF_BOUNDS]


def alike(key: str) -> st.SearchStrategy[str]:
    """A key of the same type, as far as the name tells; sometimes any."""
    ending = key.partition(":")[2].rstrip("123")
    ending = {"other": "str", "num": "str", "bits": "str", "float": "str", "numbers": "list", "s": "stream"}.get(
        ending, ending
    )
    same = [name for name in KEY_NAMES if name.endswith(":" + ending)]
    return st.one_of(*[st.sampled_from(same)] * 4, KEY) if same else KEY


@st.composite
def likely(draw: st.DrawFn) -> list[str]:
    """A command that is written right, but for what its keys hold; sometimes with a word too many."""
    # what the client itself says may well come back
    args = draw(st.sampled_from(LINES)).replace("s3cret", "known").split()
    args = [draw(alike(arg)) if ":" in arg and "*" not in arg else arg for arg in args]
    if draw(st.integers(0, 4)) == 0:
        args.insert(draw(st.integers(1, len(args))), draw(st.sampled_from(WORDS)))
    return args


@pytest.fixture(scope="module", params=[False, True], ids=["resp2", "resp3"])
def connection(server: Path, request: pytest.FixtureRequest) -> Iterator[Client]:
    with contextlib.closing(Client(server, resp3=request.param)) as client:
        yield client


def allowed(client: Client, args: list[str]) -> bytes | None:
    """What is shown of a command; None when it is refused."""
    call = client.call(*args)
    try:
        masker = plan_reply(call, key_masks(call, MASKS), elsewhere=MASKS, keys=KEYS)
    except Unmaskable:
        return None
    reply = client.ask(*args)
    if masker is None:
        return reply
    try:
        return masker.mask(reply, resp3=client.resp3)[0]
    except Unmaskable:
        return b""


@settings(max_examples=100)
@given(commands=st.lists(st.one_of(likely(), likely(), likely(), ANYTHING), min_size=5, max_size=25))
def test_no_marker_leaves(connection: Client, commands: list[list[str]]) -> None:
    connection.ask("FLUSHALL")
    for setup in SETUP:
        connection.ask(*setup)
    for args in commands:
        if args[0] in BLOCKING and len(args) > 1:
            # what waits, waits briefly
            args[BLOCKING[args[0]]] = "0.01"
        shown = allowed(connection, args)
        assert shown is None or MARKER not in shown, args
    # nothing was copied to where anybody sees it
    for key in ("plain:str", "plain:list", "plain:set", "plain:zset", "plain:new", "plain:copy", "x", "g", "f", "1"):
        assert MARKER not in connection.ask("DUMP", key), (key, commands)
