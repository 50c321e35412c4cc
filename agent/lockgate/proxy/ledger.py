"""When records are written: what goes forward waits for its record, what has happened shares a write with others."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, Protocol

from lockgate.audit._forms import Form
from lockgate.audit.errors import SpoolError
from lockgate.audit.forms import Varying
from lockgate.audit.spool import Spool, Write
from lockgate.metrics import Metrics
from lockgate.wire.gate import Refusal, Why

log = logging.getLogger(__name__)


END_SECONDS: Final = 0.001
"""How long the end of a statement may wait for a beginning that is written with it. An agent that is killed meanwhile
leaves a statement without an end, as one does that is killed before the answer comes."""


class Sender(Protocol):
    """What sends bytes that have to be recorded before. Neither method may raise twice."""

    def stage(self) -> None: ...

    def send(self) -> None: ...


class Ledger:
    """The spool, as connections write to it. One for an agent, on its event loop.

    The end of a statement is written with the next beginning, or after END_SECONDS: one write less for a statement, and
    none that a client waits for. Order stays what it was. Beginnings that are `stage`d share a write too, also those
    of different connections in one turn (`together`): `written` comes before any byte of theirs leaves.

    What is not recorded is counted, and told once until the spool takes records again; one record then says how many
    statements went on without theirs, which only what is observed may.
    """

    __slots__ = ("_called", "_completed", "_loop", "_losing", "_metrics", "_missed", "_sending", "_soon", "_spool",
                 "_timed", "_why")  # fmt: skip

    def __init__(self, spool: Spool, metrics: Metrics) -> None:
        self._spool = spool
        self._metrics = metrics
        self._loop: asyncio.AbstractEventLoop | None = None
        self._completed = spool.form(
            {"type": "statement", "phase": "end", "outcome": "completed", "rows": 0}, ("bytes", "duration_us", "id")
        )
        self._soon = 0
        """Records staged that `flush` is going to write."""
        self._sending: deque[Sender] = deque()
        self._called = False
        """Whether `_turn` is going to be called, and `_timed` whether `_late` is."""
        self._timed = False
        self._losing = False
        """Whether it was told that records are lost."""
        self._missed = 0
        """What went on unrecorded since a record said so, and `_why` the last did."""
        self._why = ""

    def now(self, fields: Mapping[str, Any]) -> Refusal | None:
        """Write one record. A refusal when it can't be: also for text that no encoding explains."""
        error = self._write(fields)
        if error is None:
            return None
        return self._refused(error)

    def form(self, fields: Mapping[str, Any], varying: tuple[str, ...]) -> Form:
        """See `Spool.form`."""
        return self._spool.form(fields, varying)

    def stage(self, form: Form, values: tuple[Varying, ...]) -> Write | Refusal:
        """Record what is about to be sent with others. What `written` wants to know; a refusal when it can't be."""
        try:
            return self._spool.append_formed(form, values, begins=True)
        except (SpoolError, UnicodeEncodeError) as error:
            return self._refused(error)

    def written(self, *staged: Write) -> Refusal | None:
        """Write what was staged. A refusal when any of it isn't there, whoever wrote it: the agent does, too."""
        if self._spool.staged:
            self.flush()
        for write in staged:
            if write.error is not None:
                return self._refused(write.error)
        self._losing = False
        return None

    def _refused(self, error: object) -> Refusal:
        self._metrics.refused("spool")
        return Refusal(Why.UNRECORDED, f"lockgate: this can't be recorded, so it is not sent: {error}")

    def try_now(self, fields: Mapping[str, Any]) -> bool:
        """Write one record of what goes on in any case. Whether it could be written."""
        error = self._write(fields)
        if error is None:
            return True
        self._metrics.unrecorded()
        if not self._missed:
            log.error("what is observed goes on without being recorded: %s", error)
        self._missed += 1
        self._why = str(error)
        return False

    def own_up(self) -> None:
        """Record how many statements went on without a record, if any did and the spool has room again."""
        if not self._missed or not self._spool.roomy:
            return
        missed, self._missed = self._missed, 0
        told = {"type": "agent", "event": "unrecorded", "count": missed, "detail": f"the last because: {self._why}"}
        if self._write(told) is None:
            log.warning("records are written again", extra={"missing": missed})
        else:
            self._missed += missed

    def soon(self, fields: Mapping[str, Any]) -> None:
        """Record what has happened: nothing can be refused any more, so what can't be written is counted."""
        try:
            self._spool.append(fields)
        except (SpoolError, UnicodeEncodeError) as error:
            self._lost(1, error)
            return
        self._flush_soon()

    def completed(self, identifier: str, size: int, duration_us: int) -> None:
        """Record, as `soon`, that a statement has completed with `size` bytes and no rows that are counted."""
        try:
            self._spool.append_formed(self._completed, (size, duration_us, identifier), begins=False)
        except SpoolError as error:
            self._lost(1, error)
            return
        self._flush_soon()

    def together(self, sender: Sender) -> None:
        """When this turn of the loop is over `stage` what it sends, write, and let it `send`."""
        self._sending.append(sender)
        self._call_soon()

    def _flush_soon(self) -> None:
        self._soon += 1
        if not (self._timed or self._called):
            self._timed = True
            self._running().call_later(END_SECONDS, self._late)

    def _late(self) -> None:
        self._timed = False
        self.flush()

    def _call_soon(self) -> None:
        if not self._called:
            self._called = True
            self._running().call_soon(self._turn)

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            # asked for once: CPython 3.11 makes it a system call
            self._loop = asyncio.get_running_loop()
        return self._loop

    def _turn(self) -> None:
        """This turn of the loop is over."""
        self._called = False
        sending = self._sending
        try:
            for sender in sending:
                sender.stage()
            self.flush()
            while sending:
                sending.popleft().send()
        finally:
            if sending:
                # one has failed: it won't again, and the others' turn is the next
                self._call_soon()

    def _write(self, fields: Mapping[str, Any]) -> Exception | None:
        try:
            self._spool.append(fields)
        except (SpoolError, UnicodeEncodeError) as error:
            return error
        failed = self.flush()
        if failed is None:
            self._losing = False
            if self._missed:
                self.own_up()
        return failed

    def flush(self) -> SpoolError | None:
        """Write what is staged now. Why it could not be; what has happened is then counted as lost."""
        staged, self._soon = self._soon, 0
        try:
            self._spool.commit()
        except SpoolError as error:
            self._lost(staged, error)
            return error
        return None

    def _lost(self, records: int, error: Exception) -> None:
        if records and not self._losing:
            self._losing = True
            log.error("outcomes of statements are not recorded: %s", error)
        for _ in range(records):
            self._metrics.refused("end-not-recorded")
