"""`lockgate audit`: what was done, by whom, and whether the record of it is whole.

With agent.yaml the collector is asked, as the person at the keyboard; with collector.yaml its store is read directly,
also while the collector is down.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from lockgate.cli.options import json_lines
from lockgate.cli.reach import VERIFY_SECONDS, Api, Failure, load
from lockgate.cli.show import duration, json_line, line, moment, plain, table
from lockgate.config import AGENT_YAML, AgentFile, CollectorFile

if TYPE_CHECKING:
    from lockgate.collector.search import Reader

config = click.option(
    "--config",
    type=click.Path(),
    default=AGENT_YAML,
    show_default=True,
    metavar="FILE",
    help="The agent.yaml of this host: its collector is asked. Or collector.yaml: the store is read.",
)
host = click.option("--host", metavar="NAME", help="Only what this host has recorded.")


class Moment(click.ParamType[float]):
    """`90s`, `15m`, `2h`, `7d` ago, or an ISO 8601 date or time; gives seconds since the epoch."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        ago = re.fullmatch(r"(\d{1,9})([smhd])", value)
        if ago:
            return max(0.0, time.time() - int(ago[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[ago[2]])
        try:
            return max(0.0, datetime.fromisoformat(value).timestamp())
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is neither like 15m, 2h, 7d nor like 2026-01-31 or 2026-01-31T12:00:00", param, ctx)


@click.group()
def audit() -> None:
    """Search the record, show one statement, verify the chain."""


@audit.command()
@click.argument("text", nargs=-1)
@config
@json_lines
@click.option("--principal", metavar="NAME", help="Only statements of this principal.")
@click.option("--person", metavar="NAME", help="Only statements of this person, under whatever principal.")
@click.option("--datastore", metavar="NAME", help="Only what went to this datastore.")
@click.option("--verdict", type=click.Choice(["allow", "deny", "hold"]), help="Only statements judged so.")
@click.option("--would", type=click.Choice(["deny", "hold", "mask"]), help="Only what enforcing would have done so to.")
@click.option(
    "--shadow",
    type=click.Choice(["allow", "deny", "hold", "mask"]),
    help="Only what the policies that are tried would have done so to, and those in force did not.",
)
@host
@click.option("--connection", metavar="ID", help="Only statements of this connection.")
@click.option(
    "--since", type=Moment(), metavar="TIME", help="Not before: like 15m, 2h, 7d (ago) or 2026-01-31T12:00:00."
)
@click.option("--until", type=Moment(), metavar="TIME", help="Not after; as --since.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), metavar="N", default=50, show_default=True, help="At most so many."
)
def search(text: tuple[str, ...], config: str, as_json: bool, **given: Any) -> None:
    """Find statements that hold all words of TEXT (`ord*` is any word beginning with ord), the newest first."""
    settings = load(config)
    words = " ".join(text) or None
    if isinstance(settings, AgentFile):
        found = Api(settings).get("/v1/records", text=words, **given)["records"]
    else:
        from lockgate.collector.search import Query

        for name in ("since", "until"):
            given[name] = None if given[name] is None else int(given[name] * 1e9)
        with _reader(settings) as reader:
            found = reader.search(Query(text=words, **given))
    if as_json:
        for record in found:
            json_line(record)
    elif not found:
        click.echo("Nothing found.")
    else:
        columns = ["TIME", "ID", "WHO", "DATASTORE", "VERDICT", "OUTCOME", "ROWS", "STATEMENT"]
        table(columns, [_row(record) for record in found])


@audit.command()
@click.argument("id")
@config
@json_lines
@host
def show(id: str, config: str, as_json: bool, host: str | None) -> None:
    """Show every record of the statement or connection ID (or a unique beginning of it)."""
    settings = load(config)
    if isinstance(settings, AgentFile):
        found = Api(settings).get(f"/v1/records/{_path(id)}", host=host)["records"]
    else:
        from lockgate.collector.search import NotUnique

        with _reader(settings) as reader:
            try:
                found = reader.show(id, host)
            except NotUnique as error:
                raise Failure(str(error)) from error
    if not found:
        raise Failure(f"there is no record {id!r}")
    for number, record in enumerate(found):
        if as_json:
            json_line(record)
        else:
            click.echo("\n" * bool(number), nl=False)
            _print(record)


@audit.command()
@config
@json_lines
@host
@click.option("--datastore", metavar="NAME", help="Only what went to this datastore.")
@click.option(
    "--since",
    type=Moment(),
    metavar="TIME",
    default="7d",
    show_default=True,
    help="Not before: like 2h, 7d, 2026-01-31.",
)
def would(config: str, as_json: bool, host: str | None, datastore: str | None, since: float) -> None:
    """What enforcing, or the policies that are tried, would have done otherwise: by datastore, decision and policy.

    For who decides whether to enforce, or to take them. `lockgate audit search --would deny` lists the statements.
    """
    settings = load(config)
    if isinstance(settings, AgentFile):
        found = Api(settings).get("/v1/would", host=host, datastore=datastore, since=since)["would"]
    else:
        with _reader(settings) as reader:
            found = reader.otherwise(int(since * 1e9), host, datastore)
    if as_json:
        for entry in found:
            json_line(entry)
    elif not found:
        click.echo("Nothing would have been done otherwise.")
    else:
        columns = ["BY", "DATASTORE", "WOULD", "POLICY", "STATEMENTS", "PRINCIPALS", "EXAMPLE"]
        table(columns, [_summed(entry) for entry in found])
        if found[0].get("more"):
            click.echo("There is more: not all was counted. Say a shorter --since.")


@audit.command()
@config
@json_lines
@host
def verify(config: str, as_json: bool, host: str | None) -> None:
    """Verify every host's chain from its first record, and the signatures on it; exit status 1 when one is broken."""
    settings = load(config)
    if isinstance(settings, AgentFile):
        found = Api(settings).get("/v1/verify", timeout=VERIFY_SECONDS, host=host)["hosts"]
    else:
        with _reader(settings) as reader:
            found = [reader.verify(name) for name in ([host] if host is not None else reader.hosts())]
    if not found:
        raise Failure("there is nothing to verify: no host has sent a record")
    for answer in found:
        if as_json:
            json_line(answer)
        else:
            _print_verified(answer)
    if not all(answer["ok"] for answer in found):
        raise click.exceptions.Exit(1)


@contextmanager
def _reader(settings: CollectorFile) -> Iterator[Reader]:
    from lockgate.collector.search import Reader
    from lockgate.collector.store import StoreError, database

    try:
        with Reader(database(settings.collector.state_dir)) as reader:
            yield reader
    except StoreError as error:
        raise Failure(f"{error}: has `lockgate collector` run with this configuration?") from error


def _path(identifier: str) -> str:
    from urllib.parse import quote

    return quote(identifier, safe="")


def _summed(entry: dict[str, Any]) -> list[object]:
    names = ", ".join(name or "-" for name in entry["names"][:3])
    others = entry["principals"] - min(3, len(entry["names"]))
    return [
        "enforcing" if entry["kind"] == "would" else "tried",
        entry["datastore"] or "-",
        entry["decision"],
        entry["policy"] or "-",
        entry["statements"],
        f"{entry['principals']} ({names}{', ...' if others > 0 else ''})",
        entry["example"] or "-",
    ]


def _verdict(record: dict[str, Any]) -> str:
    """The verdict, and what would have been another."""
    told = str(record.get("verdict") or record["type"])
    would, shadow = record.get("would"), record.get("shadow")
    if would is not None and would != "allow":
        told += f" (would {would})"
    elif would == "allow" and (record.get("masks") or record.get("detects")):
        told += " (would mask)"
    if shadow is not None:
        told += f" (tried: {shadow['would']})"
    if record.get("unread"):
        told += " (unread)"
    return told


def _row(record: dict[str, Any]) -> list[object]:
    facts = record.get("connection") or {}
    end = record.get("end") or {}
    return [
        moment(record["time"] / 1e9),
        record.get("id") or "-",
        facts.get("principal") or record.get("approver") or "-",
        facts.get("datastore") or "-",
        _verdict(record),
        end.get("outcome") or record.get("outcome") or "-",
        end.get("rows", "-"),
        record.get("statement") or record.get("event") or record.get("unread") or "",
    ]


def _print(record: dict[str, Any]) -> None:
    title = " ".join(str(record[name]) for name in ("type", "phase") if record.get(name))
    click.echo(f"{plain(title)} · {plain(record['host'])} · {moment(record['time'] / 1e9)}")
    if record.get("conflict"):
        click.echo("  ! another record holds this number: this one is not part of the chain")
    for name in sorted(record.keys() - {"type", "phase", "host", "time", "conflict", "v", "statement"}):
        value = record[name]
        if isinstance(value, dict):
            click.echo(f"  {plain(name)}:")
            for key, inner in value.items():
                if inner not in (None, [], ""):
                    click.echo(f"    {plain(key) + ':':<14}{line(_flat(inner))}")
        elif value not in (None, [], ""):
            click.echo(f"  {plain(name) + ':':<16}{line(_flat(value))}")
    if record.get("statement"):
        click.echo("  statement:")
        for row in record["statement"].split("\n"):
            click.echo(f"    {plain(row, keep=chr(9))}")


def _flat(value: object) -> object:
    """Lists and maps in a person's words: `a, b` and `pid 7, exe /usr/bin/psql`."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_flat(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(" ".join(map(str, each)) if isinstance(each, list) else str(each) for each in value)
    return value


def _print_verified(answer: dict[str, Any]) -> None:
    name = plain(answer["host"])
    if answer["ok"]:
        unsealed = answer["unsealed"]
        tail = f", the last {unsealed} not sealed yet" if unsealed else ""
        click.echo(f"{name}: intact, {answer['records']} records, signed by {answer['key']}{tail}")
    else:
        click.echo(f"{name}: BROKEN, {answer.get('found', len(answer['problems']))} problems")
        for problem in answer["problems"][:20]:
            click.echo(f"  record {problem['seq']}: {plain(problem['text'])} ({problem['flaw']})")
    for alarm in answer["alarms"][:20]:
        age = duration(time.time() - alarm["found"] / 1e9)
        click.echo(f"  alarm {age} ago at record {alarm['seq']}: {plain(alarm['text'])} ({alarm['flaw']})")
