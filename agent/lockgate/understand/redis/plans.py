"""What a command's name and the number of its arguments say of every such call, and the request that comes of it.

`made` is the reference: `_plans.pyx` is the same, compiled, and what runs.
"""

from __future__ import annotations

from dataclasses import dataclass

from lockgate.understand.redis.rendering import HIDDEN, spelt, text
from lockgate.values.command import Call, ChannelUse, KeyUse
from lockgate.values.statement import Effect, Request, Statement

LANGUAGE = "redis"

_SHORT = 8
"""Arguments that may be put into the text without looking whether it grows too long."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`keys` has place, effects and whether the value is shown; `channels` place, effects and whether it's a pattern.

    `written` has what stands in the text behind the name: the place of an argument, 0 for one that is hidden. None
    where arguments are so many that the text may have to be cut.
    """

    name: str
    statements: tuple[Statement, ...]
    shape: str
    keys: tuple[tuple[int, frozenset[Effect], bool], ...]
    channels: tuple[tuple[int, frozenset[Effect], bool], ...]
    anywhere: frozenset[Effect]
    values: tuple[int, ...]
    written: tuple[int, ...] | None


def plan(request: Request) -> Plan:
    """What is so of all calls with the same command and as many arguments as in `request`."""
    call = request.detail
    assert isinstance(call, Call)
    places = tuple(0 if place in call.values else place for place in range(1, len(call.args)))
    return Plan(
        name=call.name,
        statements=request.statements,
        shape=request.shape,
        keys=tuple((use.place, use.effects, use.shows) for use in call.keys),
        channels=tuple((use.place, use.effects, use.pattern) for use in call.channels),
        anywhere=call.anywhere,
        values=call.values,
        written=places if len(places) < _SHORT else None,
    )


def made(plan: Plan, args: tuple[bytes, ...]) -> Request:
    """The request for a call that `plan` is about."""
    keys = tuple(KeyUse(args[place], place, effects, shows) for place, effects, shows in plan.keys)
    channels = tuple(ChannelUse(args[place], place, effects, pattern) for place, effects, pattern in plan.channels)
    call = Call(plan.name, args, keys, plan.anywhere, channels, None, (), plan.values)
    if plan.written is None:
        written = recordable(call)
    else:
        written = " ".join([plan.name, *[spelt(args[place]) if place else HIDDEN for place in plan.written]])
    return Request(LANGUAGE, written, plan.shape, plan.statements, call)


def recordable(call: Call) -> str:
    """The call's text with every value and secret hidden."""
    return text(call, call.values.__contains__)
