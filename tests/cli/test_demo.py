"""`lockgate demo`, as anybody would call it. Its steps are the product's, so this is a test of all of it as well."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.demo.leftovers import leftovers

PROGRAM = str(Path(sys.executable).with_name("lockgate"))
UNSHARED = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /usr/lib/postgresql && exec "$0" demo')
SOMEBODY = (
    "setpriv", "--reuid=64001", "--regid=64001", "--clear-groups", "--inh-caps=+dac_read_search",
    "--ambient-caps=+dac_read_search",
)  # fmt: skip


def run(*argv: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error; nothing may be left behind."""
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/") as process:
        stdout, stderr = process.communicate(timeout=90)
    assert leftovers(process.pid) == []
    return process.returncode, stdout, stderr


def test_a_person_reads_a_transcript() -> None:
    status, stdout, stderr = run(PROGRAM, "demo")
    assert (status, stderr) == (0, ""), stdout
    *_, summary = stdout.splitlines()
    assert summary.startswith("✓ 32 steps did what they say, in ")
    assert "✗" not in stdout
    assert "\x1b" not in stdout
    assert 'ann$ psql -c "DROP TABLE orders"\n  ERROR:  lockgate: the schema changes through' in stdout
    assert " FLUSHALL\n  NOPERM lockgate: nobody empties the cache" in stdout
    for told in ("a***@e***.com", "DELETE 364", "denied by bob: all of them?", "who asked can't decide",
                 "k***@e***.com", "Could not connect to Redis", "intact"):  # fmt: skip
        assert told in stdout


def test_a_program_reads_a_line_a_step() -> None:
    status, stdout, stderr = run(PROGRAM, "demo", "--json")
    assert (status, stderr) == (0, ""), stdout
    steps = [json.loads(line) for line in stdout.splitlines()]
    assert [step["step"] for step in steps] == list(range(1, 33))
    assert all(step["ok"] is True for step in steps)
    assert all(step.keys() == {"step", "title", "command", "output", "ok", "expected"} for step in steps)
    assert steps[0]["command"].startswith("ann$ psql -c ")


def test_it_takes_root() -> None:
    status, stdout, stderr = run(*SOMEBODY, PROGRAM, "demo")
    assert (status, stdout) == (1, "")
    assert stderr == "lockgate: the demo loads programs into the kernel and must be root\n"


def test_it_takes_postgresql() -> None:
    status, _, stderr = run(*UNSHARED, PROGRAM)
    assert status == 1
    assert stderr == (
        "lockgate: PostgreSQL is not installed below /usr/lib/postgresql: "
        "apt-get install postgresql-15 postgresql-client-15\n"
    )
