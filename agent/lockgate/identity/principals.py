"""Workload -> Principal: the entries of identities.yaml, the most specific first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from lockgate.config import UNMATCHED, ConfigError, Identity, Selector
from lockgate.values.identity import Principal, Workload

NOBODY: Final = Principal(UNMATCHED, None, ())
"""Who a process is that no entry selects: a principal like any other, which policies may name."""


class Directory:
    """The entries of identities.yaml in their order of precedence. Immutable; a reload makes a new one.

    An entry selects a workload when every one of its selectors does. Of several that do, the most specific wins; this
    order is total:

    1. more selectors before fewer;
    2. then by the kinds of selectors, the rarest thing first: container, pod, unit, exe, user, image, cgroup. Two
       entries are compared by the first kind in this list that only one of them has, and that one wins;
    3. then the longer `cgroup` before the shorter: the deeper place in the tree;
    4. then the earlier in the files.

    All but `cgroup` are compared whole, and none is a pattern.
    """

    __slots__ = ("_entries",)

    def __init__(self, identities: Sequence[Identity]) -> None:
        """Raises ConfigError for an entry that can't stand; load_identities names its file and line too."""
        for entry in identities:
            if wrong := entry.problem():
                raise ConfigError(f"{entry.principal}: {'.'.join(map(str, wrong[0]))}: {wrong[1]}")
        # sorted() keeps the order of the files among equals
        self._entries = [
            (_tests(entry.when), Principal(entry.principal, entry.person, tuple(dict.fromkeys(entry.groups))))
            for entry in sorted(identities, key=_precedence)
        ]

    def __len__(self) -> int:
        return len(self._entries)

    def principal(self, workload: Workload) -> Principal:
        """Who a workload is: the first entry that selects it, NOBODY when none does."""
        for tests, principal in self._entries:
            if all(test(workload, wanted) for test, wanted in tests):
                return principal
        return NOBODY


Test = Callable[[Workload, str], bool]


def _user(workload: Workload, wanted: str) -> bool:
    if wanted.isascii() and wanted.isdigit():
        return workload.uid == int(wanted)
    # in a container the number is the image's, and who has it there is not who has it here
    return workload.user == wanted and workload.container is None


def _exe(workload: Workload, wanted: str) -> bool:
    return workload.exe == wanted and workload.exe_is_local


def _cgroup(workload: Workload, wanted: str) -> bool:
    return f"{workload.cgroup}/".startswith(wanted)


_TESTS: Final[dict[str, Test]] = {
    "container": lambda workload, wanted: workload.container == wanted,
    "pod": lambda workload, wanted: workload.pod == wanted,
    "unit": lambda workload, wanted: workload.unit == wanted,
    "exe": _exe,
    "user": _user,
    "image": lambda workload, wanted: workload.image == wanted,
    "cgroup": _cgroup,
}


def _values(when: Selector) -> dict[str, str]:
    """The selectors that are given, in the order of _TESTS, each in the form its test compares."""
    given = {key: str(value) for key in _TESTS if (value := getattr(when, key)) is not None}
    if "pod" in given:
        given["pod"] = given["pod"].replace("_", "-")
    if "cgroup" in given:
        given["cgroup"] = given["cgroup"].removesuffix("/**").rstrip("/") + "/"
    return given


def _tests(when: Selector) -> tuple[tuple[Test, str], ...]:
    return tuple((_TESTS[key], value) for key, value in _values(when).items())


def _precedence(entry: Identity) -> tuple[int, tuple[bool, ...], int]:
    given = _values(entry.when)
    return -len(given), tuple(key not in given for key in _TESTS), -len(given.get("cgroup", ""))
