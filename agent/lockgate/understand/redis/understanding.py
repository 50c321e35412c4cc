"""A command and its arguments -> Request."""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Final

from lockgate.understand.redis.arguments import fixed_values, may_hold_secrets, secrets, values
from lockgate.understand.redis.effects import NOTHING, UNKNOWN, WITHOUT_LIMIT, anywhere, effects_of, keys_of
from lockgate.understand.redis.keys import WRITE, Unreadable
from lockgate.understand.redis.options import OPTIONAL_WRITES, READERS, Found
from lockgate.understand.redis.rendering import HIDDEN, spelt, text
from lockgate.understand.redis.tables import Command, CommandTable
from lockgate.values.command import Call, KeyUse
from lockgate.values.statement import Effect, Request, Statement

LANGUAGE: Final = "redis"

REFUSED: Final = "UNKNOWN"
"""The `kind` of a command that there isn't, as far as anybody knows."""

_SAYABLE = re.compile(rb"[A-Za-z][A-Za-z_.-]{0,31}")
"""A name that may stand in a record though no command has it: letters only, as passwords rarely are."""

_SCRIPTS = frozenset({"EVAL", "EVAL_RO", "EVALSHA", "EVALSHA_RO"})

Effects = frozenset[Effect]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a command's name and the number of its arguments say of every such call.

    `keys` has place, effects and whether the value is shown. `shown` are the places of arguments that are no values,
    `hidden` how many others follow them; None where they don't stand in that order.
    """

    name: str
    statements: tuple[Statement, ...]
    shape: str
    keys: tuple[tuple[int, Effects, bool], ...]
    anywhere: Effects
    values: tuple[int, ...]
    shown: tuple[int, ...]
    hidden: str | None


class Understanding:
    """Reads Redis's commands. Not for several threads at once.

    `limit` bounds the cache of what the names of commands and numbers of arguments say (the oldest goes first); it
    keeps no argument alive. Each entry takes some 1 KiB.
    """

    def __init__(self, limit: int = 4096) -> None:
        self._limit = limit
        self._plans: OrderedDict[tuple[CommandTable, bytes, int], _Plan] = OrderedDict()
        self._statements: OrderedDict[tuple[object, ...], tuple[Statement, ...]] = OrderedDict()

    def request(
        self, args: tuple[bytes, ...], table: CommandTable | None = None, reviewed: frozenset[str] = frozenset()
    ) -> Request:
        """What the command would do. Never raises: what can't be judged is one statement with a `refusal`.

        `args` is everything that was sent, the name first. `table` has the commands there are, by default the built-in
        ones; `reviewed` the SHA-1 of scripts that touch nothing but the keys they declare.

        `Request.detail` is the Call. `Request.text` has every value and password hidden, so it may be logged and kept.
        Two requests of the same shape have the same statements, and do the same to keys that they don't name: all
        else that a verdict can depend on are the keys and channels of the Call. A shape has no argument in it but the
        digests of scripts, names of functions and of parameters that are set.
        """
        if table is None:
            table = CommandTable.builtin()
        try:
            plan = self._plans.get((table, args[0], len(args)))
        except IndexError:
            return self._refused(args, "no command")
        if plan is None:
            return self._read(args, table, reviewed)
        keys = tuple([KeyUse(args[place], place, effects, shows) for place, effects, shows in plan.keys])
        call = Call(plan.name, args, keys, plan.anywhere, (), None, (), plan.values)
        if plan.hidden is None:
            written = _recordable(call)
        else:
            written = " ".join([plan.name, *[spelt(args[place]) for place in plan.shown]]) + plan.hidden
        return Request(LANGUAGE, written, plan.shape, plan.statements, call)

    def _read(self, args: tuple[bytes, ...], table: CommandTable, reviewed: frozenset[str]) -> Request:
        command = table.find(args)
        if command is None:
            return self._refused(args, _unknown(args, table))
        if not command.takes(len(args)) or (command.container and len(args) == 1 and command.name != "COMMAND"):
            return self._unreadable(args, command, f"wrong number of arguments for '{_spoken(command)}' command")
        try:
            if command.known and command.name in READERS:
                return self._judged(args, command, READERS[command.name](args), reviewed)
            keys = tuple(
                KeyUse(args[place], place, effects, shows)
                for spec, (effects, shows) in zip(command.specs, keys_of(command), strict=True)
                for place in spec.places(args)
            )
        except Unreadable as reason:
            return self._unreadable(args, command, str(reason))
        request = self._judged(args, command, Found(keys), reviewed)
        if _is_fixed(command, len(args)):
            self._plans[table, args[0], len(args)] = _plan(request)
            if len(self._plans) > self._limit:
                self._plans.popitem(last=False)
        return request

    def _judged(self, args: tuple[bytes, ...], command: Command, found: Found, reviewed: frozenset[str]) -> Request:
        elsewhere = anywhere(command) | found.anywhere
        effects = effects_of(command)
        if command.known and command.name in _SCRIPTS and found.script in reviewed:
            elsewhere = NOTHING
            effects -= UNKNOWN
            found = replace(found, channels=())
        if command.name in OPTIONAL_WRITES:
            effects -= WRITE
        for use in (*found.keys, *found.channels):
            effects |= use.effects
        call = Call(
            name=command.name,
            args=args,
            keys=found.keys,
            anywhere=elsewhere,
            channels=found.channels,
            script=found.script,
            secrets=secrets(command.name, args),
            values=found.values if found.values is not None else values(command.name, args),
        )
        statements = self._statement(command, effects | elsewhere, found)
        return Request(LANGUAGE, _recordable(call), _shape(statements[0], elsewhere), statements, call)

    def _statement(self, command: Command, effects: Effects, found: Found) -> tuple[Statement, ...]:
        """The same object for all calls that do the same, so that comparing them is cheap."""
        key = (command.name, command.categories, effects, found.functions, found.settings)
        known = self._statements.get(key)
        if known is None:
            known = self._statements[key] = (
                Statement(
                    kind=command.name,
                    effects=effects,
                    functions=found.functions,
                    has_where=command.name not in WITHOUT_LIMIT,
                    inside=_inside(command),
                    settings=found.settings,
                    categories=tuple(sorted(command.categories)),
                ),
            )
            if len(self._statements) > self._limit:
                self._statements.popitem(last=False)
        return known

    def _unreadable(self, args: tuple[bytes, ...], command: Command, reason: str) -> Request:
        """A command that there is, but not with these arguments: which are keys, nobody can tell."""
        statement = Statement(
            kind=command.name,
            effects=effects_of(command) | UNKNOWN,
            refusal=reason,
            inside=_inside(command),
            categories=tuple(sorted(command.categories)),
        )
        return _refusing(args, statement)

    def _refused(self, args: tuple[bytes, ...], reason: str) -> Request:
        return _refusing(args, Statement(kind=REFUSED, effects=UNKNOWN, refusal=reason))


def _refusing(args: tuple[bytes, ...], statement: Statement) -> Request:
    """Nothing that was sent is shown but the command: who knows what it was meant to be."""
    first = 1 + (" " in statement.kind)
    call = Call(statement.kind, args, secrets=tuple(range(first, len(args))))
    return Request(LANGUAGE, _recordable(call), _shape(statement, NOTHING), (statement,), call)


def _unknown(args: tuple[bytes, ...], table: CommandTable) -> str:
    """Why there is no such command, in Redis's words."""
    name = args[0]
    container = table.find((name,)) if len(args) > 1 else None
    if container is not None:
        sub = f" '{args[1].decode()}'" if _SAYABLE.fullmatch(args[1]) else ""
        return f"unknown subcommand{sub} of '{container.name.lower()}'"
    return f"unknown command '{name.decode()}'" if _SAYABLE.fullmatch(name) else "unknown command"


