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
from lockgate.config import Agent, AgentFile
from lockgate.identity.cgroups import placement
from lockgate.identity.keys import HostKey, HostKeyError
from lockgate.kernel import standing
from lockgate.kernel.interceptor import detach
from lockgate.kernel.libbpf import KernelError
from lockgate.kernel.pins import lock_holder, pin_dir
from lockgate.kernel.prepare import SERVICE

STOP_SECONDS: Final = 60.0
"""How long the service manager may take to stop the agent: it kills it after 30 s."""
_NO_LOGIN: Final = 2**32 - 1
_DEFAULT: Final = Agent(name="any")
_PACKAGED: Final = Path(_DEFAULT.run_dir)
"""Where the unit of the packages has its agent, unless it is told otherwise."""


class ReleaseError(Exception):
    """The gate is not open, or it can't be said that it is. Why in one line."""


def release(settings: AgentFile) -> str:
    """Open the gate, having stopped the agent if a service manager runs it. Where that is recorded, in words.

    Raises ReleaseError: also while an agent runs that nobody manages.
    """
    run_dir, state = Path(settings.agent.run_dir), Path(settings.agent.state_dir)
    problem = _open(run_dir, state)
    how = _record(settings, run_dir, state)  # whatever came after the gate was open
    if problem:
        raise ReleaseError(f"the gate is open, but {problem}; {how}")
    return how


def release_unread(why: str) -> str | None:
    """As release(), where no configuration can be read, for which `why` says why: in the folders of the packages.

    None when nothing stands there. A broken configuration is what may have closed the gate.
    """
    if not pin_dir(_PACKAGED).exists():
        return None
    problem = _open(_PACKAGED, Path(_DEFAULT.state_dir))
    how = _leave(_PACKAGED, _event(), why)
    if problem:
        raise ReleaseError(f"the gate is open, but {problem}; {how}")
    return how


def _open(run_dir: Path, state: Path) -> str:
    """What didn't work once the gate was open, in words. Raises ReleaseError when it isn't."""
    pins = pin_dir(run_dir)
    try:
        holder = lock_holder(pins)
        unit = _manager(holder, run_dir)
        if holder is not None and unit is None:
            raise ReleaseError(f"the agent is still running (process {holder}): stop it first")
        detach(pins)
    except KernelError as error:
        raise ReleaseError(str(error.args[0])) from None
    except OSError as error:
        raise ReleaseError(f"{error.filename or run_dir}: {error.strerror or error}") from None
    return _keep_open(unit, pins, state)


def _keep_open(unit: str | None, pins: Path, state: Path) -> str:
    """Have nothing close it again. What didn't work, in words."""
    try:
        if unit is not None:
            if problem := _stop(unit):
                return problem
            detach(pins)  # one that was just being started may have put them back
        (state / standing.FILE).unlink(missing_ok=True)
    except KernelError as error:
        return str(error.args[0])
    except OSError as error:
        return f"{error.filename or state}: {error.strerror or error}"
    return ""


def _record(settings: AgentFile, run_dir: Path, state: Path) -> str:
    fields = _event()
    try:
        with _as_owner(state):
            _append(settings, state, fields)
    except (SpoolError, HostKeyError, OSError) as error:
        return _leave(run_dir, fields, str(error))
    return "recorded"


def _event() -> dict[str, Any]:
    return {"type": "agent", "event": "release", "version": __version__, "detail": _who()}


def _leave(run_dir: Path, fields: dict[str, Any], why: str) -> str:
    try:
        run_dir.mkdir(parents=True, exist_ok=True, mode=0o755)
        unrecorded.leave(run_dir, fields)
    except OSError as worse:
        raise ReleaseError(f"the gate is open, and that can't be recorded: {why}; {worse}") from None
    return f"not recorded yet ({why}): the next agent does it"


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


def _manager(holder: int | None, run_dir: Path) -> str | None:
    """The service of the agent that uses `run_dir`; None when there is none.

    That of the process which holds the hooks, if it is the one that the manager started there, and is an agent: the
    file that names it is the agent's own, and a shell may run an agent within a service (sshd's) that isn't one. One
    that keeps failing has no process now, and would close the gate again in a second.
    """
    if holder and (unit := _unit(holder)) and _is_agent(holder):
        shown = _show(unit)
        if str(holder) in (shown.get("MainPID"), shown.get("ControlPID")):
            return unit
    if run_dir == _PACKAGED and _show(SERVICE).get("ActiveState", "inactive") not in ("inactive", "failed"):
        return SERVICE
    return None


def _unit(pid: int) -> str | None:
    """The service that process is in, None when it is in none."""
    try:
        unit = placement(Path(f"/proc/{pid}/cgroup").read_text()).unit
    except (OSError, ValueError):
        return None
    return unit if unit is not None and unit.endswith(".service") and "/" not in unit else None


def _is_agent(pid: int) -> bool:
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(argument.rpartition(b"/")[2] == b"lockgate" for argument in arguments)


def _show(unit: str) -> dict[str, str]:
    """What the service manager says of `unit`; nothing when there is no manager."""
    try:
        shown = _systemctl("show", "--property=ActiveState,MainPID,ControlPID", "--", unit)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return dict(line.split("=", 1) for line in shown.stdout.splitlines() if "=" in line)


def _stop(unit: str) -> str:
    """What didn't work, in words."""
    try:
        stopped = _systemctl("stop", "--", unit)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{unit} is not stopped: {error}"
    return f"{unit} is not stopped: {' '.join(stopped.stderr.split())}" if stopped.returncode else ""


def _systemctl(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemctl", *arguments],
        capture_output=True, text=True, check=False, timeout=STOP_SECONDS, stdin=subprocess.DEVNULL,
    )  # fmt: skip
