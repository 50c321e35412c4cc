"""The gate for an agent that may load and attach nothing: `lockgate prepare` did that, as root, and pinned it.

What needs CAP_NET_ADMIN, CAP_PERFMON and CAP_SYS_ADMIN is done by a process that ends before the first connection is
served. The agent opens the pinned maps, which are its account's, and leaves the hooks alone.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

from .cgroups import Hierarchy
from .interceptor import OBJECTS
from .libbpf import KernelError, Map, Object
from .pins import Pins
from .tables import Tables


class Prepared(Tables):
    """As Interceptor, over what is pinned in `pin_dir`, with its lock until close(). Raises KernelError.

    Also for maps that another version pinned: the hooks of this one would not know what is written there.
    """

    def __init__(self, pin_dir: Path, agent_cgroup: str, objects_dir: Path = OBJECTS) -> None:
        self._opened: list[int] = []
        self._pins = Pins(pin_dir, mounted=True)
        try:
            super().__init__(self._open(objects_dir), Hierarchy.find().id_of(agent_cgroup))
        except BaseException:
            self.close()
            raise

    def attach(self) -> None:
        """The hooks are in place since before this process was started."""

    def close(self) -> None:
        """Let go. The hooks stay: a closed gate."""
        while self._opened:
            os.close(self._opened.pop())
        self._pins.close()

    def __enter__(self) -> Prepared:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, objects_dir: Path) -> dict[str, Map]:
        ours = Object(objects_dir / "lockgate.o")
        try:
            return {name: self._map(name, ours) for name in ours.maps}
        finally:
            ours.close()

    def _map(self, name: str, ours: Object) -> Map:
        fd = self._pins.get(f"map_{name}")
        if fd is None:
            raise KernelError(f"map {name} is not prepared: root has to run `lockgate prepare` first")
        self._opened.append(fd)
        found = Map(name, fd)
        if found.shape != ours.declared(name):
            raise KernelError(f"map {name} was prepared by another version: root has to run `lockgate prepare` again")
        return found
