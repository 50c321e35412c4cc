"""The same package under the next version: what an upgrade is tried with."""

from __future__ import annotations

import hashlib
import re
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_HEADER: Final = b"\x8e\xad\xe8\x01"
_LEAD_BYTES: Final = 96
_ENTRY: Final = struct.Struct(">4I")
_VERSION, _PROVIDED_VERSIONS = 1001, 1113
_SHA1_OF_HEADER, _SHA256_OF_HEADER, _MD5_OF_ALL = 269, 273, 1004


def following(version: str) -> str:
    """`0.1.0-1` gives `0.1.1-1`: the same length, so only versions ending in 0 to 8."""
    found = re.fullmatch(r"([0-9.]*\.)([0-8])(-[0-9]+)?", version)
    if found is None:
        raise ValueError(f"{version} has no following version of the same length")
    return f"{found[1]}{int(found[2]) + 1}{found[3] or ''}"


def newer(package: Path, folder: Path) -> Path:
    """The package under its next version, in `folder`."""
    if package.suffix == ".rpm":
        target = folder / f"newer-{package.name}"
        target.write_bytes(rpm_following(package.read_bytes()))
        return target
    target = folder / f"newer-{package.name}"
    with tempfile.TemporaryDirectory(dir=folder) as tree:
        subprocess.run(["dpkg-deb", "-R", str(package), tree], check=True)
        control = Path(tree, "DEBIAN/control")
        text = control.read_text()
        control.write_text(re.sub(r"(?m)^Version: (\S+)$", lambda at: f"Version: {following(at[1])}", text))
        subprocess.run(["dpkg-deb", "-Zgzip", "-z1", "-b", tree, str(target)], check=True, stdout=subprocess.DEVNULL)
    return target


def rpm_following(data: bytes) -> bytes:
    """An rpm file with another version in its header, and its digests over again (rpm's docs/manual/format_v4.md)."""
    signature = _Header.at(data, _LEAD_BYTES)
    start = (signature.end + 7) // 8 * 8  # the second header is aligned
    header = _Header.at(data, start)
    changed = bytearray(data)
    version = header.string(data, _VERSION)
    for tag in (_VERSION, _PROVIDED_VERSIONS):
        for offset, text in header.strings(data, tag):
            if text.split("-")[0] == version:
                changed[offset : offset + len(text)] = following(text).encode()
    body = bytes(changed[start : header.end])
    for tag, digest in (
        (_SHA1_OF_HEADER, hashlib.sha1(body).hexdigest().encode()),
        (_SHA256_OF_HEADER, hashlib.sha256(body).hexdigest().encode()),
        (_MD5_OF_ALL, hashlib.md5(changed[start:]).digest()),
    ):
        if tag in signature.entries:
            offset = signature.store + signature.entries[tag][0]
            changed[offset : offset + len(digest)] = digest
    return bytes(changed)


@dataclass(frozen=True, slots=True)
class _Header:
    """`entries` are offset in the store and count, by tag."""

    entries: dict[int, tuple[int, int]]
    store: int
    end: int

    @classmethod
    def at(cls, data: bytes, offset: int) -> _Header:
        if data[offset : offset + 4] != _HEADER:
            raise ValueError("this is not an rpm file")
        count, size = struct.unpack_from(">2I", data, offset + 8)
        store = offset + 16 + count * _ENTRY.size
        found = (_ENTRY.unpack_from(data, offset + 16 + index * _ENTRY.size) for index in range(count))
        return cls({tag: (place, number) for tag, _, place, number in found}, store, store + size)

    def strings(self, data: bytes, tag: int) -> list[tuple[int, str]]:
        """The offsets and texts of a tag's strings."""
        place, number = self.entries[tag]
        offset, found = self.store + place, []
        for _ in range(number):
            end = data.index(b"\0", offset)
            found.append((offset, data[offset:end].decode()))
            offset = end + 1
        return found

    def string(self, data: bytes, tag: int) -> str:
        return self.strings(data, tag)[0][1]
