"""The image a container runs, from what its runtime keeps in files of root's.

Read in place of asking the runtime's API, which each has its own of and which may not answer. A file that isn't there
or isn't as expected means that the image is not known: then no `image` selector matches.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, TypeVar

import msgspec

STATE_LIMIT: Final = 8 * 1024 * 1024
"""Bytes read of one file; Podman keeps all its containers in one, some 1 KiB each."""

_CRI: Final = (
    "run/containerd/io.containerd.runtime.v2.task/k8s.io",
    "run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io",
)
_STORAGE: Final = "var/lib/containers/storage/overlay-containers"

T = TypeVar("T")
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]


class _DockerConfig(msgspec.Struct):
    image: Text = msgspec.field(name="Image")


class _Docker(msgspec.Struct):
    """`config.v2.json` (moby, container.Container)."""

    config: _DockerConfig = msgspec.field(name="Config")


class _Annotations(msgspec.Struct):
    image: Text = msgspec.field(name="io.kubernetes.cri.image-name")


class _Bundle(msgspec.Struct):
    """`config.json` of an OCI bundle, with the annotations of containerd's CRI plug-in (1.4 and later)."""

    annotations: _Annotations


class _Stored(msgspec.Struct):
    """An entry of `containers.json` (containers/storage); `metadata` is JSON again."""

    id: str
    metadata: str = ""


class _Metadata(msgspec.Struct):
    image: Text = msgspec.field(name="image-name")


def image_of(runtime: str | None, container: str, root: Path = Path("/")) -> str | None:
    """The image of a container as it was asked for (`nginx:1.27`), None when it isn't known.

    `runtime` and `container` are Placement's. A container of a user's own (`user@1000.service/...`) keeps its state in
    files of that user's, which are not read.
    """
    if "/" in container:
        return None
    if runtime == "docker":
        found = _read(root / "var/lib/docker/containers" / container / "config.v2.json", _Docker)
        return found.config.image if found else None
    if runtime in ("podman", "cri-o"):
        return _stored(root / _STORAGE, container)
    bundles = (_read(root / folder / container / "config.json", _Bundle) for folder in _CRI)
    return next((bundle.annotations.image for bundle in bundles if bundle), None)


def _stored(folder: Path, container: str) -> str | None:
    for name in ("containers.json", "volatile-containers.json"):
        for entry in _read(folder / name, list[_Stored]) or ():
            if entry.id == container:
                metadata = _decode(entry.metadata.encode(), _Metadata)
                return metadata.image if metadata else None
    return None


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        with path.open("rb") as file:
            return _decode(file.read(STATE_LIMIT), kind)
    except OSError:
        return None


def _decode(raw: bytes, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
