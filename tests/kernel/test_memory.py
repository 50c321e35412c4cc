"""A process that keeps its memory to itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import ctypes, os, resource, sys
from lockgate.kernel.memory import keep_private
if sys.argv[1] == "private":
    keep_private()
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), *resource.getrlimit(resource.RLIMIT_CORE), flush=True)
sys.stdin.readline()
os.abort()
"""


def run(how: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/"
    )


def test_no_core_is_dumped_of_it() -> None:
    with run("private") as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline().split() == ["0", "0", "0"]
        process.stdin.close()
        _, status = os.waitpid(process.pid, 0)
        process.returncode = status
        assert os.WIFSIGNALED(status)
        assert not os.WCOREDUMP(status)


def test_who_it_belongs_to_can_not_look_into_it() -> None:
    """Its files in /proc are root's, so that another process of the same account is kept out."""
    for how, ours in (("private", False), ("open", True)):
        argv = ["setpriv", "--reuid=64001", "--regid=64001", "--clear-groups", sys.executable, "-c", PROGRAM, how]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/") as process:
            assert process.stdout is not None
            assert process.stdout.readline()
            assert (Path(f"/proc/{process.pid}/mem").stat().st_uid == 64001) is ours
            process.kill()
