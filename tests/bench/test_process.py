"""Memory and CPU time of processes that are known to take some."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.bench.process import cpu_seconds, family, memory, rest, yield_to_others

MIB = 1024

PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", '''
import sys, time
held = bytearray(64 * 1024 * 1024)
for place in range(0, len(held), 4096): held[place] = 1
until = time.process_time() + 0.3
while time.process_time() < until: pass
print("ready", flush=True)
sys.stdin.read()
'''])
child.wait()
"""


@pytest.fixture
def parent() -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
        process.communicate()


def test_a_family_counts_its_children(parent: int) -> None:
    assert len(family(parent)) == 2
    found = memory(parent)
    assert 64 * MIB < found.pss <= found.rss < 128 * MIB
    assert cpu_seconds(parent) >= 0.3


def test_a_process_that_has_gone_is_an_error() -> None:
    with subprocess.Popen(["/bin/true"]) as process:
        process.wait()
    with pytest.raises(OSError, match=str(process.pid)):
        memory(process.pid)


def test_ones_own_time_goes_on() -> None:
    before = cpu_seconds(os.getpid())
    while cpu_seconds(os.getpid()) < before + 0.03:
        sum(range(10000))


def test_rest_waits_for_work_to_end() -> None:
    until = "import time\nwhile time.process_time() < 0.5: pass\ntime.sleep(30)"
    with subprocess.Popen([sys.executable, "-c", until]) as busy:
        assert rest([busy.pid], 20.0)
        assert cpu_seconds(busy.pid) >= 0.49
        busy.kill()


def test_rest_does_not_wait_for_ever() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        began = time.monotonic()
        assert not rest([busy.pid], 0.4)
        assert time.monotonic() - began < 5.0
        busy.kill()


def test_every_thread_yields_to_others() -> None:
    code = "import sys, threading; threading.Thread(target=sys.stdin.read).start(); print('up', flush=True)"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        yield_to_others(process.pid)
        tasks = [int(name) for name in os.listdir(f"/proc/{process.pid}/task")]
        assert len(tasks) == 2
        assert {os.sched_getscheduler(task) for task in tasks} == {os.SCHED_IDLE}
        process.communicate()
