"""How the gate last stood, kept on disk: after a boot it stands so again before anything else can connect.

The agent needs a network to resolve names and time to start, and its configuration may have been broken meanwhile.
None of that may open a gate that was closed.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import msgspec

from lockgate.config import keyfile

from .cgroups import Hierarchy
from .interceptor import Interceptor
from .layout import Target

FILE = "gate.json"
FILE_LIMIT = 4 * 1024 * 1024
"""Bytes: TARGETS_MAX targets have some 100 each."""
NOBODY = 0
"""The port of no listener: connections to it are refused, or go straight where they are only observed."""


class StandingError(Exception):
    """What is kept can't be read or written; the message names the file."""


class _Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    network: str | None
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)]
    datastore: Annotated[int, msgspec.Meta(ge=0)]
    observed: bool


class Standing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`cgroup` is intercepted, by what is pinned in `pin_dir`."""

    cgroup: str
    pin_dir: str
    targets: list[_Target]

    @classmethod
    def of(cls, cgroup: str, pin_dir: Path, targets: Iterable[Target]) -> Standing:
        kept = [
            _Target(None if t.network is None else str(t.network), t.port, t.datastore, t.observed) for t in targets
        ]
        return cls(cgroup, str(pin_dir), kept)

    @classmethod
    def load(cls, path: Path) -> Standing | None:
        """What was kept in `path`; None when nothing was. Raises StandingError."""
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StandingError(f"{path}: {error.strerror or error}") from error
        try:
            kept = msgspec.json.decode(content, type=cls)
            kept.closed()
        except (msgspec.MsgspecError, ValueError) as error:
            raise StandingError(f"{path}: not how a gate stood: {error}") from error
        return kept

    def keep(self, path: Path) -> None:
        """Raises StandingError."""
        try:
            keyfile.replace(path, msgspec.json.encode(self))
        except keyfile.KeyFileError as error:
            raise StandingError(str(error)) from error

    def closed(self) -> list[Target]:
        """The targets, with nobody behind them. Raises ValueError."""
        return [
            Target(
                None if t.network is None else ipaddress.ip_network(t.network), t.port, t.datastore, NOBODY, t.observed
            )
            for t in self.targets
        ]

    def restore(self, own_cgroup: str) -> None:
        """Put the hooks in place, with nobody behind them. `own_cgroup` is the caller's. Raises KernelError."""
        Hierarchy.find().create(self.cgroup)  # systemd takes over a slice that is there already
        with Interceptor(cgroup=self.cgroup, agent_cgroup=own_cgroup, pin_dir=Path(self.pin_dir)) as gate:
            gate.set_targets(self.closed())
            gate.attach()


def restore(path: Path) -> bool:
    """Have the gate stand as `path` says. False when nothing was kept. Raises StandingError, KernelError."""
    kept = Standing.load(path)
    if kept is None:
        return False
    kept.restore(Hierarchy.find().current())
    return True
