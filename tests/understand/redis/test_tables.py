"""The table of commands is what the servers say that it was made of; what one says of itself never makes it milder."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.understand.redis import CommandTable, Understanding
from lockgate.understand.redis.effects import effects_of
from lockgate.understand.redis.keys import BOTH, READ
from lockgate.understand.redis.tables import MAX_COMMANDS, _spec
from lockgate.values.command import Call
from lockgate.values.statement import Effect
from tests.understand.redis.make_commands import CORRECTED, FILE, INTERNAL, KEYED, LATER, rows
from tests.understand.redis.server import Server

TOLD_OTHERWISE = {"georadius", "georadiusbymember", "sinterstore", "hsetex"}
"""Flags of their keys differ from one release to the other, and mean the same here."""


def test_the_table_has_all_that_a_server_says(server: Server) -> None:
    lines = (line.split(" ") for line in FILE.read_text().splitlines() if not line.startswith("#"))
    table = {name: (int(arity), set(categories.split(",")), keys) for name, arity, categories, keys in lines}
    told = list(rows(server.ask(b"COMMAND")))
    assert len(told) > 360
    for name, arity, categories, keys in told:
        least, counted, places = table[name]
        assert categories <= counted, name
        assert arity == least or (least < 0 and abs(least) <= abs(arity)), name
        if name in TOLD_OTHERWISE:
            theirs, ours = [[_spec(one) for one in text.split(";")] for text in (keys, places)]
            assert [(one.begin, one.find) for one in theirs] == [(one.begin, one.find) for one in ours]
            assert [one.effects(read_only=False) for one in theirs] == [one.effects(read_only=False) for one in ours]
        else:
            assert keys == places, name


def test_the_table_is_in_order_and_has_no_name_twice() -> None:
    names = [line.split(" ")[0] for line in FILE.read_text().splitlines() if not line.startswith("#")]
    assert names == sorted(set(names))
    assert {line.split(" ")[0] for line in LATER.strip().splitlines()} | set(CORRECTED) | KEYED <= set(names)


@pytest.mark.parametrize(
    "name",
    ["HEXPIRE", "HGETEX", "HSETEX", "HGETDEL", "CLUSTERSCAN", "VADD", "VSIM", "JSON.GET", "BF.ADD", "TS.ADD", "MSETEX"],
)
def test_commands_of_newer_servers_are_known(name: str) -> None:
    assert name in {command.name for command in CommandTable.builtin()}


def test_it_is_read_when_it_is_needed_only() -> None:
    program = """
import sys
import lockgate.cli
assert "lockgate.understand.redis" not in sys.modules
from lockgate.understand.redis import CommandTable
assert CommandTable.builtin.cache_info().currsize == 0
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_what_the_server_says_of_itself_changes_nothing_of_what_is_built_in(server: Server) -> None:
    table = CommandTable.from_server(server.ask(b"COMMAND"))
    built_in = {command.name: command for command in CommandTable.builtin()}
    told = {command.name: command for command in table}
    more = {name: told.pop(name) for name in set(told) - set(built_in)}
    assert told == built_in
    assert all(name.startswith(INTERNAL.upper()) for name in more)
    assert all(Effect.UNKNOWN in effects_of(command) for command in more.values())


def spec(flags: list[bytes], place: int = 1) -> list[Any]:
    return [
        b"flags", flags,
        b"begin_search", [b"type", b"index", b"spec", [b"index", place]],
        b"find_keys", [b"type", b"range", b"spec", [b"lastkey", 0, b"keystep", 1, b"limit", 0]],
    ]  # fmt: skip


def entry(name: bytes, *flags: bytes, specs: list[Any] | None = None, subs: list[Any] | None = None) -> list[Any]:
    return [
        name,
        -1,
        list(flags),
        0,
        0,
        0,
        [b"@" + flag for flag in flags if flag != b"module"],
        [],
        specs or [],
        subs or [],
    ]


def read(reply: Any, *args: bytes) -> Any:
    return Understanding().request(args, CommandTable.from_server(reply))


def test_nobody_makes_flushall_a_read() -> None:
    for reply in (
        [entry(b"flushall", b"readonly")],
        [entry(b"FLUSHALL", b"readonly"), entry(b"flushall", b"readonly")],
        [[b"flushall", -1, {b"readonly"}, 0, 0, 0, {b"@read"}, [], [], []]],
    ):
        request = read(reply, b"flushall")
        assert Effect.WRITE in request.effects
        assert request.detail.anywhere == {Effect.WRITE}


def test_nobody_takes_the_keys_of_a_known_command_elsewhere() -> None:
    request = read([entry(b"set", b"readonly", specs=[spec([b"RO"], 2)])], b"SET", b"a", b"b")
    assert [(use.key, use.effects) for use in request.detail.keys] == [(b"a", {Effect.WRITE})]


def test_nobody_gives_a_known_command_sub_commands() -> None:
    request = read([entry(b"set", subs=[entry(b"set|a", b"readonly")])], b"SET", b"a", b"b")
    assert request.statements[0].kind == "SET"
    assert [use.key for use in request.detail.keys] == [b"a"]


def test_a_known_command_can_be_counted_among_more() -> None:
    request = read([entry(b"get", b"admin")], b"GET", b"a")
    assert request.effects == {Effect.READ, Effect.ADMIN}


