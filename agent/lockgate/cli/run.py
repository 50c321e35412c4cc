"""The two programs that stay: the agent on every host, the collector for the security team."""

from __future__ import annotations

import click

from lockgate import config
from lockgate.cli.options import agent_yaml
from lockgate.cli.show import fail

_check = click.option("--check", "only_check", is_flag=True, help="Say whether it would start with this configuration.")


@click.command()
@agent_yaml
@_check
def agent(path: str, only_check: bool) -> None:
    """Run the agent in the foreground, logging to stderr. Ready when `lockgate status` exits 0.

    With --check: read everything that the configuration names, and exit with 2 when the agent would not start with it.
    """
    from lockgate import logs
    from lockgate.proxy.agent import StartError, run
    from lockgate.proxy.preflight import PreflightError, check

    settings = config.load_agent(path)
    if only_check:
        try:
            warnings = check(settings)
        except PreflightError as error:
            fail(str(error), 2)
        for warning in warnings:
            click.echo(f"warning: {warning}", err=True)
        click.echo(f"{path}: the agent would start with it")
        return
    logs.to_stderr()
    try:
        run(settings, path)
    except StartError as error:
        fail(str(error), error.status)


@click.command()
@click.option(
    "--config",
    "path",
    type=click.Path(),
    default=config.COLLECTOR_YAML,
    show_default=True,
    metavar="FILE",
    help="Its collector.yaml.",
)
@_check
def collector(path: str, only_check: bool) -> None:
    """Run the collector in the foreground, logging to stderr."""
    import asyncio

    from lockgate import logs
    from lockgate.collector.server import CannotListen, run

    settings = config.load_collector(path)
    if only_check:
        click.echo(f"{path}: the collector would start with it")
        return
    logs.to_stderr()
    try:
        asyncio.run(run(settings))
    except CannotListen as error:
        fail(str(error), 1)
