"""`lockgate policy`: check, test and explain what the policies of a configuration say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lockgate import config
from lockgate.cli.options import json_lines

if TYPE_CHECKING:
    from lockgate.policy.bundle import Bundle
    from lockgate.policy.decide import Engine

_config = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=config.AGENT_YAML,
    show_default=True,
    metavar="FILE",
    help="The agent.yaml of this host.",
)

_shadow = click.option("--shadow", is_flag=True, help="The policies under `shadow`, which are only tried.")

_COLOURS = {"allow": "green", "deny": "red", "hold": "yellow", "ok": "green", "FAIL": "red", "warning": "yellow"}


class _Unusable(click.ClickException):
    """Usage or configuration: exit status 2."""

    exit_code = 2


@click.group()
def policy() -> None:
    """Check, test and explain the policies."""


@policy.command()
@_config
@json_lines
@_shadow
def check(config_file: Path, as_json: bool, shadow: bool) -> None:
    """Validate the policies, list them, and warn of what is probably a mistake."""
    bundle = _bundle(config_file, shadow, click.ClickException)
    for one in bundle.policies:
        actions = sorted(one.actions) or ["any action"]
        if as_json:
            _line(
                {
                    "policy": one.id,
                    "effect": one.effect,
                    "actions": sorted(one.actions),
                    "file": str(one.path),
                    "line": one.line,
                    "approvers": one.approvers,
                    "timeout": one.timeout if one.approvers else None,
                    "timeout_in_transaction": one.timeout_in_transaction if one.approvers else None,
                    "grant": one.grant or None,
                    "mask": one.mask,
                    "reason": one.reason,
                }
            )
        else:
            extras = [f"held for {' or '.join(one.approvers)}"] if one.approvers else []
            extras += [f"masked: {one.mask}"] if one.mask else []
            _say("", f"{one.effect:6} {one.id}: {', '.join([*actions, *extras])}  ({one.where})")
    for warning in bundle.warnings:
        _line({"warning": warning}) if as_json else _say("warning", warning)
    if not as_json:
        _say("ok", f"{len(bundle.policies)} policies, {len(bundle.warnings)} warnings")


@policy.command()
@_config
@json_lines
@_shadow
def test(config_file: Path, as_json: bool, shadow: bool) -> None:
    """Run the cases (*.test.yaml) beside the policies. Exit status 1 when one fails, or when there are none."""
    from lockgate.config import load_agent
    from lockgate.policy import cases
    from lockgate.policy.languages import languages

    engine, settings = _engine(config_file, shadow), load_agent(config_file)
    placed = cases.load(cases.find(settings.shadow if shadow else settings.policies))
    language = languages(settings.datastores)
    failed = 0
    for outcome in (cases.run(engine, language(case.case.datastore), case) for case in placed):
        failed += bool(outcome.wrong)
        if as_json:
            _line(
                {
                    "case": outcome.placed.case.name,
                    "ok": not outcome.wrong,
                    "wrong": outcome.wrong,
                    "file": str(outcome.placed.path),
                    "line": outcome.placed.line,
                    "verdict": outcome.verdict.decision,
                    "policy": outcome.verdict.policy,
                }
            )
        elif outcome.wrong:
            _say("FAIL", f"{outcome.placed.where}: {outcome.placed.case.name}: {'; '.join(outcome.wrong)}")
        else:
            _say("ok", outcome.placed.case.name)
    if not placed:
        raise click.ClickException(f"no case: there is no *{cases.SUFFIX} beside the policies")
    if not as_json:
        _say("FAIL" if failed else "ok", f"{len(placed) - failed} of {len(placed)} cases hold")
    if failed:
        raise SystemExit(1)


@policy.command()
@_config
@json_lines
@_shadow
@click.option("--principal", metavar="NAME", required=True, help="Who asks.")
@click.option("--person", metavar="NAME", help="The person behind the principal; none for a service.")
@click.option("--groups", metavar="NAMES", default="", help="Their groups, separated by commas.")
@click.option("--datastore", metavar="NAME", required=True, help="A datastore of the configuration.")
@click.option("--database", metavar="NAME", help="The database in it; postgres unless given, of Redis 0.")
@click.option("--user", metavar="NAME", help="The datastore's user; the principal's name unless given.")
@click.option(
    "--at", "moment", metavar="TIME", help="Judge as of then (2026-01-03T22:30, local time); now unless given."
)
@click.option(
    "--estimated-rows", type=int, metavar="N", help="What the datastore would estimate; not known unless given."
)
@click.argument("statement")
def explain(
    config_file: Path,
    as_json: bool,
    shadow: bool,
    principal: str,
    person: str | None,
    groups: str,
    datastore: str,
    database: str | None,
    user: str | None,
    moment: str | None,
    estimated_rows: int | None,
    statement: str,
) -> None:
    """Say what would happen to STATEMENT, and which policy says so.

    Of a Redis datastore STATEMENT is a command as redis-cli takes it ("GET session:42"), and several lines are a
    transaction.
    """
    from lockgate.config import load_agent
    from lockgate.policy import trial
    from lockgate.policy.languages import languages
    from lockgate.values.identity import Asker
    from lockgate.values.protocol import NATURES

    engine = _engine(config_file, shadow)
    if datastore not in engine.bundle.datastores:
        known = ", ".join(sorted(engine.bundle.datastores))
        raise _Unusable(f"no datastore is called {datastore!r} in {config_file} (there are {known})")
    claims = trial.stand_in(principal, person, [g for name in groups.split(",") if (g := name.strip())])
    if database is None:
        database = NATURES[engine.bundle.datastores[datastore]].database
    asker = Asker(claims, datastore, database, principal if user is None else user)
    try:
        engine = trial.at(engine, moment)
    except ValueError:
        raise _Unusable(f"--at {moment!r} is not a time, as in 2026-01-03T22:30") from None
    language = languages(load_agent(config_file).datastores)(datastore)
    tried = trial.run(engine, language, asker, statement, rows=estimated_rows)
    verdict = tried.verdict
    if not as_json:
        _say(verdict.decision, trial.sentence(engine.bundle, tried))
        return
    found = engine.bundle.policy(verdict.policy)
    _line(
        {
            "verdict": verdict.decision,
            "policy": verdict.policy,
            "file": None if found is None else str(found.path),
            "line": None if found is None else found.line,
            "reason": verdict.reason,
            "approvers": verdict.approvers,
            "timeout": verdict.timeout if verdict.approvers else None,
            "timeout_in_transaction": verdict.timeout_in_transaction if verdict.approvers else None,
            "grant": verdict.grant or None,
            "masks": [{"column": m.column, "masker": m.masker, "policy": m.policy} for m in verdict.masks],
            "detects": [{"kind": d.kind, "masker": d.masker, "policy": d.policy} for d in verdict.detects],
            "statements": [
                {
                    "kind": s.kind,
                    "effects": sorted(s.effects),
                    "objects": s.objects,
                    "functions": s.functions,
                    "touches": [
                        {"place": t.place, "patterns": t.patterns, "effects": sorted(t.effects)} for t in s.touches
                    ],
                }
                for s in tried.request.statements
            ],
            "sentence": trial.sentence(engine.bundle, tried),
        }
    )


def _bundle(config_file: Path, shadow: bool, invalid: type[click.ClickException] = _Unusable) -> Bundle:
    """The configured bundle, or the one that is tried beside it.

    Raises ConfigError, and `invalid` for policies that are not valid.
    """
    from lockgate.config import load_agent
    from lockgate.policy.bundle import BundleError, configured

    settings = load_agent(config_file)
    if shadow and not settings.shadow:
        raise _Unusable(f"{config_file} names no policies to be tried (`shadow`)")
    try:
        return configured(settings, epoch=1, shadow=shadow)
    except BundleError as error:
        raise invalid(str(error)) from None


def _engine(config_file: Path, shadow: bool) -> Engine:
    from lockgate.policy.decide import Engine

    return Engine(_bundle(config_file, shadow))


def _line(record: Mapping[str, object]) -> None:
    click.echo(json.dumps(record, ensure_ascii=False))


def _say(word: str, text: str) -> None:
    """One line, `word` coloured on a terminal. Nothing in `text` is markup: statements are full of brackets."""
    from rich.console import Console
    from rich.text import Text

    line = Text(f"{word}: " if word else "", style=_COLOURS.get(word, ""), no_wrap=True)
    Console(soft_wrap=True, highlight=False).print(line.append(text, style="default"), markup=False)
