"""From where roots come, and when they are made anew."""

from __future__ import annotations

import pytest

from tests.support.roots import DEBIAN_12, Recipe, RootError, archive


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
