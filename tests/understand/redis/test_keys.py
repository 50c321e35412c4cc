"""The keys of every command stand where the server says, and it does to them what the server says."""

from __future__ import annotations

from random import Random

import pytest

from lockgate.understand.redis import Understanding
from lockgate.understand.redis.keys import Count, Index, KeySpec, Keyword, Range, Unreadable, whole_number, word
from lockgate.understand.redis.options import OPTIONAL_WRITES
from lockgate.values.command import Call
from lockgate.values.statement import Effect
from tests.understand.redis.calls import calls
from tests.understand.redis.make_commands import INTERNAL
from tests.understand.redis.modules import CALLED
from tests.understand.redis.server import Server

READ, WRITE = Effect.READ, Effect.WRITE

UNASKED = {"COMMAND GETKEYS", "COMMAND GETKEYSANDFLAGS", "SCRIPT DEBUG"}
"""What is behind the first two is another command, which nothing is generated for; the last is refused."""


def keys_of(call: Call) -> dict[bytes, set[Effect]]:
    found: dict[bytes, set[Effect]] = {}
    for use in call.keys:
        assert call.args[use.place] == use.key
        found.setdefault(use.key, set()).update(use.effects)
    return found


def told(flags: set[str], *, read_only: bool) -> set[Effect]:
    """What the server's flags say is done to a key."""
    effects = set()
    if "RO" in flags or "access" in flags:
        effects.add(READ)
    if flags & {"RW", "OW", "RM"} and not read_only:
        effects.add(WRITE)
    return effects


def is_a_modules(name: str) -> bool:
    """Of those no arguments are documented: test_modules.py has a call of each."""
    return name.split(" ")[0] in CALLED or name.startswith(INTERNAL.upper())


def test_generated_calls_of_every_command_have_the_keys_that_the_server_finds(server: Server) -> None:
    understanding = Understanding()
    made: set[str] = set()
    tried: set[str] = set()
    for name, args in calls(server, Random(20261128), 40):
        if name.startswith("SENTINEL") or name in UNASKED or is_a_modules(name):
            continue
        made.add(name)
        request = understanding.request(args)
        call = request.detail
        assert isinstance(call, Call)
        theirs = server.keys(*args)
        if theirs is None:  # the generated call isn't valid, or has no arguments, which the server doesn't take here
            if len(args) == 1 and request.refusal is None:
                assert call.keys == ()
                tried.add(name)
            continue
        if theirs == {} and (request.refusal or "").startswith("wrong number"):
            continue  # of what has no keys the server doesn't say it
        if name == "CLIENT TRACKING" and b"REDIRECT" in args:
            assert request.refusal is not None, "it is refused, and has no keys"
            continue
        assert request.refusal is None, (args, request.refusal)
        tried.add(name)
        ours = keys_of(call)
        assert set(ours) == set(theirs), args
        read_only = "read" in request.statements[0].categories and "write" not in request.statements[0].categories
        for key, flags in theirs.items():
            expected = told(flags, read_only=read_only)
            if name in OPTIONAL_WRITES:
                assert ours[key] <= expected, args
                assert WRITE in ours[key] or READ in expected, args
            else:
                assert ours[key] >= expected, args
    assert made - tried - {"CLUSTER SYNCSLOTS"} == {"DEBUG"}, "the server documents no argument of it"


@pytest.mark.parametrize(
    ("spec", "args", "places"),
    [
        (KeySpec(Index(1), Range(0, 1, 0), frozenset()), "GET k", [1]),
        (KeySpec(Index(1), Range(-1, 1, 0), frozenset()), "MGET a b c", [1, 2, 3]),
        (KeySpec(Index(1), Range(-2, 1, 0), frozenset()), "BLPOP a b 0", [1, 2]),
        (KeySpec(Index(1), Range(-1, 2, 0), frozenset()), "MSET a 1 b 2", [1, 3]),
        (KeySpec(Index(1), Count(0, 1, 1), frozenset()), "LMPOP 2 a b LEFT", [2, 3]),
        (KeySpec(Index(2), Count(0, 1, 1), frozenset()), "EVAL x 0 a", []),
        (KeySpec(Index(1), Count(0, 1, 2), frozenset()), "MSETEX 2 a 1 b 2", [2, 4]),
        (KeySpec(Keyword(b"STREAMS", 1), Range(-1, 1, 2), frozenset()), "XREAD COUNT 1 streams a b 0 0", [4, 5]),
        (KeySpec(Keyword(b"KEYS", -2), Range(-1, 1, 0), frozenset()), "MIGRATE h p  0 1 KEYS a b", [7, 8]),
        (KeySpec(Keyword(b"STORE", 2), Range(0, 1, 0), frozenset()), "X k NONE", []),
        (KeySpec(None, None, frozenset()), "SORT k", []),
    ],
)
def test_places(spec: KeySpec, args: str, places: list[int]) -> None:
    assert list(spec.places([part.encode() for part in args.split(" ")])) == places


@pytest.mark.parametrize(
    ("spec", "args"),
    [
        (KeySpec(Index(1), Range(0, 1, 0), frozenset()), "GET"),
        (KeySpec(Index(1), Count(0, 1, 1), frozenset()), "LMPOP"),
        (KeySpec(Index(1), Count(0, 1, 1), frozenset()), "LMPOP 3 a b"),
        (KeySpec(Index(1), Count(0, 1, 1), frozenset()), "LMPOP -1 a b"),
        (KeySpec(Index(1), Count(0, 1, 1), frozenset()), "LMPOP +1 a b"),
        (KeySpec(Index(1), Count(0, 1, 1), frozenset()), "LMPOP 01 a b"),
        (KeySpec(Index(1), Count(0, 1, 1), frozenset()), "LMPOP 99999999999999999999 a b"),
        (KeySpec(Index(1), Count(0, 1, 1), frozenset()), "LMPOP 1.0 a b"),
        (KeySpec(Index(1), Count(0, 1, 1), frozenset()), "LMPOP ٣ a b c"),
    ],
)
def test_what_cannot_be_keys(spec: KeySpec, args: str) -> None:
    with pytest.raises(Unreadable):
        spec.places([part.encode() for part in args.split(" ")])


def test_an_option_ends_at_a_nul_as_the_server_compares_it() -> None:
    assert word(b"get\0x") == b"GET"
    assert word(b"get ") == b"GET "


@pytest.mark.parametrize("text", [b"", b"-0", b"1 ", b" 1", b"0x1", b"1e3", b"00", b"1\0", b"\xb2"])
def test_numbers_that_the_server_does_not_take(text: bytes) -> None:
    with pytest.raises(Unreadable):
        whole_number(text)
