"""A command and its arguments -> Request."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from lockgate.understand.redis._plans import made
from lockgate.understand.redis.arguments import fixed_values, may_hold_secrets, secrets, values
from lockgate.understand.redis.effects import NOTHING, UNKNOWN, WITHOUT_LIMIT, anywhere, effects_of, keys_of
from lockgate.understand.redis.keys import WRITE, Unreadable
from lockgate.understand.redis.options import OPTIONAL_WRITES, PLAIN_COUNTS, READERS, Found, option_places, set_options
from lockgate.understand.redis.plans import LANGUAGE, Plan, recordable
from lockgate.understand.redis.plans import plan as plan_of
from lockgate.understand.redis.tables import Command, CommandTable
from lockgate.values.command import Call, KeyUse
from lockgate.values.statement import Effect, Request, Statement

REFUSED: Final = "UNKNOWN"
"""The `kind` of a command that there isn't, as far as anybody knows."""

PLANNED: Final = 64
"""Arguments (or parameters that are set) of a call of which something is kept: a plan costs some 100 bytes for each,
and a client may send calls of every length there is. Clients that name more keys at once are few."""

_SAYABLE = re.compile(rb"[A-Za-z][A-Za-z_.-]{0,31}")
"""A name that may stand in a record though no command has it: letters only, as passwords rarely are."""

_SCRIPTS = frozenset({"EVAL", "EVAL_RO", "EVALSHA", "EVALSHA_RO"})

Effects = frozenset[Effect]

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the tables and lists say of a command, put together once. `uses` belong to its key specifications."""

    effects: Effects
    anywhere: Effects
    uses: tuple[tuple[Effects, bool], ...]
    reader: Callable[[tuple[bytes, ...]], Found] | None


class Understanding:
    """Reads Redis's commands. Not for several threads at once.

    `limit` bounds the cache of what the names of commands and numbers of arguments say (the oldest goes first); it
    keeps no argument alive. Each entry takes some 1 KiB, 8 KiB at most.
    """

    def __init__(self, limit: int = 4096) -> None:
        self._limit = limit
        self._facts: OrderedDict[tuple[CommandTable, str], _Facts] = OrderedDict()
        self._plans: OrderedDict[tuple[CommandTable, bytes, int], Plan] = OrderedDict()
        self._set_plans: OrderedDict[tuple[CommandTable, tuple[bytes, ...]], Plan] = OrderedDict()
        """SET is what is sent most, mostly with EX or NX: its options are its plan's key."""
        self._statements: OrderedDict[tuple[object, ...], tuple[tuple[Statement, ...], str]] = OrderedDict()

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
        return made(plan, args)

    def plan(self, args: tuple[bytes, ...], table: CommandTable) -> tuple[Plan, tuple[int, ...]] | None:
        """What is so of every command of this name (as it is spelt) with as many arguments, of which those at some
        places are the same. None where they differ in more than what the keys, channels and values are, or none was
        read yet."""
        plan = self._plans.get((table, args[0], len(args)))
        if plan is not None:
            return plan, ()
        command = table.find(args)
        options = set_options(args) if command is not None and command.name == "SET" else None
        plan = None if options is None else self._set_plans.get((table, options))
        return None if plan is None else (plan, option_places(args))

    def _read(self, args: tuple[bytes, ...], table: CommandTable, reviewed: frozenset[str]) -> Request:
        command = table.find(args)
        if command is None:
            return self._refused(args, _unknown(args, table))
        if not command.takes(len(args)):
            return self._unreadable(args, command, f"wrong number of arguments for '{_spoken(command)}' command")
        options = set_options(args) if command.name == "SET" else None
        if options is not None:
            plan = self._set_plans.get((table, options))
            if plan is not None:
                return made(plan, args)
        facts = self._told(table, command)
        try:
            found = _found(args, command, facts) if facts.reader is None else facts.reader(args)
        except Unreadable as reason:
            return self._unreadable(args, command, str(reason))
        request = self._judged(args, command, facts, found, reviewed)
        if len(args) > PLANNED:
            return request
        if _is_fixed(command, len(args)):
            _keep(self._plans, (table, args[0], len(args)), plan_of(request), self._limit)
        elif options is not None:
            _keep(self._set_plans, (table, options), plan_of(request), self._limit)
        return request

    def _told(self, table: CommandTable, command: Command) -> _Facts:
        facts = self._facts.get((table, command.name))
        if facts is None:
            facts = _Facts(
                effects=effects_of(command),
                anywhere=anywhere(command),
                uses=keys_of(command),
                reader=READERS.get(command.name) if command.known else None,
            )
            _keep(self._facts, (table, command.name), facts, self._limit)
        return facts

    def _judged(
        self, args: tuple[bytes, ...], command: Command, facts: _Facts, found: Found, reviewed: frozenset[str]
    ) -> Request:
        elsewhere = facts.anywhere | found.anywhere
        effects = facts.effects
        if command.known and command.name in _SCRIPTS and found.script in reviewed:
            elsewhere = NOTHING
            effects -= UNKNOWN
            found = replace(found, channels=())
        if command.name in OPTIONAL_WRITES:
            effects -= WRITE
        effects = effects.union(*(use.effects for use in found.keys), *(use.effects for use in found.channels))
        call = Call(
            name=command.name,
            args=args,
            keys=found.keys,
            anywhere=elsewhere,
            channels=found.channels,
            script=found.script,
            secrets=secrets(command.name, args),
            values=found.values if found.values is not None else _values(command, args, found.keys),
        )
        statements, shape = self._statement(command, effects | elsewhere, elsewhere, found)
        return Request(LANGUAGE, recordable(call), shape, statements, call)

    def _statement(
        self, command: Command, effects: Effects, elsewhere: Effects, found: Found
    ) -> tuple[tuple[Statement, ...], str]:
        """The statement and its shape: the same objects for all calls that do the same."""
        key = (command.name, command.categories, effects, elsewhere, found.functions, found.settings)
        known = self._statements.get(key)
        if known is None:
            statement = Statement(
                kind=command.name,
                effects=effects,
                functions=found.functions,
                has_where=command.name not in WITHOUT_LIMIT,
                inside=_inside(command),
                settings=found.settings,
                categories=tuple(sorted(command.categories)),
            )
            known = (statement,), _shape(statement, elsewhere)
            if len(found.settings) <= PLANNED:
                _keep(self._statements, key, known, self._limit)
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
    return Request(LANGUAGE, recordable(call), _shape(statement, NOTHING), (statement,), call)


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
    """Whether all calls with so many arguments are alike but for what the keys, channels and values are."""
    if command.known and command.name in READERS:
        return count == PLAIN_COUNTS.get(command.name)
    return (
        " " not in command.name
        and not command.container
        and all(spec.fixed for spec in command.specs)
        and not may_hold_secrets(command.name)
        and fixed_values(command, count) is not None
    )


def _keep(kept: OrderedDict[_Key, _Value], key: _Key, value: _Value, limit: int) -> None:
    kept[key] = value
    if len(kept) > limit:
        kept.popitem(last=False)


def _found(args: tuple[bytes, ...], command: Command, facts: _Facts) -> Found:
    """What the key specifications say."""
    return Found(
        tuple(
            KeyUse(args[place], place, effects, shows)
            for spec, (effects, shows) in zip(command.specs, facts.uses, strict=True)
            for place in spec.places(args)
        )
    )


def _values(command: Command, args: tuple[bytes, ...], keys: tuple[KeyUse, ...]) -> tuple[int, ...]:
    taken = {use.place for use in keys}
    return tuple(place for place in values(command, args) if place not in taken)


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
