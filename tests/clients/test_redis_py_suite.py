"""redis-py's own tests, as its source distribution has them: what passes directly passes through the agent.

Put into build/clients/redis by `make test`, with a Python environment of their own. They run against a server that is
there already, whose every key they may delete, under a policy that permits everything. Both runs go on at once, each
with a server of its own: most of the time they wait. Tests of a cluster, of sentinels, of modules and of TLS want
servers that they know by name, and are left out, as are those of redis-py's inside that talk to no server.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.redis import Redis
from tests.support.redis_stack import EVERYTHING, RedisStack
from tests.support.stack import environment

SUITE = Path(__file__).parents[2] / "build" / "clients" / "redis"
SECONDS = 500

SETTINGS = {"enable-debug-command": "yes"}
"""Their own servers are started so."""

BOTH = ["cache", "client", "commands", "connection_pool", "encoding", "function", "hash", "lock", "monitor", "pipeline",
        "pubsub", "scripting"]  # fmt: skip
"""Have tests of the blocking client and of the asyncio one, or of one of the two."""
FILES = [
    name
    for part in BOTH
    for name in (f"tests/test_{part}.py", f"tests/test_asyncio/test_{part}.py")
    if part not in ("cache", "function") or "asyncio" not in name
]
OLDER = ["tests/test_commands.py", "tests/test_pipeline.py", "tests/test_scripting.py", "tests/test_encoding.py"]
"""Run in RESP2 too, which is no longer what redis-py speaks by itself."""

NOT_OURS = "not onlycluster and not redismod and not replica and not ssl"

DIFFERENT: set[str] = set()
"""What passes directly only, and why. Each is a limit that README names."""


@pytest.fixture(scope="module")
def permissive() -> Iterator[RedisStack]:
    redis = Redis(SETTINGS)
    with RedisStack(redis=redis, policies=EVERYTHING, classification={}, filled=False) as running:
        yield running


def begun(port: int, protocol: str, files: list[str], stack: RedisStack | None) -> subprocess.Popen[str]:
    """One run, on its way; among the intercepted processes of `stack` unless that is None."""
    argv = [str(SUITE / "venv" / "bin" / "python"), "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider",
            "--timeout=60", "-c", os.devnull, "--rootdir=.", "-o", "asyncio_mode=auto", "-m", NOT_OURS,
            f"--redis-url=redis://127.0.0.1:{port}/0", f"--protocol={protocol}", *files]  # fmt: skip
    return subprocess.Popen(
        stack.command("bob", argv) if stack is not None else argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, cwd=SUITE, env={**environment(), "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip


def outcomes(run: subprocess.Popen[str]) -> dict[str, str]:
    """Test name -> PASSED, FAILED, ... of a run that began."""
    out, _ = run.communicate(timeout=SECONDS)
    found = {m[2]: m[1] for m in re.finditer(r"^(PASSED|FAILED|ERROR|XFAIL|XPASS) (tests/\S+)", out, re.M)}
    assert found, out[-2000:]
    return found


@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.parametrize(
    ("protocol", "files", "least"), [("3", FILES, 1700), ("2", OLDER, 400)], ids=["RESP3", "RESP2"]
)
def test_what_passes_directly_passes_through(
    permissive: RedisStack, protocol: str, files: list[str], least: int
) -> None:
    with Redis(SETTINGS) as server:
        runs = [begun(permissive.redis.port, protocol, files, permissive), begun(server.port, protocol, files, None)]
        try:
            here, there = (outcomes(run) for run in runs)
        finally:
            for run in runs:
                run.kill()
                run.communicate()
    passed = {name for name, outcome in there.items() if outcome in ("PASSED", "XPASS")}
    assert len(passed) > least
    assert {name for name in passed if here.get(name) not in ("PASSED", "XPASS")} == DIFFERENT & passed
    # and they did go through it
    assert len(permissive.records(type="connection", phase="begin")) > 300
