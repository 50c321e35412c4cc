"""A cgroup subtree of the demo's own: `apps`, which is intercepted, and `agent`, which is not."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from types import TracebackType

from lockgate.kernel.cgroups import Hierarchy

EMPTY_SECONDS = 10.0
"""How long killed processes may take to leave."""


class Subtree:
    """`with Subtree("/name") as tree:` makes /name/{apps,agent}; leaving kills who is still in it and removes it.

    Raises KernelError when there is no cgroup2 to make it in.
    """

    def __init__(self, root: str) -> None:
        self._hierarchy = Hierarchy.find()
        self.root = root
        self.apps = f"{root}/apps"
        self.agent = f"{root}/agent"

    def __enter__(self) -> Subtree:
        try:
            self._hierarchy.create(self.apps)
            self._hierarchy.create(self.agent)
        except BaseException:
            self._remove()
            raise
        return self

    def inside(self, argv: Sequence[str]) -> list[str]:
        """The command that runs `argv` as a member of `apps` from its first instruction on."""
        procs = self._hierarchy.directory(self.apps) / "cgroup.procs"
        return ["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', str(procs), *argv]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def _remove(self) -> None:
        for cgroup in (self.apps, self.agent, self.root):
            if self._hierarchy.directory(cgroup).is_dir():
                self._empty(cgroup)
                self._hierarchy.remove(cgroup)

    def _empty(self, cgroup: str) -> None:
        deadline = time.monotonic() + EMPTY_SECONDS
        while pids := self._hierarchy.members(cgroup):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{cgroup} still holds the processes {pids}")
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue  # gone since it was listed
            time.sleep(0.01)
