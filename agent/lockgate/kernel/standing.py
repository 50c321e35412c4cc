"""How the gate last stood, kept on disk: after a boot it stands so again before anything else can connect.

The agent needs a network to resolve names and time to start, and its configuration may have been broken meanwhile.
None of that may open a gate that was closed.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import msgspec

from lockgate.config import keyfile

from .cgroups import Hierarchy
from .interceptor import Interceptor
from .layout import Target
from .tables import TARGETS_MAX

log = logging.getLogger(__name__)

FILE = "gate.json"
FILE_LIMIT = 4 * 1024 * 1024
"""Bytes: TARGETS_MAX targets have some 100 each. Who reads it is root, and who wrote it is not."""
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
        found = _read(path)
        return None if found is None else cls._of_bytes(found[0], path)

    @classmethod
    def _of_bytes(cls, content: bytes, path: Path) -> Standing:
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
        targets = [
            Target(
                None if t.network is None else ipaddress.ip_network(t.network), t.port, t.datastore, NOBODY, t.observed
            )
            for t in self.targets
        ]
        if len({target.key() for target in targets}) < len(targets) or len(targets) > TARGETS_MAX:
            raise ValueError(f"{len(targets)} targets; {TARGETS_MAX} different ones are the most there are")
        return targets

    def enforced(self, besides: Iterable[Target]) -> list[Target]:
        """Of closed() what was enforced and isn't among `besides`."""
        others = {target.key() for target in besides}
        return [target for target in self.closed() if not target.observed and target.key() not in others]

    def restore(self) -> None:
        """Put the hooks in place, with nobody behind them, and nobody exempt. Raises KernelError."""
        tree = Hierarchy.find()
        tree.create(self.cgroup)  # systemd takes over a slice that is there already
        with Interceptor(cgroup=self.cgroup, agent_cgroup=tree.current(), pin_dir=Path(self.pin_dir)) as gate:
            gate.set_targets(self.closed())
            gate.attach()
            gate.withdraw()


def last(path: Path) -> Standing | None:
    """As load(). What can't be read keeps no agent from starting."""
    try:
        return Standing.load(path)
    except StandingError as error:
        log.warning("how the gate last stood is not known: %s", error)
        return None


def restore(path: Path) -> bool:
    """Have the gate stand as `path` says. False when nothing was kept. Raises StandingError, KernelError.

    Root does what an agent that may be anything wrote down. So it mounts and writes only where that agent may itself.
    """
    found = _read(path)
    if found is None:
        return False
    content, owner = found
    kept = Standing._of_bytes(content, path)
    folder = Path(kept.pin_dir).parent
    if owner != 0 and not _is_theirs(folder, owner):
        raise StandingError(f"{path}: {folder} is no folder of uid {owner}, who wrote that the hooks are pinned there")
    kept.restore()
    return True


def _read(path: Path) -> tuple[bytes, int] | None:
    """The content of `path` and the uid it belongs to."""
    try:
        # neither a link nor a pipe in its place is followed or waited for
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise StandingError(f"{path}: not a regular file")
            content = file.read(FILE_LIMIT + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StandingError(f"{path}: {error.strerror or error}") from error
    if len(content) > FILE_LIMIT:
        raise StandingError(f"{path}: has more than {FILE_LIMIT} bytes")
    return content, facts.st_uid


def _is_theirs(folder: Path, uid: int) -> bool:
    try:
        return folder.is_absolute() and folder.resolve(strict=True) == folder and folder.stat().st_uid == uid
    except OSError:
        return False
