"""Debian's source packages that the runtime is built from: pinned by SHA-256, from the mirror this machine uses.

runtime/sources.toml holds the pins. `repin` makes it again from indices that apt has verified by signature; a build
trusts the hashes alone.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cmp_to_key
from pathlib import Path

APT = Path("/etc/apt")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
STABLE = "trixie"
WANTED = {
    "python3.13": STABLE,
    "bzip2": STABLE,
    "elfutils": STABLE,
    "libbpf": STABLE,
    "libffi": STABLE,
    "openssl": STABLE,
    "sqlite3": STABLE,
    "xz-utils": STABLE,
    "zlib": STABLE,
}
"""Source packages by the suite they are taken from. Debian patches a stable release's versions for years, and their
upstream parts don't change in that time; testing's and unstable's leave the archive within weeks."""


class SourceError(Exception):
    """A source that can't be had as pinned, or a machine without a Debian mirror."""


@dataclass(frozen=True, slots=True)
class Source:
    """A pinned source package. `archive` is main or security, `directory` is below that archive's root."""

    name: str
    version: str
    archive: str
    directory: str
    files: dict[str, str]
    """SHA-256 by file name."""

    @property
    def description(self) -> str:
        """The name of its .dsc file."""
        return next(name for name in self.files if name.endswith(".dsc"))


def read_pins(path: Path) -> list[Source]:
    """The pins of a sources.toml."""
    return [Source(**pin) for pin in tomllib.loads(path.read_text())["source"]]


def write_pins(path: Path, sources: Iterable[Source]) -> None:
    """Write a sources.toml that `read_pins` reads."""
    lines = ["# Made by `make pins`: what the runtime is built from, from Debian's archive, by SHA-256."]
    for source in sources:
        lines += ["", "[[source]]"]
        lines += [f'{key} = "{getattr(source, key)}"' for key in ("name", "version", "archive", "directory")]
        lines += ["[source.files]", *(f'"{name}" = "{digest}"' for name, digest in sorted(source.files.items()))]
    path.write_text("\n".join(lines) + "\n")


def archives(apt: Path = APT, codename: str | None = None) -> dict[str, str]:
    """The roots of the archives "main" and "security" as this machine's apt has them, without a slash at the end.

    `codename` is the machine's own release. Raises SourceError when apt names no mirror for it.
    """
    release = codename or _codename()
    found: dict[str, str] = {}
    for uris, suites in _entries(apt):
        for name, suite in (("main", release), ("security", f"{release}-security")):
            if suite in suites and uris:
                found.setdefault(name, uris[0].rstrip("/"))
    if missing := {"main", "security"} - found.keys():
        raise SourceError(f"no mirror of Debian's {' and '.join(sorted(missing))} archive for {release} below {apt}")
    return found


def _codename() -> str:
    text = Path("/etc/os-release").read_text()
    match = re.search(r"^VERSION_CODENAME=(\w+)$", text, re.MULTILINE)
    if not match:
        raise SourceError("/etc/os-release names no Debian release: packages are built on Debian")
    return match[1]


def _entries(apt: Path) -> Iterator[tuple[list[str], list[str]]]:
    """(URIs, suites) of each entry of sources.list and sources.list.d, in both formats of sources.list(5)."""
    for path in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*.list"))]:
        for line in path.read_text().splitlines() if path.exists() else ():
            if match := re.match(r"deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)", line):
                yield [match[1]], [match[2]]
    for path in sorted((apt / "sources.list.d").glob("*.sources")):
        text = "".join(line for line in path.read_text().splitlines(keepends=True) if not line.startswith("#"))
        for stanza in re.split(r"\n\s*\n", text):
            fields = {key.lower(): value.split() for key, value in re.findall(r"^(\S+):((?:.|\n[ \t])*)", stanza, re.M)}
            yield fields.get("uris", []), fields.get("suites", [])


