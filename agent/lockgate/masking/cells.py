"""What happens to one value of a result: the rules the compiled row kernel is held against.

A text-like value has the same bytes in PostgreSQL's text and binary format; of the other types a cell says which of
the two it is in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from lockgate.masking.dates import shift_date, shift_time, truncate_date, truncate_time
from lockgate.masking.keyed import pseudonym
from lockgate.masking.partial import REDACTED, partial
from lockgate.masking.tokens import token_integer, token_numeric, token_text, token_uuid

REDACTED_JSON: Final = b'"***"'
REDACTED_JSONB: Final = b'\x01"***"'
JSONB_VERSION: Final = b"\x01"
"""What jsonb's binary format begins with (`jsonb_send`); the same text follows as in text format."""


class Action(IntEnum):
    """What happens to one column of a row. The numbers are shared with `_rows.pyx`.

    What ends in JSON writes a JSON string, in JSONB one as jsonb's binary format has it. TIME is a timestamp without
    time zone, or with one where either is treated alike.
    """

    KEEP = 0
    NULL = 1
    REDACT = 2
    PARTIAL = 3
    REDACT_JSON = 4
    REDACT_JSONB = 5
    TRUNCATE = 6
    HASH = 7
    HASH_JSON = 8
    HASH_JSONB = 9
    TOKEN_TEXT = 10
    TOKEN_INTEGER = 11
    TOKEN_NUMERIC = 12
    TOKEN_UUID = 13
    SHIFT_DATE = 14
    SHIFT_TIME = 15
    TRUNCATE_DATE = 16
    TRUNCATE_TIME = 17
    TRUNCATE_TIME_WITH_ZONE = 18


ALIKE: Final = frozenset({Action.REDACT, Action.REDACT_JSON, Action.REDACT_JSONB})
"""Actions that make the same of every value."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What happens to the values of one column.

    `number` is what the action needs: characters (TRUNCATE), bytes of an integer (TOKEN_INTEGER), days (SHIFT_*), or
    1 for a month and 2 for a year (TRUNCATE_DATE and the like). `key` is that of HASH_* and TOKEN_*. With `null` a NULL
    looks like any value: of an expression it tells as much. Raises ValueError for an action that tells values apart.
    """

    action: Action
    binary: bool = False
    number: int = 0
    key: bytes = field(default=b"", repr=False)
    null: bool = False

    def __post_init__(self) -> None:
        if self.null and self.action not in ALIKE:
            raise ValueError(f"{self.action.name} tells values apart, so that NULL can't look like all of them")


KEPT: Final = Cell(Action.KEEP)
NULLED: Final = Cell(Action.NULL)


def mask_value(cell: Cell, value: bytes) -> bytes | None:
    """What is shown in place of a value; None for NULL."""
    match cell.action:
        case Action.KEEP:
            return value
        case Action.NULL:
            return None
        case Action.REDACT:
            return REDACTED
        case Action.PARTIAL:
            return partial(value)
        case Action.REDACT_JSON:
            return REDACTED_JSON
        case Action.REDACT_JSONB:
            return REDACTED_JSONB
        case Action.TRUNCATE:
            return truncate(value, cell.number)
        case Action.HASH:
            return pseudonym(cell.key, value.rstrip(b" "))
        case Action.HASH_JSON:
            return b'"%b"' % pseudonym(cell.key, value)
        case Action.HASH_JSONB:
            # without its version: the same value is then the same in text format
            return b'%b"%b"' % (JSONB_VERSION, pseudonym(cell.key, value[1:]))
        case Action.TOKEN_TEXT:
            return token_text(cell.key, value)
        case Action.TOKEN_INTEGER:
            return token_integer(cell.key, value, binary=cell.binary, width=cell.number)
        case Action.TOKEN_NUMERIC:
            return token_numeric(cell.key, value, binary=cell.binary)
        case Action.TOKEN_UUID:
            return token_uuid(cell.key, value, binary=cell.binary)
        case Action.SHIFT_DATE:
            return shift_date(value, cell.number, binary=cell.binary)
        case Action.SHIFT_TIME:
            return shift_time(value, cell.number, binary=cell.binary)
        case Action.TRUNCATE_DATE:
            return truncate_date(value, cell.number, binary=cell.binary)
        case Action.TRUNCATE_TIME | Action.TRUNCATE_TIME_WITH_ZONE:
            zoned = cell.action is Action.TRUNCATE_TIME_WITH_ZONE
            return truncate_time(value, cell.number, binary=cell.binary, zoned=zoned)


def truncate(value: bytes, characters: int) -> bytes:
    """The first characters of a text that has more, trailing spaces not counted; `***` otherwise, and when no UTF-8."""
    value = value.rstrip(b" ")
    try:
        # 4 bytes a character is the most UTF-8 has; what is cut there is cut behind a character that is not looked at
        text = value[: 4 * (characters + 1)].decode("utf-8", "surrogateescape")[: characters + 1]
        text.encode()
    except UnicodeEncodeError:
        return REDACTED
    return text[:characters].encode() if len(text) > characters else REDACTED
