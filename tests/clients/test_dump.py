"""pg_dump and pg_restore: what was dumped through the agent is the database, and restoring it through the agent too."""

from __future__ import annotations

import re

import pytest

from tests.clients.side_by_side import directly, intercepted, where
from tests.support.postgres import BINARIES
from tests.support.stack import Stack

DUMP, RESTORE = str(BINARIES / "pg_dump"), str(BINARIES / "pg_restore")


def _timeless(dump: str) -> str:
    """A dump without what differs from run to run."""
    return re.sub(r"^\\(?:un)?restrict .*$", "", dump, flags=re.M)


@pytest.mark.parametrize("options", [[], ["--inserts"], ["--column-inserts", "--data-only"], ["--schema-only"]])
def test_a_dump_is_the_same(stack: Stack, options: list[str]) -> None:
    argv = [DUMP, *where(stack), *options, "postgres"]
    there, here = directly(argv), intercepted(stack, argv)
    assert here.stderr == there.stderr == ""
    assert _timeless(here.stdout) == _timeless(there.stdout)
    assert "customers" in here.stdout


@pytest.mark.parametrize("form", ["custom", "tar", "directory"])
def test_dump_and_restore(stack: Stack, form: str) -> None:
    into = f"copy_{form}"
    file = stack.folder / f"dump-{form}"
    stack.server.psql(f"DROP DATABASE IF EXISTS {into}")
    stack.server.psql(f"CREATE DATABASE {into} OWNER app")
    stack.folder.chmod(0o777)
    dumped = intercepted(stack, [DUMP, *where(stack), "-F", form, "-f", str(file), "postgres"])
    assert (dumped.returncode, dumped.stderr) == (0, "")
    jobs = ["-j", "2"] if form != "tar" else []
    restored = intercepted(stack, [RESTORE, *where(stack), "-O", "-x", *jobs, "-d", into, str(file)])
    assert (restored.returncode, restored.stderr) == (0, "")
    options = ["--no-owner", "--no-privileges"]
    one = directly([DUMP, *where(stack), *options, "postgres"])
    other = directly([DUMP, *where(stack), *options, into])
    assert _timeless(other.stdout) == _timeless(one.stdout)


def test_a_dump_by_somebody_who_sees_masks_has_masks_in_it(stack: Stack) -> None:
    run = intercepted(stack, [DUMP, *where(stack), "-t", "customers", "postgres"], person="ann")
    assert run.returncode == 0, run.stderr
    assert "user7@example.org" not in run.stdout
    assert "900-00-0007" not in run.stdout
    assert "7\tname7\tu***@e***.org\t***\t\\N\tn" in run.stdout