def fetch(source: Source, folder: Path, roots: dict[str, str]) -> list[Path]:
    """The files of `source`, in `folder`, each with the hash pinned. Raises SourceError."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_fetch(source, name, digest, folder, roots) for name, digest in source.files.items()]


def _fetch(source: Source, name: str, digest: str, folder: Path, roots: dict[str, str]) -> Path:
    target = folder / name
    if target.exists() and _digest(target) == digest:
        return target
    part = target.with_name(f".{name}.{os.getpid()}")
    try:
        with urllib.request.urlopen(f"{roots[source.archive]}/{source.directory}/{name}", timeout=60) as answer:
            part.write_bytes(answer.read())
    except OSError as error:
        raise SourceError(
            f"{name} can't be fetched ({error}). When Debian has replaced {source.name} {source.version}, "
            "`make pins` takes what it has now"
        ) from None
    if (found := _digest(part)) != digest:
        part.unlink()
        raise SourceError(f"{name}: the mirror's file has SHA-256 {found}, pinned is {digest}")
    part.replace(target)
    return target


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def repin(folder: Path, roots: dict[str, str]) -> list[Source]:
    """The newest of each source wanted that the mirror has, by indices whose signatures apt has verified.

    A mirror's indices can be ahead of its files: then the version before is taken. The files are left in `folder`.
    """
    return [
        _newest(name, listing, folder, roots)
        for suite in sorted(set(WANTED.values()))
        for name, listing in _indexed(suite, sorted(name for name, of in WANTED.items() if of == suite), roots)
    ]


def _newest(name: str, listing: str, folder: Path, roots: dict[str, str]) -> Source:
    candidates = sorted(parse_index(listing), key=cmp_to_key(_by_version), reverse=True)
    for source in candidates:
        try:
            fetch(source, folder, roots)
        except SourceError as error:
            print(f"left out {name} {source.version}: {error}", file=sys.stderr)
        else:
            return source
    raise SourceError(f"the mirror has no version of {name} that its index lists")


def _by_version(one: Source, other: Source) -> int:
    later = (
        subprocess.run(["dpkg", "--compare-versions", one.version, "gt", other.version], check=False).returncode == 0
    )
    return 1 if later else -1


def _indexed(suite: str, names: list[str], roots: dict[str, str]) -> Iterator[tuple[str, str]]:
    """(name, what the suite's and its security suite's source indices say of it)."""
    signed = f"[signed-by={KEYRING}]"
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "sources.list").write_text(
            f"deb-src {signed} {roots['main']} {suite} main\n"
            f"deb-src {signed} {roots['security']} {suite}-security main\n"
        )
        (home / "lists/partial").mkdir(parents=True)
        (home / "status").touch()
        options = {
            "Dir::Etc::sourcelist": home / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State::lists": home / "lists",
            "Dir::State::status": home / "status",
            "APT::Sandbox::User": "root",
        }
        chosen = [part for key, value in options.items() for part in ("-o", f"{key}={value}")]
        subprocess.run(["apt-get", "-qq", *chosen, "update"], check=True)
        for name in names:
            shown = ["apt-cache", *chosen, "showsrc", "--only-source", name]
            yield name, subprocess.run(shown, check=True, text=True, capture_output=True).stdout


def parse_index(listing: str) -> list[Source]:
    """The source packages of an index or of `apt-cache showsrc`. Detached upstream signatures are left out."""
    found = []
    for stanza in listing.strip().split("\n\n"):
        fields = {key: value.strip() for key, value in re.findall(r"^(\S+):((?:.|\n )*)", stanza, re.MULTILINE)}
        hashes = (line.split() for line in fields["Checksums-Sha256"].splitlines())
        files = {name: digest for digest, _, name in hashes if not name.endswith(".asc")}
        archive = "security" if fields["Directory"].startswith("pool/updates/") else "main"
        name = fields.get("Package") or fields["Source"]
        found.append(Source(name, fields["Version"].rpartition(":")[2], archive, fields["Directory"], files))
    return found
