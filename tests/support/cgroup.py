"""A cgroup subtree of a test's own, which the test itself can enter, and where a process is."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from lockgate.demo.cgroup import Subtree, in_cgroup


class CgroupTree(Subtree):
    """`with CgroupTree() as tree:` makes /lockgate-test-RANDOM/{apps,agent}, and removes it in the end.

    `enter_agent()` moves the test's own process into `agent`, as the agent would be; leaving brings it back.
    """

    def __init__(self) -> None:
        super().__init__(f"/lockgate-test-{secrets.token_hex(6)}")
        self._home: str | None = None

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
        super().__exit__(kind, error, trace)


def of_process(pid: int | None = None) -> str:
    """The cgroup v2 path of a process (None: the caller). Raises FileNotFoundError when it is gone."""
    lines = Path(f"/proc/{'self' if pid is None else pid}/cgroup").read_text().splitlines()
    return next(line[3:] for line in lines if line.startswith("0::"))


def run_in(cgroup: str, argv: Sequence[str], timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
    """Run to its end. The output is text; the exit status is the caller's to judge. Raises TimeoutExpired."""
    return subprocess.run(in_cgroup(cgroup, argv), capture_output=True, text=True, timeout=timeout, check=False)
