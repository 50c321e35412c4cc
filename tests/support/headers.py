"""Kernel headers for BCC on a machine whose own kernel comes without."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest


def kernel_source(folder: Path) -> dict[str, str]:
    """The environment in which BCC finds headers: nothing, where those of the running kernel are there.

    Otherwise Debian's newest ones, both packages linked into one tree in `folder`. The witness reads no structure of
    the kernel, so that any headers do.
    """
    if any(Path(f"/lib/modules/{platform.release()}/{name}/include/linux").is_dir() for name in ("source", "build")):
        return {}
    commons = sorted(Path("/usr/src").glob("linux-headers-*-common"), key=lambda path: path.stat().st_mtime)
    assert commons, "no kernel headers: apt-get install linux-headers-amd64"
    common = commons[-1]
    built = common.with_name(common.name.replace("-common", "-amd64"))
    for part in ("include", "arch/x86/include"):
        (folder / part).mkdir(parents=True)
        for tree in (common, built):
            for entry in (tree / part).iterdir():
                (folder / part / entry.name).symlink_to(entry)
    return {"BCC_KERNEL_SOURCE": str(folder)}


@pytest.fixture(scope="session")
def bcc_headers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return kernel_source(tmp_path_factory.mktemp("headers"))
