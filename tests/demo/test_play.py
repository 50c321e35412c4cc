"""However the demo ends, it takes everything away."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.demo.leftovers import leftovers

PROGRAM = str(Path(sys.executable).with_name("lockgate"))


def stopped(number: signal.Signals, step: int, after: float = 0.0) -> tuple[int, list[str], str]:
    """A demo sent a signal once `step` steps are shown: its exit status, its lines, its standard error."""
    with subprocess.Popen(
        [PROGRAM, "demo", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # whoever runs the tests in the background may ignore Ctrl-C, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(step)]
        time.sleep(after)
        process.send_signal(number)
        rest, stderr = process.communicate(timeout=60)
    assert leftovers(process.pid) == []
    return process.returncode, [*lines, *rest.splitlines()], stderr


def test_ctrl_c_while_a_statement_waits() -> None:
    status, lines, stderr = stopped(signal.SIGINT, step=6)
    assert "waits" in json.loads(lines[5])["title"]
    assert (status, stderr) == (1, "lockgate: stopped, nothing is left behind\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_ended_by_the_system(number: signal.Signals) -> None:
    assert stopped(number, step=1)[::2] == (1, "lockgate: stopped, nothing is left behind\n")


@pytest.mark.parametrize("after", [0.7, 1.2, 1.8, 2.4, 3.0])
def test_ctrl_c_while_it_starts(after: float) -> None:
    status, lines, _ = stopped(signal.SIGINT, step=0, after=after)
    # a slow machine still imports then, where Python itself ends; a fast one has begun its steps
    assert status in (1, -signal.SIGINT)
    assert all(json.loads(line)["ok"] for line in lines)


def test_under_nohup_it_goes_on_without_its_terminal() -> None:
    with subprocess.Popen(
        ["sh", "-c", 'trap "" HUP; exec "$0" demo --json', PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        assert [json.loads(process.stdout.readline())["step"] for _ in range(4)] == [2, 3, 4, 5]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert leftovers(process.pid) == []
