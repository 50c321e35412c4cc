"""The runtime: CPython and its libraries, built in a root of the oldest distribution served. What is built is kept.

Everything lies in the cache by a hash of what it is made from, and is made in a folder beside and then renamed: what is
there is whole.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pack.sources import KEYRING, archives, fetch, read_pins

REPOSITORY = Path(__file__).parents[2]
SCRIPTS = REPOSITORY / "packaging/runtime"
PINS = SCRIPTS / "sources.toml"
PYTHON = "3.13"
OLDEST = "bullseye"
"""glibc 2.31 and GCC 10; no longer changed, so a root of it is the same on every machine."""
ROOT_PACKAGES = (
    "build-essential",
    "pkg-config",
    "autoconf",
    "automake",
    "libtool",
    "libltdl-dev",  # libffi's configure.ac
    "tcl",  # SQLite makes its one source file with it
    "chrpath",
    "gawk",
)
PREFIX = Path("usr/lib/lockgate/runtime")
LOG_LINES = 40
"""Of a step that failed, how many of its last lines are shown."""


class BuildError(Exception):
    """A step of the build failed."""


def cache() -> Path:
    """Where what was built is kept: $LOCKGATE_CACHE, or below build/."""
    return Path(os.environ.get("LOCKGATE_CACHE") or REPOSITORY / "build/cache")


def key(*parts: str | bytes | Path) -> str:
    """A short hash of texts and files, which changes when any of them does."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.read_bytes() if isinstance(part, Path) else part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8) + content)
    return digest.hexdigest()[:16]


@contextmanager
def made_whole(target: Path) -> Iterator[Path]:
    """A folder to make `target` in, which takes its place when nothing was raised."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    part.chmod(0o755)
    try:
        yield part
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def root() -> Path:
    """A debootstrap root of the oldest distribution, with a compiler."""
    target = cache() / "roots" / f"{OLDEST}-{key(OLDEST, *ROOT_PACKAGES)}"
    if not target.exists():
        with made_whole(target) as part:
            included = f"--include={','.join(ROOT_PACKAGES)}"
            mirror = archives()["main"]
            command = ["debootstrap", "--variant=minbase", f"--keyring={KEYRING}", included, OLDEST, str(part), mirror]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return target


def inside(work: Path, prefix: Path, *command: str) -> None:
    """Run `command`, as env(1) takes it, in the root: with `work` as its /build and `prefix` as the runtime.

    What it prints is in the cache's log, and its end on stderr when it fails.
    """
    log = cache() / "log"
    with log.open("wb") as file:
        argv = [str(part) for part in (SCRIPTS / "inside-root", root(), work, prefix, "/usr/bin/env", *command)]
        status = subprocess.run(argv, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
    if status:
        print(*log.read_text(errors="replace").splitlines()[-LOG_LINES:], sep="\n", file=sys.stderr)
        raise BuildError(f"{command[0]} ended with {status}; all it said is in {log}")


def runtime() -> Path:
    """The prefix as installed: with headers, which Lockgate's own extension modules are compiled with."""
    scripts = sorted(path for path in SCRIPTS.iterdir() if path.name != "inside-root")
    target = cache() / "runtimes" / key(root().name, *scripts)
    if not target.exists():
        roots = archives()
        downloads = [file for source in read_pins(PINS) for file in fetch(source, cache() / "sources", roots)]
        with made_whole(target) as prefix, tempfile.TemporaryDirectory(dir=target.parent) as folder:
            work = Path(folder)
            (work / "sources").mkdir()
            for path in downloads:
                shutil.copy(path, work / "sources")
            for path in scripts:
                shutil.copy(path, work)
            inside(work, prefix, "/build/build-runtime")
    return target
