"""`lockgate approvals`: see what waits, and turn the second key."""

from __future__ import annotations

import time
from typing import Any

import click

from lockgate.cli.reach import Api, Failure
from lockgate.cli.show import duration, json_line, line, moment, plain, table
from lockgate.config import AGENT_YAML, load_agent

config = click.option(
    "--config", default=AGENT_YAML, show_default=True, metavar="FILE", help="The agent.yaml of this host."
)
as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
comment = click.option("--comment", default="", help="Why; it is recorded. At most 1000 characters.")


@click.group()
def approvals() -> None:
    """Statements that wait for a second person."""


@approvals.command("list")
@config
@as_json
@click.option(
    "--state",
    type=click.Choice(["waiting", "approved", "denied", "expired", "cancelled"]),
    default="waiting",
    show_default=True,
)
def list_(config: str, as_json: bool, state: str) -> None:
    """Show what waits (or how it ended), the one that expires first on top."""
    found = Api(load_agent(config)).get("/v1/holds", state=state)["holds"]
    if as_json:
        for each in found:
            json_line(each)
        return
    if not found:
        click.echo(f"Nothing is {state}.")
        return
    now = time.time()
    rows = [
        [
            each["hold"]["id"],
            _who(each["hold"]),
            each["hold"]["datastore"],
            duration(now - each["hold"]["created"]),
            duration(each["hold"]["expires"] - now) if state == "waiting" else _decider(each),
            each["hold"]["statement"],
        ]
        for each in found
    ]
    table(["ID", "WHO", "DATASTORE", "AGE", "LEFT" if state == "waiting" else "BY", "STATEMENT"], rows)


@approvals.command()
@click.argument("id")
@config
@comment
@as_json
def approve(id: str, config: str, comment: str, as_json: bool) -> None:
    """Let the waiting statement ID (or a unique beginning of it) run."""
    _decide(id, config, "approve", comment, as_json)


@approvals.command()
@click.argument("id")
@config
@comment
@as_json
def deny(id: str, config: str, comment: str, as_json: bool) -> None:
    """Refuse the waiting statement ID (or a unique beginning of it)."""
    _decide(id, config, "deny", comment, as_json)


def _decide(prefix: str, config: str, decision: str, comment: str, as_json: bool) -> None:
    api = Api(load_agent(config))
    hold = _one(prefix, [each["hold"] for each in api.get("/v1/holds")["holds"]])
    if not as_json:
        _print(hold)
    # what is signed is the digest of what was just shown
    decided = api.decide(hold["id"], hold["digest"], decision, comment)
    if as_json:
        json_line(decided)
    else:
        by = decided["decided"]
        click.echo(f"\n{decided['state'].capitalize()} by {plain(by['person'])} ({plain(by['principal'])}).")


def _one(prefix: str, holds: list[dict[str, Any]]) -> dict[str, Any]:
    exact = [hold for hold in holds if hold["id"] == prefix]
    found = exact or [hold for hold in holds if hold["id"].startswith(prefix)]
    if not found:
        raise Failure(f"nothing that waits has an id beginning with {prefix!r}")
    if len(found) > 1:
        raise Failure(f"{prefix!r} fits {len(found)} that wait: {', '.join(hold['id'] for hold in found[:5])}")
    return found[0]


def _print(hold: dict[str, Any]) -> None:
    since = hold.get("in_transaction_since")
    workload = hold.get("workload") or {}
    facts = {
        "Hold": hold["id"],
        "Asked by": f"{_who(hold)}, groups {', '.join(hold['groups']) or 'none'}",
        "From": f"{hold['host']}, {workload.get('exe', 'unknown program')} (pid {workload.get('pid', 'unknown')})",
        "Where": f"{hold['datastore']}, database {hold['database']}, as {hold['user']}",
        "Effects": f"{', '.join(hold['effects'])} on {', '.join(hold['objects']) or 'nothing named'}",
        "Policy": f"{hold['policy']}: {hold['reason']}",
        "In transaction": f"since {moment(since)}" if since else "no",
        "Digest": hold["digest"],
    }
    for name, value in facts.items():
        click.echo(f"{name + ':':<16}{line(value)}")
    click.echo(f"Statement{' (cut)' if hold.get('truncated') else ''}:")
    for row in hold["statement"].split("\n"):
        click.echo(f"    {plain(row, keep=chr(9))}")


def _who(hold: dict[str, Any]) -> str:
    principal, person = hold["principal"], hold.get("person")
    return str(principal) if person in (None, principal) else f"{principal} ({person})"


def _decider(state: dict[str, Any]) -> str:
    decided = state.get("decided")
    return str(decided["person"]) if decided else "-"
