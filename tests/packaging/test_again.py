"""Two builds held against each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from pack.again import another_cache, differences
from pack.runtime import cache


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    """Two trees that are the same."""
    for name in ("one", "other"):
        (tmp_path / name / "lib").mkdir(parents=True)
        (tmp_path / name / "lib/module.py").write_text("x = 1\n")
        (tmp_path / name / "link").symlink_to("lib")
    return tmp_path / "one", tmp_path / "other"


def test_the_same_is_the_same(trees: tuple[Path, Path]) -> None:
    assert list(differences(*trees)) == []


def test_bytes_modes_links_and_absence_are_told(trees: tuple[Path, Path]) -> None:
    one, other = trees
    (other / "lib/module.py").write_text("x = 2\n")
    (other / "lib").chmod(0o700)
    (other / "link").unlink()
    (other / "link").symlink_to("lib/module.py")
    (one / "more").touch()
    assert list(differences(one, other)) == ["lib", "lib/module.py", "link", "more"]


def test_another_cache_has_what_is_kept_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = tmp_path / "usual"
    (usual / "roots/one").mkdir(parents=True)
    monkeypatch.setenv("LOCKGATE_CACHE", str(usual))
    with another_cache(tmp_path / "new", "roots"):
        assert cache() == tmp_path / "new"
        assert (cache() / "roots/one").is_dir()
        assert [path.name for path in cache().iterdir()] == ["roots"]
    assert cache() == usual
