"""The two programs that stay: the agent on every host, the collector for the security team."""

from __future__ import annotations

import sys

import click

from lockgate import config


@click.command()
@click.option("--config", "path", default=config.AGENT_YAML, show_default=True, metavar="FILE", help="agent.yaml")
def agent(path: str) -> None:
    """Run the agent in the foreground, logging to stderr. Ready when `lockgate status` exits 0."""
    from lockgate import logs
    from lockgate.proxy.agent import StartError, run

    settings = config.load_agent(path)
    logs.to_stderr()
    try:
        run(settings, path)
    except StartError as error:
        click.echo(f"lockgate: {error}", err=True)
        sys.exit(error.status)


@click.command()
@click.option(
    "--config", "path", default=config.COLLECTOR_YAML, show_default=True, metavar="FILE", help="collector.yaml"
)
def collector(path: str) -> None:
    """Run the collector in the foreground, logging to stderr."""
    import asyncio

    from lockgate import logs
    from lockgate.collector.server import CannotListen, run

    settings = config.load_collector(path)
    logs.to_stderr()
    try:
        asyncio.run(run(settings))
    except CannotListen as error:
        click.echo(f"lockgate: {error}", err=True)
        sys.exit(1)
