"""`lockgate trace`: who connects to the datastores, and by which way, told by a witness that shares nothing with us."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lockgate import config
from lockgate.cli.options import json_lines
from lockgate.cli.show import fail, json_line, line
from lockgate.kernel.trace.process import PYTHON

if TYPE_CHECKING:
    from lockgate.kernel.trace.process import Connect
    from lockgate.kernel.trace.ways import Ways

UNIT_FOLDERS = ("/usr/lib/systemd/system", "/lib/systemd/system")
_HEADER = ("TIME", "WAY", "PID", "UID", "PROGRAM", "DATASTORE", "TO", "RESULT", "CGROUP")
_ROW = "{:<12} {:<10} {:>7} {:>6} {:<24} {:<12} {:<24} {:<9} {}"


@click.command()
@click.option(
    "--config",
    "path",
    type=click.Path(),
    metavar="FILE",
    help=f"The agent.yaml of this host.  [default: {config.AGENT_YAML}]",
)
@click.option(
    "--port", "ports", type=click.IntRange(1, 65535), multiple=True, metavar="N",
    help="A port to watch, whatever the address, instead of the declared datastores. Repeatable.",
)  # fmt: skip
@click.option(
    "--seconds", type=click.FloatRange(0, min_open=True), metavar="N", help="How long; until ^C when not given."
)
@click.option(
    "--agent-cgroup", metavar="PATH", help="The agent's.  [default: that of the agent that runs, or the configured one]"
)
@click.option(
    "--python",
    type=click.Path(),
    default=PYTHON,
    show_default=True,
    metavar="PROGRAM",
    help="The Python that has the module of BCC.",
)
@json_lines
def trace(
    path: str | None,
    ports: tuple[int, ...],
    seconds: float | None,
    agent_cgroup: str | None,
    python: str,
    as_json: bool,
) -> None:
    """List every process that connects to a datastore, and by which way: directly, redirected to the agent, or as
    the agent itself.

    Told by the kernel's own tracepoint through BCC of the distribution (python3-bpfcc, or python3-bcc on EL, with the
    kernel's headers), not by Lockgate's hooks. What isn't declared is listed as undeclared and doesn't count.
    Connections that were open before are not listed. Exits 1 when somebody but the agent reached a declared datastore
    directly, or when events were lost: then nobody knows.
    """
    from lockgate.kernel.trace.process import CannotWitness, Witness, WitnessGone
    from lockgate.kernel.trace.ways import Way, Ways

    settings = config.load_agent(path or config.AGENT_YAML) if _is_wanted(path, ports) else None
    ways = Ways.of(settings.datastores) if settings and not ports else Ways.of_ports(ports)
    for problem in ways.problems:
        _tell(problem)
    if os.geteuid() != 0:
        fail("only root can trace", 2)
    own = agent_cgroup or (_agent_of(settings) if settings else None)
    found: Counter[Way] = Counter()
    try:
        with Witness(ways.ports, own, seconds, python) as witness:
            agent = f"whoever is in cgroup {own}" if own else "nobody: say --config or --agent-cgroup"
            _tell(f"watching port {', '.join(map(str, ways.ports))}; the agent is {agent}")
            if not as_json:
                click.echo(_ROW.format(*_HEADER))
            for connect in witness:
                way = ways.way(connect)
                if way is Way.REDIRECTED and connect.port == _metrics_port(settings):
                    continue  # the agent listens there as well
                found[way] += 1
                _show(connect, ways, as_json)
            lost = witness.lost
    except CannotWitness as error:
        fail(str(error), 2)
    except WitnessGone as error:
        fail(str(error), 1)
    _tell(", ".join(f"{found[way]} {way.value}" for way in Way) + (f"; {lost} events lost" if lost else ""))
    if found[Way.DIRECT] or lost:
        sys.exit(1)


def _is_wanted(path: str | None, ports: tuple[int, ...]) -> bool:
    """With ports to watch the configuration only tells who the agent is: a host that has none may do without."""
    return path is not None or not ports or os.path.exists(config.AGENT_YAML)


def _show(connect: Connect, ways: Ways, as_json: bool) -> None:
    way, datastore = ways.way(connect).value, ways.datastore(connect)
    if as_json:
        json_line({"way": way, "datastore": datastore, **_fields(connect)})
        return
    to = f"[{connect.address}]:{connect.port}" if ":" in connect.address else f"{connect.address}:{connect.port}"
    clock = time.strftime("%H:%M:%S", time.localtime(connect.time)) + f".{int(connect.time % 1 * 1000):03}"
    row = (clock, way, connect.pid, connect.uid, connect.exe or connect.comm, datastore or "-", to, connect.result)
    click.echo(_ROW.format(*map(line, row), line(connect.cgroup or "(gone)")))


def _fields(connect: Connect) -> dict[str, Any]:
    names = ("time", "pid", "uid", "comm", "exe", "cgroup", "address", "port", "result")
    return {name: getattr(connect, name) for name in names}


def _agent_of(settings: config.AgentFile) -> str:
    """The cgroup of who answers at the control socket; when nobody does, the configured one, or the unit's."""
    from lockgate.approval.ask import holder
    from lockgate.identity.cgroups import placement
    from lockgate.kernel.prepare import SERVICE

    pid = holder(settings.agent.run_dir)
    if pid is not None:
        try:
            with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
                return placement(file.read()).cgroup
        except OSError:
            pass  # it has just ended
    units = (Path(folder, SERVICE) for folder in UNIT_FOLDERS)
    if settings.intercept.agent_cgroup is None and any(unit.exists() for unit in units):
        return f"/system.slice/{SERVICE}"
    return settings.intercept.own_cgroup


def _metrics_port(settings: config.AgentFile | None) -> int | None:
    if settings is None or settings.agent.metrics is None:
        return None
    return config.split_address(settings.agent.metrics)[1]


def _tell(text: str) -> None:
    click.echo(f"lockgate: {text}", err=True)
