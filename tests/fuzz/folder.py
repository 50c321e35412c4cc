"""Where files of a target are, which are read again for each input."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path


@cache
def folder() -> Path:
    """Where files are read from: gone when the process ends."""
    made = Path(tempfile.mkdtemp(prefix="lockgate-fuzz-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made
