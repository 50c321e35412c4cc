"""How long a statement that is only observed waits for what it is to be judged by: not noticeably, and not again."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from lockgate.proxy.observing import WAIT_SECONDS

PAUSE_SECONDS: Final = 10.0
"""How long nothing waits behind one that waited in vain: 0.25 s in 10 are lost at most."""

TOO_SLOW: Final = f"the catalog was not read within {WAIT_SECONDS:g} s, the longest that what is observed waits"

DATABASES: Final = 1024
"""Databases for which that is remembered; clients name them. The oldest goes first."""


class Patience:
    """That of one datastore, by database."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lost: OrderedDict[str, tuple[float, str]] = OrderedDict()

    def lost(self, database: str) -> str | None:
        """Why nothing waits now; None where it may."""
        found = self._lost.get(database)
        if found is None or self._clock() >= found[0]:
            return None
        return found[1]

    def lose(self, database: str, why: str) -> None:
        """One has waited in vain."""
        self._lost[database] = self._clock() + PAUSE_SECONDS, why
        self._lost.move_to_end(database)
        if len(self._lost) > DATABASES:
            self._lost.popitem(last=False)
