"""The maintainer scripts, as a shell reads them once their common part is put in."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "packaging" / "scripts"
SHELL = sorted(path.name for path in SCRIPTS.iterdir() if path.read_text().startswith("#!/bin/sh"))


def whole(name: str) -> str:
    text = (SCRIPTS / name).read_text()
    assert text.count("\n#include common.sh\n") == 1
    return text.replace("#include common.sh", (SCRIPTS / "common.sh").read_text())


@pytest.mark.parametrize("name", SHELL)
def test_it_is_a_script_for_any_shell(name: str) -> None:
    for shell in ("sh", "bash"):
        read = subprocess.run([shell, "-n"], input=whole(name), capture_output=True, text=True, check=False)
        assert (read.returncode, read.stderr) == (0, "")


def lib(folder: Path, script: str) -> str:
    """`script` behind the common part, over a /usr/lib/lockgate of the test's own."""
    text = (SCRIPTS / "common.sh").read_text().replace("LIB=/usr/lib/lockgate", f"LIB={folder}")
    return subprocess.run(["sh"], input=f"{text}\n{script}\n", capture_output=True, text=True, check=True).stdout


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """One version, in use."""
    (tmp_path / "runtime" / "bin").mkdir(parents=True)
    python(tmp_path).write_text("1")
    lib(tmp_path, "use runtime")
    return tmp_path


def python(folder: Path, tree: str = "runtime") -> Path:
    return folder / tree / "bin" / "python3"


def unpack(folder: Path, version: str) -> None:
    """As dpkg and rpm replace a file: another one takes its name."""
    new = folder / "new"
    new.write_text(version)
    new.rename(python(folder))


def test_an_upgrade_keeps_the_files_of_what_runs_until_it_is_accepted(installed: Path) -> None:
    lib(installed, "keep_old")
    unpack(installed, "2")
    assert python(installed, "active").read_text() == "1"
    lib(installed, "use runtime")
    assert python(installed, "active").read_text() == "2"


def test_an_upgrade_that_is_broken_off_leaves_nothing_of_itself(installed: Path) -> None:
    lib(installed, "keep_old; back_to_old")
    assert sorted(path.name for path in installed.iterdir()) == ["active", "runtime"]
    assert (installed / "active").readlink() == Path("runtime")


def test_a_second_try_keeps_what_runs_and_not_what_was_not_accepted(installed: Path) -> None:
    lib(installed, "keep_old")
    unpack(installed, "2, which was not accepted")
    lib(installed, "keep_old")
    assert python(installed, "active").read_text() == "1"
    unpack(installed, "3")
    unpack(installed, "2, put back when 3 was broken off")
    lib(installed, "back_to_old")
    assert python(installed, "active").read_text() == "1"


def test_the_tree_in_use_is_changed_in_one_step(installed: Path) -> None:
    lib(installed, "keep_old")
    script = f"i=0; while [ $i -lt 200 ]; do use runtime; use previous; i=$((i + 1)); done; touch {installed}/done"
    text = (SCRIPTS / "common.sh").read_text().replace("LIB=/usr/lib/lockgate", f"LIB={installed}")
    with subprocess.Popen(["sh", "-c", f"{text}\n{script}"]):
        while not (installed / "done").exists():
            assert python(installed, "active").exists()


SYSTEMCTL = """#!/bin/sh
case $1 in show) echo nobody ;; esac
"""


@pytest.fixture
def checked(tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """What `activate` says of a unit of the account `nobody`, with `program` for the new version."""
    for folder in (tmp_path, *tmp_path.parents):
        folder.chmod(folder.stat().st_mode | 0o011)
    (tmp_path / "systemctl").write_text(SYSTEMCTL)
    (tmp_path / "new").write_text("")
    for name in ("systemctl", "new"):
        (tmp_path / name).chmod(0o755)
    functions = whole("activate").partition("\nsystemd-sysusers")[0]

    def check(program: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "new").write_text(f"#!/bin/sh\n{program}\n")
        script = f"{functions}\nPATH={tmp_path}:$PATH\nNEW={tmp_path}/new\nwould_start lockgate-agent.service agent"
        return subprocess.run(["sh"], input=script, capture_output=True, text=True, check=False)

    return check


def test_the_new_version_reads_the_configuration_as_the_agent_will(
    checked: Callable[[str], subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """root would refuse a password that belongs to the agent's group, and every upgrade with it."""
    identity = pwd.getpwnam("nobody")
    for name, owner, group, mode in (
        ("roots", 0, 0, 0o600), ("theirs", identity.pw_uid, 0, 0o600), ("their-group-s", 0, identity.pw_gid, 0o640)
    ):  # fmt: skip
        (tmp_path / name).write_text("secret")
        os.chown(tmp_path / name, owner, group)
        (tmp_path / name).chmod(mode)
        ask = f"from lockgate.config.secrets import read_private; read_private({str(tmp_path / name)!r}, 100)"
        done = checked(f'exec {sys.executable} -c "{ask}"')
        assert (done.returncode, done.stderr) == (0, "")
    done = checked(f"touch {tmp_path}/x 2>/dev/null && exit 0; echo lockgate: line 3 is wrong >&2; exit 2")
    assert (done.returncode, done.stderr) == (1, "lockgate: line 3 is wrong\n"), "and it can change nothing"
    done = checked("echo Traceback >&2; exit 1")
    assert (done.returncode, done.stderr) == (1, "lockgate: Traceback\n"), "whatever it says is told"
