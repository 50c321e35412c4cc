"""A whole Debian system, booted by systemd-nspawn on a root folder, in a cgroup2 tree and a network of its own.

    with Machine(base, work) as machine:
        machine.run("dpkg", "-i", "/packages/lockgate.deb")
        machine.run("psql", "-c", "SELECT 1", user="ann")

Everything that is mounted is mounted in a mount namespace that ends with the container, `base` is the read-only lower
half of an overlay, and the cgroup of the whole is killed in the end: nothing is left behind but `work`, which goes too.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.support.system import COMMAND_SECONDS, PAUSE_SECONDS, Ran, System, Trouble, in_unit

UP_SECONDS = 60.0
"""Until systemd says that it runs. It takes one or two."""
DOWN_SECONDS = 60.0

REBOOT: Final = 133
"""systemd-nspawn(1): the container asked for a reboot and --keep-unit leaves it to the caller."""
PREFIX: Final = "lockgate-machine-"

_LAUNCH: Final = """
set -eu
base=$1 work=$2; shift 2
until [ "$1" = -- ]; do echo $$ > "$1/cgroup.procs"; shift; done; shift
mount -t tmpfs tmpfs /run/systemd/nspawn
if [ -d "$work/root" ]; then
    mount -t overlay overlay -o "lowerdir=$base,upperdir=$work/upper,workdir=$work/work" "$work/root"
fi
exec "$@"
"""
"""Runs in a mount namespace of its own. systemd-nspawn shares mounts with its containers through /run/systemd/nspawn,
and makes the cgroups `payload` and `supervisor` in the one it is started in."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a container may: `bpf` programs, and the `unified` cgroup hierarchy (or version 1)."""

    bpf: bool = True
    unified: bool = True

    def options(self) -> list[str]:
        return ["--capability=all", f"--system-call-filter={'' if self.bpf else '~'}bpf"]


ALL: Final = Abilities()


