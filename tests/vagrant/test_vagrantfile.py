"""vagrant/Vagrantfile: valid for every system it offers, and giving the scripts what they ask for."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "vagrant"
SYSTEMS = ("debian12", "ubuntu2404", "rocky9")
PACKAGES = ("lockgate_0.1.0_amd64.deb", "lockgate_0.1.1_amd64.deb", "lockgate-0.1.1-1.x86_64.rpm")

LOAD = """
    require "json"
    module Vagrant; def self.configure(_version); end; end
    load ARGV[0]
    puts JSON.generate(MACHINES)
"""


def run(command: list[str], home: Path, **chosen: str) -> subprocess.CompletedProcess[str]:
    """Without a plug-in, a provider or a look at the network: everything it keeps is in `home`."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "VAGRANT_HOME": str(home / "vagrant.d"),
        "VAGRANT_DOTFILE_PATH": str(home / "dot"),
        "VAGRANT_CHECKPOINT_DISABLE": "1",
        "VAGRANT_NO_PLUGINS": "1",
        "LANG": "C.UTF-8",
        **chosen,
    }
    return subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False, timeout=60)


def validate(folder: Path, home: Path, **chosen: str) -> subprocess.CompletedProcess[str]:
    return run(["vagrant", "validate", "--ignore-provider"], home, VAGRANT_CWD=str(folder), **chosen)


def machines(folder: Path, home: Path, **chosen: str) -> dict[str, Any]:
    done = run(["ruby", "-e", LOAD, str(folder / "Vagrantfile")], home, **chosen)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with packages built, the later ones last; its folder `vagrant`."""
    copied = tmp_path / "checkout/vagrant"
    shutil.copytree(FOLDER, copied, ignore=shutil.ignore_patterns(".vagrant"))
    built = tmp_path / "checkout/build/packages"
    built.mkdir(parents=True)
    for number, name in enumerate(PACKAGES):
        (built / name).touch()
        os.utime(built / name, (number, number))
    return copied


@pytest.mark.parametrize("system", SYSTEMS)
def test_it_is_valid(system: str, tmp_path: Path) -> None:
    done = validate(FOLDER, tmp_path, LOCKGATE_OS=system)
    assert done.returncode == 0, done.stderr + done.stdout
    assert re.findall(r"^==> (\w+):", done.stdout, re.M) == ["datastore", "collector", "host"]


def test_a_script_that_is_missing_is_not(checkout: Path, tmp_path: Path) -> None:
    (checkout / "scripts/collector.sh").unlink()
    done = validate(checkout, tmp_path)
    assert done.returncode == 1
    assert f"{checkout}/scripts/collector.sh" in done.stderr


@pytest.mark.parametrize(
    ("name", "allowed"), [("LOCKGATE_OS", ", ".join(SYSTEMS)), ("LOCKGATE_MODE", "observe, enforce")]
)
def test_a_choice_that_there_is_not_is_named(name: str, allowed: str, tmp_path: Path) -> None:
    done = validate(FOLDER, tmp_path, **{name: "other"})
    assert (done.returncode, done.stderr) == (1, f"{name}: other is none of {allowed}\n")


@pytest.mark.parametrize(
    ("system", "package"), [("debian12", PACKAGES[1]), ("ubuntu2404", PACKAGES[1]), ("rocky9", PACKAGES[2])]
)
def test_the_package_built_last_is_installed(system: str, package: str, checkout: Path, tmp_path: Path) -> None:
    found = machines(checkout, tmp_path, LOCKGATE_OS=system)
    assert {found[name]["arguments"][0] for name in ("collector", "host")} == {f"/lockgate/build/packages/{package}"}


@pytest.mark.parametrize("mode", ["observe", "enforce"])
def test_scripts_get_the_arguments_that_they_name(mode: str, checkout: Path, tmp_path: Path) -> None:
    found = machines(checkout, tmp_path, LOCKGATE_MODE=mode)
    places = {name: its["address"] for name, its in found.items()}
    for name, its in found.items():
        usage = re.search(rf"^#   {name}\.sh (.+)$", (FOLDER / f"scripts/{name}.sh").read_text(), re.M)
        assert usage is not None
        given = dict(zip(usage[1].replace("[", "").replace("]", "").split(), its["arguments"], strict=True))
        expected = {"DATASTORE": places["datastore"], "COLLECTOR": places["collector"], "LISTEN": its["address"]}
        expected |= {"MODE": mode, "CLIENTS": "192.168.56.0/24"}
        assert {key: value for key, value in given.items() if key != "PACKAGE"} == {
            key: expected[key] for key in given if key != "PACKAGE"
        }
        assert given.get("PACKAGE", "/lockgate/build/packages/").startswith("/lockgate/build/packages/")


def test_only_the_script_is_run_that_make_vm_runs() -> None:
    assert {path.name for path in (FOLDER / "scripts").iterdir()} == {"host.sh", "datastore.sh", "collector.sh"}
    for path in (FOLDER / "scripts").iterdir():
        assert os.access(path, os.X_OK)
        assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0
