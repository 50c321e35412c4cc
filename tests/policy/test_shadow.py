"""A bundle that is only tried: it comes and goes, and whatever is wrong with it is its own affair."""

from __future__ import annotations

from pathlib import Path

from lockgate.policy.bundle import Bundle, load
from lockgate.policy.shadow import Shadow
from tests.policy.given import DATASTORES

OPEN = "permit (principal, action, resource);"
BROKEN = "permit (principal, action, resource) when { tru };"


def shadow(folder: Path) -> Shadow:
    def loader(epoch: int) -> Bundle:
        return load([folder], {}, DATASTORES, epoch=epoch)

    return Shadow(loader, [folder])


def test_nothing_is_tried_unless_configured() -> None:
    none = Shadow.none()
    assert (none.engine, none.problem, none.configured, none.changed()) == (None, None, False, False)
    assert none.reload()


def test_it_is_taken_and_taken_again(tmp_path: Path) -> None:
    (tmp_path / "a.cedar").write_text(OPEN)
    tried = shadow(tmp_path)
    assert tried.engine is not None
    assert (tried.engine.epoch, tried.problem) == (1, None)
    assert not tried.changed()
    (tmp_path / "b.cedar").write_text('@id("b") permit (principal, action, resource);')
    assert tried.changed()
    assert tried.reload()
    assert tried.engine.epoch == 2


def test_one_that_cant_be_used_is_not_there_until_it_can(tmp_path: Path) -> None:
    (tmp_path / "a.cedar").write_text(BROKEN)
    tried = shadow(tmp_path)
    assert tried.engine is None
    assert tried.problem is not None
    assert "a.cedar:1" in tried.problem
    assert not tried.changed(), "the same mistake is told once"
    (tmp_path / "a.cedar").write_text(OPEN)
    assert tried.changed()
    assert tried.reload()
    assert tried.problem is None
    assert tried.engine is not None


def test_what_was_tried_before_stays_while_the_new_one_is_broken(tmp_path: Path) -> None:
    (tmp_path / "a.cedar").write_text(OPEN)
    tried = shadow(tmp_path)
    before = tried.engine
    (tmp_path / "a.cedar").write_text(BROKEN)
    assert not tried.reload()
    assert tried.engine is before
    assert tried.problem is not None


def test_a_folder_that_isnt_there_is_a_problem_and_no_more(tmp_path: Path) -> None:
    tried = shadow(tmp_path / "nowhere")
    assert tried.engine is None
    assert tried.problem is not None
    assert not tried.changed()
    (tmp_path / "nowhere").mkdir()
    (tmp_path / "nowhere" / "a.cedar").write_text(OPEN)
    assert tried.changed()
    assert tried.reload()
