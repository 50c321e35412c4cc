"""Whose everything in the package is."""

from __future__ import annotations

from pathlib import Path

import pytest

from pack.copyright import CopyrightError, text
from pack.runtime import PINS
from pack.sources import Source, read_pins


def wheel(site: Path, name: str, *metadata: str, licence: str = "") -> None:
    """An installed wheel of one module and one compiled module, with a licence file when there is a text for it."""
    information = site / f"{name}-1.0.dist-info"
    (information / "licenses").mkdir(parents=True)
    (site / name).mkdir()
    lines = ["Metadata-Version: 2.4", f"Name: {name}", "Version: 1.0", *metadata]
    (information / "METADATA").write_text("\n".join(lines) + "\n")
    record = [f"{name}/__init__.py,,", f"_{name}.so,,", f"{information.name}/METADATA,,"]
    if licence:
        (information / "licenses/LICENSE").write_text(licence)
        record.append(f"{information.name}/licenses/LICENSE,,")
    (information / "RECORD").write_text("\n".join(record) + "\n")


def stanza(document: str, containing: str) -> list[str]:
    return next(part for part in document.split("\n\n") if containing in part and "Files:" in part).splitlines()


def test_a_wheel_is_named_with_its_files_its_holders_and_its_licence(tmp_path: Path) -> None:
    licence = "The MIT License\n\nCopyright (c) 2019-2024 Ann Author\ncopyright 2025 Bob\nPermission is granted\n"
    wheel(tmp_path, "tool", "License-Expression: MIT OR Apache-2.0", licence=licence)
    site = "usr/lib/lockgate/runtime/lib/*/site-packages"
    assert stanza(text([], tmp_path), "tool 1.0") == [
        f"Files: {site}/_tool.so",
        f" {site}/tool/*",
        f" {site}/tool-1.0.dist-info/*",
        "Copyright: 2019-2024 Ann Author",
        " 2025 Bob",
        "License: Expat or Apache-2.0",
        "Comment: tool 1.0, a wheel of PyPI.",
    ]
    assert "License: Apache-2.0\n On Debian systems" in text([], tmp_path)


def test_without_a_licence_file_the_author_is_named(tmp_path: Path) -> None:
    wheel(tmp_path, "tool", "License: MIT", "Author: Ann Author")
    assert "Copyright: Ann Author" in stanza(text([], tmp_path), "tool 1.0")


def test_a_wheel_that_says_no_licence_is_not_shipped(tmp_path: Path) -> None:
    wheel(tmp_path, "tool", "Author: Ann Author")
    with pytest.raises(CopyrightError, match="tool: its metadata names no licence"):
        text([], tmp_path)


def test_every_source_that_is_pinned_has_its_paragraph(tmp_path: Path) -> None:
    document = text(read_pins(PINS), tmp_path)
    for pin in read_pins(PINS):
        assert any(f"source package {pin.name} {pin.version}" in line for line in stanza(document, f" {pin.version};"))
    paragraphs = {line for line in document.splitlines() if line.startswith("License: ")}
    assert len([part for part in document.split("\n\n") if part.startswith("License: ")]) <= len(paragraphs)


def test_a_source_that_nobody_knows_is_not_shipped(tmp_path: Path) -> None:
    with pytest.raises(CopyrightError, match="mystery: whose is it"):
        text([Source("mystery", "1", "main", "pool", {})], tmp_path)
