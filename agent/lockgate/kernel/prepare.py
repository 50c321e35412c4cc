"""Which gate an agent has: its own, when it may load one, or what `lockgate prepare` left for its account."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from lockgate.config import AgentFile, Intercept

from . import standing
from .cgroups import Hierarchy, normal
from .interceptor import Interceptor
from .libbpf import KernelError
from .pins import lock_holder, pin_dir
from .prepared import Prepared

SERVICE: Final = "lockgate-agent.service"
"""The unit that the packages install."""
REASON: Final = "unprepared"
"""The file below `agent.run_dir` that says why nothing could be prepared."""
REASON_CHARACTERS: Final = 4096


def own_cgroup(intercept: Intercept, tree: Hierarchy) -> str:
    """Where the agent lives: the caller has moved there. Raises KernelError.

    A service stays where its manager put it: only root puts anything else there.
    """
    current = tree.current()
    if intercept.agent_cgroup is None and current.rpartition("/")[2] == SERVICE:
        return current
    own = intercept.own_cgroup
    if normal(own) != normal(current):
        tree.create(own)
        tree.join(own)
    return own


def open_gate(settings: AgentFile, own: str) -> Interceptor | Prepared:
    """The gate of an agent that lives in the cgroup `own`. Raises KernelError."""
    pins = pin_dir(settings.agent.run_dir)
    if os.geteuid() != 0:
        if why := unprepared(Path(settings.agent.run_dir)):
            raise KernelError(why)
        return Prepared(pins, own)
    return Interceptor(cgroup=settings.intercept.cgroup, agent_cgroup=own, pin_dir=pins)


def prepare(settings: AgentFile, uid: int, gid: int) -> None:
    """Put the hooks in place for an agent of that account in the caller's cgroup. Raises KernelError.

    What was redirected stays so, refused until the agent says where to if what it said can't be read any more: by a
    version that keeps it in another shape. At first nothing is.
    """
    tree = Hierarchy.find()
    tree.id_of(settings.intercept.cgroup)  # raises before anything is made for a cgroup that isn't there
    own = own_cgroup(settings.intercept, tree)
    with Interceptor(
        cgroup=settings.intercept.cgroup, agent_cgroup=own, pin_dir=pin_dir(settings.agent.run_dir)
    ) as hooks:
        if not hooks.has_targets:
            stood = standing.last(Path(settings.agent.state_dir) / standing.FILE)
            hooks.set_targets(stood.closed() if stood else [])
        hooks.attach()
        hooks.hand_over(uid, gid)
    (Path(settings.agent.run_dir) / REASON).unlink(missing_ok=True)


def leave_why(run_dir: Path, why: str) -> None:
    """Leave it to the agent to say why nothing could be prepared for it. Raises OSError."""
    place = run_dir / REASON
    place.unlink(missing_ok=True)  # and never through a link that the folder's owner put there
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with open(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, 0o644)  # whatever the umask: the agent reads it
        file.write(why)


def unprepared(run_dir: Path) -> str:
    """Why there is nothing for an agent that isn't root, as `leave_why` left it; nothing when there is.

    Raises OSError: what is there may be another account's.
    """
    try:
        if why := (run_dir / REASON).read_text(encoding="utf-8", errors="replace")[:REASON_CHARACTERS]:
            return why
    except FileNotFoundError:
        pass
    if not pin_dir(run_dir).is_dir():
        return "the agent loads programs into the kernel: it must be root, or root must run `lockgate prepare`"
    if (holder := lock_holder(pin_dir(run_dir))) is not None:
        return f"another agent (process {holder}) is running"
    return ""
