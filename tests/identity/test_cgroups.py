"""The cgroup tree as systemd and the container runtimes make it, and as others forge it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.identity.cgroups import Placement, placement

ID = "4f" * 32
OTHER = "0a" * 32
POD = "8f2d1f5e-3c4b-4b8e-9f11-0a1b2c3d4e5f"
UNDERSCORED = POD.replace("-", "_")
STATIC = "9f86d081884c7d659a2feaa0c55ad015"


def v2(path: str) -> Placement:
    return placement(f"0::{path}\n")


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("/", None),
        ("/init.scope", "init.scope"),
        ("/system.slice/billing.service", "billing.service"),
        ("/system.slice/postgresql@15-main.service", "postgresql@15-main.service"),
        ("/system.slice/system-postgresql.slice/postgresql@15-main.service", "postgresql@15-main.service"),
        ("/system.slice/billing.service/workers", "billing.service"),
        (r"/system.slice/nightly\x2dexport.service", r"nightly\x2dexport.service"),
        ("/system.slice/cups.socket", "cups.socket"),
        ("/system.slice/_tasks.service", "tasks.service"),
        ("/user.slice/user-1000.slice/session-3.scope", "session-3.scope"),
        ("/user.slice/user-1000.slice/user@1000.service", "user@1000.service"),
        ("/user.slice/user-1000.slice/user@1000.service/init.scope", "user@1000.service/init.scope"),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/foo.service", "user@1000.service/foo.service"),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/app-foo.slice/foo@a.service",
            "user@1000.service/foo@a.service",
        ),
        ("/machine.slice/systemd-nspawn@web.service/payload/system.slice/nginx.service", "systemd-nspawn@web.service"),
        ("/lockgate/apps", None),
        ("/system.slice", None),
    ],
)
def test_the_unit_is_the_one_the_hosts_own_manager_made(path: str, unit: str | None) -> None:
    assert v2(path) == Placement(path, unit=unit)


@pytest.mark.parametrize(
    "path",
    [
        "/user.slice/user-1000.slice/user@1000.service/app.slice/billing.service",
        "/user.slice/user-1000.slice/user@1000.service/billing.service",
        "/user.slice/user-1000.slice/user@1000.service/system.slice/billing.service",
        "/system.slice/delegated.service/billing.service",
        "/system.slice/delegated.service/system.slice/billing.service",
        f"/system.slice/docker-{ID}.scope/system.slice/billing.service",
        f"/docker/{ID}/system.slice/billing.service",
        "/made-by-hand/billing.service",
        "/../system.slice/billing.service",
        "/system.slice/../billing.service",
    ],
)
def test_a_unit_name_below_a_delegated_cgroup_is_not_that_unit(path: str) -> None:
    assert v2(path).unit != "billing.service"


KUBEPODS = f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UNDERSCORED}.slice"


@pytest.mark.parametrize(
    ("path", "container", "runtime", "pod"),
    [
        # docker, systemd and cgroupfs drivers
        (f"/system.slice/docker-{ID}.scope", ID, "docker", None),
        (f"/docker/{ID}", ID, "docker", None),
        (f"/docker/{ID}/init.scope", ID, "docker", None),
        (f"/custom.slice/docker-{ID}.scope", ID, "docker", None),
        # containerd: CRI with both drivers, the old path with colons, ctr and nerdctl
        (f"{KUBEPODS}/cri-containerd-{ID}.scope", ID, "containerd", POD),
        (f"/kubepods/burstable/pod{POD}/{ID}", ID, None, POD),
        (f"/kubepods/pod{STATIC}/{ID}", ID, None, STATIC),
        (
            f"/system.slice/containerd.service/kubepods-besteffort-pod{UNDERSCORED}.slice:cri-containerd:{ID}",
            ID,
            "containerd",
            POD,
        ),
        (f"/kubepods.slice/kubepods-pod{UNDERSCORED}.slice/cri-containerd-{ID}.scope", ID, "containerd", POD),
        (
            f"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{UNDERSCORED}.slice/cri-containerd-{ID}.scope",
            ID,
            "containerd",
            POD,
        ),
        (f"/default/{ID}", ID, "containerd", None),
        (f"/system.slice/nerdctl-{ID}.scope", ID, "containerd", None),
        # cri-o
        (f"{KUBEPODS}/crio-{ID}.scope", ID, "cri-o", POD),
        (f"{KUBEPODS}/crio-{ID}.scope/container", ID, "cri-o", POD),
        (f"/kubepods/besteffort/pod{POD}/crio-{ID}", ID, "cri-o", POD),
        # podman, with and without a pod of its own
        (f"/machine.slice/libpod-{ID}.scope", ID, "podman", None),
        (f"/machine.slice/libpod-{ID}.scope/container", ID, "podman", None),
        (f"/libpod_parent/libpod-{ID}", ID, "podman", None),
        (f"/machine.slice/machine-libpod_pod_{OTHER}.slice/libpod-{ID}.scope", ID, "podman", OTHER),
        (f"/libpod_parent/{OTHER}/libpod-{ID}", ID, "podman", OTHER),
    ],
)
def test_a_container_is_known_by_its_runtimes_path(
    path: str, container: str, runtime: str | None, pod: str | None
) -> None:
    found = v2(path)
    assert (found.container, found.runtime, found.pod) == (container, runtime, pod)


@pytest.mark.parametrize(
    "path",
    [
        f"/machine.slice/libpod-conmon-{ID}.scope",
        f"{KUBEPODS}/crio-conmon-{ID}.scope",
        f"/system.slice/docker-{ID[:-1]}.scope",
        f"/system.slice/docker-{ID}0.scope",
        f"/system.slice/docker-{ID.upper()}.scope",
        f"/system.slice/docker-{ID}.scope.service",
        f"/system.slice/xdocker-{ID}.scope",
        "/system.slice/docker.service",
        "/process_api/5cb359f6c17a32a8820f7c0b0a9127ca",
        f"/../docker/{ID}",
    ],
)
def test_what_only_looks_like_a_container_is_none(path: str) -> None:
    assert v2(path).container is None


def test_the_monitor_of_a_pods_container_is_in_the_pod_but_in_no_container() -> None:
    assert v2(f"{KUBEPODS}/crio-conmon-{ID}.scope").pod == POD


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        (f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container", "user@1000.service"),
        (f"/user.slice/user-1000.slice/user@1000.service/docker-{ID}.scope", "user@1000.service"),
        (f"/user.slice/user-1000.slice/user@1000.service/docker.service/docker/{ID}", "user@1000.service"),
        (f"/user.slice/user-1000.slice/user@1000.service{KUBEPODS}/crio-{ID}.scope", "user@1000.service"),
        (f"/user.slice/user-1000.slice/session-3.scope/docker/{ID}", "session-3.scope"),
        (f"/system.slice/web.service/libpod-payload-{ID}", "web.service"),
        (f"/system.slice/delegated.service/kubepods/pod{POD}/{ID}", "delegated.service"),
    ],
)
def test_ids_below_a_delegated_cgroup_carry_the_name_of_whom_it_belongs_to(path: str, owner: str) -> None:
    found = v2(path)
    assert found.container == f"{owner}/{ID}"
    assert found.pod in (None, f"{owner}/{POD}")


def test_what_runs_inside_a_container_cannot_name_another() -> None:
    found = v2(f"/system.slice/docker-{ID}.scope/kubepods/burstable/pod{POD}/{OTHER}")
    assert (found.container, found.pod) == (ID, None)


HYBRID_DOCKER = f"""\
12:memory:/docker/{ID}
11:cpuset:/docker/{ID}
1:name=systemd:/docker/{ID}
0::/system.slice/containerd.service
"""


def test_on_a_hybrid_host_the_v1_lines_know_the_container() -> None:
    """Otherwise every container would be a process of containerd.service."""
    assert placement(HYBRID_DOCKER) == Placement(
        "/system.slice/containerd.service", unit=None, container=ID, runtime="docker"
    )


def test_on_a_hybrid_host_any_hierarchy_may_know_it() -> None:
    found = placement(f"9:name=systemd:/\n4:memory:{KUBEPODS}/crio-{ID}.scope\n0::/\n")
    assert found == Placement("/", unit=f"crio-{ID}.scope", container=ID, runtime="cri-o", pod=POD)


def test_on_a_legacy_host_systemds_own_hierarchy_knows_the_unit() -> None:
    text = "9:name=systemd:/system.slice/billing.service\n4:memory:/system.slice/other.service\n0::/\n"
    assert placement(text) == Placement("/", unit="billing.service")


def test_other_hierarchies_name_no_unit() -> None:
    assert placement("4:memory:/system.slice/billing.service\n0::/\n").unit is None


def test_the_v2_line_goes_before_the_others() -> None:
    text = f"1:name=systemd:/docker/{OTHER}\n0::/docker/{ID}\n"
    assert placement(text).container == ID
    assert placement("1:name=systemd:/system.slice/a.service\n0::/system.slice/b.service\n").unit == "b.service"


def test_a_colon_in_a_path_belongs_to_the_path() -> None:
    assert v2("/a:b/c").cgroup == "/a:b/c"


@pytest.mark.parametrize("text", ["", "\n", "nonsense", "0:", "0::relative"])
def test_what_is_no_cgroup_file_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="no line"):
        placement(text)


NAMES = st.sampled_from(
    [
        "system.slice",
        "user.slice",
        "app.slice",
        "billing.service",
        "docker.service",
        f"docker-{ID}.scope",
        ID,
        "docker",
        "kubepods",
        f"pod{POD}",
        f"kubepods-pod{UNDERSCORED}.slice",
        "..",
        "x",
    ]
)


@given(st.lists(NAMES, max_size=8))
def test_nothing_below_a_users_manager_passes_for_the_hosts(parts: list[str]) -> None:
    found = v2("/".join(["/user.slice/user-1000.slice/user@1000.service", *parts]))
    for name in (found.unit, found.container, found.pod):
        assert name is None or name.startswith("user@1000.service")


@pytest.mark.parametrize("end", ["\r", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029"])
def test_a_name_cannot_begin_a_line_of_its_own(end: str) -> None:
    path = f"/user.slice/user-1000.slice/user@1000.service/x{end}0::/system.slice/billing.service"
    assert v2(path) == Placement(path, unit="user@1000.service")


@given(st.text(st.characters(exclude_characters="\n"), max_size=300))
def test_any_path_is_read(path: str) -> None:
    assert v2(f"/{path}").cgroup == f"/{path}"
