"""What is measured: each workload runs once against one peer and says what came out, by name."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import database
from tests.bench.peers import CLIENT, Peer
from tests.bench.process import cpu_seconds, memory, rest
from tests.support.postgres import BINARIES
from tests.support.stack import PEOPLE

GRACE_SECONDS = 15.0
"""How much longer than asked a run may take before its peer counts as failed."""
BULK_SECONDS = 60.0
REST_SECONDS = 4.0
"""How long records of a run that are still being shipped may take to arrive before the next one begins."""
IDLE_CONNECTIONS = 500


class Failed(Exception):
    """This peer didn't get through this workload, and why in one line."""


@dataclass(frozen=True, slots=True)
class Workload:
    """`run(peer, seconds)` -> the measures by name, as `report.MEASURES` has them. Raises Failed."""

    name: str
    run: Callable[[Peer, int], Mapping[str, float]]
    peers: frozenset[str] | None = None
    """Only these; None: all."""
    group: str = "relay"
    """What it can be chosen by."""
    rounds: int = 5
    """In how many rounds at most."""


@dataclass(frozen=True, slots=True)
class Way:
    """How clients get to the server. `host` is the datastore that they dial through the agent.

    `tls`: every client speaks TLS; by itself to the server and to the agent, from the first byte to HAProxy, which
    can't be asked for it. `upstream_tls`: only what stands in between speaks TLS with the server, and without one in
    between the client does.
    """

    host: str = database.PLAIN
    tls: bool = False
    upstream_tls: bool = False
    user: str = "app"
    password: str = ""

    def to(self, peer: Peer) -> tuple[str, int, str]:
        """The address, the port, and the TLS of `client.py`."""
        if peer.pid is None:
            return database.PLAIN, peer.port, "require" if self.tls or self.upstream_tls else "disable"
        if self.tls and peer.tls_port is not None:
            return database.PLAIN, peer.tls_port, "direct"
        return self.host if peer.cgroup else database.PLAIN, peer.port, "require" if self.tls else "disable"

    def environment(self, peer: Peer) -> dict[str, str]:
        """For libpq."""
        return {"PGSSLMODE": self.to(peer)[2], "PGPASSWORD": self.password if peer.pid is None else ""}


STRAIGHT = Way()


def select(
    mode: str,
    clients: int,
    *options: str,
    way: Way = STRAIGHT,
    name: str | None = None,
    peers: frozenset[str] | None = None,
    group: str = "relay",
    script: str | None = None,
) -> Workload:
    """pgbench, one thread: one SELECT by primary key a transaction (-S), or `script`. `options` are further ones."""
    name = name or f"select {mode} x{clients}"

    def run(peer: Peer, seconds: int) -> Mapping[str, float]:
        host, port, _ = way.to(peer)
        argv = [str(BINARIES / "pgbench"), "-n", *(("-S",) if script is None else ("-f", "-")), "-M", mode,
                "-c", str(clients), "-j", "1", "-T", str(seconds), *options, "-h", host, "-p", str(port),
                "-U", way.user if peer.pid is None else "app", "postgres"]  # fmt: skip
        before = _cpu(peer)
        text = _output(peer.client(argv), seconds + GRACE_SECONDS, way.environment(peer), script)
        rest(peer.background, REST_SECONDS)
        used = _cpu(peer) - before
        rate = re.search(r"^tps = ([\d.]+) \((?:without|including)", text, re.M)
        done = re.search(r"^number of transactions actually processed: (\d+)", text, re.M)
        broken = re.search(r"^number of failed transactions: ([1-9]\d*)", text, re.M)
        if rate is None or done is None or int(done[1]) == 0 or broken is not None:
            raise Failed(f"pgbench: {text.strip()[-200:]}")
        found = {name: float(rate[1])}
        if peer.pid is not None:
            found[f"cpu {name}"] = used / int(done[1]) * 1e6
        return found

    return Workload(name, run, peers, group)


def bulk(
    name: str,
    sql: str,
    hidden: str | None,
    peers: frozenset[str] | None = None,
    *,
    rows: int = database.ROWS,
    form: str = "bulk",
    way: Way = STRAIGHT,
    group: str = "relay",
) -> Workload:
    """One result of `rows` rows; through the agent, `hidden` must not be in it. `form` is `bulk` or `binary`."""

    def run(peer: Peer, seconds: int) -> Mapping[str, float]:
        answer = _client(peer, form, sql, BULK_SECONDS, way)
        if not answer["tail"].rpartition("\0Z")[0].endswith(f" {rows}"):
            raise Failed(f"the result ended in {answer['tail']!r}")
        if hidden is not None and (hidden in answer["head"]) != (peer.name != "lockgate"):
            raise Failed(
                f"the result is masked where it should not be, or not where it should: {answer['head'][:200]!r}"
            )
        # by rows: masked text may be shorter, which must not count against who masks
        return {name: rows / answer["seconds"] / 1000}

    return Workload(name, run, peers, group)


