"""From a mount namespace of its own back into that of process 1, here one of a pid namespace of the test's own."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
from lockgate.kernel.namespaces import elsewhere, enter_host_mounts
was = elsewhere()
enter_host_mounts()
print(was, elsewhere())
"""


def beside_process_1(*command: str) -> subprocess.CompletedProcess[str]:
    """`command` as a child of a shell that is process 1 where it runs."""
    shell = ["/bin/sh", "-c", '"$@"; exit $?', "sh", *command]
    argv = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *shell]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)


def test_a_process_with_mounts_of_its_own_enters_the_host_s() -> None:
    run = beside_process_1("unshare", "--mount", sys.executable, "-c", SCRIPT)
    assert run.stdout == "True False\n", run.stderr


def test_who_is_there_stays_there() -> None:
    run = beside_process_1(sys.executable, "-c", SCRIPT)
    assert run.stdout == "False False\n", run.stderr


def test_who_may_not_is_told_so() -> None:
    run = beside_process_1(sys.executable, "-c", SCRIPT.replace("was =", "import os; os.setuid(64001); was ="))
    assert "which mount namespace is the host's" in run.stderr
