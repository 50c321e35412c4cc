"""The tree that is packed: the runtime less what nobody runs, its dependencies, Lockgate itself, and their papers."""

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable
from pathlib import Path

from pack.copyright import text as copyright_text
from pack.elf import complaints, elf_files, read
from pack.lock import installed, split, subset
from pack.runtime import PINS, PREFIX, PYTHON, REPOSITORY, cache, inside, key, made_whole, runtime
from pack.sources import read_pins

PACKAGING = REPOSITORY / "packaging"
LIBRARY = f"lib/python{PYTHON}"
ENVIRONMENT = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": f"{PYTHON}.0",
    "python_version": PYTHON,
    "sys_platform": "linux",
}
GLIBC_MINOR = 31
PLATFORMS = [
    *(f"manylinux_2_{minor}_x86_64" for minor in range(GLIBC_MINOR, 4, -1)),
    *(f"manylinux{name}_x86_64" for name in ("2014", "2010", "1")),
]
"""What pip may take a wheel of, newest first."""
SHARED = "#include common.sh\n"
"""Stands in each maintainer script, and in `activate`, where packaging/scripts/common.sh goes."""
COMPLETIONS = {
    "bash/lockgate": "usr/share/bash-completion/completions/lockgate",
    "fish/lockgate.fish": "usr/share/fish/vendor_completions.d/lockgate.fish",
    "zsh/_lockgate": "usr/share/zsh/completions/_lockgate",
}
"""Where shells look for them; zsh's folder is another with each distribution (nfpm.yaml)."""
UNUSED = (
    "include",
    "share",
    "lib/pkgconfig",
    "lib/cmake",
    f"{LIBRARY}/__phello__",
    f"{LIBRARY}/config-*",
    f"{LIBRARY}/ctypes/macholib",
    f"{LIBRARY}/ensurepip",
    f"{LIBRARY}/idlelib",
    f"{LIBRARY}/pydoc_data",
    f"{LIBRARY}/tkinter",
    f"{LIBRARY}/turtledemo",
    f"{LIBRARY}/turtle.py",
    f"{LIBRARY}/test",
    f"{LIBRARY}/venv",
    f"{LIBRARY}/**/__pycache__",
    "bin/[!p]*",
    "bin/pydoc*",
    "bin/pip*",
    "bin/*config",
)
"""Of the runtime: what is there to develop, to test or to show."""
UNUSED_OF_WHEELS = (
    "bin",
    "**/__pycache__",
    "**/*.c",
    "**/*.h",
    "**/*.pxd",
    "**/*.pyi",
    "**/*.pyx",
    "*.dist-info/INSTALLER",
    "*.dist-info/REQUESTED",
)


class TreeError(Exception):
    """A tree that isn't fit to be packed."""


def _pip(target: Path, requirements: str) -> None:
    """Install `requirements`, a lock, for the packaged Python into `target`."""
    lock = target.with_name(f"{target.name}.lock")
    lock.write_text(requirements)
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    command += ["--no-compile", f"--python-version={PYTHON}", "--implementation=cp", f"--target={target}", f"-r{lock}"]
    command += [f"--platform={platform}" for platform in PLATFORMS]
    try:
        subprocess.run(command, check=True)
    finally:
        lock.unlink()


def _remove(tree: Path, patterns: Iterable[str]) -> None:
    for pattern in patterns:
        for path in list(tree.glob(pattern)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _record_anew(site: Path) -> None:
    """Say in each RECORD (PyPA's binary distribution format) what is there now, after taking away and stripping."""
    for record in sorted(site.glob("*.dist-info/RECORD")):
        lines = []
        for name, *_ in csv.reader(record.read_text().splitlines()):
            path = site / name
            if path == record:
                lines.append(f"{name},,")
            elif path.is_file():
                digest = base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).rstrip(b"=").decode()
                lines.append(f"{name},sha256={digest},{path.stat().st_size}")
        record.write_text("\n".join(lines) + "\n")


def _locked(roots: Iterable[str]) -> str:
    lock = (REPOSITORY / "requirements.lock").read_text()
    return subset(lock, roots, installed(split(lock)), ENVIRONMENT)


def _project() -> dict[str, list[str]]:
    pyproject = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    return {"run": pyproject["project"]["dependencies"], "build": pyproject["build-system"]["requires"]}


def dependencies() -> Path:
    """What Lockgate needs at run time, for the packaged Python, stripped: a site-packages folder."""
    requirements = _locked(_project()["run"])
    target = cache() / "dependencies" / key(runtime().name, requirements, *UNUSED_OF_WHEELS)
    if not target.exists():
        with made_whole(target) as part:
            _pip(part, requirements)
            _remove(part, UNUSED_OF_WHEELS)
            modules = [f"/build/{path.relative_to(part)}" for path in elf_files(part)]
            inside(part, runtime(), "strip", "--strip-unneeded", *modules)
            _record_anew(part)
    return target


