"""One command and what is masked of its keys, as the table of commands looks at it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lockgate.masking.plan import Unmaskable
from lockgate.masking.replies.rules import NOTHING, Rule, together
from lockgate.values.command import Call


@dataclass(slots=True)
class View:
    """`rules` has those of the masked keys by their place in the arguments.

    `elsewhere` has the patterns of all keys that are masked in the datastore, whether the command names one or not.
    """

    call: Call
    rules: Mapping[int, Rule]
    elsewhere: Sequence[bytes]
    seen: set[int] = field(default_factory=set)
    """Places that the table knows the part of."""
    places: frozenset[int] = field(init=False)
    """Those of all its keys, masked or not."""

    def __post_init__(self) -> None:
        self.places = frozenset(use.place for use in self.call.keys)

    @property
    def args(self) -> tuple[bytes, ...]:
        return self.call.args

    def upper(self, start: int) -> list[bytes]:
        """The arguments from a place on, as options are compared: in capitals, and only up to a NUL (strcasecmp)."""
        return [arg.partition(b"\0")[0].upper() for arg in self.args[start:]]

    def rule(self, place: int) -> Rule:
        """That of the key which the table has in this place. Raises Unmaskable when understanding has none there."""
        if place not in self.places:
            raise Unmaskable(f"{self.call.name} was not understood to use the key that it does")
        self.seen.add(place)
        return self.rules.get(place, NOTHING)

    def every(self, but: Sequence[int] = ()) -> Rule:
        """Those of all its keys put together, but of keys in some places."""
        return together(self.rule(use.place) for use in self.call.keys if use.place not in but)

    def by_key(self) -> dict[bytes, Rule]:
        """Those of its keys, by name."""
        named: dict[bytes, list[Rule]] = {}
        for use in self.call.keys:
            named.setdefault(use.key, []).append(self.rule(use.place))
        return {key: together(rules) for key, rules in named.items()}

    def refuse(self, why: str) -> Unmaskable:
        return Unmaskable(f"{self.call.name} {why}")

    def answers(self, rule: Rule) -> None:
        """The reply would tell something about elements of the value that isn't shown. Raises Unmaskable."""
        if rule.element is not None:
            raise self.refuse("answers a question about a masked value")

    def changes(self, rule: Rule) -> None:
        """The value would be changed in part, by somebody who knows not all of it. Raises Unmaskable.

        Its mask may then show other parts: the last digits of what was made a longer number, the domain of what was
        made an address. And a document whose names are written over has its places no more.
        """
        if rule.places or any(not masker.opaque for _, masker in rule.masks if rule.element is not None):
            raise self.refuse("changes a part of a masked value, so that its mask could show another")

    def copies(self, source: Rule, to: int, *, fields: bool) -> None:
        """What `source` masks goes to the key in place `to`. Raises Unmaskable when it isn't masked there as well."""
        if not self.rule(to).covers(source, fields=fields):
            raise self.refuse("copies a masked value to a key where it isn't masked at least as strictly")
