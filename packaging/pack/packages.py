"""The deb and the rpm, from the tree and one description."""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from pathlib import Path

from pack.runtime import REPOSITORY
from pack.tree import PACKAGING, with_shared

NAMES = {"deb": "lockgate_{version}-1_amd64.deb", "rpm": "lockgate-{version}-1.x86_64.rpm"}


def version() -> str:
    """The project's, from pyproject.toml."""
    return str(tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"])


def epoch() -> int:
    """The time everything packed has, in seconds: SOURCE_DATE_EPOCH, or the last commit's."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    log = ["git", "-C", str(REPOSITORY), "log", "-1", "--format=%ct"]
    return int(subprocess.run(log, check=True, text=True, capture_output=True).stdout)


def scripts(tree: Path) -> Path:
    """The maintainer scripts beside `tree`, with what they share put in."""
    folder = tree.with_name(f"{tree.name}.scripts")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shared = (PACKAGING / "scripts/common.sh").read_text()
    for path in sorted((PACKAGING / "scripts").glob("*.*")):
        (folder / path.name).write_text(with_shared(path.read_text(), shared))
    shutil.copy(PACKAGING / "changelog.yaml", folder)
    return folder


def package(kind: str, tree: Path, target: Path, nfpm: Path, time: int) -> Path:
    """Pack `tree`, as a "deb" or "rpm" of `time`, into the folder `target` with the program `nfpm`: its path."""
    target.mkdir(parents=True, exist_ok=True)
    path = target / NAMES[kind].format(version=version())
    variables = {"SOURCE_DATE_EPOCH": str(time), "VERSION": version()}
    subprocess.run(
        [nfpm, "package", "--config", PACKAGING / "nfpm.yaml", "--packager", kind, "--target", path],
        check=True,
        cwd=tree.parent,
        env=os.environ | variables,
        stdout=subprocess.DEVNULL,
    )
    return path
