"""What of a request is one question: a statement, or one of the things inside a datastore that it touches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from lockgate.policy import questions
from lockgate.policy.bundle import Bundle
from lockgate.policy.patterns import World
from lockgate.policy.questions import Answer, Entity
from lockgate.values.statement import Effect, Place, Statement

_DONE_TO_KEYS: Final = frozenset((Effect.READ, Effect.WRITE))


@dataclass(frozen=True, slots=True)
class Part:
    """A statement as one question sees it, so that equal questions are equal parts.

    `place` is None for a statement that touches nothing inside the datastore; else its effects are those on what is
    touched, and `patterns` those that match it, None when it could be anything.
    """

    statement: Statement
    place: Place | None = None
    patterns: World | None = ()

    def cases(self, bundle: Bundle, datastore: str) -> Iterator[Case]:
        if self.place is None:
            yield Case(self, None, questions.store(datastore))
            return
        worlds = bundle.whole(datastore, self.place).worlds if self.patterns is None else (self.patterns,)
        for world in worlds:
            yield Case(self, world, questions.touched(datastore, self.place, world))


@dataclass(frozen=True, slots=True)
class Case:
    """A part as it is asked about: of what could be anything, one of several. `world` is None without a touch."""

    part: Part
    world: World | None
    resource: Entity


def parts(statements: Iterable[Statement]) -> tuple[Part, ...]:
    """The distinct parts of these statements, in order."""
    found: dict[Part, None] = {}
    for statement in statements:
        if not statement.touches:
            found[Part(statement)] = None
            continue
        # what is done to no key (administering, what can't be told) is done whichever key is looked at, and so is a
        # write that none of the keys is said to take
        done = _DONE_TO_KEYS & frozenset().union(*(touch.effects for touch in statement.touches))
        beside = statement.effects - done
        for touch in statement.touches:
            seen = replace(statement, effects=touch.effects | beside, touches=())
            found[Part(seen, touch.place, touch.patterns)] = None
    return tuple(found)


def unpermitted(cases: Iterable[tuple[Case, Answer]], bundle: Bundle, datastore: str) -> Case | None:
    """A case of a part that could be anything, and is permitted by nothing that holds of the datastore as a whole.

    The answers are permits, with all the policies that say so.
    """
    known: dict[Part, dict[World | None, frozenset[str]]] = {}
    first: dict[Part, Case] = {}
    for case, answer in cases:
        if case.part.place is not None and case.part.patterns is None:
            known.setdefault(case.part, {})[case.world] = frozenset(policy.id for policy in answer.policies)
            first.setdefault(case.part, case)
    for part, permits in known.items():
        assert part.place is not None
        everywhere = bundle.whole(datastore, part.place).everywhere
        if not _one_holds(permits, everywhere):
            return first[part]
    return None


def _one_holds(permits: Mapping[World | None, frozenset[str]], everywhere: Mapping[str, tuple[World, ...]]) -> bool:
    """Whether one policy permits everything, not this one these keys and that one those."""
    every = frozenset().union(*permits.values())
    return any(all(name in permits[world] for world in everywhere.get(name, ((),))) for name in every)
