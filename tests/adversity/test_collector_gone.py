"""A collector that is killed loses nothing; a spool that is full refuses."""

from __future__ import annotations

import resource
import signal
import time

from tests.support.stack import Stack


def test_records_made_meanwhile_arrive_once_and_in_order(stack: Stack) -> None:
    stack.psql("ann", "SELECT 'before'")
    stack.stop("collector", signal.SIGKILL)
    for i in range(5):
        assert stack.psql("ann", f"SELECT 'meanwhile {i}'").returncode == 0
    stack.start("collector")
    config = str(stack.collector_yaml)
    deadline = time.monotonic() + 30
    while len(stack.json("audit", "search", "--config", config, "meanwhile")) < 5:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert len(stack.json("audit", "search", "--config", config, "meanwhile")) == 5
    assert stack.lockgate("audit", "verify", "--config", config).returncode == 0


def test_a_full_spool_refuses_statements_and_they_never_reach_the_server() -> None:
    with Stack(agent={"spool": {"max_bytes": 65536, "segment_bytes": 16384, "fsync": "never"}}) as stack:
        stack.stop("collector", signal.SIGKILL)  # nothing is shipped, so nothing is freed
        big = "SELECT '" + "x" * 20000 + "'"
        outcomes = [stack.psql("ann", f"{big} AS n{i}") for i in range(6)]
        refused = [run for run in outcomes if run.returncode]
        assert outcomes[0].returncode == 0
        assert refused, "the bound is never reached"
        assert "this can't be recorded, so it is not sent" in refused[-1].stderr
        stack.start("collector")
        deadline = time.monotonic() + 20
        while stack.psql("ann", "SELECT 1").returncode:
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_a_full_disk_refuses_statements_until_there_is_room() -> None:
    with Stack() as stack:
        agent = stack.processes["agent"]
        # as a full disk does, but for this process only: no file may grow any more
        limits = resource.prlimit(agent.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(agent.pid, resource.RLIMIT_FSIZE, (1, limits[1]))
        run = stack.psql("ann", "SELECT 'lost'")
        assert run.returncode != 0
        assert "can't be recorded" in run.stderr
        resource.prlimit(agent.pid, resource.RLIMIT_FSIZE, limits)
        assert stack.psql("ann", "SELECT 1").returncode == 0
        assert not any("lost" in r.get("statement", "") for r in stack.records())
