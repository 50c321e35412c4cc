"""The agent as a whole: what it takes while it runs, what it doesn't, and how it ends."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from lockgate.config import load_agent
from lockgate.identity.principals import Directory
from lockgate.proxy.agent import _Agent
from lockgate.service import ServiceManager
from tests.proxy.house import House, play
from tests.support.stack import CLASSIFICATION, POLICIES, Stack


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack() as running:
        yield running


def until(condition: Callable[[], object], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def status(stack: Stack) -> dict[str, Any]:
    return stack.json("status", "--config", str(stack.agent_yaml))[0]


def hang_up(stack: Stack) -> None:
    stack.processes["agent"].send_signal(signal.SIGHUP)


# --- reloading


def test_broken_identities_are_not_taken_and_neither_is_a_policy_with_them(stack: Stack) -> None:
    identities, policies = stack.folder / "identities.yaml", stack.folder / "policies" / "all.cedar"
    good = identities.read_text()
    epoch, refused = status(stack)["epoch"], len(stack.records(type="agent", event="reload-refused"))
    try:
        identities.write_text("- {principal: ann, whenn: {}}")
        policies.write_text('@id("nothing") forbid (principal, action, resource);\n' + POLICIES)
        hang_up(stack)
        until(lambda: len(stack.records(type="agent", event="reload-refused")) > refused)
        assert "identities.yaml" in stack.log("agent").rpartition("policies not taken")[2]
        assert status(stack)["epoch"] == epoch
        assert stack.psql("ann", "SELECT 1").stdout == "1\n"
    finally:
        identities.write_text(good)
        policies.write_text(POLICIES)
        hang_up(stack)
    until(lambda: status(stack)["epoch"] > epoch)
    assert stack.psql("ann", "SELECT 1").stdout == "1\n"


def test_identities_that_change_are_taken(stack: Stack) -> None:
    identities = stack.folder / "identities.yaml"
    good, epoch = identities.read_text(), status(stack)["epoch"]
    try:
        identities.write_text(yaml.safe_dump([e for e in yaml.safe_load(good) if e["principal"] != "ann"]))
        until(lambda: status(stack)["epoch"] > epoch)
        assert "unmatched" in stack.psql("ann", "SELECT 1").stderr
    finally:
        identities.write_text(good)
    until(lambda: status(stack)["epoch"] > epoch + 1)
    assert stack.psql("ann", "SELECT 1").stdout == "1\n"


def test_a_column_classified_while_it_runs_is_masked_in_open_connections_too(stack: Stack) -> None:
    classification = stack.folder / "classification.yaml"
    epoch = status(stack)["epoch"]
    assert stack.psql("ann", "SELECT upper(note) FROM customers LIMIT 1").stdout == "N\n"
    try:
        more = {"orders": {**CLASSIFICATION["orders"], "public.customers.note": ["pii"], "public.nowhere.x": ["pii"]}}
        classification.write_text(yaml.safe_dump(more))
        until(lambda: status(stack)["epoch"] > epoch)
        assert stack.psql("ann", "SELECT upper(note), id FROM customers LIMIT 1").stdout == "***|1\n"
        assert "public.nowhere.x" in stack.log("agent")
    finally:
        classification.write_text(yaml.safe_dump(CLASSIFICATION))
    until(lambda: status(stack)["epoch"] > epoch + 1)


def test_host_names_are_addresses_too() -> None:
    with Stack(addresses=["localhost:5432"]) as stack:
        # the server listens on another port, which is not declared: it is not intercepted
        assert stack.psql("ann", "SELECT 1").stdout == "1\n"
        command = stack.psql_command("ann", "-c", "SELECT 1", host="localhost", port=5432)
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        assert "lockgate: connection to" in answer.stderr


def test_what_was_enforced_stays_closed_while_a_name_can_not_be_resolved() -> None:
    """At boot names may not resolve yet: what they stand for would be served by who observes everything."""
    everything = {"name": "all", "protocol": "postgresql", "mode": "observe"}
    with Stack() as stack:
        port = stack.server.port
        settings = yaml.safe_load(stack.agent_yaml.read_text())
        orders = settings["datastores"][0]
        settings["datastores"].append({**everything, "addresses": [f"*:{port}"]})
        settings["classify"] = []
        stack.stop("agent")

        def start(*addresses: str) -> None:
            orders["addresses"] = list(addresses)
            stack.agent_yaml.write_text(yaml.safe_dump(settings))
            stack.start("agent")
            stack.wait_ready()

        start(f"localhost:{port}")
        assert stack.psql("ann", "SELECT 1").stdout == "1\n"
        assert stack.psql("eve", "SELECT 1").returncode, "enforced, by name"
        for _ in range(2):  # the second time what is kept is what was enforced, too
            stack.stop("agent")
            start(f"no-such-host.invalid:{port}")
            refused = stack.psql("eve", "SELECT 1")
            assert "Connection refused" in refused.stderr, "whoever that is, it is not to be observed"
        stack.stop("agent")
        start(f"10.9.8.7:{port}")
        assert stack.psql("eve", "SELECT 1").stdout == "1\n", "it is declared no more"


# --- what goes on beside the connections


def bare(house: House, tmp_path: Path) -> _Agent:
    settings = tmp_path / "agent.yaml"
    settings.write_text(
        yaml.safe_dump(
            {
                "agent": {"name": "h", "state_dir": str(tmp_path), "run_dir": str(tmp_path)},
                "intercept": {"cgroup": "/x"},
                "datastores": [{"name": "orders", "protocol": "postgresql", "addresses": ["127.0.0.1:5432"]}],
                "collector": {"address": "127.0.0.1:1", "api": "http://127.0.0.1:2"},
            }
        )
    )
    return _Agent(load_agent(str(settings)), str(settings), house.policies, Directory([]), ServiceManager({}))


def test_work_that_fails_takes_the_agent_down_and_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def use() -> None:
        async with House(tmp_path) as house, AsyncExitStack() as stack:
            agent = bare(house, tmp_path)

            async def fails() -> None:
                raise ArithmeticError("a bug")

            agent._spawn(stack, "ship", fails())
            await agent._stopping.wait()
            assert agent._failed == "ship"
            assert "ship failed" in caplog.text

    play(use())
