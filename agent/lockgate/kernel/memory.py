"""Keeping the memory of a process, which holds credentials, to itself."""

from __future__ import annotations

import ctypes
import os
import resource
from typing import Final

_PR_SET_DUMPABLE: Final = 4
"""include/uapi/linux/prctl.h"""


def keep_private() -> None:
    """No core is ever dumped of this process, and only who has CAP_SYS_PTRACE may attach to it. Raises OSError.

    A core that goes to a pipe (systemd-coredump, apport) is made whatever RLIMIT_CORE says, unless the process is not
    dumpable (core(5)); a program that it executes is, and has the limit.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
