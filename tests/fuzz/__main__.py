"""Hostile bytes against everything that reads any, for FUZZ_SECONDS in all.

    FUZZ_SECONDS=120 python -m tests.fuzz [TARGET...]

Every target runs under libFuzzer in a process of its own, and at last scripts against the model of PostgreSQL
(`fuzz_session`). A line each: how many inputs, how many a second, and how many edges of the agent's code they reached.
Ends with 1 at the first finding, which it prints as a literal to paste into a test.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.fuzz import fuzz_session
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

SECONDS: Final = 120.0
HANG_SECONDS: Final = 20
"""What libFuzzer takes for a hang: `Target.run` finds what is merely slow."""
MEMORY_MB: Final = 2048
SESSION: Final = "model"

_EDGES: Final = re.compile(r"cov: (\d+)")
_RUNS: Final = re.compile(r"Done (\d+) runs")


def guided(target: Target, seconds: int) -> str | None:
    """Fuzz one target; None when all held, or else what did not."""
    with tempfile.TemporaryDirectory(prefix="lockgate-fuzz-") as made:
        folder = Path(made)
        (folder / "corpus").mkdir()
        for number, seed in enumerate(target.seeds):
            (folder / "corpus" / str(number)).write_bytes(seed)
        run = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.guided", target.name, str(folder / "corpus"),
             f"-max_total_time={seconds}", f"-max_len={target.longest}", f"-timeout={HANG_SECONDS}",
             f"-rss_limit_mb={MEMORY_MB}", f"-artifact_prefix={folder}/", "-print_final_stats=1"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        told = run.stdout.decode("utf-8", "replace")
        found = [file for file in folder.iterdir() if file.is_file()]
        if run.returncode != 0 or found:
            _, raised, reason = told.rpartition("Uncaught Python exception")
            reason = reason[:3000] if raised else told[-3000:]
            literals = "\n".join(f"{file.name}: {file.read_bytes()!r}" for file in found)
            return f"{target.name} is broken:\n{reason}\n{literals}"
        runs, edges = _RUNS.findall(told), _EDGES.findall(told)
        count = int(runs[-1]) if runs else 0
        print(f"{target.name:<14} {count:>9} inputs {count / seconds:>8.0f}/s {edges[-1] if edges else '?':>6} edges",
              flush=True)  # fmt: skip
    return None


def main() -> int:
    named = sys.argv[1:] or [*TARGETS, SESSION]
    unknown = set(named) - {*TARGETS, SESSION}
    if unknown:
        print(f"no target is called {min(unknown)} (there are {', '.join((*TARGETS, SESSION))})")
        return 2
    each = float(os.environ.get("FUZZ_SECONDS", SECONDS)) / len(named)
    for name in named:
        if name == SESSION:
            if fuzz_session.run(each) != 0:
                return 1
        elif (broken := guided(TARGETS[name], max(1, int(each)))) is not None:
            print(broken)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
