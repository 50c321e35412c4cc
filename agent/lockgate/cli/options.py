"""Options that mean the same in every command that has them."""

from __future__ import annotations

import click

from lockgate import config

agent_yaml = click.option(
    "--config",
    "path",
    type=click.Path(),
    default=config.AGENT_YAML,
    show_default=True,
    metavar="FILE",
    help="The agent.yaml of this host.",
)
json_lines = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
