"""The gate in the kernel: redirects connections to declared datastores to the agent, and says who made each of them."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from types import TracebackType

from . import libbpf
from .cgroups import Hierarchy, is_within
from .libbpf import KernelError, Object, Program
from .pins import Pins, remove_pins
from .tables import Tables

OBJECTS = Path(__file__).parent / "objects"
_CARRY = "carry"
_HOOKS = ("getpeername4", "getpeername6", _CARRY, "connect6", "connect4")
"""In order of attachment: no connection is redirected before its origin can be carried."""
_AGENT_CARRY = "agent_carry"


class Interceptor(Tables):
    """The hooks on `cgroup` and everything below it, except for what `agent_cgroup` does.

    The agent has to have joined `agent_cgroup` before it opens a listener: connections are sent only to listeners made
    there. Both cgroups must exist. With a `pin_dir` the hooks outlive the process: an agent that is gone is a closed
    gate, and the next one takes the hooks over without a moment between. That folder has to be in the mount namespace
    of the host: one of the process's own ends with it, and the gate opens.

    Call `set_targets()`, then `attach()`. Not thread-safe. Every method raises KernelError when the kernel refuses.
    """

    def __init__(
        self, objects_dir: Path = OBJECTS, cgroup: str = "/", agent_cgroup: str = "/agent", pin_dir: Path | None = None
    ) -> None:
        self._tree = Hierarchy.find()
        self._cgroup, self._agent_cgroup = cgroup, agent_cgroup
        agent_id = self._tree.id_of(agent_cgroup)
        self._tree.id_of(cgroup)
        self._links: dict[str, int] = {}
        self._pins = Pins(pin_dir) if pin_dir else None
        self._object: Object | None = None
        try:
            self._object = Object(objects_dir / "lockgate.o")
            self._object.set_constants(".rodata.agent", struct.pack("=I", _pid_namespace()))
            self._take_pinned_maps(self._object)
            self._object.load()
            super().__init__({name: self._object.map(name) for name in self._object.maps}, agent_id)
        except BaseException:
            self.close()
            raise

    def attach(self) -> None:
        """Put every hook in place, or take over those that are pinned. Idempotent."""
        hooks = [(name, name, self._cgroup) for name in _HOOKS]
        if is_within(self._agent_cgroup, self._cgroup):
            self._release(_AGENT_CARRY)  # it already runs there; a pin of another configuration is not needed
        else:
            hooks.insert(0, (_AGENT_CARRY, _CARRY, self._agent_cgroup))
        for name, program, cgroup in hooks:
            self._hook(name, self._loaded.program(program), cgroup)
        if self._pins:
            for name, pinned in self._maps.items():
                self._pins.put(f"map_{name}", pinned.fd)

    def hand_over(self, uid: int, gid: int) -> None:
        """Let an agent of that account use what is pinned: see lockgate.kernel.prepared. After attach()."""
        if self._pins is None:
            raise KernelError("what isn't pinned can't be handed over")
        self._pins.hand_over((f"map_{name}" for name in self._maps), uid, gid)

    def close(self) -> None:
        """Let go. Pinned hooks stay in the kernel and keep redirecting: a closed gate. Others are gone with this."""
        for fd in self._links.values():
            os.close(fd)
        self._links.clear()
        if self._object:
            self._object.close()
            self._object = None
        if self._pins:
            self._pins.close()
            self._pins = None

    def detach(self) -> None:
        """Open the gate: take every hook, map and pin away. Then close()."""
        if self._pins:
            detach(self._pins.directory)
        self.close()

    def __enter__(self) -> Interceptor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _loaded(self) -> Object:
        if self._object is None:
            raise KernelError("this interceptor is closed")
        return self._object

    def _take_pinned_maps(self, loading: Object) -> None:
        # A map of another shape, from another version, is left to its hooks until attach() replaces both.
        for name in loading.maps if self._pins else ():
            fd = self._pins.get(f"map_{name}") if self._pins else None
            if fd is not None:
                try:
                    if libbpf.map_shape(fd) == loading.declared(name):
                        loading.reuse(name, fd)
                finally:
                    os.close(fd)

    def _hook(self, name: str, program: Program, cgroup: str) -> None:
        held = self._links.get(name)
        if held is None and self._pins:
            held = self._pins.get(f"link_{name}")
        if held is not None:
            self._links[name] = held
            info = libbpf.link_info(held)
            if (info.cgroup_id, info.attach_type) == (self._tree.id_of(cgroup), program.attach_type):
                libbpf.relink(held, program)
                return
        directory = self._tree.open(cgroup)
        try:
            fresh = libbpf.link(program, directory)
        finally:
            os.close(directory)
        self._links[name] = fresh
        if held is not None:
            os.close(held)  # of another cgroup, or of one that is gone; its pin is replaced next
        if self._pins:
            self._pins.put(f"link_{name}", fresh)

    def _release(self, name: str) -> None:
        if name in self._links:
            os.close(self._links.pop(name))
        if self._pins:
            self._pins.drop(f"link_{name}")


def _pid_namespace() -> int:
    """Where the agent finds processes by their numbers: who loads the hooks is in the same one."""
    return os.stat("/proc/self/ns/pid").st_ino & 0xFFFFFFFF


def detach(pin_dir: Path) -> None:
    """Take away what an agent left pinned in `pin_dir`, running or not. Connections go through again, unjudged."""
    remove_pins(pin_dir, first=tuple(f"link_{name}" for name in reversed(_HOOKS)))
