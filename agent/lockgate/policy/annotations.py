"""The annotations that give a forbid its consequence, and the rules they have to keep.

Cedar ignores annotations, so everything about them is checked here: a misspelt `@aprovers` would turn a hold into
something else without a word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lockgate.masking import MaskerError, parse_masker
from lockgate.policy.source import BundleError, Piece

MASK_DEFAULT = "redact"
"""The masker of a forbid without @mask, and of a column that no policy lets this principal see."""

HOLD_SECONDS = 15 * 60.0
"""How long a statement waits for the second key when @timeout does not say."""

HOLD_SECONDS_MIN = 1.0
HOLD_SECONDS_MAX = 24 * 3600.0
"""A held statement keeps a connection and its transaction: a day is already a long time to hold locks."""

HOLD_SECONDS_IN_TRANSACTION = 60.0
"""How long it waits inside an open transaction when @timeout_in_transaction does not say: its locks are other
people's waits. A minute is `lock_timeout` as migration tools recommend it at most (strong_migrations has 10 s)."""

GRANT_SECONDS_MAX = 24 * 3600.0
"""A grant lets statements pass that nobody has seen: for a day's work, not for good."""

REASON_LENGTH = 300
"""Characters. PostgreSQL's clients show an error message on one line."""

KEYS = ("id", "approvers", "timeout", "timeout_in_transaction", "grant", "mask", "reason")

_ALONE = frozenset(("execute_alone",))
_SEEN = frozenset(("reveal", "reveal_detected"))
_PLACES = {
    "approvers": _ALONE,
    "timeout": _ALONE,
    "timeout_in_transaction": _ALONE,
    "grant": _ALONE,
    "mask": _SEEN,
}
"""Annotation -> the actions of which its forbid has to name one or more, and none besides."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._/-]{0,99}")
_TIMEOUT = re.compile(r"([0-9]{1,6})([smh])")
_SECONDS = {"s": 1, "m": 60, "h": 3600}
RESERVED = frozenset(("default-deny",))


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy as people speak of it. `actions` is empty when its scope names none, which means all of them.

    Times are in seconds. `approvers`, the times and `mask` are set on the forbids that carry them; a `grant` of 0 is
    none.
    """

    id: str
    effect: str
    actions: frozenset[str]
    path: Path
    line: int
    reason: str | None = None
    approvers: tuple[str, ...] = ()
    timeout: float = HOLD_SECONDS
    timeout_in_transaction: float = HOLD_SECONDS_IN_TRANSACTION
    grant: float = 0.0
    mask: str | None = None

    @property
    def where(self) -> str:
        return f"{self.path}:{self.line}"


def describe(piece: Piece, effect: str, actions: frozenset[str], annotations: Mapping[str, str]) -> Policy:
    """The Policy of a parsed piece. Raises BundleError for any annotation that would not mean what it says."""

    def fail(message: str) -> BundleError:
        return BundleError(f"{piece.where}: {message}")

    for key in annotations:
        if key not in KEYS:
            raise fail(f"@{key} is not an annotation (there are {', '.join('@' + k for k in KEYS)})")
    name = annotations.get("id", f"{piece.path.name}:{piece.line}")
    if "id" in annotations and (not _ID.fullmatch(name) or name in RESERVED):
        raise fail(f"@id({name!r}): letters, digits, blanks and . _ / - only, at most 100, and not {sorted(RESERVED)}")
    for key, places in _PLACES.items():
        if key in annotations and (effect != "forbid" or not actions or not actions <= places):
            said = " or ".join(f'`action == Action::"{action}"`' for action in sorted(places))
            raise fail(f"@{key} belongs on a forbid whose scope says {said}, and nowhere else")
    for key in ("timeout", "timeout_in_transaction", "grant"):
        if key in annotations and "approvers" not in annotations:
            raise fail(f"@{key} without @approvers: nobody is asked, so there is nothing to wait for")
    mask = annotations.get("mask")
    if mask is not None:
        try:
            parse_masker(mask)
        except MaskerError as error:
            raise fail(f"@mask: {error}") from None
    reason = annotations.get("reason")
    if reason is not None and not (0 < len(reason) <= REASON_LENGTH and reason.isprintable() and reason.strip()):
        raise fail(f"@reason is one line of 1 to {REASON_LENGTH} characters")
    approvers: tuple[str, ...] = ()
    if "approvers" in annotations:
        approvers = tuple(group.strip() for group in annotations["approvers"].split(","))
        if not all(approvers):
            raise fail('@approvers names groups, as in @approvers("dba,security")')
        if len(set(approvers)) != len(approvers):
            raise fail("@approvers names a group twice")

    def seconds(key: str, default: float, most: float) -> float:
        if key not in annotations:
            return default
        found = parse_time(annotations[key])
        if not HOLD_SECONDS_MIN <= found <= most:
            raise fail(f"@{key}({annotations[key]!r}) is not 1s to {written(most)}, as in 90s, 15m or 2h")
        return found

    timeout = seconds("timeout", HOLD_SECONDS, HOLD_SECONDS_MAX)
    return Policy(
        name,
        effect,
        actions,
        piece.path,
        piece.line,
        reason,
        approvers,
        timeout,
        seconds("timeout_in_transaction", min(timeout, HOLD_SECONDS_IN_TRANSACTION), timeout),
        seconds("grant", 0.0, GRANT_SECONDS_MAX),
        mask,
    )


def parse_time(text: str) -> float:
    """Seconds of `90s`, `15m` or `2h`; 0 for what isn't written like that."""
    match = _TIMEOUT.fullmatch(text)
    return float(match[1]) * _SECONDS[match[2]] if match else 0.0


def written(seconds: float) -> str:
    """The time as an annotation writes it: `24h`."""
    unit = next(unit for unit in "hms" if seconds % _SECONDS[unit] == 0)
    return f"{seconds / _SECONDS[unit]:g}{unit}"
