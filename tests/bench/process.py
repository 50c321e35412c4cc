"""What a process costs: memory and CPU time of it and of its children, read from /proc."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")

_LOOK_SECONDS = 0.1
_RESTING_TICKS = 1
"""What a process may use in _LOOK_SECONDS and still count as at rest: it has timers."""


@dataclass(frozen=True, slots=True)
class Memory:
    """In KiB. Memory that the kernel holds for it (socket buffers) is not in here."""

    rss: float
    pss: float


def family(pid: int) -> list[int]:
    """`pid` and every process below it."""
    found = [pid]
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in path.read_text().split():
            found += family(int(child))
    return found


def memory(pid: int) -> Memory:
    """Of the whole family. Raises OSError when one of it has gone."""
    rss = pss = 0
    for member in family(pid):
        for line in Path(f"/proc/{member}/smaps_rollup").read_text().splitlines():
            key, _, value = line.partition(":")
            if key == "Rss":
                rss += int(value.split()[0])
            elif key == "Pss":
                pss += int(value.split()[0])
    return Memory(rss, pss)


def cpu_seconds(pid: int) -> float:
    """User and system time of the whole family so far, in seconds, in steps of a clock tick (usually 10 ms)."""
    ticks = 0
    for member in family(pid):
        # the name may hold spaces and brackets: fields are counted behind its last bracket (proc(5))
        fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS


def rest(pids: Sequence[int], seconds: float) -> bool:
    """Wait until these families are at rest, `seconds` at most. Whether they came to it."""
    deadline = time.monotonic() + seconds
    used = sum(map(cpu_seconds, pids))
    while time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
        before, used = used, sum(map(cpu_seconds, pids))
        if round((used - before) * _TICKS) <= _RESTING_TICKS:
            return True
    return False


def yield_to_others(pid: int) -> None:
    """Let this process run only when nothing else wants to (SCHED_IDLE), all its threads and those to come."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setscheduler(int(task.name), os.SCHED_IDLE, os.sched_param(0))
