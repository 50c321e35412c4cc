"""What a command's name and the number of its arguments say of every such call, and the request that comes of it.

`made` is the reference: `_plans.pyx` is the same, compiled, and what runs.
"""

from __future__ import annotations

from dataclasses import dataclass

from lockgate.understand.redis.rendering import HIDDEN, spelt, text
from lockgate.values.command import Call, ChannelUse, KeyUse
from lockgate.values.statement import Effect, Request, Statement

LANGUAGE = "redis"

_IN_ORDER = 8
"""Arguments that may be put into the text without looking whether it grows too long."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`keys` has place, effects and whether the value is shown; `channels` place, effects and whether it's a pattern.

    `shown` are the places of arguments that are no values, `hidden` what stands behind them in the text; None where
    values don't come last, or arguments are so many that the text may have to be cut.
    """

    name: str
    statements: tuple[Statement, ...]
    shape: str
    keys: tuple[tuple[int, frozenset[Effect], bool], ...]
    channels: tuple[tuple[int, frozenset[Effect], bool], ...]
    anywhere: frozenset[Effect]
    values: tuple[int, ...]
    shown: tuple[int, ...]
    hidden: str | None


def plan(request: Request) -> Plan:
    """What is so of all calls with the same command and as many arguments as in `request`."""
    call = request.detail
    assert isinstance(call, Call)
    shown = tuple(place for place in range(1, len(call.args)) if place not in call.values)
    in_order = len(call.args) <= _IN_ORDER and shown == tuple(range(1, 1 + len(shown)))
    return Plan(
        name=call.name,
        statements=request.statements,
        shape=request.shape,
        keys=tuple((use.place, use.effects, use.shows) for use in call.keys),
        channels=tuple((use.place, use.effects, use.pattern) for use in call.channels),
        anywhere=call.anywhere,
        values=call.values,
        shown=shown,
        hidden=f" {HIDDEN}" * len(call.values) if in_order else None,
    )


def made(plan: Plan, args: tuple[bytes, ...]) -> Request:
    """The request for a call that `plan` is about."""
    keys = tuple(KeyUse(args[place], place, effects, shows) for place, effects, shows in plan.keys)
    channels = tuple(ChannelUse(args[place], place, effects, pattern) for place, effects, pattern in plan.channels)
    call = Call(plan.name, args, keys, plan.anywhere, channels, None, (), plan.values)
    if plan.hidden is None:
        written = recordable(call)
    else:
        written = " ".join([plan.name, *[spelt(args[place]) for place in plan.shown]]) + plan.hidden
    return Request(LANGUAGE, written, plan.shape, plan.statements, call)


def recordable(call: Call) -> str:
    """The call's text with every value and secret hidden."""
    return text(call, call.values.__contains__)
