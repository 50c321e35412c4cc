"""Between the session, which speaks of replies, and what masks them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lockgate.masking.plan import Unmaskable
from lockgate.masking.replies.plan import ReplyMasker
from lockgate.wire.gate import MaskingError


@dataclass(frozen=True, slots=True)
class Masking:
    """Implements `lockgate.wire.redis.gate.ReplyMask`."""

    masker: ReplyMasker

    def mask(self, reply: bytes, *, resp3: bool) -> tuple[bytes, int, dict[str, int]]:
        """See `ReplyMask`."""
        try:
            return self.masker.mask(reply, resp3=resp3)
        except Unmaskable as error:
            raise MaskingError(f"lockgate: {error}") from error


@dataclass(frozen=True, slots=True)
class Later:
    """The same, found once there is a reply: it may be long until there is.

    `found` gives what masks it, None for nothing, and raises MaskingError where it must not be shown.
    """

    found: Callable[[], Masking | None]

    def mask(self, reply: bytes, *, resp3: bool) -> tuple[bytes, int, dict[str, int]]:
        """See `ReplyMask`."""
        masking = self.found()
        return (reply, 0, {}) if masking is None else masking.mask(reply, resp3=resp3)
