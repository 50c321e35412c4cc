"""The sentences a client reads. Names in them come from clients, so they are cut and made printable."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from lockgate.policy.annotations import Policy
from lockgate.values.statement import Effect, Statement
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


_USES = {
    Use.EQUAL: "look it up",
    Use.ORDER: "sort by it",
    Use.RANGE: "compare it by order",
    Use.PATTERN: "match it with patterns",
    Use.GROUP: "group by it",
    Use.JOIN: "join by it",
    Use.PREDICATE: "choose rows by it, or compute of it what may fail",
}


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


def attempt(who: str, datastore: str, statement: Statement) -> str:
    """`ann to write in orders (DELETE customers)`."""
    names = f" {listed(statement.objects)}" if statement.objects else ""
    calls = f", calling {listed(statement.functions)}" if statement.functions else ""
    return f"{shown(who)} to {verbs(statement.effects)} in {datastore} ({shown(statement.kind)}{names}{calls})"


def duration(seconds: float) -> str:
    whole = int(seconds)
    for unit, size in (("hour", 3600), ("minute", 60)):
        if whole >= size and whole % size == 0:
            return f"{whole // size} {unit}{'s' if whole // size > 1 else ''}"
    return f"{whole} second{'s' if whole != 1 else ''}"


def forbidden(policy: Policy, who: str, datastore: str, statement: Statement) -> str:
    return policy.reason or f"a policy forbids {attempt(who, datastore, statement)}"


def held(policy: Policy, approvers: Sequence[str], timeout: float, statement: Statement) -> str:
    why = policy.reason or f"to {verbs(statement.effects)} takes a second person"
    return f"{why}: waiting up to {duration(timeout)} for someone in {' or '.join(approvers)}"


def inferring(policy: Policy, column: str, uses: Collection[Use], *, told: bool) -> str:
    """`public.customers.email is masked for you, and you may not sort by it`; `told` is whether its use is known."""
    doing = " or ".join(phrase for use, phrase in _USES.items() if use in uses)
    may = f"you may not {doing}" if told else f"it can't be told that this does not {doing}"
    return f"{shown(column)} is masked for you, and {may}" + (f": {policy.reason}" if policy.reason else "")
