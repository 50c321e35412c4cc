"""The namespaces of the host, for a process that was given some of its own."""

from __future__ import annotations

import ctypes
import os
from typing import Final

from . import libbpf
from .libbpf import KernelError

_CLONE_NEWNS: Final = 0x00020000
"""include/uapi/linux/sched.h"""
_HOST: Final = "/proc/1/ns/mnt"


def enter_host_mounts() -> None:
    """See the mounts of the host (of the container that all this lives in), and make new ones there.

    systemd starts a unit's ExecStartPre= in the mount namespace of the unit, also with `+`: what is mounted there ends
    with the process. Needs CAP_SYS_ADMIN and a single thread (setns(2)). Raises KernelError.
    """
    if not elsewhere():
        return
    descriptor = os.open(_HOST, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libbpf.libc().setns(descriptor, _CLONE_NEWNS):
            raise KernelError("enter the host's mount namespace", ctypes.get_errno())
    finally:
        os.close(descriptor)


def elsewhere() -> bool:
    """Whether this process has another mount namespace than the host's. Raises KernelError when that can't be told."""
    try:
        return os.readlink("/proc/self/ns/mnt") != os.readlink(_HOST)
    except OSError as error:
        raise KernelError("read which mount namespace is the host's", error.errno or 0) from None
