"""A cgroup subtree of a test's own: `apps`, which is intercepted, and `agent`, which is not."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import time
from collections.abc import Sequence
from types import TracebackType

from lockgate.kernel.cgroups import Hierarchy, of_process

EMPTY_SECONDS = 10.0
"""How long killed processes may take to leave."""


class CgroupTree:
    """`with CgroupTree() as tree:` makes /lockgate-test-RANDOM/{apps,agent}; leaving kills who is in it and removes it.

    `enter_agent()` moves the test's own process into `agent`, as the agent would be; leaving brings it back.
    """

    def __init__(self) -> None:
        self.hierarchy = Hierarchy.find()
        self.root = f"/lockgate-test-{secrets.token_hex(6)}"
        self.apps = f"{self.root}/apps"
        self.agent = f"{self.root}/agent"
        self._home: str | None = None

    def __enter__(self) -> CgroupTree:
        self.hierarchy.create(self.apps)
        self.hierarchy.create(self.agent)
        return self

    def enter_agent(self) -> None:
        if self._home is None:
            self._home = of_process()
        self.hierarchy.join(self.agent)

    def leave_agent(self) -> None:
        if self._home is not None:
            self.hierarchy.join(self._home)
            self._home = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave_agent()
        self._remove(self.root)

    def _remove(self, cgroup: str) -> None:
        directory = self.hierarchy.directory(cgroup)
        for child in sorted(directory.iterdir()):
            if child.is_dir():
                self._remove(f"{cgroup}/{child.name}")
        deadline = time.monotonic() + EMPTY_SECONDS
        while pids := self.hierarchy.members(cgroup):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{cgroup} still holds {pids}")
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.01)
        self.hierarchy.remove(cgroup)


def in_cgroup(cgroup: str, argv: Sequence[str]) -> list[str]:
    """The command that runs `argv` as a member of `cgroup` from its first instruction on."""
    procs = Hierarchy.find().directory(cgroup) / "cgroup.procs"
    return ["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', str(procs), *argv]


def run_in(cgroup: str, argv: Sequence[str], timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
    """Run to its end. The output is text; the exit status is the caller's to judge. Raises TimeoutExpired."""
    return subprocess.run(in_cgroup(cgroup, argv), capture_output=True, text=True, timeout=timeout, check=False)
