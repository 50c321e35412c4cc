"""`lockgate`: one file a command group, imported when it is called, so that start-up stays lean.

Exit status: 0 success, 1 the thing asked about failed, 2 usage or configuration.
"""

from __future__ import annotations

from importlib import import_module

import click

from lockgate import __version__
from lockgate.cli.show import fail
from lockgate.config import ConfigError

_COMMANDS = {
    "agent": "lockgate.cli.run:agent",
    "collector": "lockgate.cli.run:collector",
    "exec": "lockgate.cli.host:execute",
    "status": "lockgate.cli.host:status",
    "doctor": "lockgate.cli.host:doctor",
    "prepare": "lockgate.cli.host:prepare",
    "release": "lockgate.cli.host:release",
    "trace": "lockgate.cli.trace:trace",
    "demo": "lockgate.cli.demo:demo",
    "policy": "lockgate.cli.policy:policy",
    "approvals": "lockgate.cli.approvals:approvals",
    "audit": "lockgate.cli.audit:audit",
    "ca": "lockgate.cli.ca:ca",
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = _COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        command = getattr(import_module(module), name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{place} is not a command")
        return command

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            fail(str(error), 2)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lockgate")
def main() -> None:
    """Separation of duties on the data path: block, hold, mask and record what reaches your datastores."""
