"""A whole Debian system with its own stock kernel, in QEMU: emulated processors, two disks, no network.

    with Vm(image(DEBIAN_12), {"lockgate.deb": package}) as vm:
        vm.run("dpkg", "-i", "/checkout/build/lockgate.deb")
        vm.reboot()

Commands go in, and their output comes back, over a virtio serial port. The disk is written to a copy that is gone with
the machine. KVM is not used: it hangs where this machine is itself a virtual one.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shlex
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.support.roots import CHECKOUT, INSIDE, RootError, bootstrap, kept
from tests.support.system import COMMAND_SECONDS, Ran, System, Trouble, in_unit

UP_SECONDS = 300.0
"""Emulated on a busy machine. Alone it takes some ten seconds."""
MEGABYTES = 3072
"""Of the disk: the system takes half of it."""
MEMORY = 2048
PROCESSORS = 2
READY: Final = "ready"
PORT: Final = "tests.commands"
GIVEN: Final = ("agent/lockgate/demo", "policies/examples", "vagrant/scripts")
"""What machines see of the checkout."""

_COMMANDS: Final = f"""#!/bin/bash
# What tests have done here. A line is a script in base64, answered by its exit status, its output and its errors.
exec 3<>/dev/virtio-ports/{PORT}
echo {READY} >&3
while read -r line <&3; do
    base64 -d <<< "$line" | /bin/bash >/run/commands.out 2>/run/commands.err
    echo "${{PIPESTATUS[1]}} $(base64 -w 0 /run/commands.out) $(base64 -w 0 /run/commands.err)" >&3
done
"""
_UNIT: Final = """[Unit]
Description=What tests have done here
After=postgresql.service

[Service]
ExecStart=/usr/local/sbin/commands
Environment=HOME=/root
WorkingDirectory=/root

[Install]
WantedBy=multi-user.target
"""
_DRIVERS: Final = "virtio_pci\nvirtio_blk\nvirtio_console\n"


@dataclass(frozen=True, slots=True)
class Recipe:
    """A system with a kernel of its own distribution's."""

    name: str
    suite: str
    packages: tuple[str, ...]

    @property
    def digest(self) -> str:
        texts = repr((self, _COMMANDS, _UNIT, _DRIVERS, MEGABYTES))
        return hashlib.sha256(texts.encode()).hexdigest()[:12]


_PACKAGES: Final = ("systemd", "systemd-sysv", "udev", "dbus", "kmod", "passwd", "iproute2", "procps", "postgresql",
                    "postgresql-client", "linux-image-cloud-amd64", "initramfs-tools")  # fmt: skip
DEBIAN_12: Final = Recipe("debian-12", "bookworm", (*_PACKAGES, "linux-headers-cloud-amd64", "python3-bpfcc"))
"""With what `lockgate trace` needs."""
DEBIAN_11: Final = Recipe("debian-11", "bullseye", _PACKAGES)
"""Its kernel is older than what Lockgate needs."""


@dataclass(frozen=True, slots=True)
class Image:
    disk: Path
    kernel: Path
    initrd: Path


def image(recipe: Recipe) -> Image:
    """Made now when there is none yet (in three minutes or so), and kept."""
    folder = kept("vm", recipe.name, recipe.digest, lambda folder: _make(recipe, folder))
    return Image(folder / "disk", folder / "kernel", folder / "initrd")


def _make(recipe: Recipe, folder: Path) -> None:
    root = folder / "root"
    folder.mkdir()
    bootstrap(recipe.suite, root, recipe.packages)
    (root / "etc/hostname").write_text("vm\n")
    (root / "etc/fstab").write_text(f"/dev/vda / ext4 defaults 0 1\n/dev/vdb {INSIDE} ext4 ro 0 0\n")
    (root / INSIDE[1:]).mkdir()
    commands = root / "usr/local/sbin/commands"
    commands.write_text(_COMMANDS)
    commands.chmod(0o755)
    units = root / "etc/systemd/system"
    (units / "commands.service").write_text(_UNIT)
    wants = units / "multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / "commands.service").symlink_to("../commands.service")
    # only what this machine needs before it has its disk: half the time to boot goes into unpacking the rest
    (root / "etc/initramfs-tools/conf.d/small").write_text("MODULES=list\n")
    (root / "etc/initramfs-tools/modules").write_text(_DRIVERS)
    _do("chroot", str(root), "update-initramfs", "-u")
    for name, pattern in (("kernel", "vmlinuz-*"), ("initrd", "initrd.img-*")):
        (found,) = (root / "boot").glob(pattern)
        shutil.copy(found, folder / name)
    for archive in (root / "var/cache/apt/archives").glob("*.deb"):
        archive.unlink()
    disk(folder / "disk", root, MEGABYTES)
    shutil.rmtree(root)


def disk(path: Path, folder: Path, megabytes: int) -> None:
    """An ext4 file system with what is in `folder`."""
    _do("mke2fs", "-q", "-t", "ext4", "-m", "0", "-d", str(folder), str(path), f"{megabytes}M")


