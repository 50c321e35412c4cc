"""The sentences a client reads. Names in them come from clients, so they are cut and made printable."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from lockgate.policy.annotations import Policy
from lockgate.values.statement import Effect, Place, Statement
from lockgate.values.use import Use

NAMES_SHOWN = 5
NAME_LENGTH = 63
"""PostgreSQL's NAMEDATALEN - 1."""

_VERBS = {
    Effect.READ: "read",
    Effect.WRITE: "write",
    Effect.DDL: "change the schema",
    Effect.ADMIN: "administer",
    Effect.SESSION: "change the session",
    Effect.TRANSACTION: "control transactions",
    Effect.UNKNOWN: "do what can't be told",
}

_ON_CHANNELS = {Effect.READ: "listen to", Effect.WRITE: "publish to"}

_USES = {
    Use.EQUAL: "look it up",
    Use.ORDER: "sort by it",
    Use.RANGE: "compare it by order",
    Use.PATTERN: "match it with patterns",
    Use.GROUP: "group by it",
    Use.JOIN: "join by it",
    Use.PREDICATE: "choose rows by it, or compute of it what may fail",
}


@dataclass(frozen=True, slots=True)
class Touched:
    """Keys or channels in a sentence: those of `patterns`, () for such that no policy names, None for any."""

    place: Place
    patterns: tuple[str, ...] | None


def shown(text: str, length: int = NAME_LENGTH) -> str:
    """Printable and of bounded length: an error message is no place for escape sequences."""
    cut = text if len(text) <= length else text[: length - 1] + "…"
    return "".join(c if c.isprintable() else "?" for c in cut)


def listed(names: Collection[str]) -> str:
    first = [shown(name) for name in list(names)[:NAMES_SHOWN]]
    return ", ".join(first) + (f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else "")


def verbs(effects: Iterable[Effect]) -> str:
    wanted = set(effects) or {Effect.UNKNOWN}
    return " and ".join(phrase for effect, phrase in _VERBS.items() if effect in wanted)


def attempt(who: str, datastore: str, statement: Statement, touched: Touched | None = None) -> str:
    """`ann to write in orders (DELETE customers)`, `ann to write keys session:* of cache (SET)`."""
    names = f" {listed(statement.objects)}" if statement.objects else ""
    calls = f", calling {listed(statement.functions)}" if statement.functions else ""
    return f"{shown(who)} to {doing(statement, touched, datastore)} ({shown(statement.kind)}{names}{calls})"


def doing(statement: Statement, touched: Touched | None, datastore: str) -> str:
    """`read in orders`, `read and write keys session:* of cache`, `publish to any channels of cache`."""
    if touched is None:
        return f"{verbs(statement.effects)} in {datastore}"
    done = [effect for effect in _ON_CHANNELS if effect in statement.effects]
    words = " and ".join((_VERBS if touched.place is Place.KEY else _ON_CHANNELS)[effect] for effect in done) or "touch"
    things = f"{touched.place}s"
    if touched.patterns is None:
        things = f"any {things}"
    elif touched.patterns:
        things += f" {listed(touched.patterns)}"
    beside = statement.effects.difference(done)
    return f"{words} {things} of {datastore}" + (f" and {verbs(beside)}" if beside else "")


def duration(seconds: float) -> str:
    whole = int(seconds)
    for unit, size in (("hour", 3600), ("minute", 60)):
        if whole >= size and whole % size == 0:
            return f"{whole // size} {unit}{'s' if whole // size > 1 else ''}"
    return f"{whole} second{'s' if whole != 1 else ''}"


def forbidden(policy: Policy, who: str, datastore: str, statement: Statement, touched: Touched | None = None) -> str:
    return policy.reason or f"a policy forbids {attempt(who, datastore, statement, touched)}"


def held(
    policy: Policy,
    approvers: Sequence[str],
    timeout: float,
    datastore: str,
    statement: Statement,
    touched: Touched | None = None,
) -> str:
    what = verbs(statement.effects) if touched is None else doing(statement, touched, datastore)
    why = policy.reason or f"to {what} takes a second person"
    return f"{why}: waiting up to {duration(timeout)} for someone in {' or '.join(approvers)}"


def inferring(policy: Policy, column: str, uses: Collection[Use], *, told: bool) -> str:
    """`public.customers.email is masked for you, and you may not sort by it`; `told` is whether its use is known."""
    doing = " or ".join(phrase for use, phrase in _USES.items() if use in uses)
    may = f"you may not {doing}" if told else f"it can't be told that this does not {doing}"
    return f"{shown(column)} is masked for you, and {may}" + (f": {policy.reason}" if policy.reason else "")
