"""Commands that come together are recorded together: one record before they are sent, one when all are answered.

A pipeline of sixteen is sixteen lines of one statement. What policy denies or holds has records of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lockgate.proxy.recorder import Begun
from lockgate.wire.gate import Ruling, Run

COMMANDS: Final = 1024
"""Commands of one record: a page that somebody may still read."""

CHARACTERS: Final = 65_536
"""Of its text but for the ends of lines, give or take one command's."""

TOGETHER: Final = 1024
"""Pairs of facts of which is remembered how they read as one. A pipeline has a handful of kinds of commands."""

REASONS: Final = 4
"""Reasons of one record, of commands that differ in what they do."""

ALIKE: Final = ("verdict", "policy", "mode", "epoch", "masks", "detects", "shadow", "would")
"""Fields that commands of one record have in common; what they do (`effects`, `objects`, `kinds`) is put together."""

_SETS: Final = ("effects", "objects", "kinds")


@dataclass(slots=True)
class Batch:
    """`texts` are the lines of its `commands`, `owed` how many of them have not ended. `ruling` is that of each of
    which nothing is masked. `staged` says that its beginning is recorded."""

    begun: Begun
    facts: Mapping[str, Any]
    texts: list[str] = field(default_factory=list)
    commands: int = 0
    characters: int = 0
    owed: int = 0
    bytes: int = 0
    masked: int = 0
    detected: dict[str, int] = field(default_factory=dict)
    failed: int = 0
    error: str | None = None
    outcome: str = "completed"
    staged: bool = False
    ruling: Ruling = field(init=False)

    def __post_init__(self) -> None:
        self.ruling = Ruling(handle=self)

    @property
    def full(self) -> bool:
        return self.commands >= COMMANDS or self.characters >= CHARACTERS

    def add(self, text: str, commands: int = 1) -> None:
        """One more command, about to be sent, or as many as `text` has lines."""
        self.texts.append(text)
        self.characters += len(text) + 1 - commands
        self.commands += commands
        self.owed += commands

    def settle(self, run: Run) -> bool:
        """One of them has ended. Whether all have."""
        self.bytes += run.bytes
        if run.masked_cells:
            self.masked += run.masked_cells
        for kind, count in run.detected.items():
            self.detected[kind] = self.detected.get(kind, 0) + count
        if run.error is not None:
            self.failed += 1
            self.error = self.error or run.error
        if run.outcome != "completed" and self.outcome in ("completed", "error"):
            self.outcome = run.outcome
        self.owed -= 1
        return not self.owed

    def ends(self) -> dict[str, Any]:
        """The fields of its second."""
        fields: dict[str, Any] = {"rows": 0, "bytes": self.bytes}
        if self.masked:
            fields["masked_cells"] = self.masked
        if self.detected:
            fields["detected"] = self.detected
        if self.error is not None:
            fields["error"] = {"code": self.error}
            if self.commands > 1:
                fields["failed"] = self.failed
        return fields


class Together:
    """Tells how the facts of two commands read as those of both."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any] | None]] = {}
        """By identity, with what has it: so it is nobody else's."""

    def of(self, one: Mapping[str, Any], other: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """None where they can't be one record: another policy let them pass, or masks them otherwise."""
        if one is other:
            return one
        key = (id(one), id(other))
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= TOGETHER:
                self._known.clear()
            known = self._known[key] = one, other, _together(one, other)
        return known[2]


def _together(one: Mapping[str, Any], other: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if any(one.get(name) != other.get(name) for name in ALIKE):
        return None
    both = {name: sorted({*one[name], *other[name]}) for name in _SETS}
    if all(both[name] == one[name] for name in _SETS):
        return one  # what it says already
    reasons = one["reason"].split("; ")
    if other["reason"] not in reasons:
        if len(reasons) >= REASONS:
            return None
        reasons.append(other["reason"])
    return {**one, **both, "reason": "; ".join(reasons)}