def _do(*argv: str) -> None:
    environment = {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "LANG": "C.UTF-8"}
    ran = subprocess.run(argv, capture_output=True, text=True, env=environment, check=False)
    if ran.returncode:
        raise RootError(f"{' '.join(argv)}\n{(ran.stdout + ran.stderr)[-3000:]}")


class Vm(System):
    """`files` are put below /checkout/build, by name."""

    def __init__(self, image: Image, files: Mapping[str, Path]) -> None:
        self._image = image
        self._files = files
        self._folder = Path(tempfile.mkdtemp(prefix="lockgate-vm-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._port: socket.socket | None = None
        self._rest = b""

    def __enter__(self) -> Self:
        try:
            self._give()
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Pull the plug."""
        if self._port is not None:
            self._port.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _give(self) -> None:
        """The second disk: the checkout's scripts and examples, and the files."""
        given = self._folder / "given"
        for name in GIVEN:
            shutil.copytree(CHECKOUT / name, given / name, ignore=shutil.ignore_patterns("__pycache__"))
        (given / "build").mkdir()
        for name, path in self._files.items():
            shutil.copy(path, given / "build" / name)
        size = sum(path.stat().st_size for path in given.rglob("*")) // 1_000_000 + 32
        disk(self._folder / "second", given, size)

    def _start(self) -> None:
        with self.console.open("ab") as console:
            self._process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        self._port = self._connected(time.monotonic() + UP_SECONDS)
        self._until_ready()

    @property
    def console(self) -> Path:
        return self._folder / "console"

    def command(self) -> list[str]:
        """How QEMU is called."""
        return ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", str(PROCESSORS),
                "-m", str(MEMORY), "-nodefaults", "-no-user-config", "-display", "none", "-nic", "none",
                "-kernel", str(self._image.kernel), "-initrd", str(self._image.initrd),
                "-append", "root=/dev/vda rw console=ttyS0 quiet net.ifnames=0 mitigations=off",
                "-drive", f"file={self._image.disk},if=virtio,format=raw,snapshot=on",
                "-drive", f"file={self._folder / 'second'},if=virtio,format=raw,read-only=on",
                "-device", "virtio-rng-pci", "-serial", "stdio",
                "-chardev", f"socket,id=commands,path={self._folder / 'commands'},server=on,wait=off",
                "-device", "virtio-serial-pci", "-device", f"virtserialport,chardev=commands,name={PORT}"]  # fmt: skip

    def _connected(self, deadline: float) -> socket.socket:
        while True:
            port = socket.socket(socket.AF_UNIX)
            try:
                port.connect(str(self._folder / "commands"))
            except (FileNotFoundError, ConnectionRefusedError):
                port.close()
                self._still_there(deadline)
                time.sleep(0.05)
            else:
                return port

    def _still_there(self, deadline: float) -> None:
        assert self._process is not None
        if self._process.poll() is not None or time.monotonic() > deadline:
            raise Trouble(f"the machine is not up\n{self.console.read_text(errors='replace')[-5000:]}")

    def _line(self, deadline: float) -> str:
        """The next line from inside. Raises TimeoutError."""
        assert self._port is not None
        while b"\n" not in self._rest:
            self._port.settimeout(max(0.01, deadline - time.monotonic()))
            came = self._port.recv(1 << 16)
            if not came:
                raise Trouble(f"the machine is gone\n{self.console.read_text(errors='replace')[-5000:]}")
            self._rest += came
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def _until_ready(self) -> None:
        deadline = time.monotonic() + UP_SECONDS
        try:
            while self._line(deadline) != READY:
                pass
        except TimeoutError:
            raise Trouble(f"not up in {UP_SECONDS:g} s\n{self.console.read_text(errors='replace')[-5000:]}") from None

    def reboot(self) -> None:
        self._send("systemctl reboot")
        self._until_ready()

    def _send(self, script: str) -> None:
        assert self._port is not None
        self._port.settimeout(COMMAND_SECONDS)
        self._port.sendall(base64.b64encode(script.encode()) + b"\n")

    def attempt(
        self, *argv: str, user: str | None = None, input: str = "", unit: str = "", timeout: float = COMMAND_SECONDS
    ) -> Ran:
        command = shlex.join(in_unit(argv, user=user, unit=unit))
        self._send(f"printf %s {shlex.quote(input)} | {command}")
        try:
            status, output, errors = answer(self._line(time.monotonic() + timeout))
        except TimeoutError:
            raise TimeoutError(f"{shlex.join(argv)}: no end in {timeout:g} s") from None
        return Ran(argv, status, output, errors)


def answer(line: str) -> tuple[int, str, str]:
    """Exit status, output and errors of a command, as the machine tells them."""
    status, output, errors = line.split(" ")
    return int(status), base64.b64decode(output).decode(), base64.b64decode(errors).decode()
