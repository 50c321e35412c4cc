"""The patterns by which policies name keys and channels, and what it takes to judge what could be any of them.

A key matches some of the patterns and not the others. Of a key that is known it is known which. What may touch any key
(FLUSHALL, SCAN, a script) has to be permitted however the key matched: 2^n ways of n patterns. Few of them have to be
asked about, since a policy looks at its own patterns only, and nearly every policy asks for each of them either to
match or not to match. So a forbid is met, if it ever is, where the ones match and the others don't; and a permit that
holds where the ones don't match and the others do holds everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Final

from cedarpy import pst

from lockgate.policy.annotations import Policy
from lockgate.policy.lint import parts
from lockgate.policy.source import BundleError
from lockgate.values.glob import compile_glob
from lockgate.values.protocol import by_pattern
from lockgate.values.statement import Place

PATTERNS: Final = 1024
"""Patterns that policies name of one datastore's keys, or channels. A key that is new is in the worst case (all of them
begin with a star) matched against each, in some 0.2 ms."""

EITHER: Final = 4
"""Patterns of which one policy asks both ways (as in `if resource in Keys::"x" then`): each doubles the questions."""

KINDS: Final = {"Keys": Place.KEY, "Channels": Place.CHANNEL}
_ONES: Final = {"Key": "Keys", "Channel": "Channels"}

World = tuple[str, ...]
"""The patterns that match a key, and no others do."""

_MATCHED, _UNMATCHED = frozenset((True,)), frozenset((False,))
_BOTH = _MATCHED | _UNMATCHED


@dataclass(frozen=True, slots=True)
class Named:
    """A pattern that a policy names. `wanted` is how the policy comes to apply: with it matching, or not, or either."""

    place: Place
    datastore: str
    pattern: str
    wanted: frozenset[bool]


@dataclass(frozen=True, slots=True)
class Whole:
    """How to ask about what could be any key of a datastore: all of `worlds` have to be permitted.

    And some permit has to hold everywhere: one that permits each of `everywhere[id]`, or the world without any pattern
    where it isn't in there.
    """

    worlds: tuple[World, ...] = ((),)
    everywhere: Mapping[str, tuple[World, ...]] = field(default_factory=dict)


def named(template: pst.Template, policy: Policy, datastores: Mapping[str, str]) -> tuple[Named, ...]:
    """The patterns that a policy names. Raises BundleError for one that would not mean what it says."""
    found: dict[tuple[str, str], frozenset[bool]] = {}
    for kind, name, wanted in _memberships(template, policy.where):
        found[kind, name] = found.get((kind, name), frozenset()) | wanted
    patterns = tuple(
        Named(KINDS[kind], *_read(kind, name, policy.where, datastores), wanted)
        for (kind, name), wanted in sorted(found.items())
    )
    if sum(one.wanted == _BOTH for one in patterns) > EITHER:
        raise BundleError(
            f"{policy.where}: asks of more than {EITHER} patterns both whether they match and whether they don't "
            "(if ... then ... else): make several policies of it"
        )
    return patterns


def _read(kind: str, name: str, where: str, datastores: Mapping[str, str]) -> tuple[str, str]:
    """The datastore and the pattern of an id."""
    store = max((s for s in datastores if name.startswith(f"{s}/")), key=len, default=None)
    said = f'{where}: {kind}::"{name}"'
    if store is None:
        known = ", ".join(sorted(datastores)) or "none"
        raise BundleError(f"{said}: no datastore of the configuration stands before the slash (there are {known})")
    if not by_pattern(datastores[store]):
        raise BundleError(f"{said}: {store} speaks {datastores[store]}, which has no {kind.lower()}")
    pattern = name[len(store) + 1 :]
    if not pattern:
        raise BundleError(f"{said}: there is no pattern behind the slash (`*` is all {kind.lower()})")
    try:
        compile_glob(pattern.encode())
    except ValueError as error:
        raise BundleError(f'{where}: {kind}::"{name[:60]}...": {error}') from None
    return store, pattern


def _memberships(template: pst.Template, where: str) -> Iterator[tuple[str, str, frozenset[bool]]]:
    """(type, id, wanted) of every `resource in Keys::"..."` of a policy."""
    match template.resource:
        case pst.ScopeIn(entity=entity) | pst.ScopeIsIn(entity=entity):
            yield from _named(entity, _MATCHED, where)
        case other:
            yield from _walk(other, _BOTH, where)
    yield from _walk(template.principal, _BOTH, where)
    for clause in template.clauses:
        yield from _walk(clause.expr, _MATCHED if isinstance(clause, pst.When) else _UNMATCHED, where)


def _walk(node: object, wanted: frozenset[bool], where: str) -> Iterator[tuple[str, str, frozenset[bool]]]:
    resource = pst.Var("resource")
    if isinstance(node, pst.BinaryOp) and node.op in ("and", "or"):
        for part in (node.left, node.right):
            yield from _walk(part, wanted, where)
    elif isinstance(node, pst.UnaryOp) and node.op == "not":
        yield from _walk(node.arg, _turned(wanted), where)
    elif isinstance(node, pst.IfThenElse):
        yield from _walk(node.cond, _BOTH, where)
        for part in (node.then_expr, node.else_expr):
            yield from _walk(part, wanted, where)
    elif isinstance(node, pst.BinaryOp) and node.op == "in" and node.left == resource:
        operands = node.right.elements if isinstance(node.right, pst.Set) else (node.right,)
        for operand in operands:
            yield from _operand(operand, wanted, where)
    elif isinstance(node, pst.Is) and node.base == resource and node.in_expr is not None:
        yield from _operand(node.in_expr, wanted, where)
    elif isinstance(node, pst.EntityUid):
        _check_placed(node, where)
    else:
        for inner in parts(node):
            yield from _walk(inner, _BOTH, where)


def _operand(node: object, wanted: frozenset[bool], where: str) -> Iterator[tuple[str, str, frozenset[bool]]]:
    if isinstance(node, pst.EntityLit):
        yield from _named(node.value, wanted, where)
    else:
        yield from _walk(node, _BOTH, where)


def _named(entity: object, wanted: frozenset[bool], where: str) -> Iterator[tuple[str, str, frozenset[bool]]]:
    if isinstance(entity, pst.EntityUid):
        if str(entity.type) in KINDS:
            yield str(entity.type), entity.id, wanted
        else:
            _check_placed(entity, where)


def _check_placed(uid: pst.EntityUid, where: str) -> None:
    """Raises BundleError for a name that no question has an answer to."""
    kind = str(uid.type)
    if kind in _ONES:
        raise BundleError(f'{where}: {kind}::"{uid.id}": keys and channels are named by pattern: {_ONES[kind]}::')
    if kind in KINDS:
        raise BundleError(f'{where}: {kind}::"{uid.id}": write `resource in {kind}::"{uid.id}"`, nothing else')


def _turned(wanted: frozenset[bool]) -> frozenset[bool]:
    return frozenset(not one for one in wanted)


def collected(policies: Iterable[tuple[Policy, Sequence[Named]]]) -> dict[tuple[str, Place], tuple[str, ...]]:
    """(datastore, place) -> all its patterns, sorted. Raises BundleError for more than PATTERNS."""
    found: dict[tuple[str, Place], set[str]] = {}
    for policy, patterns in policies:
        for one in patterns:
            together = found.setdefault((one.datastore, one.place), set())
            together.add(one.pattern)
            if len(together) > PATTERNS:
                raise BundleError(f"{policy.where}: more than {PATTERNS} patterns of {one.place}s of {one.datastore}")
    return {key: tuple(sorted(patterns)) for key, patterns in found.items()}


def whole(policies: Iterable[tuple[Policy, Sequence[Named]]], datastore: str, place: Place, everything: World) -> Whole:
    """How to ask about any key (or channel) of a datastore; `everything` are all its patterns."""
    worlds: dict[World, None] = {(): None, everything: None}
    everywhere: dict[str, tuple[World, ...]] = {}
    for policy, patterns in policies:
        here = [one for one in patterns if one.datastore == datastore and one.place is place]
        if not here:
            continue
        # a forbid is asked about where it would apply, a permit where it would not
        wanted = _MATCHED if policy.effect == "forbid" else _UNMATCHED
        found = tuple(_worlds(here, wanted, everything))
        worlds |= dict.fromkeys(found)
        if policy.effect == "permit":
            everywhere[policy.id] = found
    return Whole(tuple(worlds), everywhere)


def _worlds(patterns: Sequence[Named], wanted: frozenset[bool], everything: World) -> Iterator[World]:
    if all(one.wanted == wanted for one in patterns):
        # what else matches is none of this policy's business, so it shares a world with all that are like it
        yield everything
        return
    matched = [one.pattern for one in patterns if one.wanted == wanted]
    either = [one.pattern for one in patterns if one.wanted == _BOTH]
    for size in range(len(either) + 1):
        for some in combinations(either, size):
            yield tuple(sorted((*matched, *some)))
