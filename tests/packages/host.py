"""A booted system that a package of Lockgate comes to, and what its people do there."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support.machine import Machine
from tests.support.roots import INSIDE
from tests.support.system import Ran, System

PACKAGES: Final = "/packages"
"""Where a machine sees the built packages, read-only."""
NEWER: Final = "/newer"
"""And their next versions."""
AGENT: Final = "lockgate-agent.service"
COLLECTOR: Final = "lockgate-collector.service"
ORDERS: Final = f"{INSIDE}/policies/examples/orders"
SETTLED_SECONDS = 60.0
"""By when a service that was started or stopped is where it is going, and a record is in the collector."""

CONFIGURATION: Final = """
agent: {{metrics: "127.0.0.1:9464"}}
intercept: {{cgroup: /}}
datastores:
  - name: orders
    protocol: postgresql
    addresses: ["*:5432"]
    catalog: {{user: lockgate}}
    mode: {mode}
identities: [identities.yaml]
classify: [classification.yaml]
policies: [policies]
collector: {{address: "127.0.0.1:24224", api: "http://127.0.0.1:8080"}}
"""


@dataclass(frozen=True, slots=True)
class Manager:
    """How a system is told to add a package, to replace it by another version, to take it away and to forget it."""

    suffix: str
    install: tuple[str, ...]
    replace: tuple[str, ...]
    remove: tuple[str, ...]
    purge: tuple[str, ...]
    """Empty where there is no such thing."""


DPKG: Final = Manager(
    ".deb", ("dpkg", "-i"), ("dpkg", "-i"), ("dpkg", "-r", "lockgate"), ("dpkg", "-P", "lockgate")
)  # fmt: skip

# In a Debian root rpm wants to be told that it is meant (--force-debian), and knows of nothing that dpkg brought, such
# as a shell (--nodeps).
_RPM: Final = ("rpm", "--force-debian", "--nodeps")
RPM: Final = Manager(
    ".rpm", (*_RPM, "-i"), (*_RPM, "-U", "--oldpackage", "--replacepkgs"), (*_RPM, "-e", "lockgate"), ()
)


@dataclass(slots=True)
class Host:
    machine: Machine
    manager: Manager
    package: Path
    """In the folder that the machine sees as PACKAGES."""

    # the package

    def install(self) -> Ran:
        return self.machine.attempt(*self.manager.install, f"{PACKAGES}/{self.package.name}")

    def upgrade(self, package: Path) -> Ran:
        """To a version in the folder NEWER."""
        return self.machine.attempt(*self.manager.replace, f"{NEWER}/{package.name}")

    def downgrade(self) -> Ran:
        """Back to the package it began with; from itself it is a reinstallation."""
        return self.machine.attempt(*self.manager.replace, f"{PACKAGES}/{self.package.name}")

    def version(self) -> str:
        if self.manager is DPKG:
            return self.machine.run("dpkg-query", "-W", "-f", "${Version}", "lockgate")
        return self.machine.run("rpm", "-q", "--qf", "%{VERSION}-%{RELEASE}", "lockgate")

    def remove(self) -> Ran:
        return self.machine.attempt(*self.manager.remove)

    def purge(self) -> Ran:
        return self.machine.attempt(*self.manager.purge)

    def installed(self) -> None:
        """Installed well, with a collector beside it that has the agent's records."""
        ran = self.install()
        assert ran.status == 0, ran
        self.settled(AGENT, "active")
        self.collect()

    def collect(self) -> None:
        self.machine.run("systemctl", "enable", "--now", COLLECTOR)
        self.machine.until("the agent is connected to the collector", self._connected, SETTLED_SECONDS)

    def _connected(self) -> bool:
        ran = self.lockgate("status", "--json")
        return ran.status == 0 and bool(json.loads(ran.output)["collector"]["connected"])

    def configure(self, mode: str) -> None:
        """The worked example for this host, and the agent started with it."""
        self.machine.run("/bin/sh", "-c", f"rm -f /etc/lockgate/policies/*; cp {ORDERS}/*.cedar /etc/lockgate/policies")
        self.machine.run("cp", f"{ORDERS}/identities.yaml", f"{ORDERS}/classification.yaml", "/etc/lockgate")
        self.machine.write("/etc/lockgate/agent.yaml", CONFIGURATION.format(mode=mode))
        self.machine.run("systemctl", "restart", AGENT)
        self.machine.until("the agent is connected to the collector", self._connected, SETTLED_SECONDS)

    # its units

    def settled(self, unit: str, state: str) -> None:
        """Wait until a unit is `state`: active, inactive, failed."""
        self.machine.until(f"{unit} {state}", lambda: self.machine.active(unit) == state, SETTLED_SECONDS)

    def main_pid(self, unit: str) -> int:
        return int(self.machine.run("systemctl", "show", "--value", "-p", "MainPID", unit))

    def complaints(self, unit: str = AGENT) -> list[str]:
        """Lines of a unit's own that say why it can't go on."""
        return [line for line in self.machine.journal(unit) if line.startswith("lockgate: ")]

    # its people

    def lockgate(self, *argv: str, user: str | None = None) -> Ran:
        return self.machine.attempt("lockgate", *argv, user=user)

    def psql(self, statement: str, user: str = "ann") -> Ran:
        return self.machine.attempt(*psql(statement), user=user)

    def psql_begin(self, statement: str, user: str = "ann") -> subprocess.Popen[str]:
        return self.machine.start(*psql(statement), user=user)

    def truth(self, statement: str) -> str:
        """Asked of the server itself, by its own socket."""
        return self.machine.run("psql", "-XqAt", "-d", "shop", "-c", statement, user="postgres")

    # the record

    def records(self, *words: str) -> list[dict[str, Any]]:
        return records(self.machine, *words)

    def record(self, *words: str) -> dict[str, Any]:
        return record(self.machine, *words)


def psql(statement: str) -> Sequence[str]:
    """As anybody would, knowing nothing of Lockgate."""
    return ("psql", "-XqAt", "-h", "127.0.0.1", "-U", "app", "-d", "shop", "-c", statement)


def records(system: System, *words: str) -> list[dict[str, Any]]:
    """What the collector of this system has with these words, the newest first."""
    ran = system.run("lockgate", "audit", "search", "--json", "--limit", "1000",
                     "--config", "/etc/lockgate/collector.yaml", *words)  # fmt: skip
    return [json.loads(line) for line in ran.splitlines()]


def record(system: System, *words: str, seconds: float = SETTLED_SECONDS) -> dict[str, Any]:
    """The newest record of a statement with these words, once it has come (within `seconds`) and is complete."""
    found: list[dict[str, Any]] = []

    def arrived() -> bool:
        found[:] = [each for each in records(system, *words) if each["type"] == "statement"]
        return bool(found) and (found[0]["verdict"] == "deny" or found[0]["end"] is not None)

    system.until(f"a record of {' '.join(words)}", arrived, seconds)
    return found[0]
