"""Where Debian's sources come from, and that nothing but what is pinned is built."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pack.runtime import PINS
from pack.sources import WANTED, Source, SourceError, archives, fetch, parse_index, read_pins, write_pins

DEB822 = """\
# a comment
Types: deb
URIs: http://one.example/debian/
Suites: bookworm bookworm-updates
Components: main

Types: deb
URIs: http://two.example/debian-security
Suites: bookworm-security
Components: main
"""
INDEX = """\
Package: zlib
Binary: zlib1g, zlib1g-dev
Version: 1:1.3-1+deb13u1
Directory: pool/updates/main/z/zlib
Checksums-Sha256:
 aa 10 zlib_1.3-1+deb13u1.dsc
 bb 20 zlib_1.3.orig.tar.gz
 cc 30 zlib_1.3.orig.tar.gz.asc

Package: zlib
Version: 1:1.3-1
Directory: pool/main/z/zlib
Checksums-Sha256:
 dd 10 zlib_1.3-1.dsc
 bb 20 zlib_1.3.orig.tar.gz
"""


def source(**files: str) -> Source:
    """A source package whose files lie in a folder that a test serves by file: URL."""
    names = {name.replace("_", "."): hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
    return Source("tool", "1.0-1", "main", "pool/main/t/tool", names)


@pytest.fixture
def mirror(tmp_path: Path) -> dict[str, str]:
    folder = tmp_path / "mirror/pool/main/t/tool"
    folder.mkdir(parents=True)
    (folder / "tool.dsc").write_text("good")
    return {"main": (tmp_path / "mirror").as_uri()}


def test_the_mirror_is_the_one_that_apt_has(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d/debian.sources").write_text(DEB822)
    assert archives(tmp_path, "bookworm") == {
        "main": "http://one.example/debian",
        "security": "http://two.example/debian-security",
    }


def test_the_older_format_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text(
        "# deb http://no.example/debian bookworm main\n"
        "deb [signed-by=/k.gpg arch=amd64] http://one.example/debian bookworm main\n"
        "deb http://two.example/security bookworm-security main\n"
    )
    assert archives(tmp_path, "bookworm")["main"] == "http://one.example/debian"


def test_a_machine_without_a_mirror_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no mirror of Debian's main and security archive for trixie"):
        archives(tmp_path, "trixie")


def test_an_index_gives_each_version_with_its_archive_and_without_its_epoch() -> None:
    first, second = parse_index(INDEX)
    assert (first.version, first.archive, first.directory) == ("1.3-1+deb13u1", "security", "pool/updates/main/z/zlib")
    assert first.files == {"zlib_1.3-1+deb13u1.dsc": "aa", "zlib_1.3.orig.tar.gz": "bb"}
    assert (second.version, second.archive, second.description) == ("1.3-1", "main", "zlib_1.3-1.dsc")


def test_pins_are_read_as_written(tmp_path: Path) -> None:
    write_pins(tmp_path / "pins", parse_index(INDEX))
    assert read_pins(tmp_path / "pins") == parse_index(INDEX)


def test_all_that_is_built_is_pinned() -> None:
    pins = {pin.name: pin for pin in read_pins(PINS)}
    assert pins.keys() == WANTED.keys()
    assert all(len(digest) == 64 for pin in pins.values() for digest in pin.files.values())
    assert all(pin.description.endswith(".dsc") for pin in pins.values())


def test_a_file_as_pinned_is_fetched_once(tmp_path: Path, mirror: dict[str, str]) -> None:
    assert [path.read_text() for path in fetch(source(tool_dsc="good"), tmp_path / "cache", mirror)] == ["good"]
    (tmp_path / "mirror/pool/main/t/tool/tool.dsc").unlink()
    assert [path.read_text() for path in fetch(source(tool_dsc="good"), tmp_path / "cache", mirror)] == ["good"]


def test_a_file_that_isnt_as_pinned_is_not_kept(tmp_path: Path, mirror: dict[str, str]) -> None:
    with pytest.raises(SourceError, match=r"tool\.dsc: the mirror's file has SHA-256 770e607624d6"):
        fetch(source(tool_dsc="other"), tmp_path / "cache", mirror)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_file_that_is_gone_says_what_to_do(tmp_path: Path, mirror: dict[str, str]) -> None:
    with pytest.raises(SourceError, match=r"When Debian has replaced tool 1\.0-1, `make pins` takes what it has now"):
        fetch(source(gone_dsc="good"), tmp_path / "cache", mirror)
