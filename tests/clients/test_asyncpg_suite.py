"""asyncpg's own tests, as its source distribution has them: through the agent they give what they give directly.

Put into build/clients/asyncpg by `make test`. They run against a server that is already there (PGHOST), as its
superuser, under a policy that permits everything. Tests that start servers of their own skip themselves then, and so do
those of a code formatter and a type checker: NOT_OURS has what can't be run against any server.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lockgate.demo.cgroup import in_cgroup
from tests.clients.side_by_side import directly
from tests.support.stack import Stack

SUITE = Path(__file__).parents[2] / "build" / "clients" / "asyncpg"
SECONDS = 400

EVERYTHING = 'permit (principal, action in [Action::"execute", Action::"execute_alone", Action::"reveal"], resource);\n'

NOT_OURS = [
    "--ignore=tests/test__sourcecode.py",  # flake8 and mypy over asyncpg itself
    "--deselect=tests/test_connect.py::TestConnectionAttributes",  # starts a primary and a standby of its own
    "--deselect=tests/test_connect.py::TestSspiAuthentication",  # Windows
]

DIFFERENT = {
    # Counts on how much of 4 MB a client can write before the server's error is there: there are two more socket
    # buffers in between. The error comes all the same, and nothing is inserted.
    "tests/test_execute.py::TestExecuteMany::test_executemany_server_failure_during_writes",
    # Closes a pool while it still connects: the future of a connect that is given up before the answer to SSLRequest is
    # retrieved by nobody. It happens directly too, to a server with TLS; the answer is a millisecond later here.
    "tests/test_pool.py::TestPool::test_pool_config_persistence",
}
"""What comes out differently through the agent, and why."""


@pytest.fixture(scope="module")
def permissive() -> Iterator[Stack]:
    # the server has no TLS: of asyncpg's tests some fail, directly too, where it is offered
    with Stack(policies=EVERYTHING, classification={}, datastore={"client_tls": "disable"}) as running:
        yield running


def outcomes(stack: Stack, *, through: bool) -> dict[str, str]:
    """Test name -> PASSED, FAILED, ... of one run."""
    argv = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "--timeout=60", "-c", os.devnull,
            "--rootdir=.", *NOT_OURS, "tests"]  # fmt: skip
    environ = {
        "PGHOST": "127.0.0.1",
        "PGPORT": str(stack.server.port),
        "PGUSER": "postgres",
        "PGDATABASE": "postgres",
        "HOME": str(stack.folder),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PATH": os.environ["PATH"],
    }
    run = directly(in_cgroup(stack.tree.apps, argv) if through else argv, None, environ, SUITE, seconds=SECONDS)
    found = {
        m[2]: m[1] for m in re.finditer(r"^(PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS) (tests/\S+)", run.stdout, re.M)
    }
    assert len(found) > 300, run.stdout[-2000:] + run.stderr
    return found


@pytest.mark.timeout(2 * SECONDS)
def test_it_gives_what_it_gives_directly(permissive: Stack) -> None:
    there, here = outcomes(permissive, through=False), outcomes(permissive, through=True)
    assert {name for name in {*there, *here} if there.get(name) != here.get(name)} <= DIFFERENT
    failed = {name for name, outcome in there.items() if outcome in ("FAILED", "ERROR")}
    assert failed <= DIFFERENT, "what fails at times by its timing does so directly, too"
    # and they did go through it
    assert len(permissive.records(type="connection", phase="begin")) > 300