def _spoken(command: Command) -> str:
    return command.name.lower().replace(" ", "|")


def _inside(command: Command) -> tuple[str, ...]:
    container, _, sub = command.name.partition(" ")
    return (container,) if sub else ()


def _is_fixed(command: Command, count: int) -> bool:
    """Whether all calls with so many arguments are alike but for what the keys and values are."""
    return (
        " " not in command.name
        and not command.container
        and all(spec.fixed for spec in command.specs)
        and not may_hold_secrets(command.name)
        and fixed_values(command.name, count) is not None
    )


def _plan(request: Request) -> _Plan:
    call = request.detail
    assert isinstance(call, Call)
    shown = tuple(place for place in range(1, len(call.args)) if place not in call.values)
    in_order = len(call.args) <= 8 and shown == tuple(range(1, 1 + len(shown)))
    return _Plan(
        name=call.name,
        statements=request.statements,
        shape=request.shape,
        keys=tuple((use.place, use.effects, use.shows) for use in call.keys),
        anywhere=call.anywhere,
        values=call.values,
        shown=shown,
        hidden=f" {HIDDEN}" * len(call.values) if in_order else None,
    )


def _recordable(call: Call) -> str:
    return text(call, call.values.__contains__)


def _shape(statement: Statement, elsewhere: Effects) -> str:
    """Everything about the statement that isn't always so of its kind."""
    return "\0".join((
        statement.kind,
        ",".join(sorted(statement.effects)),
        ",".join(sorted(elsewhere)),
        ",".join(statement.categories),
        ",".join(statement.functions),
        ",".join(statement.settings),
        statement.refusal or "",
    ))  # fmt: skip


