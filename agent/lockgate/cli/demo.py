"""`lockgate demo`: the whole product, on scratch data, in some seconds."""

from __future__ import annotations

import sys

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a step.")
def demo(as_json: bool) -> None:
    """Show it all on a scratch PostgreSQL and Redis: allow, mask, refuse, hold, approve, record, and the gate closed.

    Exits 1 when a step did not do what it says. Needs root and the programs of both; leaves nothing behind.
    """
    from lockgate.demo.errors import DemoError
    from lockgate.demo.play import play

    try:
        ok = play(as_json=as_json)
    except DemoError as error:
        click.echo(f"lockgate: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        click.echo("lockgate: stopped, nothing is left behind", err=True)
        sys.exit(1)
    sys.exit(0 if ok else 1)
