"""Maskers as policies write them: `partial`, `truncate:4`, `truncate:month`, `date_shift:30`.

The names are the field's: null (nulling out), redact, hash (keyed pseudonym), tokenise (format-preserving
pseudonym), partial (masking out), truncate (generalisation), date_shift (dates moved alike). veil redacts NULL too.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class MaskerError(ValueError):
    """No masker is written like this; the message says in one line how they are."""


class Name(StrEnum):
    """The maskers, strictest first: by how little they leave of a value.

    `null` and `veil` leave nothing, `redact` that there is a value, `hash` which values are equal, `tokenise` that and
    the shape, `partial` the shape and a few characters, `truncate` as many characters as it says, or a date's month or
    year, and `date_shift` a date that is wrong by a few days.
    """

    NULL = "null"
    VEIL = "veil"
    REDACT = "redact"
    HASH = "hash"
    TOKENISE = "tokenise"
    PARTIAL = "partial"
    TRUNCATE = "truncate"
    DATE_SHIFT = "date_shift"


UNITS: Final = ("year", "month")
"""What `truncate` cuts a date or a timestamp to, the strictest first."""
MOST_CHARACTERS: Final = 64
"""Characters that `truncate` leaves at most: beyond, nothing is hidden of what anybody classifies."""
MOST_DAYS: Final = 3650
"""Days that `date_shift` moves at most: ten years, so that ages stay ages."""

_NAMES: Final = frozenset(Name)
_ORDER: Final = {name: place for place, name in enumerate(Name)}
_FORMS: Final = (
    f"null, veil, redact, hash, tokenise, partial, truncate:1 to truncate:{MOST_CHARACTERS}, truncate:month, "
    f"truncate:year, date_shift:1 to date_shift:{MOST_DAYS}"
)


@dataclass(frozen=True, slots=True)
class Masker:
    """`number` is the characters `truncate` leaves or the days that `date_shift` moves at most; `unit` one of UNITS."""

    name: Name
    number: int = 0
    unit: str = ""

    @property
    def strictness(self) -> tuple[int, ...]:
        """Greater for the masker that leaves less; different for any two that differ.

        Among truncations: to the year, to the month, to fewer characters, to more. Among date shifts: by more days.
        """
        if self.name is Name.TRUNCATE:
            rest = (1, -UNITS.index(self.unit)) if self.unit else (0, -self.number)
        else:
            rest = (0, self.number)
        return (-_ORDER[self.name], *rest)


def parse_masker(text: str) -> Masker:
    """What a policy wrote, as in `@mask("truncate:4")`. Raises MaskerError."""
    name, colon, parameter = text.partition(":")
    if name not in _NAMES:
        raise MaskerError(f"{text!r} is not a masker (there are {_FORMS})")
    if name == Name.TRUNCATE and parameter in UNITS:
        return Masker(Name.TRUNCATE, unit=parameter)
    most = {Name.TRUNCATE: MOST_CHARACTERS, Name.DATE_SHIFT: MOST_DAYS}.get(Name(name))
    if most is None:
        if colon:
            raise MaskerError(f"{text!r}: {name} takes nothing behind a colon")
        return Masker(Name(name))
    # one spelling each, so that two policies that say the same are seen to
    if not (parameter.isascii() and parameter.isdigit() and parameter[0] != "0" and len(parameter) <= 4):
        raise MaskerError(f"{text!r}: {name} needs a number behind a colon (there are {_FORMS})")
    if int(parameter) > most:
        raise MaskerError(f"{text!r}: {name} takes 1 to {most}")
    return Masker(Name(name), int(parameter))


def stricter(one: str | None, other: str | None) -> str | None:
    """Of two maskers the one that leaves less; None is no masker. Raises MaskerError for one that is none."""
    if one is None or other is None:
        return one or other
    return one if parse_masker(one).strictness >= parse_masker(other).strictness else other
