"""`lockgate approvals`: see what waits, and turn the second key."""

from __future__ import annotations

import re
import time
from typing import Any

import click

from lockgate.cli.options import json_lines
from lockgate.cli.reach import Api, Failure
from lockgate.cli.show import duration, json_line, line, moment, plain, table
from lockgate.config import AGENT_YAML, load_agent

config = click.option(
    "--config",
    type=click.Path(),
    default=AGENT_YAML,
    show_default=True,
    metavar="FILE",
    help="The agent.yaml of this host.",
)
ANSWER_SECONDS = 5.0
"""How long `approve` waits for the agent's last word: it judges once more, which takes milliseconds."""


class _Duration(click.ParamType[int]):
    """`90s`, `30m`, `2h`: whole seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        found = re.fullmatch(r"([0-9]{1,6})([smh])", str(value))
        if found is None:
            self.fail(f"{value!r} is no duration: say 90s, 30m or 2h", param, ctx)
        return int(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]


comment = click.option("--comment", default="", help="Why; it is recorded. At most 1000 characters.")


@click.group()
def approvals() -> None:
    """Statements that wait for a second person."""


@approvals.command("list")
@config
@json_lines
@click.option(
    "--state",
    type=click.Choice(["waiting", "approved", "denied", "expired", "cancelled"]),
    default="waiting",
    show_default=True,
    help="Only what is in this state.",
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
            *([_transaction(each["hold"], now), _locks_short(each.get("locks")), _grantable(each["hold"])]
              if state == "waiting" else []),
            each["hold"]["statement"],
        ]
        for each in found
    ]  # fmt: skip
    more = ["LEFT", "OPEN", "LOCKS", "GRANT"] if state == "waiting" else ["BY"]
    table(["ID", "WHO", "DATASTORE", "AGE", *more, "STATEMENT"], rows)


@approvals.command()
@click.argument("id")
@config
@comment
@click.option(
    "--grant",
    type=_Duration(),
    help="Also let statements like it run for so long (90s, 30m, 2h) unasked, where the policy allows it.",
)
@json_lines
def approve(id: str, config: str, comment: str, grant: int | None, as_json: bool) -> None:
    """Let the waiting statement ID (or a unique beginning of it) run.

    Exits with 1 when it didn't: the agent judges once more before it sends anything.
    """
    api = Api(load_agent(config))
    decided = _decide(api, id, "approve", comment, as_json, grant)
    hold = decided["hold"]["id"]
    if decided.get("became") is None:
        # the socket of a long poll has to outlive it
        decided = api.get(f"/v1/holds/{hold}/became", timeout=2 * ANSWER_SECONDS, wait=ANSWER_SECONDS)
    became = decided.get("became")
    if as_json:
        json_line(decided)
    elif became is None:
        click.echo("The agent has not said yet whether it sent the statement.")
    elif became["outcome"] == "released":
        click.echo("Released: the agent has sent it.")
    if became is not None and became["outcome"] == "refused":
        raise Failure(f"the agent did not send it: {plain(became['reason'])}")


@approvals.command()
@config
@json_lines
@click.option(
    "--state", type=click.Choice(["live", "ended", "all"]), default="live", show_default=True, help="Which grants."
)
def grants(config: str, as_json: bool, state: str) -> None:
    """Show what was granted, the one that ends first on top."""
    found = Api(load_agent(config)).get("/v1/grants", state=state)["grants"]
    if as_json:
        for each in found:
            json_line(each)
        return
    if not found:
        click.echo("Nothing is granted." if state == "live" else "There are no such grants.")
        return
    rows = [
        [
            each["grant"]["id"],
            _who(each["grant"]),
            f"{each['grant']['datastore']}/{each['grant']['database']} as {each['grant']['user']}",
            each["grant"]["by_person"],
            moment(each["grant"]["until"])
            if each.get("revoked") is None
            else f"revoked by {each['revoked']['person']}",
            each["uses"],
            f"{each['grant']['statement']} ({each['grant']['covers']})",
        ]
        for each in found
    ]
    table(["ID", "WHO", "WHERE", "BY", "UNTIL", "USES", "STATEMENT"], rows)


@approvals.command()
@click.argument("grant")
@config
@comment
@json_lines
def revoke(grant: str, config: str, comment: str, as_json: bool) -> None:
    """End the grant GRANT (or a unique beginning of its id) now."""
    api = Api(load_agent(config))
    found = _one(grant, [each["grant"] for each in api.get("/v1/grants")["grants"]], "is granted")
    ended = api.revoke(found["id"], comment)
    if as_json:
        json_line(ended)
    else:
        click.echo(f"Revoked, after {ended['uses']} uses. What was let run before is not undone.")


@approvals.command()
@click.argument("id")
@config
@comment
@json_lines
def deny(id: str, config: str, comment: str, as_json: bool) -> None:
    """Refuse the waiting statement ID (or a unique beginning of it)."""
    decided = _decide(Api(load_agent(config)), id, "deny", comment, as_json, None)
    if as_json:
        json_line(decided)


def _decide(api: Api, prefix: str, decision: str, comment: str, as_json: bool, grant: int | None) -> dict[str, Any]:
    """Shows the hold, signs and sends the decision; the state that follows."""
    states = {each["hold"]["id"]: each for each in api.get("/v1/holds")["holds"]}
    hold = _one(prefix, [each["hold"] for each in states.values()], "waits")
    if grant is not None:
        _check_grant(hold, grant)
    if not as_json:
        _print(hold, states[hold["id"]].get("locks"))
    # what is signed is the digest of what was just shown
    decided: dict[str, Any] = api.decide(hold, decision, comment, grant)
    if not as_json:
        by = decided["decided"]
        click.echo(f"\n{decided['state'].capitalize()} by {plain(by['person'])} ({plain(by['principal'])}).")
        if grant is not None:
            who = plain(_who(hold))
            covers = plain(hold["covers"])
            click.echo(f"Granted to {who} for {duration(grant)}: statements like it run unasked, {covers}.")
            click.echo(f"To end that: lockgate approvals revoke {plain(by['granted'])}")
    return decided


def _check_grant(hold: dict[str, Any], seconds: int) -> None:
    """Says why it can't be granted for so long, before anything is signed."""
    from lockgate.approval.grant import GRANT_SECONDS_MIN

    longest = hold.get("grant", 0.0)
    if hold.get("fingerprint") is None or not longest:
        raise Failure(plain(hold.get("covers") or "no grant: the policy has every one approved by itself"))
    if not GRANT_SECONDS_MIN <= seconds <= longest:
        raise Failure(f"the policy {plain(hold['policy'])} lets a grant last {GRANT_SECONDS_MIN} s to {longest:g} s")