def test_a_sub_command_that_is_new_is_judged_by_its_flags() -> None:
    request = read([entry(b"client", subs=[entry(b"client|shine", b"admin")])], b"client", b"SHINE", b"x")
    assert request.refusal is None
    assert request.statements[0].kinds == ("CLIENT SHINE", "CLIENT")
    assert Effect.ADMIN in request.effects
    assert request.detail.values == (2,)


@pytest.mark.parametrize(
    ("told", "effects", "anywhere"),
    [
        (entry(b"m.read", b"readonly", b"module", specs=[spec([b"RO", b"access"])]), READ, READ),
        (entry(b"m.write", b"write", b"module", specs=[spec([b"RW", b"update"])]), {Effect.WRITE}, BOTH),
        (entry(b"m.any", b"module"), BOTH | {Effect.UNKNOWN}, BOTH),
        # a module's setting is no key, and so a mere read to it
        (entry(b"m.config", b"readonly", b"module"), BOTH | {Effect.UNKNOWN}, BOTH),
        (entry(b"new.read", b"readonly", specs=[spec([b"RO", b"access"])]), READ, set()),
        (entry(b"new.all", b"readonly"), READ, READ),
        (entry(b"new.admin", b"admin"), {Effect.ADMIN}, set()),
        (entry(b"new.script", b"scripting"), BOTH | {Effect.UNKNOWN}, BOTH),
        (entry(b"new.odd", specs=[spec([b"OW", b"incomplete"])]), BOTH | {Effect.UNKNOWN}, BOTH),
    ],
)
def test_what_only_the_server_knows_is_judged_by_its_flags(
    told: list[Any], effects: set[Effect], anywhere: set[Effect]
) -> None:
    """A module names the first of several keys (RedisJSON's JSON.MGET), so it could touch any."""
    request = read([told], told[0].upper(), b"a", b"b")
    assert request.refusal is None
    assert request.effects >= effects
    assert request.detail.anywhere == anywhere
    assert all(use.shows for use in request.detail.keys)
    assert set(request.detail.values) == {1, 2} - {use.place for use in request.detail.keys}


def test_a_command_that_is_not_listed_is_refused() -> None:
    request = read([entry(b"m.read", b"readonly")], b"m.write", b"a")
    assert request.refusal == "unknown command 'm.write'"


def test_an_old_servers_answer_has_places_only() -> None:
    request = read([[b"old.copy", 3, [b"write"], 1, 2, 1]], b"OLD.COPY", b"a", b"b")
    assert [use.key for use in request.detail.keys] == [b"a", b"b"]


@pytest.mark.parametrize(
    "odd",
    [
        None,
        b"",
        7,
        [None],
        [[]],
        [[b"x"]],
        [[b"x", b"y", b"z", 1, 1, 1]],
        [[b"x", True, [], 0, 0, 0]],
        [[b"x y", -1, [], 0, 0, 0, []]],
        [[b"x\0", -1, [], 0, 0, 0, []]],
        [[b"", -1, [], 0, 0, 0, []]],
        [[b"x", -1, [], 1, 1, 0]],
        [[b"x", -1, [], -1, 1, 1]],
        [[b"x", -1, [], 1 << 40, 1, 1]],
        [[b"x", -1, [], 0, 0, 0, [], [], [spec([b"RO"], 0)], []]],
        [[b"x", -1, [], 0, 0, 0, [], [], [[b"flags"]], []]],
        [[b"x", -1, [], 0, 0, 0, [], [], [spec([b"RO"])] * 99, []]],
        [[b"x", -1, [], 0, 0, 0, [], [], 3, []]],
        [[b"config", -2, [], 0, 0, 0, [], [], [], [[b"x", -1, [], 0, 0, 0, []], [b"set|x", -1, [], 0, 0, 0, []]]]],
    ],
)
def test_what_does_not_read_as_a_command_is_left_out(odd: object) -> None:
    table = CommandTable.from_server(odd)
    assert {command.name for command in table} == {command.name for command in CommandTable.builtin()}


def test_a_server_can_not_fill_the_memory() -> None:
    table = CommandTable.from_server([entry(b"x%d" % at) for at in range(MAX_COMMANDS + 100)])
    assert len(table) <= len(CommandTable.builtin()) + MAX_COMMANDS


_replies = st.recursive(
    st.one_of(
        st.none(), st.integers(-5, 5), st.sampled_from([b"set", b"x", b"flags", b"index", b"type", b"spec", b"RO"])
    ),
    lambda inner: st.lists(inner, max_size=10),
    max_leaves=60,
)


@given(_replies)
def test_no_answer_of_a_server_raises(reply: object) -> None:
    for command in CommandTable.from_server([reply, entry(b"x", specs=[reply])]):
        assert command.known or command.name


def test_maps_of_the_third_protocol_version_say_the_same() -> None:
    def mapped(told: Any) -> Any:
        if isinstance(told, list) and told and told[0] in (b"flags", b"type", b"index", b"lastkey"):
            return {told[at]: mapped(told[at + 1]) for at in range(0, len(told), 2)}
        return told

    told = spec([b"RO", b"access"])
    request = read([entry(b"x", specs=[mapped(told)])], b"x", b"a")
    assert isinstance(request.detail, Call)
    assert [use.key for use in request.detail.keys] == [b"a"]
