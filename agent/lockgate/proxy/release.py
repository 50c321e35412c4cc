"""The way out: the hooks taken from the kernel, so that connections go straight to the datastores. Recorded.

The gate opens first, whatever state the agent is in; that it was opened is recorded as soon as something can be.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from lockgate import __version__
from lockgate.audit import unrecorded
from lockgate.audit.errors import SpoolError
from lockgate.audit.spool import Spool
from lockgate.config import AgentFile
from lockgate.identity.cgroups import placement
from lockgate.identity.keys import HostKey, HostKeyError
from lockgate.kernel import standing
from lockgate.kernel.interceptor import detach
from lockgate.kernel.libbpf import KernelError
from lockgate.kernel.pins import lock_holder, pin_dir

STOP_SECONDS: Final = 60.0
"""How long the service manager may take to stop the agent: it kills it after 30 s."""
_NO_LOGIN: Final = 2**32 - 1


class ReleaseError(Exception):
    """The gate is not open, or it can't be said that it is. Why in one line."""


def release(settings: AgentFile) -> str:
    """Open the gate, having stopped the agent if a service manager runs it. Where that is recorded, in words.

    Raises ReleaseError: also while an agent runs that nobody manages.
    """
    run_dir, state = Path(settings.agent.run_dir), Path(settings.agent.state_dir)
    pins = pin_dir(run_dir)
    try:
        holder = lock_holder(pins)
        unit = None if holder is None else _unit(holder)
        if holder is not None and unit is None:
            raise ReleaseError(f"the agent is still running (process {holder}): stop it first")
        detach(pins)
        if unit is not None:
            _stop(unit)
            detach(pins)  # one that was just being started may have put them back
        (state / standing.FILE).unlink(missing_ok=True)
    except KernelError as error:
        raise ReleaseError(str(error.args[0])) from None
    except OSError as error:
        raise ReleaseError(f"{error.filename or run_dir}: {error.strerror or error}") from None
    return _record(settings, run_dir, state)


def _record(settings: AgentFile, run_dir: Path, state: Path) -> str:
    fields = {"type": "agent", "event": "release", "version": __version__, "detail": _who()}
    try:
        with _as_owner(state):
            _append(settings, state, fields)
    except (SpoolError, HostKeyError, OSError) as error:
        try:
            run_dir.mkdir(parents=True, exist_ok=True, mode=0o755)
            unrecorded.leave(run_dir, fields)
        except OSError as worse:
            raise ReleaseError(f"the gate is open, and that can't be recorded: {error}; {worse}") from None
        return f"not recorded yet ({error}): the next agent does it"
    return "recorded"


def _append(settings: AgentFile, state: Path, fields: dict[str, Any]) -> None:
    key = HostKey.load_or_create(state / "host.key")
    spool = Spool(state / "spool", settings.agent.name, key, settings.spool)
    try:
        spool.append(fields)
        spool.commit()
    finally:
        spool.close()


@contextmanager
def _as_owner(state: Path) -> Iterator[None]:
    """As the account whose the state is: what root wrote there the agent could not go on with."""
    facts = state.stat() if state.exists() else None
    if facts is None or facts.st_uid == os.geteuid() or os.geteuid() != 0:
        yield
        return
    group = os.getegid()
    os.setegid(facts.st_gid)
    os.seteuid(facts.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)


def _who() -> str:
    """By the kernel's account of who logged in (loginuid: set once, also behind su and sudo), where it has one."""
    try:
        login = int(Path("/proc/self/loginuid").read_text())
    except (OSError, ValueError):
        login = _NO_LOGIN
    return f"by uid {os.getuid()}" + ("" if login == _NO_LOGIN else f", logged in as uid {login}")


def _unit(pid: int) -> str | None:
    """The service that process is, None when it is in none."""
    try:
        unit = placement(Path(f"/proc/{pid}/cgroup").read_text()).unit
    except (OSError, ValueError):
        return None
    return unit if unit is not None and unit.endswith(".service") and "/" not in unit else None


def _stop(unit: str) -> None:
    try:
        stopped = subprocess.run(
            ["systemctl", "stop", unit],
            capture_output=True, text=True, check=False, timeout=STOP_SECONDS, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ReleaseError(f"the gate is open, but {unit} is not stopped: {error}") from None
    if stopped.returncode:
        why = " ".join(stopped.stderr.split())
        raise ReleaseError(f"the gate is open, but {unit} is not stopped: {why}")