def _one(prefix: str, found: list[dict[str, Any]], what: str) -> dict[str, Any]:
    exact = [each for each in found if each["id"] == prefix]
    fitting = exact or [each for each in found if each["id"].startswith(prefix)]
    if not fitting:
        raise Failure(f"nothing that {what} has an id beginning with {prefix!r}")
    if len(fitting) > 1:
        ids = ", ".join(each["id"] for each in fitting[:5])
        raise Failure(f"{prefix!r} fits {len(fitting)} of what {what}: {ids}")
    return fitting[0]


def _print(hold: dict[str, Any], locks: dict[str, Any] | None) -> None:
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
        "Locks": _locks(locks),
        "Grant": f"up to {duration(hold['grant'])}, {hold['covers']}"
        if hold.get("grant")
        else hold.get("covers") or "no",
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


def _transaction(hold: dict[str, Any], now: float) -> str:
    since = hold.get("in_transaction_since")
    return duration(now - since) if since else "-"


def _grantable(hold: dict[str, Any]) -> str:
    return duration(hold["grant"]) if hold.get("grant") else "-"


def _locks_short(locks: dict[str, Any] | None) -> str:
    if locks is None:
        return "-"
    if locks.get("unknown"):
        return "?"
    return f"{sum(lock['count'] for lock in locks['held'])}, {locks['waiting']} wait"


def _locks(locks: dict[str, Any] | None) -> str:
    """What is locked, how many wait behind it, and how old that is."""
    if locks is None:
        return "none that the agent knows of"
    if locks.get("unknown"):
        return f"not known: {locks['unknown']}"
    held = ", ".join(f"{lock['count']} {lock['mode']} on {lock['relation'] or 'no relation'}" for lock in locks["held"])
    age = duration(time.time() - locks["at"])
    return f"{held or 'none'}; {locks['waiting']} sessions wait behind them ({age} ago)"


def _decider(state: dict[str, Any]) -> str:
    decided = state.get("decided")
    return str(decided["person"]) if decided else "-"
