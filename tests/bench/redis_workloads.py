"""What is measured before Redis: redis-benchmark, one thread, one command over and over, with every key at random."""

from __future__ import annotations

import csv
import math
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Final

from lockgate.demo.redis import program
from tests.bench.peers import Peer
from tests.bench.process import cpu_seconds, rest
from tests.bench.report import REDIS, redis_name
from tests.bench.workloads import GRACE_SECONDS, REST_SECONDS, Failed, Workload, run_client
from tests.support.redis import Redis
from tests.support.redis_stack import POLICIES, RedisStack
from tests.support.stack import Stack

GROUP: Final = "redis"
ROUNDS: Final = 3
KEYS: Final = 10_000
"""All of them there, 3 bytes each, as redis-benchmark's own."""
MGET: Final = 10
"""How many keys an MGET asks for."""
PROBE: Final = 1000
"""How many commands are run beforehand, to know how many a run takes: redis-benchmark wants a number, not seconds."""

_KEY: Final = "key:__rand_int__"
COMMANDS: Final = {"GET": ("GET", _KEY), "SET": ("SET", _KEY, "xxx"), "MGET": ("MGET", *(_KEY,) * MGET)}


def start(cleanup: ExitStack) -> tuple[Redis, Stack | None, str]:
    """Start Redis with the agent in front: (server, the stack, "") or (server, None, why there is no agent)."""
    stack = RedisStack(policies=POLICIES, filled=False)
    try:
        cleanup.enter_context(stack)
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        why = next((line for line in reversed(lines) if not line.startswith("{")), lines[-1])
        server = cleanup.enter_context(Redis())
        _fill(server)
        return server, None, why
    _fill(stack.redis)
    return stack.redis, stack, ""


def _fill(server: Redis) -> None:
    with server.client() as client, client.pipeline(transaction=False) as pipe:
        for number in range(KEYS):
            pipe.set(f"key:{number:012d}", "xxx")
        pipe.execute()


def workloads(server: Redis) -> list[Workload]:
    """Every command, pipelined or not, by one client and by many; and how long one takes."""
    return [*(commands(server, *one) for one in REDIS), latency()]


def commands(server: Redis, command: str, depth: int, clients: int) -> Workload:
    """So many commands a second; `server` is asked whether it did get them."""
    name = redis_name(command, depth, clients)

    def run(peer: Peer, seconds: int) -> Mapping[str, float]:
        number = _enough(benchmark(peer, command, depth, clients, PROBE * depth), seconds)
        ran, before = _ran(server), _cpu(peer)
        found = benchmark(peer, command, depth, clients, number)
        rest(peer.background, REST_SECONDS)
        used = _cpu(peer) - before
        if (reached := _ran(server) - ran) < number:
            raise Failed(f"{number} commands were sent, and the server ran {reached}")
        measured = {name: float(found["rps"])}
        if peer.pid is not None:
            measured[f"cpu {name}"] = used / number * 1e6
        return measured

    return Workload(name, run, group=GROUP, rounds=ROUNDS)


def latency() -> Workload:
    """One client, GET."""

    def run(peer: Peer, seconds: int) -> Mapping[str, float]:
        found = benchmark(peer, "GET", 1, 1, _enough(benchmark(peer, "GET", 1, 1, PROBE), seconds / 2))
        return {f"redis latency p{part}": float(found[f"p{part}_latency_ms"]) * 1000 for part in (50, 99)}

    return Workload("redis latency", run, group=GROUP, rounds=ROUNDS)


def benchmark(peer: Peer, command: str, depth: int, clients: int, number: int) -> dict[str, str]:
    """One run of redis-benchmark; its columns by name (`rps`, `p50_latency_ms`). Raises Failed."""
    argv = [program("redis-benchmark"), "-h", "127.0.0.1", "-p", str(peer.port), "-n", str(max(number, clients)),
            "-c", str(clients), "-P", str(depth), "-r", str(KEYS), "--csv", *COMMANDS[command]]  # fmt: skip
    text = run_client(peer, argv, 2 * GRACE_SECONDS, "")
    # it tells what the server answers instead, but goes on and counts it as done
    lines = [line for line in text.splitlines() if line.startswith('"')]
    if "rror" in text or len(lines) != 2:
        raise Failed(f"redis-benchmark: {text.strip()[-200:]}")
    return next(csv.DictReader(lines))


def _enough(probe: Mapping[str, str], seconds: float) -> int:
    """How many commands take so long, going by a short run."""
    rate = float(probe["rps"])
    if not math.isfinite(rate):
        raise Failed(f"{PROBE} commands took no time")
    return max(PROBE, int(rate * seconds))


def _ran(server: Redis) -> int:
    """How many GET, SET and MGET the server has run: a proxy may make many of one MGET."""
    stats = server.stats()
    return sum(stats.get(name, 0) for name in COMMANDS)


def _cpu(peer: Peer) -> float:
    return 0.0 if peer.pid is None else cpu_seconds(peer.pid)
