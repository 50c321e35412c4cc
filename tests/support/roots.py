"""Root folders of whole Debian systems, made by debootstrap once and kept below build/ (or $LOCKGATE_CACHE).

In each, PostgreSQL serves the worked example's database, and its people have accounts: what a host has that Lockgate
comes to. Mirrors are those that this machine's own apt uses.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.machine import Machine

CHECKOUT: Final = Path(__file__).parents[2]
INSIDE: Final = "/checkout"
"""Where machines see the checkout, read-only."""
PEOPLE: Final = ("ann", "bob", "cleo", "sam")
KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

_PACKAGES: Final = (
    "systemd", "dbus", "kmod", "passwd", "iproute2", "procps", "postgresql", "postgresql-client",
)  # fmt: skip
"""Beside those that every Debian system has."""
_MAKES_THE_DATASTORE: Final = (
    CHECKOUT / "vagrant/scripts/datastore.sh",
    CHECKOUT / "agent/lockgate/demo/shop.sql",
)


class RootError(Exception):
    """A root that can't be made here."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """`packages` are wanted beside the usual ones; `prepare` are commands for the booted system."""

    name: str
    suite: str
    packages: tuple[str, ...] = ()
    prepare: tuple[tuple[str, ...], ...] = ()

    def __str__(self) -> str:
        return self.name

    @property
    def digest(self) -> str:
        """Changes with everything that a root is made from, but the packages' own versions."""
        texts = [repr(self), repr(_PACKAGES), repr(PEOPLE), *(path.read_text() for path in _MAKES_THE_DATASTORE)]
        return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]


DEBIAN_12: Final = Recipe("debian-12", "bookworm")
DEBIAN_13: Final = Recipe("debian-13", "trixie")
RPM: Final = Recipe("rpm", "bookworm", packages=("rpm",), prepare=(("rpm", "--initdb"),))
"""Lockgate comes by rpm there, and dpkg knows nothing of it."""


def cache() -> Path:
    """Where roots, and the packages they are made from, are kept."""
    return Path(os.environ.get("LOCKGATE_CACHE", CHECKOUT / "build" / "cache")).absolute()


def root(recipe: Recipe) -> Path:
    """The folder of a root, made now when there is none yet (in a minute or two). Nothing may be written to it."""
    return kept("roots", recipe.name, recipe.digest, lambda folder: _make(recipe, folder))


def kept(kind: str, name: str, digest: str, make: Callable[[Path], None]) -> Path:
    """The folder of this name and digest in the cache. When there is none, others of its name go, and `make` makes it.

    Whoever wants it meanwhile waits: two test runs make it once.
    """
    folder = cache() / kind / f"{name}-{digest}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return folder
        for old in folder.parent.glob(f"{name}-*"):
            shutil.rmtree(old)
        making = folder.with_name(f"{folder.name}.unfinished")
        try:
            make(making)
            making.rename(folder)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return folder


def _make(recipe: Recipe, folder: Path) -> None:
    bootstrap(recipe.suite, folder, (*_PACKAGES, *recipe.packages))
    work = folder.with_name(f"{folder.name}.work")
    with Machine(folder, work, {CHECKOUT: INSIDE}, transient=False) as machine:
        machine.run(f"{INSIDE}/vagrant/scripts/datastore.sh", "127.0.0.1", "127.0.0.0/8")
        for person in PEOPLE:
            machine.run("useradd", "--create-home", "--shell", "/bin/bash", person)
        for command in recipe.prepare:
            machine.run(*command)
        machine.shut_down()


def bootstrap(suite: str, folder: Path, packages: tuple[str, ...]) -> None:
    """A minimal system with `packages`. Raises RootError with the end of debootstrap's own log."""
    debs = cache() / "debs"
    debs.mkdir(parents=True, exist_ok=True)
    argv = ["debootstrap", "--variant=minbase", f"--cache-dir={debs}", f"--keyring={KEYRING}",
            f"--include={','.join(packages)}", suite, str(folder), mirror()]  # fmt: skip
    environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    ran = subprocess.run(argv, capture_output=True, text=True, env=environment, check=False)
    if ran.returncode:
        raise RootError(f"{' '.join(argv)}\n{(ran.stdout + ran.stderr)[-3000:]}")


def mirror() -> str:
    """Where this machine gets Debian from: the first archive of a whole suite (not of its updates) that apt knows."""
    argv = ["apt-get", "indextargets", "--format", "$(ORIGIN) $(CODENAME) $(REPO_URI)", "Created-By: Packages"]
    return archive(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)


def archive(targets: str) -> str:
    """The mirror in lines of `origin codename address`. Raises RootError when there is none of Debian's."""
    for line in targets.splitlines():
        origin, codename, address = line.split(" ", 2)
        if origin == "Debian" and "-" not in codename:
            return address
    raise RootError("apt knows no mirror of Debian: apt-get update?")
