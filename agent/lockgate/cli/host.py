"""Commands about this host: its agent, its kernel, and a way to try interception on one command."""

from __future__ import annotations

import json
import os
import sys

import click

from lockgate import config

_config = click.option(
    "--config", "path", default=config.AGENT_YAML, show_default=True, metavar="FILE", help="agent.yaml"
)
_json = click.option("--json", "as_json", is_flag=True, help="one JSON object a line")


@click.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@_config
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def execute(path: str, command: tuple[str, ...]) -> None:
    """Run COMMAND in the intercepted cgroup, without touching the rest of the host."""
    from lockgate.kernel.cgroups import Hierarchy
    from lockgate.kernel.libbpf import KernelError

    settings = config.load_agent(path)
    try:
        tree = Hierarchy.find()
        tree.join(tree.leaf(settings.intercept.cgroup, "exec"))
    except KernelError as error:
        click.echo(f"lockgate: {settings.intercept.cgroup}: {error}", err=True)
        sys.exit(1)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        click.echo(f"lockgate: {command[0]}: {error.strerror}", err=True)
        sys.exit(127 if isinstance(error, FileNotFoundError) else 126)


@click.command()
@_config
@_json
def status(path: str, as_json: bool) -> None:
    """Whether this host's agent is up, and what it is doing. Exits 1 when it isn't."""
    from lockgate.approval.ask import AgentAway, AgentRefused, ask

    settings = config.load_agent(path)
    try:
        answer = ask(settings.agent.run_dir, "status")["status"]
    except (AgentAway, AgentRefused) as error:
        if as_json:
            click.echo(json.dumps({"ready": False, "error": str(error)}))
        else:
            click.echo(f"lockgate: {error}", err=True)
        sys.exit(1)
    if as_json:
        click.echo(json.dumps(answer))
        return
    for key, value in answer.items():
        if isinstance(value, list):
            for item in value:
                click.echo(
                    f"{key[:-1] if key.endswith('s') else key}: " + ", ".join(f"{k} {v}" for k, v in item.items())
                )
        elif isinstance(value, dict):
            click.echo(f"{key}: " + ", ".join(f"{k} {v}" for k, v in value.items()))
        else:
            click.echo(f"{key}: {value}")


@click.command()
@click.option("--config", "path", metavar="FILE", help="agent.yaml: then the cgroup it names is tried")
@_json
def doctor(path: str | None, as_json: bool) -> None:
    """What this kernel offers, line by line; what is missing, and what that costs. Exits 1 when it can't work."""
    from lockgate.kernel.doctor import probe

    cgroup = config.load_agent(path).intercept.cgroup if path else "/"
    findings = probe(cgroup)
    for found in findings:
        if as_json:
            click.echo(json.dumps({"name": found.name, "ok": found.ok, "detail": found.detail, "cost": found.cost}))
        else:
            mark = "ok     " if found.ok else "MISSING"
            click.echo(f"{mark}  {found.name}: {found.detail}" + (f" ({found.cost})" if not found.ok else ""))
    if not all(found.ok for found in findings if found.required):
        sys.exit(1)


@click.command()
@_config
def release(path: str) -> None:
    """Open the gate: take the hooks of an agent that is gone out of the kernel. Recorded."""
    from lockgate.proxy.agent import StartError
    from lockgate.proxy.agent import release as open_gate

    settings = config.load_agent(path)
    try:
        open_gate(settings)
    except StartError as error:
        click.echo(f"lockgate: {error}", err=True)
        sys.exit(error.status)
    click.echo(
        f"the hooks on {settings.intercept.cgroup} are gone: connections from there go straight to the datastores"
    )
