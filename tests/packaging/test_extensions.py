"""What is compiled: each module has its line in pyproject.toml, types, and nothing of what Cython makes is kept."""

from __future__ import annotations

import subprocess
import tomllib
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path.relative_to(ROOT) for path in (ROOT / "agent" / "lockgate").rglob("*.pyx"))


def test_every_compiled_module_is_built() -> None:
    modules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["ext-modules"]
    told = {module["name"]: module["sources"] for module in modules}
    assert told == {".".join(path.with_suffix("").parts[1:]): [str(path)] for path in SOURCES}


def test_every_compiled_module_has_types_and_is_the_compiled_one() -> None:
    assert SOURCES
    for path in SOURCES:
        assert (ROOT / path).with_suffix(".pyi").is_file(), path
        found = import_module(".".join(path.with_suffix("").parts[1:])).__file__
        assert found is not None
        assert found.endswith(".so"), found


def test_what_cython_makes_of_them_is_not_kept() -> None:
    made = [str(path.with_suffix(".c")) for path in SOURCES]
    ignored = subprocess.run(["git", "check-ignore", *made], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ignored.stdout.split() == made
