"""What goes into the packed tree, as far as no runtime has to be built for it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from pack.tree import PACKAGING, SHARED, dated, libraries_by_soname, settings, with_shared


def test_what_scripts_share_stands_in_each() -> None:
    assert with_shared("#!/bin/sh\n" + SHARED + "gone\n", "gone() { :; }\n") == "#!/bin/sh\ngone() { :; }\ngone\n"


def test_units_accounts_and_configuration_lie_where_they_are_looked_for(tmp_path: Path) -> None:
    settings(tmp_path)
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert {
        "etc/lockgate/agent.yaml",
        "etc/lockgate/collector.yaml",
        "etc/lockgate/identities.yaml",
        "etc/lockgate/policies/start.cedar",
        "usr/bin/lockgate",
        "usr/lib/lockgate/activate",
        "usr/lib/systemd/system/lockgate-agent.service",
        "usr/lib/systemd/system/lockgate-collector.service",
        "usr/lib/systemd/system-preset/50-lockgate.preset",
        "usr/lib/sysusers.d/lockgate.conf",
        "usr/lib/tmpfiles.d/lockgate.conf",
    } <= files
    programs = {"usr/bin/lockgate", "usr/lib/lockgate/activate"}
    assert {name for name in files if (tmp_path / name).stat().st_mode & 0o111} == programs
    activate = tmp_path / "usr/lib/lockgate/activate"
    assert (PACKAGING / "scripts/common.sh").read_text() in activate.read_text()
    subprocess.run(["sh", "-n", activate], check=True)


def test_of_a_library_the_file_that_is_loaded_is_kept(tmp_path: Path) -> None:
    options = ["-shared", "-fPIC", "-x", "c", "/dev/null", "-Wl,-soname,libone.so.1"]
    subprocess.run(["gcc", *options, "-o", tmp_path / "libone.so.1.2.3"], check=True)
    (tmp_path / "libone.so.1").symlink_to("libone.so.1.2.3")
    (tmp_path / "libone.so").symlink_to("libone.so.1")
    libraries_by_soname(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["libone.so.1"]
    assert not (tmp_path / "libone.so.1").is_symlink()


def test_everything_has_one_time_links_included(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").touch()
    (tmp_path / "link").symlink_to("absent")
    dated(tmp_path, 1_700_000_000)
    assert {path.lstat().st_mtime for path in (tmp_path, *tmp_path.rglob("*"))} == {1_700_000_000}
