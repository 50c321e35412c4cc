"""Which of a server's numbered databases policies tell apart, and so what "all of them" has to be asked about.

How many there are is the server's secret (`databases` in redis.conf, which CONFIG GET may be refused), but to policies
those that none of them names are all alike: one of them stands for the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Final

from cedarpy import pst

from lockgate.policy.lint import WHOLE, mentioned, parts
from lockgate.policy.source import BundleError

USUAL: Final = 16
"""Databases of a server whose `databases` isn't set (redis.conf)."""

NAMED: Final = 256
"""Databases beside those that policies name by number: what reaches all of them costs two questions for each."""

_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,9}")
_LOOKS: Final = frozenset(("database", WHOLE))


def named(template: pst.Template) -> frozenset[str]:
    """The numbers that a policy's conditions compare `context.database` with."""
    return frozenset(_found(template.clauses))


def everywhere(names: Iterable[str], where: str) -> tuple[str, ...]:
    """What stands for all databases, where policies name those of `names`. Raises BundleError for more than NAMED."""
    found = dict.fromkeys(map(str, range(USUAL)))
    told = set(names)
    found |= dict.fromkeys(sorted(told, key=int))
    if len(found) > USUAL + NAMED:
        raise BundleError(f"{where}: policies name more than {NAMED} databases by their numbers")
    if told.issuperset(map(str, range(USUAL))):
        found[next(str(number) for number in count(USUAL) if str(number) not in told)] = None
    return tuple(found)


def _found(node: object) -> Iterator[str]:
    divides = isinstance(node, pst.BinaryOp) and node.op in ("and", "or")
    if divides or isinstance(node, tuple | pst.When | pst.Unless | pst.IfThenElse | pst.UnaryOp):
        for part in parts(node):
            yield from _found(part)
    elif not _LOOKS.isdisjoint(mentioned(node)):
        yield from filter(_NUMBER.fullmatch, _texts(node))


def _texts(node: object) -> Iterator[str]:
    """Every text that stands in it; of a pattern some that match it."""
    if isinstance(node, pst.StringLit):
        yield node.value
    elif isinstance(node, pst.Like):
        for filling in ("", "0"):
            yield "".join(one.value if isinstance(one, pst.Char) else filling for one in node.pattern)
        yield from _texts(node.base)
    else:
        for part in parts(node):
            yield from _texts(part)
