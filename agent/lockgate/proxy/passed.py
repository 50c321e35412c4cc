"""What went by to datastores that are only observed, no agent being there: counted by the hooks, recorded here.

Who made those connections nobody saw. That there were some stands in the records all the same, also of the time when no
agent was there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

FILE: Final = "passed"
"""Below `agent.state_dir`: how many of what the hooks counted are recorded. Their counter lives on in the kernel."""
EVERY_SECONDS: Final = 60.0
"""One record at most: a host whose containers go by makes thousands of connections."""


class Passed:
    """`note(event, detail)` records. `state` is the agent's folder, `clock` in seconds."""

    def __init__(self, state: Path, note: Callable[[str, str], None], clock: Callable[[], float]) -> None:
        self._file = state / FILE
        self._note = note
        self._clock = clock
        self._recorded = self._read()
        self._next = clock()

    def look(self, total: int) -> None:
        """`total` is what the hooks have counted since they were loaded. Raises OSError."""
        if total < self._recorded:
            self._recorded = 0  # of hooks that are gone: the host was started again, or the gate opened
        now = self._clock()
        if total == self._recorded or now < self._next:
            return
        count, self._next = total - self._recorded, now + EVERY_SECONDS
        log.warning("%d connections went by unseen", count)
        self._note("passed", f"{count} connections to what is only observed went by, without an agent to take them")
        self._recorded = total
        self._file.write_text(str(total))

    def _read(self) -> int:
        try:
            return int(self._file.read_text())
        except (FileNotFoundError, ValueError):
            return 0
