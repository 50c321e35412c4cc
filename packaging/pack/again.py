"""Whether what is built twice is the same, byte for byte."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pack.packages import NAMES, epoch, package, scripts
from pack.runtime import cache
from pack.tree import build


def differences(one: Path, other: Path) -> Iterator[str]:
    """The paths at which two trees differ, in what is there, its bytes, where it leads or its mode."""
    names = {path.relative_to(tree) for tree in (one, other) for path in tree.rglob("*")}
    return (str(name) for name in sorted(names) if _facts(one / name) != _facts(other / name))


def _facts(path: Path) -> tuple[object, ...]:
    if path.is_symlink():
        return ("link", path.readlink())
    if not path.exists():
        return ("absent",)
    return (path.stat().st_mode, path.read_bytes() if path.is_file() else b"")


@contextmanager
def another_cache(folder: Path, *kept: str) -> Iterator[None]:
    """Everything is built anew, in `folder`, but for what lies in the folders `kept` of the cache."""
    before, usual = os.environ.get("LOCKGATE_CACHE"), cache().resolve()
    folder.mkdir(parents=True)
    for name in kept:
        (folder / name).symlink_to(usual / name)
    os.environ["LOCKGATE_CACHE"] = str(folder)
    try:
        yield
    finally:
        del os.environ["LOCKGATE_CACHE"]
        if before is not None:
            os.environ["LOCKGATE_CACHE"] = before


def compare(folder: Path, nfpm: Path, *kept: str) -> list[str]:
    """Build tree and packages twice below `folder`, the second time with only `kept` of the cache. What differs."""
    shutil.rmtree(folder, ignore_errors=True)
    first, second = folder / "first/tree", folder / "second/tree"
    time = epoch()
    build(first, time)
    with another_cache(folder / "cache", *kept):
        build(second, time)
    found = list(differences(first, second))
    for tree in (first, second):
        scripts(tree)
    for kind in NAMES:
        one, other = (package(kind, tree, tree.parent, nfpm, time) for tree in (first, second))
        if one.read_bytes() != other.read_bytes():
            found.append(one.name)
    return found
