"""redis-py's own tests, as its source distribution has them: what passes directly passes through the agent.

Put into build/clients/redis by `make test`, with a Python environment of their own. They run against a server that is
there already, whose every key they may delete, under a policy that permits everything: the blocking client in RESP3,
the asyncio one in RESP2. All runs go on at once, each with a server of its own: most of the time they wait. What fails
is tried again directly. Tests of a cluster, of sentinels, of modules and of TLS want servers that they know by name,
and are left out, as are those of redis-py's inside that talk to no server.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.redis import Redis
from tests.support.redis_stack import EVERYTHING, RedisStack
from tests.support.stack import environment

SUITE = Path(__file__).parents[2] / "build" / "clients" / "redis"
SECONDS = 500

SETTINGS = {"enable-debug-command": "yes"}
"""Their own servers are started so."""

NOT_OURS = "not onlycluster and not redismod and not replica and not ssl"


@dataclass(frozen=True, slots=True)
class Part:
    """Files that run one after another, in a version of RESP; at least so many of their tests pass."""

    protocol: int
    folder: str
    names: tuple[str, ...]
    least: int

    @property
    def files(self) -> list[str]:
        return [f"tests/{self.folder}test_{name}.py" for name in self.names]


COMMANDS = ("commands", "pipeline", "scripting", "connection_pool")
PARTS = {
    "commands": Part(3, "", (*COMMANDS, "cache"), 590),
    "messages": Part(3, "", ("pubsub",), 105),
    "asyncio commands": Part(2, "test_asyncio/", COMMANDS, 370),
    "asyncio messages": Part(2, "test_asyncio/", ("pubsub",), 85),
}

DIFFERENT = {
    "tests/test_commands.py::TestRedisCommands::test_client_tracking": "CLIENT TRACKING with REDIRECT is refused"
}
"""What passes directly only, and why. Each is a limit that README names."""


def begun(port: int, protocol: int, tests: Iterable[str], stack: RedisStack | None) -> subprocess.Popen[str]:
    """One run, on its way; among the intercepted processes of `stack` unless that is None."""
    argv = [str(SUITE / "venv" / "bin" / "python"), "-m", "pytest", "-q", "-rA", "--tb=no", "--assert=plain",
            "-p", "no:cacheprovider", "-p", "no:warnings", "--timeout=60",
            "-c", os.devnull, "--rootdir=.", "-o", "asyncio_mode=auto",
            "-m", NOT_OURS,
            "-k", "not [pool]",  # the same again with a client that has more than one connection
            f"--redis-url=redis://127.0.0.1:{port}/0", f"--protocol={protocol}", *tests]  # fmt: skip
    return subprocess.Popen(
        stack.command("bob", argv) if stack is not None else argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, cwd=SUITE, env={**environment(), "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip


def outcomes(run: subprocess.Popen[str]) -> dict[str, bool]:
    """Test name -> whether it passed, of a run that began; without those that were skipped."""
    out, _ = run.communicate(timeout=SECONDS)
    told = re.finditer(r"^(PASSED|FAILED|ERROR|XFAIL|XPASS) (tests/\S+)", out, re.M)
    found = {match[2]: match[1] in ("PASSED", "XPASS") for match in told if match[1] != "XFAIL"}
    assert found, out[-2000:]
    return found


def passes_directly(protocol: int, tests: Iterable[str]) -> set[str]:
    with Redis(SETTINGS) as server:
        run = begun(server.port, protocol, tests, None)
        try:
            return {name for name, passed in outcomes(run).items() if passed}
        finally:
            run.kill()
            run.communicate()


@pytest.fixture(scope="module")
def runs() -> Iterator[Mapping[str, subprocess.Popen[str]]]:
    """Each part, on its way; they all have gone through the agent at the end."""
    servers = [Redis(SETTINGS) for _ in PARTS]
    with RedisStack(policies=EVERYTHING, classification={}, filled=False, others=servers) as stack:
        begins = {
            kind: begun(server.port, part.protocol, part.files, stack)
            for (kind, part), server in zip(PARTS.items(), servers, strict=True)
        }
        try:
            yield begins
        finally:
            for run in begins.values():
                run.kill()
                run.communicate()
        connections = stack.records(type="connection", phase="begin")
        through = {record["connection"]["datastore"] for record in connections}
        assert through == {f"other-{number}" for number in range(len(servers))}
        assert len(connections) > 1000


@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.parametrize("kind", PARTS)
def test_what_passes_directly_passes_through(runs: Mapping[str, subprocess.Popen[str]], kind: str) -> None:
    found = outcomes(runs[kind])
    failed = {name for name, passed in found.items() if not passed}
    assert len(found) - len(failed) >= PARTS[kind].least
    there = passes_directly(PARTS[kind].protocol, sorted(failed)) if failed else set()
    assert failed & there == DIFFERENT.keys() & found.keys()
