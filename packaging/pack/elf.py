"""What the package's ELF files need of a host: nothing but what every distribution served has.

Reads ELF64 little-endian by itself (System V ABI, and the GNU symbol versioning of the LSB), so that it says the same
wherever it runs.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

HOST_LIBRARIES = frozenset(
    f"{name}.so.{version}"
    for name, version in {
        "libc": 6,
        "libm": 6,
        "libdl": 2,
        "librt": 1,
        "libpthread": 0,
        "libutil": 1,
        "ld-linux-x86-64": 2,
        "libgcc_s": 1,
        "libstdc++": 6,
    }.items()
)
"""glibc and GCC's run-time libraries: what the package depends on by name."""
NEWEST_VERSIONS = {"GLIBC": (2, 31), "GLIBCXX": (3, 4, 28), "CXXABI": (1, 3, 12), "GCC": (10,)}
"""Symbol versions of Debian 11, the oldest distribution served; EL9 and Ubuntu 22.04 are newer."""

_DYNAMIC, _LOAD = 2, 1
_NEEDED, _STRTAB, _SONAME, _RPATH, _RUNPATH = 1, 5, 14, 15, 29
_VERNEED, _VERNEEDNUM = 0x6FFFFFFE, 0x6FFFFFFF
_ELF64_LITTLE = b"\x7fELF\x02\x01"


class ElfError(Exception):
    """Not an ELF64 little-endian file, or a broken one."""


@dataclass(frozen=True, slots=True)
class Elf:
    """The dynamic section of an ELF file. `versions` are (library, symbol version) pairs it wants, e.g. GLIBC_2.17."""

    needed: tuple[str, ...] = ()
    soname: str = ""
    run_paths: tuple[str, ...] = ()
    versions: frozenset[tuple[str, str]] = field(default_factory=frozenset)


def is_elf(path: Path) -> bool:
    """Whether `path` is a regular file that the x86-64 loader would take. BPF objects and other machines' are not."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(20)
    return head.startswith(_ELF64_LITTLE) and len(head) == 20 and struct.unpack_from("<H", head, 18)[0] == 62


def read(path: Path) -> Elf:
    """The dynamic section of `path`; an empty Elf when it is linked statically. Raises ElfError."""
    data = path.read_bytes()
    if not data.startswith(_ELF64_LITTLE):
        raise ElfError(f"{path}: no ELF64 little-endian file")
    try:
        return _parse(data)
    except (struct.error, IndexError, ValueError, StopIteration) as error:
        raise ElfError(f"{path}: broken ELF file: {error!r}") from error


def _parse(data: bytes) -> Elf:
    (offset,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    segments = [struct.unpack_from("<IIQQQQ", data, offset + size * index) for index in range(count)]
    loads = [(address, place, length) for kind, _, place, address, _, length in segments if kind == _LOAD]
    dynamic = next(((place, length) for kind, _, place, _, _, length in segments if kind == _DYNAMIC), None)
    if dynamic is None:
        return Elf()
    entries = list(struct.iter_unpack("<QQ", data[dynamic[0] : dynamic[0] + dynamic[1] // 16 * 16]))

    def at(address: int) -> int:
        return next(int(place + address - start) for start, place, length in loads if start <= address < start + length)

    values = dict(reversed(entries))
    strings = at(values[_STRTAB])

    def text(index: int) -> str:
        start = strings + index
        return data[start : data.index(b"\0", start)].decode()

    def texts(tag: int) -> tuple[str, ...]:
        return tuple(text(value) for kind, value in entries if kind == tag)

    versions = frozenset(_versions(data, at(values[_VERNEED]), values[_VERNEEDNUM], text)) if _VERNEED in values else ()
    paths = tuple(part for value in texts(_RPATH) + texts(_RUNPATH) for part in value.split(":"))
    return Elf(texts(_NEEDED), next(iter(texts(_SONAME)), ""), paths, frozenset(versions))


def _versions(data: bytes, offset: int, count: int, text: Callable[[int], str]) -> Iterator[tuple[str, str]]:
    for _ in range(count):
        _, names, library, first, following = struct.unpack_from("<HHIII", data, offset)
        place = offset + first
        for _ in range(names):
            _, _, _, name, step = struct.unpack_from("<IHHII", data, place)
            yield text(library), text(name)
            place += step
        offset += following


def elf_files(tree: Path) -> Iterator[Path]:
    """The ELF files of `tree` for this machine, in order."""
    return (path for path in sorted(tree.rglob("*")) if is_elf(path))


def complaints(tree: Path) -> Iterator[str]:
    """What is wrong in `tree`, which stands alone: libraries that the loader wouldn't find there or on every host,
    symbols newer than the oldest host's, run paths that lead out of the tree."""
    for path in elf_files(tree):
        elf = read(path)
        name = path.relative_to(tree)
        folders = []
        for run_path in elf.run_paths:
            folder = Path(os.path.normpath(run_path.replace("$ORIGIN", str(path.parent))))
            if not run_path.startswith("$ORIGIN") or not folder.is_relative_to(tree):
                yield f"{name}: run path {run_path} leads out of the tree"
            folders.append(folder)
        for library in elf.needed:
            if library not in HOST_LIBRARIES and not any((folder / library).exists() for folder in folders):
                yield f"{name}: needs {library}, which is neither beside it by its run path nor on every host"
        for library, version in sorted(elf.versions):
            if library in HOST_LIBRARIES and not _is_old(version):
                yield f"{name}: needs {version} of {library}, newer than the oldest host's"


def _is_old(version: str) -> bool:
    family, _, number = version.partition("_")
    newest = NEWEST_VERSIONS.get(family)
    if newest is None or not number.replace(".", "").isdigit():
        return False
    return tuple(int(part) for part in number.split(".")) <= newest
