"""Runs the witness in the distribution's Python and reads what it says."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final, Literal

SCRIPT: Final = Path(__file__).parent / "witness.py"
PYTHON: Final = "/usr/bin/python3"
"""The distribution's: BCC's module is made for it, and imported by no other."""

_ENVIRONMENT: Final = ("PATH", "LANG", "BCC_KERNEL_SOURCE")
_LAST_WORDS: Final = 4096


class CannotWitness(Exception):
    """It could not begin: what is missing, and what to install, in one line."""


class WitnessGone(Exception):
    """It ended before it was asked to: what it saw is not all."""


@dataclass(frozen=True, slots=True)
class Connect:
    """One TCP connect as the kernel made it. `time` is in seconds since the epoch.

    `exe` and `cgroup` are None when the process, or the cgroup, was gone before they could be read. `by_agent` and
    `to_listener` were told in the kernel: by a process of the agent's cgroup, and to a port of this host's loopback on
    which such a process listens. `pending`: there was no outcome by the end.
    """

    time: float
    pid: int
    uid: int
    comm: str
    exe: str | None
    cgroup: str | None
    address: str
    port: int
    by_agent: bool
    to_listener: bool
    result: Literal["connected", "failed", "pending"]


class Witness:
    """`with Witness(ports, agent_cgroup, seconds) as witness:` is at work once the block is entered.

    Iterate for connects; the iteration ends after `seconds`, or soon after `stop()`. Then `lost` is how many events
    there was no room for. SIGINT and SIGTERM mean `stop()` meanwhile. Raises CannotWitness on entry, WitnessGone in
    the iteration.
    """

    def __init__(
        self, ports: Iterable[int], agent_cgroup: str | None = None, seconds: float | None = None, python: str = PYTHON
    ) -> None:
        self._command = [python, "-I", str(SCRIPT)]
        for port in ports:
            self._command += ["--port", str(port)]
        if agent_cgroup is not None:
            self._command += ["--agent-cgroup", agent_cgroup]
        if seconds is not None:
            self._command += ["--seconds", str(seconds)]
        self.lost = 0

    def __enter__(self) -> Witness:
        with contextlib.ExitStack() as stack:
            self._errors = stack.enter_context(tempfile.TemporaryFile())
            try:
                self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=self._errors,
                    env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
                    start_new_session=True,  # a terminal's ^C comes to us, and from us
                )
            except OSError as error:
                raise CannotWitness(f"{self._command[0]}: {error.strerror}") from None
            stack.callback(self._end)
            for number in (signal.SIGINT, signal.SIGTERM):
                stack.callback(signal.signal, number, signal.signal(number, self.stop))
            self._begin()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __iter__(self) -> Iterator[Connect]:
        while (said := self._said()) is not None:
            if "end" in said:
                self.lost = int(said["lost"])
                return
            yield connect(said)
        raise WitnessGone(f"the witness ended before its time{self._why()}")

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def _begin(self) -> None:
        said = self._said()
        if said is None:
            raise CannotWitness(f"the witness could not begin{self._why()}")
        if "error" in said:
            raise CannotWitness(str(said["error"]))

    def _said(self) -> dict[str, Any] | None:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            return None
        said: dict[str, Any] = json.loads(line)
        return said

    def _why(self) -> str:
        """The last line of its standard error: an exception's name and words."""
        self._process.wait()
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - _LAST_WORDS))
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f": {lines[-1]}" if lines else f" (exit status {self._process.returncode})"

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def connect(said: dict[str, Any]) -> Connect:
    """From a line of the witness."""
    return Connect(
        said["time"], said["pid"], said["uid"], said["comm"], said["exe"], said["cgroup"], said["address"],
        said["port"], said["agent"], said["listener"], said["result"],
    )  # fmt: skip