def latency(
    prefix: str = "", peers: frozenset[str] | None = None, way: Way = STRAIGHT, group: str = "relay"
) -> Workload:
    """One client, SELECT 1."""

    def run(peer: Peer, seconds: int) -> Mapping[str, float]:
        taken = _client(peer, "latency", str(seconds / 2), seconds + GRACE_SECONDS, way)["microseconds"]
        p99 = statistics.quantiles(taken, n=100)[98]
        return {f"{prefix}latency p50": statistics.median(taken), f"{prefix}latency p99": p99}

    return Workload(f"{prefix}latency", run, peers, group)


def connect(name: str, peers: frozenset[str] | None, way: Way, group: str) -> Workload:
    """Connections a second, one after another, each until it is ready."""

    def run(peer: Peer, seconds: int) -> Mapping[str, float]:
        taken = _client(peer, "connect", str(seconds / 2), seconds + GRACE_SECONDS, way)["microseconds"]
        rest(peer.background, REST_SECONDS)
        return {name: 1e6 / statistics.median(taken)}

    return Workload(name, run, peers, group)


WORKLOADS = (
    *(select(mode, clients) for mode in ("simple", "prepared") for clients in (1, 8)),
    bulk("bulk plain", database.PLAIN_ROWS, None),
    bulk("bulk masked", database.MASKED_ROWS, database.UNMASKED, frozenset(("direct", "lockgate"))),
    latency(),
)


def idle(peer: Peer) -> Mapping[str, float]:
    """Memory of a peer that has just started, and what IDLE_CONNECTIONS that ran one statement each add to it.

    Before any load, which would leave freed memory for the connections to be had from. A connection is told by RSS:
    the proportional share (PSS) of libraries moves with whoever else starts or ends.
    """
    if peer.pid is None:
        return {}
    fresh = memory(peer.pid)
    argv = peer.placed(_argv(peer, "idle", str(IDLE_CONNECTIONS)))
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_environment(), cwd="/"
    ) as client:
        assert client.stdout is not None
        assert client.stderr is not None
        try:
            if not client.stdout.readline():
                raise Failed(_last_line(client.stderr.read().decode(errors="replace")))
            full = memory(peer.pid)
        finally:
            client.kill()
    rest(peer.background, REST_SECONDS)
    return {
        "idle rss": fresh.rss / 1024,
        "idle pss": fresh.pss / 1024,
        "connection": (full.rss - fresh.rss) / IDLE_CONNECTIONS,
    }


def loaded(peer: Peer) -> Mapping[str, float]:
    """Memory of a peer that has done its work: what it did not give back."""
    return {} if peer.pid is None else {"later rss": memory(peer.pid).rss / 1024}


def _cpu(peer: Peer) -> float:
    return 0.0 if peer.pid is None else cpu_seconds(peer.pid)


def _client(peer: Peer, what: str, argument: str, seconds: float, way: Way) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(_output(peer.placed(_argv(peer, what, argument, way)), seconds))
    return answer


def run_client(peer: Peer, argv: list[str], seconds: float, script: str) -> str:
    """What a client of `peer` says that is given `script`. Raises Failed."""
    return _output(peer.client(argv), seconds, script=script)


def _argv(peer: Peer, what: str, argument: str, way: Way = STRAIGHT) -> list[str]:
    program = str(Path(__file__).with_name("client.py"))
    host, port, tls = way.to(peer)
    return [sys.executable, "-I", program, str(PEOPLE[CLIENT]), host, str(port), tls, what, argument]


def _output(
    argv: list[str], seconds: float, environment: Mapping[str, str] | None = None, script: str | None = None
) -> str:
    try:
        run = subprocess.run(
            argv, input=script or "", capture_output=True, text=True, check=False, timeout=seconds,
            env={**_environment(), **(environment or {})}, cwd="/",
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Failed(f"not finished after {seconds:g} s") from None
    if run.returncode:
        raise Failed(f"{Path(argv[0]).name} exited with {run.returncode}: {_last_line(run.stderr)}")
    return run.stdout


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]


def _environment() -> dict[str, str]:
    """No TLS unless it is what is measured: libpq's own default gets it from the agent and from the server."""
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PGSSLMODE": "disable", "PGGSSENCMODE": "disable",
            "PGCONNECT_TIMEOUT": "10"}  # fmt: skip
