"""What the platform team sees: status, metrics, reload, draining, and the security team's records."""

from __future__ import annotations

import json
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable

from tests.support.stack import POLICIES, Stack, environment


def until(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def metrics(stack: Stack) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{stack.metrics_port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def test_status_says_what_is_going_on(stack: Stack) -> None:
    stack.psql("ann", "SELECT 1")
    (status,) = stack.json("status", "--config", str(stack.agent_yaml))
    assert status["ready"] is True
    assert status["host"] == "host-1"
    (orders,) = status["datastores"]
    assert (orders["name"], orders["mode"], orders["connections"]) == ("orders", "enforce", 0)
    assert orders["statements"] >= 1
    assert (orders["would_deny"], orders["unread_connections"]) == (0, 0)
    assert status["shadow"] == {"configured": False, "epoch": None, "problem": None}


def test_metrics_count_statements_and_refusals(stack: Stack) -> None:
    until(lambda: metrics(stack)['lockgate_connections{datastore="orders"}'] == 0)
    before = metrics(stack)
    stack.psql("ann", "SELECT 1", "SELECT 2", "DROP TABLE orders")
    # the agent learns a moment after psql has gone that it has
    closed = 'lockgate_connections_total{datastore="orders",outcome="closed"}'
    until(lambda: metrics(stack).get(closed, 0) == before.get(closed, 0) + 1)
    after = metrics(stack)

    def grown(name: str) -> float:
        return after.get(name, 0) - before.get(name, 0)

    assert grown('lockgate_statements_total{datastore="orders",verdict="allow"}') == 2
    assert grown('lockgate_statements_total{datastore="orders",verdict="deny"}') == 1
    assert after['lockgate_connections{datastore="orders"}'] == 0
    until(lambda: metrics(stack).get('lockgate_kernel_total{counter="redirected"}', 0) > 0)


def test_the_session_is_found_in_the_collector_and_the_chain_holds(stack: Stack) -> None:
    stack.psql("ann", "SELECT 'needle' AS found")
    config = str(stack.collector_yaml)
    until(lambda: bool(stack.json("audit", "search", "--config", config, "needle")))
    (found,) = stack.json("audit", "search", "--config", config, "needle")
    shown = stack.json("audit", "show", found["id"], "--config", config)
    assert "needle" in json.dumps(shown)
    assert stack.lockgate("audit", "verify", "--config", config).returncode == 0
    # over the network, for root of this host and for nobody unauthorised
    over_api = stack.json("audit", "search", "--config", str(stack.agent_yaml), "needle")
    assert [r["id"] for r in over_api] == [found["id"]]
    assert stack.lockgate("audit", "search", "--config", str(stack.agent_yaml), "needle", person="ann").returncode == 1


def test_a_changed_policy_is_taken_and_a_broken_one_is_not(stack: Stack) -> None:
    file = stack.folder / "policies" / "all.cedar"
    try:
        file.write_text(POLICIES + 'forbid (principal, action == Action::"execute", resource) when { tru };')
        stack.processes["agent"].send_signal(signal.SIGHUP)
        until(lambda: "policies not taken" in stack.log("agent"))
        assert stack.psql("ann", "SELECT 1").returncode == 0, "the old policies are in force"
        file.write_text(
            POLICIES + '@id("frozen") @reason("frozen for the audit")\n'
            'forbid (principal, action == Action::"execute", resource);'
        )  # noticed without a signal too
        until(lambda: "frozen for the audit" in stack.psql("ann", "SELECT 1").stderr)
    finally:
        file.write_text(POLICIES)
    until(lambda: stack.psql("ann", "SELECT 1").returncode == 0)
    reloads = [r["event"] for r in stack.records(type="agent")]
    assert {"reload-refused", "reload"} <= set(reloads)


def test_an_open_connection_is_judged_by_the_new_policy(stack: Stack) -> None:
    file = stack.folder / "policies" / "all.cedar"
    psql = subprocess.Popen(
        stack.psql_command("ann"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=environment(),
    )  # fmt: skip
    assert psql.stdin is not None
    assert psql.stdout is not None
    try:
        psql.stdin.write("SELECT 'before';\n")
        psql.stdin.flush()
        assert psql.stdout.readline() == "before\n"
        epoch = stack.json("status", "--config", str(stack.agent_yaml))[0]["epoch"]
        file.write_text(POLICIES.replace("engineers-work", "renamed").replace('Group::"engineers"', 'Group::"nobody"'))
        until(lambda: stack.json("status", "--config", str(stack.agent_yaml))[0]["epoch"] > epoch)
        psql.stdin.write("SELECT 'after';\n")
        psql.stdin.flush()
        assert "no policy permits ann" in psql.stdout.readline()
    finally:
        file.write_text(POLICIES)
        psql.stdin.close()
        psql.wait(timeout=10)
        psql.stdout.close()
    until(lambda: stack.psql("ann", "SELECT 1").returncode == 0)


def test_sigterm_lets_a_running_statement_finish_and_then_refuses(stack: Stack) -> None:
    running = subprocess.Popen(
        stack.psql_command("ann", "-c", "SELECT pg_sleep(2), 'done'"), stdout=subprocess.PIPE, text=True,
        env=environment(),
    )  # fmt: skip
    until(lambda: any("pg_sleep(2)" in r.get("statement", "") for r in stack.records(phase="begin")))
    assert stack.stop("agent") == 0
    assert running.communicate(timeout=10)[0] == "|done\n"
    refused = stack.psql("ann", "SELECT 1")
    assert refused.returncode == 2, "no agent: a closed gate"
    assert "refused" in refused.stderr
    stack.start("agent")
    stack.wait_ready()
    assert stack.psql("ann", "SELECT 1").returncode == 0
