"""Running the witness: what it says, how it ends, and what is told when it can't begin."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from lockgate.kernel.trace.process import PYTHON, CannotWitness, Connect, Witness, WitnessGone, connect
from tests.kernel.trace.conftest import CONNECT, python
from tests.support.cgroup import CgroupTree, run_in
from tests.support.postgres import free_port


def interpreter(folder: Path, body: str) -> str:
    """A stand-in for /usr/bin/python3: a shell script."""
    path = folder / "python3"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def test_a_line_becomes_a_connect() -> None:
    said = {
        "time": 1.5, "pid": 7, "uid": 1000, "comm": "psql", "exe": None, "cgroup": "/user.slice", "address": "10.0.0.5",
        "port": 5432, "agent": False, "listener": True, "result": "failed",
    }  # fmt: skip
    assert connect(said) == Connect(1.5, 7, 1000, "psql", None, "/user.slice", "10.0.0.5", 5432, False, True, "failed")


def test_what_a_process_connects_to_is_seen(tree: CgroupTree) -> None:
    port = free_port()
    with Witness([port]) as witness:
        assert run_in(tree.apps, python(CONNECT, "127.0.0.1", port)).stdout == "111\n"
        witness.stop()
        (seen,) = witness
        assert witness.lost == 0
    assert (seen.cgroup, seen.address, seen.port, seen.uid) == (tree.apps, "127.0.0.1", port, 0)
    assert (seen.by_agent, seen.to_listener, seen.result) == (False, False, "failed")


def test_it_ends_by_itself_in_time() -> None:
    with Witness([free_port()], seconds=0.2) as witness:
        begun = time.monotonic()
        assert (list(witness), witness.lost) == ([], 0)
        assert time.monotonic() - begun < 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Witness([free_port()]) as witness:
        threading.Timer(0.3, os.kill, (os.getpid(), number)).start()
        assert list(witness) == []
    assert signal.getsignal(number) == before


def test_one_that_is_killed_saw_not_all() -> None:
    with Witness([free_port()]) as witness:
        os.kill(witness.pid, signal.SIGKILL)
        with pytest.raises(WitnessGone, match=r"before its time .exit status -9"):
            list(witness)


def test_it_ends_with_who_started_it() -> None:
    """A witness whose reader was killed is not left behind in the kernel."""
    script = (
        "import os; from lockgate.kernel.trace.process import Witness\n"
        "with Witness([9]) as witness: print(witness.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = run_in("/", [sys.executable, "-c", script])
    pid = int(done.stdout)
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_no_such_interpreter() -> None:
    with (
        pytest.raises(CannotWitness, match=r"^/no/python: No such file or directory$"),
        Witness([1], python="/no/python"),
    ):
        pass


def test_an_interpreter_without_bcc(tmp_path: Path) -> None:
    without = interpreter(tmp_path, f'shift; exec {PYTHON} -I -S "$@"')
    with (
        pytest.raises(CannotWitness, match=r"^BCC is missing .No module named 'bcc'.: apt-get install python3-bpfcc$"),
        Witness([1], python=without),
    ):
        pass


def test_something_else_of_that_name(tmp_path: Path) -> None:
    (tmp_path / "bcc.py").write_text("lattice = 1\n")
    other = interpreter(tmp_path, f'shift; PYTHONPATH={tmp_path} exec {PYTHON} "$@"')
    with (
        pytest.raises(CannotWitness, match=rf"^{tmp_path}/bcc.py is not BCC: apt-get install python3-bpfcc$"),
        Witness([1], python=other),
    ):
        pass


def test_headers_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(tmp_path))
    with pytest.raises(CannotWitness, match=f"^BCC_KERNEL_SOURCE: no kernel headers in {tmp_path}$"), Witness([1]):
        pass


def test_headers_that_do_not_compile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "include/linux").mkdir(parents=True)
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(tmp_path))
    with pytest.raises(CannotWitness, match=r"^BCC can't load its program: .*file not found"), Witness([1]):
        pass


def test_words_of_one_that_breaks_are_passed_on(tmp_path: Path) -> None:
    broken = interpreter(tmp_path, "echo first >&2; echo 'OSError: the last' >&2; exit 1")
    with pytest.raises(CannotWitness, match="could not begin: OSError: the last"), Witness([1], python=broken):
        pass
