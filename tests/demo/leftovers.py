"""What a demo has left on the machine: of one demo, since others may run beside it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from lockgate.kernel.cgroups import Hierarchy


def leftovers(pid: int) -> list[str]:
    """Folders, cgroups, mounts and processes of the demo that had process id `pid`."""
    name = f"lockgate-demo-{pid}-"
    found = [str(path) for path in Path(tempfile.gettempdir()).glob(f"{name}*")]
    found += [str(path) for path in Hierarchy.find().mount.glob(f"{name}*")]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if name in line]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            facts = [(process / "cmdline").read_text(), str((process / "cwd").readlink())]
        except OSError:
            continue  # gone, or a thread of the kernel
        if any(name in fact for fact in facts):
            found.append(f"process {process.name}: {facts}")
    return found
