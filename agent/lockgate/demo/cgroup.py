"""A cgroup subtree of the demo's own, and of a test's: `apps`, which is intercepted, and `agent`, which is not."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from lockgate.kernel.cgroups import Hierarchy

EMPTY_SECONDS = 10.0
"""How long killed processes may take to leave."""


class Subtree:
    """`with Subtree("/name") as tree:` makes /name/{apps,agent}; leaving kills who is still in it and removes it, with
    whatever was made below.

    Raises KernelError when there is no cgroup2 to make it in.
    """

    def __init__(self, root: str) -> None:
        self.hierarchy = Hierarchy.find()
        self.root = root
        self.apps = f"{root}/apps"
        self.agent = f"{root}/agent"

    def __enter__(self) -> Self:
        try:
            self.hierarchy.create(self.apps)
            self.hierarchy.create(self.agent)
        except BaseException:
            self._remove(self.root)
            raise
        return self

    def inside(self, argv: Sequence[str]) -> list[str]:
        """The command that runs `argv` as a member of `apps` from its first instruction on."""
        return in_cgroup(self.apps, argv)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove(self.root)

    def _remove(self, cgroup: str) -> None:
        directory = self.hierarchy.directory(cgroup)
        if not directory.is_dir():
            return
        for child in sorted(directory.iterdir()):
            if child.is_dir():
                self._remove(f"{cgroup}/{child.name}")
        self._empty(cgroup)
        self.hierarchy.remove(cgroup)

    def _empty(self, cgroup: str) -> None:
        deadline = time.monotonic() + EMPTY_SECONDS
        while pids := self.hierarchy.members(cgroup):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{cgroup} still holds the processes {pids}")
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue  # gone since it was listed
            time.sleep(0.01)


def in_cgroup(cgroup: str, argv: Sequence[str]) -> list[str]:
    """The command that runs `argv` as a member of `cgroup` from its first instruction on."""
    procs = Hierarchy.find().directory(cgroup) / "cgroup.procs"
    return ["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', str(procs), *argv]
