"""What a process's place in the cgroup tree tells: systemd unit, container, pod.

The tree is owned by root from the top down, but parts of it are delegated: below `user@1000.service`, and below any
unit with `Delegate=`, whoever was delegated to makes cgroups of any name and moves processes into them. So a path is
read from the top, as systemd reads it (`cg_path_get_unit`, src/basic/cgroup-util.c): the first unit below the slices is
the one the host's own manager made, and names further down are qualified with it unless it is a container runtime.
The outermost container counts: what runs inside it is in its own hands.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

RUNTIME_UNITS: Final = frozenset({"containerd.service", "crio.service", "docker.service", "kubelet.service"})
"""Units whose delegated subtree is the container runtime's own: it may name containers and pods."""

_ID: Final = "[0-9a-f]{64}"
_UNIT: Final = re.compile(r"[A-Za-z0-9:_.\\@-]{1,247}\.(?:service|scope|socket|mount|swap)")
_SLICE: Final = re.compile(r"[A-Za-z0-9:_.\\@-]{1,249}\.slice")
_USER_MANAGER: Final = re.compile(r"user@\d+\.service")
_SCOPED: Final = re.compile(rf"(docker|nerdctl|cri-containerd|libpod|crio)-({_ID})(?:\.scope)?")
_SPLIT: Final = re.compile(rf"libpod-payload-({_ID})")
_COLONS: Final = re.compile(rf"(.+\.slice):(cri-containerd|crio|docker):({_ID})")
_BARE: Final = re.compile(_ID)
_POD_UID: Final = "[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32}"
_POD: Final = re.compile(rf"pod({_POD_UID})")
_POD_SLICE: Final = re.compile(
    rf"(?:[a-z0-9_]+-)*kubepods(?:-burstable|-besteffort|-guaranteed)?-pod({_POD_UID})\.slice"
)
_LIBPOD_POD: Final = re.compile(rf"(?:[a-z0-9_-]+-)?libpod_pod_({_ID})(?:\.slice)?")
_RUNTIMES: Final = {
    "docker": "docker",
    "nerdctl": "containerd",
    "cri-containerd": "containerd",
    "libpod": "podman",
    "crio": "cri-o",
}
_PARENTS: Final = {"docker": "docker", "default": "containerd", "k8s.io": "containerd", "moby": "docker"}


@dataclass(frozen=True, slots=True)
class Placement:
    """`cgroup` is the v2 path. The names are as in Workload; `runtime` is docker, containerd, podman or cri-o."""

    cgroup: str
    unit: str | None = None
    container: str | None = None
    runtime: str | None = None
    pod: str | None = None


def placement(text: str) -> Placement:
    """Read `/proc/PID/cgroup` (cgroups(7)). Raises ValueError when it has no v2 line and no v1 line.

    On hybrid hosts the v2 path of a container may be the root or its runtime's unit, and a v1 hierarchy has its real
    place: the first line that knows a container decides for unit and pod too, v2 before `name=systemd` before others.
    """
    paths: dict[str, str] = {}
    # only \n: the kernel keeps it out of names (cgroup_mkdir), but not what splitlines() also takes for an end of line
    for line in text.split("\n"):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number.isdigit() and path.startswith("/"):
            paths["" if number == "0" else controllers] = path
    if not paths:
        raise ValueError("no line of cgroups(7)")
    cgroup = paths.pop("", "/")
    systemd = paths.pop("name=systemd", "/")
    read = [_read(path) for path in (cgroup, systemd, *paths.values())]
    best = next((one for one in read if one.container), None) or next((one for one in read[:2] if one.unit), read[0])
    return replace(best, cgroup=cgroup)


def _read(path: str) -> Placement:
    parts = [part for part in path.split("/") if part]
    if ".." in parts:
        # seen from inside a cgroup namespace: what is above our root can't be read from the top
        return Placement(path)
    container = runtime = pod = None
    owner = ""
    for index, part in enumerate(parts):
        above = parts[index - 1] if index else ""
        found = _container(part, above, parts[:index])
        slice_pod = found[2] if found else _pod(part, above, parts[:index])
        if pod is None and slice_pod is not None:
            pod = owner + slice_pod
        if found:
            container, runtime = owner + found[0], found[1]
            break
        if not owner and _UNIT.fullmatch(part) and part not in RUNTIME_UNITS:
            owner = f"{part}/"
    return Placement(path, _unit(parts), container, runtime, pod)


def _unit(parts: list[str]) -> str | None:
    unit, below = _first_unit(parts)
    if unit is not None and _USER_MANAGER.fullmatch(unit):
        own, _ = _first_unit(below)
        return f"{unit}/{own}" if own else unit
    return unit


def _first_unit(parts: list[str]) -> tuple[str | None, list[str]]:
    """The first component below the slices when it is a unit, and the components below it."""
    for index, part in enumerate(parts):
        # a name that would read as one of the kernel's own files carries a leading underscore (cg_escape)
        name = part.removeprefix("_")
        if _SLICE.fullmatch(name):
            continue
        return (name, parts[index + 1 :]) if _UNIT.fullmatch(name) else (None, [])
    return None, []


def _container(part: str, above: str, before: list[str]) -> tuple[str, str | None, str | None] | None:
    """(id, runtime, pod when the same component names it), or None."""
    if match := _SCOPED.fullmatch(part):
        return match[2], _RUNTIMES[match[1]], None
    if match := _SPLIT.fullmatch(part):
        return match[1], "podman", None
    if match := _COLONS.fullmatch(part):
        return match[3], _RUNTIMES[match[2]], _pod(match[1], above, before)
    if _BARE.fullmatch(part) and above != "libpod_parent":
        return part, _PARENTS.get(above), None
    return None


def _pod(part: str, above: str, before: list[str]) -> str | None:
    if match := _POD_SLICE.fullmatch(part):
        return match[1].replace("_", "-")
    if (match := _POD.fullmatch(part)) and "kubepods" in before:
        return match[1].replace("_", "-")
    if match := _LIBPOD_POD.fullmatch(part):
        return match[1]
    if above == "libpod_parent" and _BARE.fullmatch(part):
        return part
    return None
