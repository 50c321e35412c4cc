"""Which part of a lock is shipped."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from pack.lock import LockError, closure, installed, split, subset
from pack.tree import ENVIRONMENT

REPOSITORY = Path(__file__).parents[2]
LOCK = """\
# made by uv
app-kit==1.0 \\
    --hash=sha256:aa \\
    --hash=sha256:ab
colour==2.0 ; sys_platform == "win32" \\
    --hash=sha256:ba
pytest==9.0 \\
    --hash=sha256:ca
tls==3.0 \\
    --hash=sha256:da
"""
DEPENDENCIES = {
    "app-kit": ["colour; sys_platform == 'win32'", "tls>=3; extra == 'secure'", "old; python_version < '3.0'"],
    "colour": [],
    "pytest": ["app-kit"],
    "tls": [],
}


def test_entries_keep_their_hashes() -> None:
    assert list(split(LOCK)) == ["app-kit", "colour", "pytest", "tls"]
    assert split(LOCK)["app-kit"] == "app-kit==1.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:ab"


def test_what_only_developers_or_other_systems_need_is_left_out() -> None:
    assert subset(LOCK, ["App.Kit>=1"], DEPENDENCIES, ENVIRONMENT) == (
        "app-kit==1.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:ab\n"
    )


def test_an_extra_brings_what_it_needs() -> None:
    assert closure(["app_kit[secure]"], DEPENDENCIES, ENVIRONMENT) == ["app-kit", "tls"]


def test_what_the_lock_lacks_is_an_error() -> None:
    with pytest.raises(LockError, match="later is needed at run time, and not in the lock"):
        subset(LOCK, ["pytest", "later"], DEPENDENCIES, ENVIRONMENT)


def test_the_projects_own_lock_has_all_it_runs_with_and_no_test_runner() -> None:
    lock = (REPOSITORY / "requirements.lock").read_text()
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    shipped = subset(lock, project["dependencies"], installed(split(lock)), ENVIRONMENT)
    names = set(re.findall(r"^([\w-]+)==", shipped, re.MULTILINE))
    assert {"asyncpg", "cedarpy", "cryptography", "h11", "pglast", "uvloop"} <= names
    assert not {"pytest", "mypy", "ruff", "django", "setuptools", "cython"} & names
    assert all("--hash=sha256:" in entry for entry in split(shipped).values())
