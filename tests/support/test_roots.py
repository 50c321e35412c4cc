"""From where roots come, and when they are made anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.roots import DEBIAN_12, Recipe, RootError, archive, kept


def test_the_mirror_is_debian_s_first_whole_suite() -> None:
    targets = """\
Somebody nodistro https://other.example/
Debian bookworm-updates http://mirror.example/debian/
Debian bookworm-security http://mirror.example/debian-security/
Debian bookworm http://mirror.example/debian/
"""
    assert archive(targets) == "http://mirror.example/debian/"


def test_where_apt_knows_none_it_is_said() -> None:
    with pytest.raises(RootError, match="apt knows no mirror"):
        archive("Ubuntu noble http://mirror.example/ubuntu/\n")


def test_another_recipe_is_another_root() -> None:
    assert DEBIAN_12.digest == Recipe("debian-12", "bookworm").digest
    assert DEBIAN_12.digest != Recipe("debian-12", "bookworm", packages=("rpm",)).digest


def test_what_is_kept_is_made_once_and_replaces_what_it_was_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCKGATE_CACHE", str(tmp_path))
    made: list[Path] = []

    def make(folder: Path) -> None:
        folder.mkdir()
        made.append(folder)

    first = kept("roots", "a", "1", make)
    assert kept("roots", "a", "1", make) == first
    assert len(made) == 1
    second = kept("roots", "a", "2", make)
    assert (first.exists(), second.exists()) == (False, True)


def test_what_could_not_be_made_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKGATE_CACHE", str(tmp_path))

    def fail(folder: Path) -> None:
        folder.mkdir()
        raise RootError("no network")

    with pytest.raises(RootError, match="no network"):
        kept("roots", "a", "1", fail)
    assert [path.name for path in (tmp_path / "roots").iterdir()] == ["a.lock"]
