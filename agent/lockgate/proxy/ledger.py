"""When records are written: what goes forward waits for its record, what has happened shares a write with others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from lockgate.audit.errors import SpoolError
from lockgate.audit.spool import Spool
from lockgate.metrics import Metrics
from lockgate.wire.gate import Refusal
from lockgate.wire.postgresql import errors

log = logging.getLogger(__name__)


class Ledger:
    """The spool, as connections write to it. One for an agent, on its event loop.

    The end of a statement is written with the next beginning, or when this turn of the loop is over: one write less
    for a statement, and none that a client waits for. Order stays what it was.
    """

    __slots__ = ("_loop", "_metrics", "_soon", "_spool")

    def __init__(self, spool: Spool, metrics: Metrics) -> None:
        self._spool = spool
        self._metrics = metrics
        self._loop: asyncio.AbstractEventLoop | None = None
        self._soon = 0
        """Records staged that `_flush` is going to write."""

    def now(self, fields: Mapping[str, Any]) -> Refusal | None:
        """Write one record. A refusal when it can't be: also for text that no encoding explains."""
        staged = 0
        try:
            self._spool.append(fields)
            staged, self._soon = self._soon, 0
            self._spool.commit()
        except (SpoolError, UnicodeEncodeError) as error:
            self._metrics.refused("spool")
            if staged:
                self._lost(staged, error)
            return Refusal(errors.IO_ERROR, f"lockgate: this can't be recorded, so it is not sent: {error}")
        return None

    def soon(self, fields: Mapping[str, Any]) -> None:
        """Record what has happened: nothing can be refused any more, so what can't be written is counted."""
        try:
            self._spool.append(fields)
        except (SpoolError, UnicodeEncodeError) as error:
            self._lost(1, error)
            return
        if not self._soon:
            if self._loop is None:
                # asked for once: CPython 3.11 makes it a system call
                self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self._flush)
        self._soon += 1

    def _flush(self) -> None:
        staged, self._soon = self._soon, 0
        try:
            self._spool.commit()
        except SpoolError as error:
            self._lost(staged, error)

    def _lost(self, records: int, error: Exception) -> None:
        log.error("%d outcomes of statements are not recorded: %s", records, error)
        for _ in range(records):
            self._metrics.refused("end-not-recorded")
