"""Records that are alike but for a few fields: what they have in common is encoded once.

`Form` is the reference: `_forms.pyx` is the same, compiled, and what runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lockgate.audit.record import encoder

Varying = str | int | bytes
"""What a field that differs may hold; numbers are not negative."""


class Form:
    """`fields` are what such records have in common; `varying` names the others but `prev`, `seq` and `time`."""

    def __init__(self, fields: Mapping[str, Any], varying: tuple[str, ...]) -> None:
        self._fields = dict(fields)
        self._varying = varying

    def record(self, values: tuple[Varying, ...], prev: bytes, seq: int, time: int) -> bytes:
        """The record in its canonical form; `values` in the order of `varying`.

        Raises OverflowError or UnicodeEncodeError for what can't be encoded.
        """
        told = dict(zip(self._varying, values, strict=True))
        return encoder.encode({**self._fields, **told, "prev": prev, "seq": seq, "time": time})
