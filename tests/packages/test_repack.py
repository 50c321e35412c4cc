"""The next version of a package is a package, and its digests are right."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.packages.conftest import built
from tests.packages.host import DPKG, RPM
from tests.packages.repack import following, newer
from tests.support.machine import Machine
from tests.support.roots import RPM as RPM_ROOT
from tests.support.roots import cache, root


@pytest.mark.parametrize(("version", "after"), [("0.1.0", "0.1.1"), ("0.1.0-1", "0.1.1-1"), ("12.0.8-3", "12.0.9-3")])
def test_the_following_version_is_as_long(version: str, after: str) -> None:
    assert following(version) == after


@pytest.mark.parametrize("version", ["0.1.9", "1", "0.1.0~rc1", ""])
def test_where_there_is_none_it_is_said(version: str) -> None:
    with pytest.raises(ValueError, match="no following version"):
        following(version)


def test_rpm_and_dpkg_read_what_was_made(tmp_path: Path) -> None:
    deb, rpm = (newer(built(manager), tmp_path) for manager in (DPKG, RPM))
    with Machine(root(RPM_ROOT), cache() / "machines" / f"{os.getpid()}-repack", {tmp_path: "/made"}) as machine:
        version = machine.run("rpm", "--force-debian", "-qp", "--qf", "%{VERSION}", f"/made/{rpm.name}")
        assert machine.run("rpmkeys", "--checksig", "-v", f"/made/{rpm.name}").count("OK") >= 2
        assert machine.run("dpkg-deb", "-f", f"/made/{deb.name}", "Version").startswith(version)
    assert version == following(built(RPM).name.split("-")[1])
