"""A container's image, from the files that the runtimes keep."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.identity.images import STATE_LIMIT, image_of

ID = "4f" * 32
OTHER = "0a" * 32
DOCKER = f"var/lib/docker/containers/{ID}/config.v2.json"
CONTAINERD = f"run/containerd/io.containerd.runtime.v2.task/k8s.io/{ID}/config.json"
K3S = f"run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/{ID}/config.json"
STORAGE = "var/lib/containers/storage/overlay-containers/containers.json"
VOLATILE = "var/lib/containers/storage/overlay-containers/volatile-containers.json"


def write(root: Path, name: str, value: object) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())


def stored(container: str, image: str) -> dict[str, object]:
    metadata = json.dumps({"image-name": image, "image-id": "d7af", "name": "billing", "created-at": 1711141194})
    return {"id": container, "names": ["billing"], "image": "d7af", "layer": "67b0", "metadata": metadata}


def test_docker(tmp_path: Path) -> None:
    write(tmp_path, DOCKER, {"ID": ID, "Config": {"Image": "nginx:1.27", "Cmd": ["nginx"]}, "Image": "sha256:00"})
    assert image_of("docker", ID, tmp_path) == "nginx:1.27"
    assert image_of("docker", OTHER, tmp_path) is None


@pytest.mark.parametrize("path", [CONTAINERD, K3S])
@pytest.mark.parametrize("runtime", ["containerd", None])
def test_containerd_under_kubernetes(tmp_path: Path, path: str, runtime: str | None) -> None:
    annotations = {
        "io.kubernetes.cri.container-name": "coredns",
        "io.kubernetes.cri.image-name": "k8s.gcr.io/coredns/coredns:v1.8.0",
    }
    write(tmp_path, path, {"ociVersion": "1.0.2", "annotations": annotations})
    assert image_of(runtime, ID, tmp_path) == "k8s.gcr.io/coredns/coredns:v1.8.0"


def test_a_pods_sandbox_has_no_image(tmp_path: Path) -> None:
    write(tmp_path, CONTAINERD, {"annotations": {"io.kubernetes.cri.container-type": "sandbox"}})
    assert image_of("containerd", ID, tmp_path) is None


@pytest.mark.parametrize("runtime", ["podman", "cri-o"])
@pytest.mark.parametrize("path", [STORAGE, VOLATILE])
def test_podman_and_cri_o(tmp_path: Path, runtime: str, path: str) -> None:
    write(tmp_path, path, [stored(OTHER, "other:1"), stored(ID, "docker.io/library/postgres:14-alpine")])
    assert image_of(runtime, ID, tmp_path) == "docker.io/library/postgres:14-alpine"
    assert image_of(runtime, "ff" * 32, tmp_path) is None


def test_each_runtime_is_asked_for_its_own(tmp_path: Path) -> None:
    """A name in one runtime's files says nothing of another's container."""
    write(tmp_path, DOCKER, {"Config": {"Image": "nginx:1.27"}})
    for runtime in ("podman", "cri-o", "containerd", None):
        assert image_of(runtime, ID, tmp_path) is None


def test_a_users_own_container_is_not_looked_up(tmp_path: Path) -> None:
    write(tmp_path, DOCKER, {"Config": {"Image": "nginx:1.27"}})
    assert image_of("docker", f"user@1000.service/{ID}", tmp_path) is None
    assert image_of("docker", f"../containers/{ID}", tmp_path) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"{}",
        b'{"Config": {}}',
        b'{"labels": ' + b"[" * 100_000,
        b'{"Config": {"Image": ""}}',
        b'{"Config": {"Image": 7}}',
        b'{"Config": {"Image": "' + b"x" * STATE_LIMIT + b'"}}',
    ],
)
def test_a_file_that_is_not_as_expected_tells_nothing(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, DOCKER, content)
    assert image_of("docker", ID, tmp_path) is None


def test_metadata_that_is_not_as_expected_tells_nothing(tmp_path: Path) -> None:
    write(tmp_path, STORAGE, [{"id": ID, "metadata": "{}"}])
    assert image_of("podman", ID, tmp_path) is None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


@given(content=st.binary(max_size=50))
def test_any_file_is_read_or_not_known(folder: Path, content: bytes) -> None:
    for path in (DOCKER, CONTAINERD, STORAGE):
        write(folder, path, content)
    for runtime in ("docker", "podman", "containerd"):
        assert image_of(runtime, ID, folder) is None
