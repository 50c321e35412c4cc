"""What this kernel offers, line by line: tried, not guessed from its version. What is missing, and what that costs."""

from __future__ import annotations

import os
import platform
import re
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import libbpf
from .cgroups import Hierarchy, normal
from .interceptor import OBJECTS
from .libbpf import KernelError, Object
from .namespaces import elsewhere

OLDEST_KERNEL = (5, 15)
"""The first with bpf_get_netns_cookie() in sockops, which tells one container's connections from another's."""

# include/uapi/linux/bpf.h, include/uapi/linux/capability.h
_LPM_TRIE, _SK_STORAGE = 11, 24
_CGROUP_SOCK_ADDR = 18
_CGROUP_UNIX_CONNECT = 49
_SET_RETVAL = 187
_CAPABILITIES = {
    "CAP_BPF": (39, "to load programs"),
    "CAP_PERFMON": (38, "for programs to read who is calling"),
    "CAP_NET_ADMIN": (12, "to attach programs to a cgroup"),
    "CAP_SYS_ADMIN": (21, "to mount a bpffs"),
    "CAP_DAC_READ_SEARCH": (2, "to find a cgroup by its id"),
}

_NO_HOOKS = "nothing can be intercepted"
_HOOK_COSTS = {
    "connect4": "IPv4 connections can't be intercepted: datastores are reached unjudged",
    "connect6": "IPv6 connections can't be intercepted: datastores are reached unjudged",
    "getpeername4": "applications see the agent's address for the datastore's (IPv4)",
    "getpeername6": "applications see the agent's address for the datastore's (IPv6)",
    "carry": "who made a connection can't be told: every redirected connection is refused",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line. `detail` says what was seen, `cost` what goes without it (empty when `ok`).

    Without a `required` one the agent doesn't run; the others cost what they say.
    """

    name: str
    ok: bool
    detail: str
    cost: str = ""
    required: bool = True


def probe(cgroup: str, objects_dir: Path = OBJECTS) -> list[Finding]:
    """Everything the agent needs to intercept `cgroup`, in the order in which it is needed. Never raises KernelError.

    Programs are attached for a moment to a child cgroup made for it, in which there is no process.
    """
    return [
        _kernel(),
        *_capabilities(),
        _btf(),
        _try("libbpf", _NO_HOOKS, lambda: f"version {libbpf.version()}"),
        _try("bpf system call", f"{_NO_HOOKS}: root, and no seccomp filter or lockdown that forbids bpf()", _bpf_call),
        _map_type("per-socket storage", _SK_STORAGE, "the origin of a connection has nowhere to be kept"),
        _map_type("longest prefix map", _LPM_TRIE, "CIDR ranges can't be matched"),
        _try("cgroup2", _NO_HOOKS, _cgroup2),
        *_in_child_cgroup(cgroup, objects_dir),
        _helper("refusals as ECONNREFUSED", _SET_RETVAL, "while the agent is away applications see EPERM"),
        _bpffs(),
        _mount_namespace(),
        _pidfd(),
        _nftables(),
    ]


def _try(name: str, cost: str, attempt: Callable[[], str], required: bool = True) -> Finding:
    try:
        return Finding(name, True, attempt(), required=required)
    except KernelError as error:
        return Finding(name, False, str(error.args[0]), cost, required)


def _kernel() -> Finding:
    release = platform.release()
    match = re.match(r"(\d+)\.(\d+)", release)
    ok = match is not None and (int(match[1]), int(match[2])) >= OLDEST_KERNEL
    wanted = ".".join(map(str, OLDEST_KERNEL))
    return Finding("kernel", ok, f"Linux {release}", "" if ok else f"{wanted} or later is needed: hooks will not load")


def _capabilities() -> Iterator[Finding]:
    status = Path("/proc/self/status").read_text()
    effective = int(re.search(r"^CapEff:\s*([0-9a-f]+)", status, re.M)[1], 16)  # type: ignore[index]
    for name, (bit, purpose) in _CAPABILITIES.items():
        ok = bool(effective >> bit & 1)
        yield Finding(name, ok, "held" if ok else "not held", "" if ok else f"needed {purpose}; run as root")


def _btf() -> Finding:
    path = Path("/sys/kernel/btf/vmlinux")
    ok = os.access(path, os.R_OK)
    cost = f"{_NO_HOOKS}: a kernel with CONFIG_DEBUG_INFO_BTF is needed"
    return Finding("BTF", ok, str(path) if ok else f"{path} can't be read", "" if ok else cost)


def _bpf_call() -> str:
    os.close(libbpf.load_trivial(_CGROUP_SOCK_ADDR, 10).fd)
    return "allowed"


def _map_type(name: str, number: int, cost: str) -> Finding:
    return _available(name, cost, lambda: int(libbpf.library().libbpf_probe_bpf_map_type(number, None)))


def _helper(name: str, number: int, cost: str) -> Finding:
    def ask() -> int:
        return int(libbpf.library().libbpf_probe_bpf_helper(_CGROUP_SOCK_ADDR, number, None))

    return _available(name, cost, ask, required=False)


def _available(name: str, cost: str, ask: Callable[[], int], required: bool = True) -> Finding:
    def attempt() -> str:
        if not libbpf.check(ask(), "probing"):
            raise KernelError("this kernel doesn't have it")
        return "available"

    return _try(name, cost, attempt, required)


def _cgroup2() -> str:
    tree = Hierarchy.find()
    return f"{tree.mount} ({'hybrid: version 1 controllers beside it' if tree.hybrid else 'pure'})"


def _in_child_cgroup(cgroup: str, objects_dir: Path) -> Iterator[Finding]:
    name = f"intercepted cgroup {normal(cgroup)}"
    child = f"{normal(cgroup).rstrip('/')}/lockgate-doctor-{os.getpid()}"
    try:
        tree = Hierarchy.find()
        tree.id_of(cgroup)
        tree.create(child)
    except KernelError as error:
        yield Finding(name, False, str(error.args[0]), f"{_NO_HOOKS}; hooks could not be tried")
        return
    try:
        yield Finding(name, True, f"id {tree.id_of(cgroup)}")
        directory = tree.open(child)
        try:
            for hook, cost in _HOOK_COSTS.items():
                yield _hook(hook, cost, directory, objects_dir)
            yield _connect_unix(directory)
        finally:
            os.close(directory)
    finally:
        tree.remove(child)


def _hook(hook: str, cost: str, directory: int, objects_dir: Path) -> Finding:
    def attempt() -> str:
        trial = Object(objects_dir / "lockgate.o")
        try:
            trial.only(hook)
            trial.load()
            os.close(libbpf.link(trial.program(hook), directory))
        finally:
            trial.close()
        return "loads and attaches"

    return _try(f"hook {hook}", cost, attempt)


def _connect_unix(directory: int) -> Finding:
    def attempt() -> str:
        program = libbpf.load_trivial(_CGROUP_SOCK_ADDR, _CGROUP_UNIX_CONNECT)
        try:
            os.close(libbpf.link(program, directory))
        finally:
            os.close(program.fd)
        return "loads and attaches"

    cost = "connections to unix sockets can't be intercepted (Linux 6.7); not used yet"
    return _try("hook connect_unix", cost, attempt, required=False)


def _bpffs() -> Finding:
    ok = "\tbpf\n" in Path("/proc/filesystems").read_text()
    cost = "hooks can't be pinned: when the agent ends, the gate opens"
    return Finding("bpffs", ok, "available" if ok else "this kernel doesn't have it", "" if ok else cost)


def _mount_namespace() -> Finding:
    name, cost = (
        "mount namespace",
        "a bpffs mounted here goes with this namespace, the pins with it: the gate would open",
    )
    try:
        ok = not elsewhere()
    except KernelError as error:
        return Finding(name, False, str(error.args[0]), cost, required=False)
    return Finding(name, ok, "the host's" if ok else "one of its own", "" if ok else cost, required=False)


def _pidfd() -> Finding:
    cost = "a process that ends is noticed later"
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        return Finding("pidfd", False, error.strerror or str(error), cost, required=False)
    return Finding("pidfd", True, "available", required=False)


def _nftables() -> Finding:
    """Asks nf_tables for its generation number (NFT_MSG_GETGEN), which changes nothing."""
    request = struct.pack("=IHHIIBBH", 20, 10 << 8 | 16, 1, 1, 0, 0, 0, 0)  # nlmsghdr, nfgenmsg
    cost = "no second mechanism beside the hooks; not used yet"
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as netlink:  # NETLINK_NETFILTER
            netlink.settimeout(1.0)
            netlink.send(request)
            ok = struct.unpack_from("=4xH", netlink.recv(4096))[0] == (10 << 8 | 15)  # NFT_MSG_NEWGEN
    except OSError as error:
        return Finding("nftables", False, error.strerror or str(error), cost, required=False)
    return Finding("nftables", ok, "available" if ok else "not available", "" if ok else cost, required=False)