@dataclass(slots=True)
class Machine(System):
    """`binds` are folders of this machine that are seen, read-only, at a path inside."""

    base: Path
    work: Path
    binds: Mapping[Path, str] = field(default_factory=dict)
    abilities: Abilities = ALL
    transient: bool = True
    """Whether what is written goes to `work`, and is gone in the end; or else to `base`."""
    _name: str = field(default_factory=lambda: f"{PREFIX}{os.getpid()}-{secrets.token_hex(3)}")
    _process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.work.mkdir(parents=True, exist_ok=True)
            for name in ("upper", "work", "root") if self.transient else ():
                (self.work / name).mkdir(exist_ok=True)
            self.boot()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """However it is: nothing of it runs or is mounted afterwards."""
        try:
            kill(self._name)
            if self._process is not None:
                self._process.wait(timeout=DOWN_SECONDS)
                self._process = None
        finally:
            remove(self._name)
            shutil.rmtree(self.work, ignore_errors=True)

    # on and off

    def boot(self) -> None:
        """Returns when systemd has started everything. Raises Trouble, with what the console had to say."""
        groups = [folder / self._name for folder in hierarchies()]
        for group in groups:
            group.mkdir(exist_ok=True)
        argv = ["unshare", "--mount", "--propagation=private", "/bin/sh", "-c", _LAUNCH, "launch", str(self.base),
                str(self.work), *map(str, groups), "--", *self.command()]  # fmt: skip
        environment = {"PATH": os.environ["PATH"], "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": str(int(self.abilities.unified))}
        Path("/run/systemd/nspawn").mkdir(parents=True, exist_ok=True)
        with (self.work / "console").open("ab") as console:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=console, stderr=console, env=environment, start_new_session=True
            )
        self._wait_until_up()

    def command(self) -> list[str]:
        """How systemd-nspawn is called."""
        root = self.work / "root" if self.transient else self.base
        return ["systemd-nspawn", "--quiet", f"--directory={root}", "--register=no", "--keep-unit", "--boot",
                "--private-network", "--console=read-only", "--link-journal=no", *self.abilities.options(),
                *(f"--bind-ro={folder}:{inside}" for folder, inside in self.binds.items())]  # fmt: skip

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + UP_SECONDS
        state = ""
        while state not in ("running", "degraded"):
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise Trouble(f"not up ({state or 'no answer'})\n{(self.work / 'console').read_text()}")
            time.sleep(PAUSE_SECONDS)
            with suppress(Trouble, subprocess.TimeoutExpired):
                argv = self._enter("systemctl", "is-system-running", "--wait")
                state = subprocess.run(argv, capture_output=True, text=True, timeout=UP_SECONDS).stdout.strip()

    def shut_down(self) -> None:
        """As an administrator does. Raises Trouble when it doesn't go down in time."""
        self._ended("poweroff")

    def reboot(self) -> None:
        status = self._ended("reboot")
        if status != REBOOT:
            raise Trouble(f"not a reboot: systemd-nspawn exited with {status}")
        remove(self._name)
        self.boot()

    def _ended(self, how: str) -> int:
        assert self._process is not None
        subprocess.run(self._enter("systemctl", how), capture_output=True, timeout=DOWN_SECONDS, check=False)
        try:
            status = self._process.wait(timeout=DOWN_SECONDS)
        except subprocess.TimeoutExpired:
            raise Trouble(f"no {how} in {DOWN_SECONDS:g} s\n{(self.work / 'console').read_text()}") from None
        self._process = None
        return status

    # what is done in it

    def _enter(self, *argv: str) -> list[str]:
        """The command that runs `argv` in every namespace of the container's init, but in our own cgroup still."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        try:
            init = children.read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            init = []
        if not init:
            raise Trouble("the container has no init (yet, or any more)")
        return ["nsenter", f"--target={init[-1]}", "--all", "--wd=/", "--", *argv]

    def inside(self, *argv: str, user: str | None = None, unit: str = "") -> list[str]:
        """The command that runs `argv` as a unit of the container, in its cgroup tree from the beginning on."""
        return self._enter(*in_unit(argv, user=user, unit=unit))

    def attempt(
        self, *argv: str, user: str | None = None, input: str = "", unit: str = "", timeout: float = COMMAND_SECONDS
    ) -> Ran:
        command = self.inside(*argv, user=user, unit=unit)
        try:
            ran = subprocess.run(command, input=input, capture_output=True, text=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired as late:
            raise TimeoutError(f"{' '.join(argv)}: no end in {timeout:g} s\n{late.output!r}") from None
        return Ran(argv, ran.returncode, ran.stdout, ran.stderr)

    def start(self, *argv: str, user: str | None = None, unit: str = "") -> subprocess.Popen[str]:
        """Begin a command and go on; its output and errors are one pipe."""
        return subprocess.Popen(
            self.inside(*argv, user=user, unit=unit), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip


def hierarchies(mountinfo: str | None = None) -> list[Path]:
    """Where this machine has cgroup2, and beside it the hierarchy that systemd keeps in version 1, if it does.

    From /proc/self/mountinfo (`mountinfo` is its text). Raises Trouble when there is no cgroup2.
    """
    text = Path("/proc/self/mountinfo").read_text() if mountinfo is None else mountinfo
    second: list[Path] = []
    first: list[Path] = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        root, point = before.split(" ")[3:5]
        if root != "/":
            continue
        if kind == "cgroup2":
            second.append(Path(point))
        elif kind == "cgroup" and "name=systemd" in options.split(","):
            first.append(Path(point))
    if not second:
        raise Trouble("no cgroup2 file system is mounted")
    return [*second[:1], *first[:1]]


def kill(name: str) -> None:
    """End every process of a machine at once (cgroup.kill, Linux 5.14)."""
    with suppress(FileNotFoundError):
        (hierarchies()[0] / name / "cgroup.kill").write_text("1")


def remove(name: str) -> None:
    """Take away the cgroups of a machine whose processes were killed."""
    for hierarchy in hierarchies():
        deadline = time.monotonic() + DOWN_SECONDS
        while (hierarchy / name).is_dir():
            # bottom-up; what is still being left is tried again
            with suppress(OSError):
                for folder, _, _ in os.walk(hierarchy / name, topdown=False):
                    os.rmdir(folder)
            if time.monotonic() > deadline:
                raise Trouble(f"the cgroup {name} can't be removed")
            time.sleep(0.01)


def sweep() -> None:
    """End what a test run left that was itself killed: machines whose maker is gone."""
    for folder in hierarchies()[0].glob(f"{PREFIX}*"):
        found = re.fullmatch(rf"{PREFIX}(\d+)-[0-9a-f]+", folder.name)
        if found and not Path(f"/proc/{found[1]}").exists():
            kill(folder.name)
            remove(folder.name)
