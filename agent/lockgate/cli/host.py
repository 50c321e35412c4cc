"""Commands about this host: its agent, its kernel, and a way to try interception on one command."""

from __future__ import annotations

import json
import os
import pwd
import sys
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from lockgate import config
from lockgate.cli.options import agent_yaml, json_lines
from lockgate.cli.show import fail


def _files(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What a shell completes a command's own arguments with."""
    return [CompletionItem(incomplete, type="file")]


@click.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@agent_yaml
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, shell_complete=_files)
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
@agent_yaml
@json_lines
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
        if key == "datastores":
            for store in value:
                _say_store(store)
        elif key == "shadow":
            _say_shadow(value)
        elif isinstance(value, dict):
            click.echo(f"{key}: " + ", ".join(f"{k} {v}" for k, v in value.items()))
        else:
            click.echo(f"{key}: {value}")


def _say_store(store: dict[str, Any]) -> None:
    """What is done to one datastore, in words that can't be missed where it is nothing."""
    name, observing = store["name"], store["mode"] == "observe"
    how = "enforcing"
    if observing:
        how = "OBSERVING: nothing is blocked, masked or held (`mode: enforce` in agent.yaml turns it on)"
    told = f"{store['connections']} connections open; since the start {store['statements']} statements"
    if observing or any(store[key] for key in ("would_deny", "would_hold", "would_mask", "unread_connections")):
        told += (
            f", of which observed and would be denied {store['would_deny']}, held {store['would_hold']}, "
            f"masked {store['would_mask']}; {store['unread_connections']} connections not read"
        )
    if store["shadow_differs"]:
        told += f"; {store['shadow_differs']} statements would end otherwise by the policies that are tried"
    click.echo(f"datastore {name}: {how}")
    if store.get("caution"):  # an agent of the version before says nothing of it
        click.echo(f"datastore {name}: CAUTION: {store['caution']}")
    click.echo(f"datastore {name}: {told}")


def _say_shadow(shadow: dict[str, Any]) -> None:
    if not shadow["configured"]:
        return
    if shadow["epoch"] is not None:
        click.echo(f"shadow: policies are tried, epoch {shadow['epoch']}")
    if shadow["problem"] is not None:
        click.echo(f"shadow: NOT TAKEN: {shadow['problem']}")


@click.command()
@click.option(
    "--config",
    "path",
    type=click.Path(),
    metavar="FILE",
    help="The agent.yaml of this host: what it intercepts is tried. Without it, the root cgroup.",
)
@json_lines
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
@agent_yaml
@click.option("--user", metavar="NAME", help="The account the agent runs as; root unless given.")
@click.option(
    "--service",
    is_flag=True,
    help="As the agent's unit does it: with the mounts of the host, and leaving it to the agent to say what is wrong.",
)
@click.option(
    "--last",
    type=click.Path(),
    metavar="FILE",
    help="Have the gate stand as FILE, kept by the agent, says it last stood; nobody is behind it yet.",
)
def prepare(path: str, user: str | None, service: bool, last: str | None) -> None:
    """Put the hooks in place for an agent that isn't root, and end. What its unit runs before it, as root.

    What was redirected stays so; at first nothing is, until an agent listens. With --last, before anything can connect
    at boot, no configuration is read.
    """
    from lockgate.kernel import standing
    from lockgate.kernel.libbpf import KernelError
    from lockgate.kernel.namespaces import enter_host_mounts
    from lockgate.kernel.prepare import leave_why
    from lockgate.kernel.prepare import prepare as put_in_place

    if last is not None:
        try:
            if not standing.restore(Path(last)):
                click.echo(f"{last}: there is none, so nothing was intercepted")
        except (standing.StandingError, KernelError) as error:
            fail(str(error.args[0]), 1)
        return
    try:
        account = pwd.getpwnam(user) if user is not None else pwd.getpwuid(0)
    except KeyError:
        fail(f"there is no user {user}", 2)
    try:
        settings = config.load_agent(path)
    except config.ConfigError:
        if service:
            sys.exit(2)  # the agent reads the same file, and says so
        raise
    try:
        if service:
            enter_host_mounts()
        put_in_place(settings, account.pw_uid, account.pw_gid)
    except KernelError as error:
        why = f"{error.args[0]}{_missing()}"
        if not service:
            fail(why, 1)
        leave_why(Path(settings.agent.run_dir), why)
        sys.exit(1)


def _missing() -> str:
    """What this kernel lacks, as a reason behind an error; nothing when it lacks nothing."""
    from lockgate.kernel.doctor import probe

    lacking = [f for f in probe("/") if f.required and not f.ok]
    return f" ({lacking[0].name}: {lacking[0].detail}; {lacking[0].cost})" if lacking else ""


@click.command()
@agent_yaml
def release(path: str) -> None:
    """Open the gate: stop the agent's service, take its hooks out of the kernel. Recorded. The way out in an emergency.

    The gate is open first, whatever state the agent and its configuration are in. It closes again when the service is
    started, and at the next boot unless the service is disabled.
    """
    from lockgate.proxy.release import ReleaseError, release_unread
    from lockgate.proxy.release import release as open_gate

    try:
        try:
            settings = config.load_agent(path)
        except config.ConfigError as error:
            unread = release_unread(str(error))
            if unread is None:
                raise
            click.echo(f"the hooks are gone: connections go straight to the datastores; {unread}")
            return
        how = open_gate(settings)
    except ReleaseError as error:
        fail(str(error), 1)
    click.echo(
        f"the hooks on {settings.intercept.cgroup} are gone: connections from there go straight to the datastores; "
        f"{how}"
    )
