"""What a masker makes of one string of a reply: the maskers of columns, for bytes that nobody declared a type of."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from lockgate.masking._rows import Program, mask_value
from lockgate.masking.cells import Action, Cell
from lockgate.masking.dates import MONTH, YEAR
from lockgate.masking.keyed import shift
from lockgate.masking.keys import Keys
from lockgate.masking.partial import REDACTED
from lockgate.masking.spec import Masker, Name, parse_masker

_OPAQUE: Final = frozenset({Name.NULL, Name.VEIL, Name.REDACT})
_DATE: Final = re.compile(rb"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME: Final = re.compile(rb"([0-9]{4}-[0-9]{2}-[0-9]{2})([ T])([0-9:.]{8,15})(Z|[+-][0-9:]{2,8})?")


class TextMasker:
    """One masker, ready to be used."""

    __slots__ = ("_constant", "_dates", "_program", "masker", "text")

    def __init__(self, text: str, keys: Keys) -> None:
        """`text` as a policy has it. Raises MaskerError."""
        self.text = text
        self.masker = parse_masker(text)
        cells = _cells(self.masker, keys)
        self._dates = len(cells) > 1
        self._program = Program(cells)
        self._constant = {Action.NULL: None, Action.REDACT: REDACTED}.get(cells[0].action, b"")

    @property
    def veils(self) -> bool:
        """Whether a null looks like any value."""
        return self.masker.name is Name.VEIL

    @property
    def opaque(self) -> bool:
        """Whether nothing shown hangs on the value: not even on one that somebody helped to make.

        The hash of a value of which all but one byte was written over is that of one of 256 that anybody can write.
        """
        return self.masker.name in _OPAQUE

    @property
    def blank(self) -> bytes | None:
        """What stands for a value that is no text: null, or `***`."""
        return None if self.masker.name is Name.NULL else REDACTED

    def shown(self, value: bytes) -> bytes | None:
        """What is shown in place of a string; None for null. Of bytes that are no UTF-8 nothing is shown."""
        if self._constant != b"":
            return self._constant
        if not value.isascii() and not _is_utf8(value):
            return REDACTED
        if self._dates:
            return self._date(value)
        return mask_value(self._program, 0, value)

    def _date(self, value: bytes) -> bytes:
        if _DATE.fullmatch(value):
            return mask_value(self._program, 0, value) or REDACTED
        match = _TIME.fullmatch(value)
        if match is None:
            return REDACTED
        day, between, time, zone = match.groups()
        # as PostgreSQL writes it, which is what the maskers read
        text = b"%b %b%b" % (day, time, b"+00" if zone == b"Z" else zone or b"")
        shown = mask_value(self._program, 2 if zone else 1, text)
        if shown is None:
            return REDACTED
        if zone == b"Z":
            shown = shown.removesuffix(b"+00") + zone
        return shown[:10] + between + shown[11:]


@lru_cache(maxsize=256)
def text_masker(text: str, keys: Keys) -> TextMasker:
    """Made once for each masker that policies name. Raises MaskerError."""
    return TextMasker(text, keys)


def strictest(maskers: Sequence[TextMasker]) -> TextMasker | None:
    """The one that leaves least; None of none."""
    return max(maskers, key=lambda masker: masker.masker.strictness, default=None)


def _cells(masker: Masker, keys: Keys) -> tuple[Cell, ...]:
    """One, or for what masks dates three: of a date, of a timestamp, and of one with a time zone."""
    match masker.name:
        case Name.NULL:
            return (Cell(Action.NULL),)
        case Name.PARTIAL:
            return (Cell(Action.PARTIAL),)
        case Name.HASH:
            return (Cell(Action.HASH, key=keys.hash),)
        case Name.TOKENISE:
            return (Cell(Action.TOKEN_TEXT, key=keys.tokenise),)
        case Name.TRUNCATE if masker.number:
            return (Cell(Action.TRUNCATE, number=masker.number),)
        case Name.TRUNCATE:
            unit = MONTH if masker.unit == "month" else YEAR
            times = (Action.TRUNCATE_DATE, Action.TRUNCATE_TIME, Action.TRUNCATE_TIME_WITH_ZONE)
            return tuple(Cell(action, number=unit) for action in times)
        case Name.DATE_SHIFT:
            days = shift(keys.date_shift, masker.number)
            return tuple(Cell(action, number=days) for action in (Action.SHIFT_DATE, *[Action.SHIFT_TIME] * 2))
        case Name.VEIL | Name.REDACT:
            return (Cell(Action.REDACT),)


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