def program() -> Path:
    """Lockgate, its extension modules compiled for the packaged Python: a site-packages folder."""
    requirements = _locked(_project()["build"])
    left_out = {"__pycache__", "lockgate.egg-info"}
    sources = sorted(
        path
        for path in (REPOSITORY / "agent").rglob("*")
        if path.is_file() and not left_out & set(path.parts) and path.suffix not in (".so", ".c")
    )
    if not any(path.suffix == ".o" for path in sources):
        raise TreeError("the BPF objects are not built: make build")
    sources += [REPOSITORY / "pyproject.toml", REPOSITORY / "LICENSE"]
    named = (part for path in sources for part in (str(path.relative_to(REPOSITORY)), path))
    target = cache() / "programs" / key(runtime().name, requirements, *named)
    if not target.exists():
        with made_whole(target) as part:
            work = part / ".work"
            for path in sources:
                copy = work / "source" / path.relative_to(REPOSITORY)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, copy)
            _pip(work / "tools", requirements)
            build = 'from setuptools.build_meta import build_wheel; build_wheel("/build")'
            python = f"/{PREFIX}/bin/python{PYTHON}"
            inside(work, runtime(), "-C", "/build/source", "PYTHONPATH=/build/tools", python, "-c", build)
            with zipfile.ZipFile(next(work.glob("*.whl"))) as wheel:
                wheel.extractall(part)
            modules = [f"/build/{path.relative_to(part)}" for path in elf_files(part) if work not in path.parents]
            shutil.rmtree(work)
            _remove(part, UNUSED_OF_WHEELS)
            inside(part, runtime(), "strip", "--strip-unneeded", *modules)
            _record_anew(part)
    return target


def build(target: Path, epoch: int) -> None:
    """Make the tree to pack in `target`, each file with the time `epoch`. Raises TreeError."""
    shutil.rmtree(target, ignore_errors=True)
    prefix = target / PREFIX
    shutil.copytree(runtime(), prefix, symlinks=True)
    libraries_by_soname(prefix / "lib")
    papers = target / "usr/share/doc/lockgate"
    papers.mkdir(parents=True)
    shutil.copytree(prefix / "share/licences", papers / "licences")
    _remove(prefix, UNUSED)
    site = prefix / LIBRARY / "site-packages"
    shutil.rmtree(site)
    shutil.copytree(dependencies(), site)
    shutil.copytree(program(), site, dirs_exist_ok=True)
    _modes(target)
    settings(target)
    _compile(target)
    _documents(target, epoch)
    (papers / "copyright").write_text(copyright_text(read_pins(PINS), site))
    _copy(REPOSITORY / "LICENSE", papers / "licences/lockgate", 0o644)
    if found := list(complaints(prefix)):
        raise TreeError("\n".join(found))
    dated(target, epoch)


def dated(tree: Path, epoch: int) -> None:
    """Give everything in `tree` the time `epoch`, in seconds."""
    for path in [tree, *tree.rglob("*")]:
        os.utime(path, (epoch, epoch), follow_symlinks=False)


def settings(target: Path) -> None:
    """What isn't Python: the command, units, accounts, default configuration."""
    shared = (PACKAGING / "scripts/common.sh").read_text()
    for name, place in (("lockgate", "usr/bin/lockgate"), ("activate", "usr/lib/lockgate/activate")):
        _copy(PACKAGING / "scripts" / name, target / place, 0o755)
        (target / place).write_text(with_shared((target / place).read_text(), shared))
    for unit in (PACKAGING / "systemd").glob("*.service"):
        _copy(unit, target / "usr/lib/systemd/system" / unit.name, 0o644)
    _copy(PACKAGING / "systemd/lockgate.preset", target / "usr/lib/systemd/system-preset/50-lockgate.preset", 0o644)
    for kind in ("sysusers", "tmpfiles"):
        _copy(PACKAGING / f"systemd/{kind}.conf", target / f"usr/lib/{kind}.d/lockgate.conf", 0o644)
    for path in (PACKAGING / "etc").rglob("*"):
        if path.is_file():
            _copy(path, target / "etc/lockgate" / path.relative_to(PACKAGING / "etc"), 0o644)
    _copy(PACKAGING / "lintian-overrides", target / "usr/share/lintian/overrides/lockgate", 0o644)


def with_shared(script: str, shared: str) -> str:
    """`script` with the text `shared` in place of its line `#include common.sh`."""
    return script.replace(SHARED, shared)


def libraries_by_soname(folder: Path) -> None:
    """Of each library in `folder` the one file that is loaded, under the name by which it is loaded."""
    for path in list(folder.glob("lib*.so*")):
        if path.is_symlink():
            path.unlink()
    for path in list(folder.glob("lib*.so*")):
        path.rename(folder / read(path).soname)


def _modes(tree: Path) -> None:
    for path in tree.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)


def _compile(target: Path) -> None:
    """Bytecode beside each module, never checked against it: a start reads less, and nothing is ever written."""
    prefix = target / PREFIX
    # -B: what compileall itself imports would else be written as usual, with the time of its source in it.
    command = [str(prefix / "bin/python3"), "-IB", "-m", "compileall", "-q", "-f", "--invalidation-mode=unchecked-hash"]
    where = ["-s", str(target), "-p", "/", str(prefix / "lib")]
    subprocess.run([*command, *where], check=True, env={"PYTHONHASHSEED": "0", "PATH": "/usr/bin:/bin"})


def _documents(target: Path, epoch: int) -> None:
    """README, and man pages and completions made from the program itself."""
    readme = gzip.compress((REPOSITORY / "README.md").read_bytes(), mtime=0)
    (target / "usr/share/doc/lockgate/README.md.gz").write_bytes(readme)
    maker = PACKAGING / "make_docs.py"
    if not maker.exists():
        return
    made = target / "made"
    python = target / PREFIX / "bin/python3"
    environment = {"SOURCE_DATE_EPOCH": str(epoch), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    subprocess.run([python, "-IB", maker, made], check=True, env=environment)
    for page in sorted((made / "man").iterdir()):
        packed = target / "usr/share/man/man1" / f"{page.name}.gz"
        packed.parent.mkdir(parents=True, exist_ok=True)
        packed.write_bytes(gzip.compress(page.read_bytes(), mtime=0))
    for name, place in COMPLETIONS.items():
        _copy(made / "completion" / name, target / place, 0o644)
    shutil.rmtree(made)


def _copy(source: Path, target: Path, mode: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)
