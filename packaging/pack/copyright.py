"""The package's copyright file (Debian's machine-readable format 1.0): Lockgate's own, and everything it comes with."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageMetadata, distributions
from pathlib import Path

from pack.sources import Source

HEAD = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: Lockgate
Comment: The package comes with a Python of its own and what that needs. Each part keeps its licence: the full texts
 are in /usr/share/doc/lockgate/licences and in the *.dist-info/licenses folders below /usr/lib/lockgate/runtime/lib.

Files: *
Copyright: 2026 The Lockgate maintainers
License: GPL-3+

Files: usr/lib/lockgate/runtime/lib/*/site-packages/lockgate/kernel/objects/*
Copyright: 2026 The Lockgate maintainers
License: BSD-2-clause or GPL-2
"""
LIBRARIES = {
    "bzip2": ("libbz2.so.*", "1996-2019 Julian Seward", "BSD-variant"),
    "elfutils": ("libelf.so.*", "1996-2024 Red Hat, Inc. and contributors", "LGPL-3+ or GPL-2+"),
    "libbpf": ("libbpf.so.*", "2013-2024 the libbpf authors", "BSD-2-clause or LGPL-2.1"),
    "libffi": ("libffi.so.*", "1996-2024 Anthony Green, Red Hat, Inc and others", "Expat"),
    "openssl": ("libcrypto.so.* libssl.so.*", "1995-2026 The OpenSSL Project Authors", "Apache-2.0"),
    "sqlite3": ("libsqlite3.so.*", "none: the authors have dedicated it to the public domain", "public-domain"),
    "xz-utils": ("liblzma.so.*", "2005-2025 The XZ Utils authors and contributors", "0BSD"),
    "zlib": ("libz.so.*", "1995-2024 Jean-loup Gailly and Mark Adler", "Zlib"),
    "python3.13": ("libpython* python3.*/*", "2001-2026 Python Software Foundation", "PSF-2"),
}
"""By source package: its files below runtime/lib, whose it is, and the licence of the part that is shipped."""
UNSAID = {
    "cedarpy": "Apache-2.0",
    "google-re2": "BSD-3-clause",
    "markdown-it-py": "Expat",
    "mdurl": "Expat",
    "uvloop": "Expat or Apache-2.0",
}
"""Licences that a wheel's metadata doesn't name, or not in full; read in its licence files."""
INSIDE = {
    "cedarpy": "Contains the Cedar policy engine and other Rust crates, under Apache-2.0, MIT or both.",
    "cryptography": "Contains OpenSSL (Apache-2.0) and Rust crates (Apache-2.0, MIT, BSD-3-clause), linked statically.",
    "google-re2": "Contains RE2 (BSD-3-clause) and Abseil (Apache-2.0), linked statically.",
    "pglast": "Contains libpg_query (BSD-3-clause), which contains parts of PostgreSQL (PostgreSQL licence).",
    "uvloop": "Contains libuv (Expat), linked statically.",
}
NAMES = {
    "bsd-2-clause": "BSD-2-clause",
    "bsd-3-clause": "BSD-3-clause",
    "gpl-3.0-or-later": "GPL-3+",
    "mit": "Expat",
    "psf-2.0": "PSF-2",
}
"""Debian's names of licences that SPDX calls otherwise."""
COMMON = {
    "Apache-2.0": "Apache-2.0",
    "GPL-2": "GPL-2",
    "GPL-2+": "GPL-2",
    "GPL-3+": "GPL-3",
    "LGPL-2.1": "LGPL-2.1",
    "LGPL-3+": "LGPL-3",
    "MPL-2.0": "MPL-2.0",
}
"""Licences whose text every Debian system has, by its file in /usr/share/common-licenses."""


class CopyrightError(Exception):
    """Something is shipped of which nobody said whose it is."""


def text(sources: Iterable[Source], site_packages: Path) -> str:
    """The file, for the libraries of `sources` and the wheels in `site_packages`. Raises CopyrightError."""
    stanzas = [HEAD.rstrip()]
    used = {"GPL-3+", "GPL-2", "BSD-2-clause"}
    for source in sorted(sources, key=lambda source: source.name):
        if source.name not in LIBRARIES:
            raise CopyrightError(f"{source.name}: whose is it?")
        files, holders, licence = LIBRARIES[source.name]
        paths = " ".join(f"usr/lib/lockgate/runtime/lib/{name}" for name in files.split())
        comment = f"From Debian's source package {source.name} {source.version}; in full in licences/{source.name}."
        stanzas.append(f"Files: {paths}\nCopyright: {holders}\nLicense: {licence}\nComment: {comment}")
        used.update(licence.split(" or "))
    for wheel in sorted(distributions(path=[str(site_packages)]), key=lambda wheel: wheel.metadata["Name"].lower()):
        if wheel.metadata["Name"] != "lockgate":
            stanza, licence = _wheel(wheel)
            stanzas.append(stanza)
            used.update(re.split(r" or | and ", licence))
    stanzas += [f"License: {name}\n {_place(name)}" for name in sorted(used)]
    return "\n\n".join(stanzas) + "\n"


def _place(licence: str) -> str:
    if licence in COMMON:
        return f"On Debian systems the full text is in /usr/share/common-licenses/{COMMON[licence]}."
    return "The text is among the licences that stand beside the files, as said above."


def _wheel(wheel: Distribution) -> tuple[str, str]:
    name = wheel.metadata["Name"]
    licence = _licence(name.lower(), wheel.metadata)
    site = "usr/lib/lockgate/runtime/lib/*/site-packages"
    tops = sorted({(file.parts[0], len(file.parts) > 1) for file in wheel.files or ()})
    files = "\n ".join(f"{site}/{top}{'/*' if folder else ''}" for top, folder in tops)
    comment = f"{name} {wheel.version}, a wheel of PyPI. {INSIDE.get(name.lower(), '')}".rstrip()
    return f"Files: {files}\nCopyright: {_holders(wheel)}\nLicense: {licence}\nComment: {comment}", licence


def _licence(name: str, metadata: PackageMetadata) -> str:
    if name in UNSAID:
        return UNSAID[name]
    said = _field(metadata, "License-Expression") or _field(metadata, "License")
    if not said or "\n" in said:
        raise CopyrightError(f"{name}: its metadata names no licence")
    parts = re.split(r"\s+(?:OR|AND)\s+", said)
    joint = " or " if " OR " in said else " and "
    return joint.join(NAMES.get(part.lower(), part) for part in parts)


def _field(metadata: PackageMetadata, name: str) -> str:
    values = metadata.get_all(name) or []
    return str(values[0]) if values else ""


def _holders(wheel: Distribution) -> str:
    """Those whom its licence files name, or else the author whom its metadata names."""
    papers = [file for file in wheel.files or () if re.search("licen|copying|notice", str(file), re.IGNORECASE)]
    lines = [line for file in papers for line in file.read_text().splitlines()]
    mark = re.compile(r"\W*Copyright\s*(?:\(c\)|©|:)?\s*(\d{4}.*\w.*)", re.IGNORECASE)
    found = [match[1].strip() for line in lines if (match := mark.match(line))]
    author = _field(wheel.metadata, "Author") or _field(wheel.metadata, "Author-email") or "its authors"
    return "\n ".join(dict.fromkeys(found)) or author
