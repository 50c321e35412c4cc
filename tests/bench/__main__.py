"""`python -m tests.bench [--quick] [--json FILE]`: every workload against every peer, alternating, in one run.

BENCH_ONLY=tls,maskers in the environment chooses by groups (`GROUPS`); without it all are run.

A round runs each workload against each peer in turn, in an order that moves on by one from round to round. Needs
root (the agent does). Exit status: 0 everything was measured (whether or not an aim was reached), 1 something wasn't.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

import click
from rich.console import Console

from tests.bench import database, features, peers, redis_workloads, report, workloads

SUBJECT = "lockgate"
GROUPS = features.GROUPS | {redis_workloads.GROUP}
OPEN_FILES = 8192
"""Two sockets a connection in every proxy, for the idle ones."""


@click.command()
@click.option("--quick", is_flag=True, help="2 rounds of 1 s instead of 5 of 2 s")
@click.option("--json", "path", type=click.Path(path_type=Path), help="also write every value to this file")
def main(quick: bool, path: Path | None) -> None:
    """Measure the agent against its peers in front of one scratch PostgreSQL, and of one scratch Redis."""
    if os.geteuid() != 0:
        raise click.UsageError("the agent and the servers are started as root")
    groups = selected(os.environ.get("BENCH_ONLY", ""))
    signal.signal(signal.SIGTERM, _terminated)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    progress = Console(stderr=True, highlight=False)
    began = time.monotonic()
    load = os.getloadavg()[0]
    results = measure(groups=groups, rounds=2 if quick else 5, seconds=1 if quick else 2, progress=progress)
    console = Console(width=None if sys.stdout.isatty() else 120)
    report.show(results, console, SUBJECT)
    console.print(
        f"{time.monotonic() - began:.0f} s on {os.cpu_count()} cores; load before it began {load:.1f}", highlight=False
    )
    if path is not None:
        path.write_text(json.dumps(results.as_json(SUBJECT), indent=1) + "\n")
    sys.exit(1 if results.missing or results.failures else 0)


def measure(*, groups: frozenset[str], rounds: int, seconds: int, progress: Console) -> report.Results:
    """Start everything, run every round, stop everything; one kind of datastore after the other."""
    results = report.Results()
    if groups - {redis_workloads.GROUP}:
        with ExitStack() as cleanup:
            _postgresql(results, cleanup, groups, rounds, seconds, progress)
    if redis_workloads.GROUP in groups:
        with ExitStack() as cleanup:
            _redis(results, cleanup, rounds, seconds, progress)
    return results


def _postgresql(
    results: report.Results, cleanup: ExitStack, groups: frozenset[str], rounds: int, seconds: int, progress: Console
) -> None:
    folder = _folder(cleanup)
    progress.print("starting the database, the agent and its peers")
    server, stack, why = database.start(cleanup, folder)
    if stack is None:
        results.missing[SUBJECT] = why
    measured, missing = peers.start(cleanup, server.port, folder, stack)
    results.missing |= missing
    server.psql("SELECT count(*) FROM people; SELECT count(*) FROM pgbench_accounts")
    if "relay" in groups:
        progress.print("memory")
        everybody(results, 0, measured, workloads.Workload("memory", lambda peer, _: workloads.idle(peer)), seconds)
    if "grants" in groups and stack is not None:
        features.grant(stack)
    chosen = [workload for workload in (*workloads.WORKLOADS, *features.WORKLOADS) if workload.group in groups]
    in_turn(results, measured, chosen, rounds, seconds, progress)
    if "relay" in groups:
        later = workloads.Workload("memory after the load", lambda peer, _: workloads.loaded(peer))
        everybody(results, 0, measured, later, seconds)


def _redis(results: report.Results, cleanup: ExitStack, rounds: int, seconds: int, progress: Console) -> None:
    folder = _folder(cleanup)
    progress.print("starting Redis, the agent and its peers")
    server, stack, why = redis_workloads.start(cleanup)
    measured, missing = peers.start(cleanup, server.port, folder, stack, peers.REDIS_PROXIES)
    if stack is None:
        missing[SUBJECT] = why
    results.missing |= {f"{name} before Redis": why for name, why in missing.items()}
    in_turn(results, measured, redis_workloads.workloads(server), rounds, seconds, progress)


def _folder(cleanup: ExitStack) -> Path:
    folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="lockgate-bench-")))
    folder.chmod(0o755)
    return folder


def selected(text: str) -> frozenset[str]:
    """The groups that BENCH_ONLY names; all of them where it is empty."""
    found = frozenset(name for name in text.replace(",", " ").split())
    if unknown := found - GROUPS:
        raise click.UsageError(f"BENCH_ONLY: {', '.join(sorted(unknown))}: none of {', '.join(sorted(GROUPS))}")
    return found or GROUPS


def in_turn(
    results: report.Results,
    measured: list[peers.Peer],
    chosen: Iterable[workloads.Workload],
    rounds: int,
    seconds: int,
    progress: Console,
) -> None:
    """Every workload against every peer in each round; another peer comes first in the next."""
    for number in range(rounds):
        progress.print(f"round {number + 1} of {rounds}")
        turn = number % len(measured)
        for workload in chosen:
            if number < workload.rounds:
                everybody(results, number, [*measured[turn:], *measured[:turn]], workload, seconds)


def everybody(
    results: report.Results, number: int, measured: list[peers.Peer], workload: workloads.Workload, seconds: int
) -> None:
    """One workload against every peer; who failed at it is not asked again."""
    for peer in measured:
        if workload.peers is not None and peer.name not in workload.peers:
            continue
        if workload.name in results.failures.get(peer.name, {}):
            continue
        try:
            results.add(peer.name, number, workload.run(peer, seconds))
        except (workloads.Failed, OSError) as error:
            results.failed(peer.name, workload.name, str(error))


def _terminated(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)  # unwinds, so that everything started is stopped


if __name__ == "__main__":
    main()
