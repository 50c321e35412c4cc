"""The part of requirements.lock that the package ships: what the project depends on at run time, with its hashes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


class LockError(Exception):
    """A lock that lacks something that is depended on."""


def split(lock: str) -> dict[str, str]:
    """The entries of a lock with hashes, by canonical name: `name==version` and its --hash lines, as written."""
    entries = re.findall(r"^(?:[^\s#].*\\\n)(?:\s.*\n?)+|^[^\s#].*$", lock, re.MULTILINE)
    return {canonicalize_name(re.split(r"[=\[; ]", entry, maxsplit=1)[0]): entry.rstrip("\n") for entry in entries}


Dependencies = Mapping[str, Iterable[str]]
"""Requirements of distributions, by canonical name."""


def closure(roots: Iterable[str], dependencies: Dependencies, environment: Mapping[str, str]) -> list[str]:
    """The canonical names of all that `roots` (requirements) need in `environment` (PEP 508 markers), in order.

    Raises LockError when `dependencies` lacks one needed.
    """
    seen: set[tuple[str, str]] = set()
    waiting = [(Requirement(text), "") for text in roots]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({**environment, "extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        for wanted in {"", *requirement.extras}:
            if (name, wanted) in seen:
                continue
            seen.add((name, wanted))
            if name not in dependencies:
                raise LockError(f"{name} is needed at run time, and not in the lock")
            waiting += [(Requirement(text), wanted) for text in dependencies[name]]
    return sorted({name for name, _ in seen})


def installed(names: Iterable[str]) -> dict[str, list[str]]:
    """Requirements by canonical name of those of `names` that are installed in this Python."""
    found = {}
    for name in names:
        try:
            found[name] = requires(name) or []
        except PackageNotFoundError:
            continue
    return found


def subset(lock: str, roots: Iterable[str], dependencies: Dependencies, environment: Mapping[str, str]) -> str:
    """The entries of `lock` that `roots` need in `environment`, as a lock."""
    entries = split(lock)
    names = closure(roots, {name: dependencies[name] for name in entries if name in dependencies}, environment)
    return "".join(entries[name] + "\n" for name in names)
