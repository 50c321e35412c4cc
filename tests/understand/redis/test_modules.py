"""Commands of modules do to keys what is understood of them, whatever the module says of itself.

Each is called in one world and again in others that differ in one key only. Keys that have changed are keys that are
written; a key by which the answer, or what became of another key, has changed is a key that is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import hiredis
import pytest

from lockgate.understand.redis import Understanding
from lockgate.values.command import Call
from lockgate.values.statement import Effect
from tests.support.redis_servers import REDIS_8, STACK
from tests.understand.redis.make_commands import INTERNAL
from tests.understand.redis.modules import (
    CALLED,
    STACK_CALLS,
    STACK_KEYS,
    STACK_SETUP,
    UNCALLED,
    VECTOR_CALLS,
    VECTOR_KEYS,
    VECTOR_SETUP,
    lines,
)
from tests.understand.redis.server import Server


@dataclass(frozen=True)
class World:
    """A server, and what is in it."""

    server: Server
    setup: Sequence[str]
    keys: Sequence[str]

    def begin(self, without: str | None = None) -> None:
        self.server.ask(b"FLUSHALL")
        for line in self.setup:
            reply = self.server.ask(*line.encode().split(b" "))
            assert not isinstance(reply, hiredis.ReplyError), (line, reply)
        if without is not None:
            self.server.ask(b"DEL", without.encode())

    def values(self) -> dict[str, Any]:
        return {key: self.server.ask(b"DUMP", key.encode()) for key in self.keys}

    def seen(self) -> dict[str, Any]:
        """The same, but of what differs by chance, or has addresses of the server's memory in it, what is shown."""
        found = self.values()
        for key in found:
            show = SHOWN.get(self.server.ask(b"TYPE", key.encode()))
            if show is not None:
                found[key] = settled(self.server.ask(show[0], key.encode(), *show[1:]))
        return found

    def told(self, line: str) -> Any:
        """What is answered, as far as it doesn't differ by chance."""
        reply = self.server.ask(*line.encode().split(b" "))
        return type(reply) if line.split(" ")[0] in BY_CHANCE else settled(reply)


SHOWN = {
    b"vectorset": (b"VRANDMEMBER", b"100"),
    b"TopK-TYPE": (b"TOPK.LIST", b"WITHCOUNT"),
    b"trietype0": (b"FT.SUGGET", b"a"),
}
BY_CHANCE = {"VINFO", "VLINKS", "JSON.GET"}
"""They tell on which levels of the graph members are, or which of several paths comes first."""


def settled(reply: Any) -> Any:
    """A reply in which only what is said counts, not in which order."""
    return sorted(map(repr, map(settled, reply))) if isinstance(reply, list) else str(reply)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with Server(tmp_path_factory.mktemp("stack"), STACK) as server:
        yield World(server, lines(STACK_SETUP), STACK_KEYS)


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with Server(tmp_path_factory.mktemp("vectors"), REDIS_8) as server:
        yield World(server, lines(VECTOR_SETUP), VECTOR_KEYS)


def does_no_more_than_is_understood(world: World, line: str) -> None:
    args = tuple(line.encode().split(b" "))
    request = Understanding().request(args)
    call = request.detail
    assert isinstance(call, Call)
    assert request.refusal is None
    reads = {use.key.decode() for use in call.keys if use.shows and Effect.READ in use.effects}
    writes = {use.key.decode() for use in call.keys if Effect.WRITE in use.effects}
    assert reads | writes <= set(world.keys), "all that is understood as a key is one"
    world.begin()
    before = world.values()
    reply = world.server.ask(*args)
    assert not isinstance(reply, hiredis.ReplyError), reply
    after = world.values()
    changed = {key for key in world.keys if before[key] != after[key]}
    if Effect.WRITE not in call.anywhere:
        assert changed <= writes
    if changed:
        assert Effect.WRITE in request.effects
    if Effect.READ in call.anywhere:
        return
    world.begin()
    told, left = world.told(line), world.seen()
    for key in world.keys:
        world.begin(without=key)
        without, seen = world.told(line), world.seen()
        if without != told or any(seen[other] != left[other] for other in world.keys if other != key):
            assert key in reads | (writes if Effect.READ in request.effects else set()), key


@pytest.mark.parametrize("line", STACK_CALLS)
def test_a_command_of_redis_stack(stack: World, line: str) -> None:
    does_no_more_than_is_understood(stack, line)


@pytest.mark.parametrize("line", VECTOR_CALLS)
def test_a_command_of_vector_sets(vectors: World, line: str) -> None:
    does_no_more_than_is_understood(vectors, line)


def test_a_series_goes_on_into_those_that_a_rule_makes_of_it(stack: World) -> None:
    """By TS.CREATERULE, which writes to both; TS.ADD doesn't say so (README's limits)."""
    stack.begin()
    before = stack.values()
    assert stack.server.ask(b"TS.ADD", b"r1", b"5000", b"9") == 5000
    after = stack.values()
    assert {key for key in stack.keys if before[key] != after[key]} == {"r1", "r2"}
    call = Understanding().request((b"TS.CREATERULE", b"r1", b"r2", b"AGGREGATION", b"avg", b"1000")).detail
    assert isinstance(call, Call)
    assert [(use.key, Effect.WRITE in use.effects) for use in call.keys] == [(b"r1", True), (b"r2", True)]


def test_none_is_forgotten(stack: World, vectors: World) -> None:
    told = [entry for world in (stack, vectors) for entry in world.server.ask(b"COMMAND") if b"module" in entry[2]]
    names = {entry[0].decode().upper() for entry in told}
    assert {name for name in names if not name.startswith(INTERNAL.upper())} == CALLED
    assert not UNCALLED.keys() & {line.split(" ")[0] for line in (*STACK_CALLS, *VECTOR_CALLS)}


def test_what_changes_a_setting_of_a_module_is_no_mere_read(stack: World) -> None:
    for line in ("FT.CONFIG SET TIMEOUT 1", "FT.ALIASADD a idx", "FT.DICTADD d word", "FT.DEBUG TTL_EXPIRE idx"):
        request = Understanding().request(tuple(line.encode().split(b" ")))
        assert request.effects & {Effect.ADMIN, Effect.DDL}, line
