"""A secret that can be handed about without being shown."""

from __future__ import annotations

from typing import Final, NoReturn

SHOWN: Final = "Secret(...)"


class Secret:
    """Text that no repr, log line, format string, traceback or pickle shows: who needs it says `reveal()`.

    Equality is by value, so that caches can be keyed by it; its hash is salted by the interpreter like any string's.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The secret itself. Keep it out of anything that outlives the call."""
        return self._text

    def __repr__(self) -> str:
        return SHOWN

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not to be serialised")
