"""What ELF files need, on real ones that the compiler makes here."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pack.elf import ElfError, complaints, elf_files, is_elf, read


def compiled(source: str, target: Path, *options: str) -> Path:
    """A shared library made of a line of C."""
    target.parent.mkdir(parents=True, exist_ok=True)
    command = ["gcc", "-shared", "-fPIC", "-x", "c", "-", "-x", "none", "-o", str(target), *options]
    subprocess.run(command, input=source, text=True, check=True)
    return target


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A library and a module that needs it, found by a run path of its own."""
    library = compiled("int one(void) { return 1; }", tmp_path / "lib/libone.so.1", "-Wl,-soname,libone.so.1")
    compiled(
        "int one(void); int two(void) { return one() + 1; }",
        tmp_path / "lib/python/two.so",
        str(library),
        "-Wl,--enable-new-dtags,-rpath,$ORIGIN/..",
    )
    return tmp_path


def test_a_library_and_its_module_stand_alone(tree: Path) -> None:
    module = read(tree / "lib/python/two.so")
    assert module.needed[0] == "libone.so.1"
    assert module.run_paths == ("$ORIGIN/..",)
    assert read(tree / "lib/libone.so.1").soname == "libone.so.1"
    assert [path.name for path in elf_files(tree)] == ["libone.so.1", "two.so"]
    assert list(complaints(tree)) == []


def test_a_library_that_is_nowhere_is_named(tree: Path) -> None:
    (tree / "lib/libone.so.1").rename(tree / "lib/libother.so.1")
    assert list(complaints(tree)) == [
        "lib/python/two.so: needs libone.so.1, which is neither beside it by its run path nor on every host"
    ]


def test_a_run_path_out_of_the_tree_is_named(tree: Path) -> None:
    """Also one that starts inside: a sibling folder's name may begin like the tree's."""
    compiled("int f;", tree / "lib/away.so", "-Wl,-rpath,/usr/local/lib")
    compiled("int f;", tree / "lib/up.so", f"-Wl,-rpath,$ORIGIN/../../{tree.name}-more")
    assert list(complaints(tree)) == [
        "lib/away.so: run path /usr/local/lib leads out of the tree",
        f"lib/up.so: run path $ORIGIN/../../{tree.name}-more leads out of the tree",
    ]


def test_symbols_newer_than_the_oldest_host_are_named(tree: Path) -> None:
    """The version of a symbol is asked of a library that claims one glibc hasn't had yet."""
    script = tree / "map"
    script.write_text("GLIBC_2.2.5 { };\nGLIBC_2.99 { global: later; } GLIBC_2.2.5;\n")
    libc = compiled(
        "int later(void) { return 0; }", tree / "libc.so.6", "-Wl,-soname,libc.so.6", f"-Wl,--version-script={script}"
    )
    compiled("int later(void); int f(void) { return later(); }", tree / "new.so", "-nostdlib", str(libc))
    assert ("libc.so.6", "GLIBC_2.99") in read(tree / "new.so").versions
    assert list(complaints(tree)) == ["new.so: needs GLIBC_2.99 of libc.so.6, newer than the oldest host's"]


def test_versions_agree_with_readelf(tree: Path) -> None:
    module = compiled('#include <stdio.h>\nint f(void) { return puts("x"); }', tree / "say.so")
    said = subprocess.run(["readelf", "-V", "-W", module], capture_output=True, text=True, check=True).stdout
    assert read(module).versions
    assert all(f"Name: {version} " in said for _, version in read(module).versions)


def test_what_is_no_file_of_this_machine_is_left_alone(tree: Path) -> None:
    (tree / "text").write_text("\x7fELF")
    (tree / "link.so").symlink_to("lib/libone.so.1")
    bpf = bytearray((tree / "lib/libone.so.1").read_bytes())
    bpf[18:20] = (247).to_bytes(2, "little")
    (tree / "hook.o").write_bytes(bpf)
    assert not any(is_elf(tree / name) for name in ("text", "link.so", "hook.o", "lib", "absent"))


@pytest.mark.parametrize("length", [4, 60, 200])
def test_a_broken_file_is_an_error(tree: Path, length: int) -> None:
    broken = tree / "broken.so"
    broken.write_bytes((tree / "lib/libone.so.1").read_bytes()[:length])
    with pytest.raises(ElfError, match=r"broken\.so"):
        read(broken)
