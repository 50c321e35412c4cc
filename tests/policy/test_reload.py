from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from lockgate.policy.bundle import Bundle, BundleError, load
from lockgate.policy.reload import Policies
from lockgate.values.verdict import Decision
from tests.policy.given import DATASTORES, READ, decide, who

OPEN = "permit (principal, action, resource);"
SHUT = "forbid (principal, action, resource);"


def policies(folder: Path, text: str = OPEN) -> Policies:
    (folder / "a.cedar").write_text(text)

    def loader(epoch: int) -> Bundle:
        return load([folder], {}, DATASTORES, epoch=epoch)

    return Policies(loader, [folder])


def test_a_reload_takes_force_whole_with_the_next_epoch(tmp_path: Path) -> None:
    held = policies(tmp_path)
    old = held.engine
    assert (decide(old, who("ann"), READ).decision, old.epoch) == (Decision.ALLOW, 1)
    (tmp_path / "a.cedar").write_text(SHUT)
    assert held.reload() is held.engine
    verdict = decide(held.engine, who("ann"), READ)
    assert (verdict.decision, verdict.epoch) == (Decision.DENY, 2)
    # who took the old one finishes with the old one, under its own epoch
    assert decide(old, who("ann"), READ).epoch == 1


def test_what_does_not_validate_is_not_taken_and_says_so(tmp_path: Path) -> None:
    held = policies(tmp_path, SHUT)
    old = held.engine
    (tmp_path / "a.cedar").write_text(OPEN + '\npermit (principal, action == Action::"all", resource);')
    with pytest.raises(BundleError, match=r"a\.cedar:2: unrecognized action"):
        held.reload()
    assert held.engine is old
    assert decide(held.engine, who("ann"), READ).decision is Decision.DENY
    (tmp_path / "a.cedar").write_text(OPEN)
    assert held.reload().epoch == 2


def test_a_policy_folder_that_vanished_opens_nothing(tmp_path: Path) -> None:
    held = policies(tmp_path, SHUT)
    (tmp_path / "a.cedar").unlink()
    assert held.changed()
    with pytest.raises(BundleError, match="no policy"):
        held.reload()
    assert decide(held.engine, who("ann"), READ).decision is Decision.DENY


def test_the_first_bundle_has_to_be_valid(tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        policies(tmp_path, "permit")


def test_every_kind_of_change_is_seen_once(tmp_path: Path) -> None:
    held = policies(tmp_path)
    file = tmp_path / "a.cedar"
    assert not held.changed()

    file.write_text(OPEN + "// longer")
    assert held.changed()
    held.reload()
    assert not held.changed()

    (tmp_path / "b.cedar").write_text(SHUT)
    assert held.changed()
    held.reload()
    assert not held.changed()

    # same size and time, another file: what `mv` and configuration management do
    times = file.stat().st_mtime_ns
    (tmp_path / "new").write_text(file.read_text().replace("permit", "forbid"))
    os.utime(tmp_path / "new", ns=(times, times))
    (tmp_path / "new").rename(file)
    assert held.changed()

    # a broken change is one report, not one a poll
    file.write_text("permit")
    with pytest.raises(BundleError):
        held.reload()
    assert not held.changed()
    file.unlink()
    assert held.changed()


def test_a_folder_that_is_gone_is_a_change(tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    held = policies(folder)
    folder.rename(tmp_path / "elsewhere")
    assert held.changed()
    with pytest.raises(BundleError, match="No such file"):
        held.reload()
    assert not held.changed()


def test_the_swap_behind_a_symbolic_link_is_a_change(tmp_path: Path) -> None:
    for name, text in (("1", OPEN), ("2", SHUT)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.cedar").write_text(text)
    link = tmp_path / "data"
    link.symlink_to("1")
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "a.cedar").symlink_to("../data/a.cedar")
    held = Policies(lambda epoch: load([folder], {}, DATASTORES, epoch=epoch), [folder])
    (tmp_path / "next").symlink_to("2")
    (tmp_path / "next").rename(link)
    assert held.changed()
    assert decide(held.reload(), who("ann"), READ).decision is Decision.DENY


def test_a_change_while_loading_is_a_change_again(tmp_path: Path) -> None:
    file = tmp_path / "a.cedar"
    file.write_text(OPEN)

    def loader(epoch: int) -> Bundle:
        bundle = load([tmp_path], {}, DATASTORES, epoch=epoch)
        file.write_text(f"{OPEN}// {epoch}")
        return bundle

    assert Policies(loader, [tmp_path]).changed()


def test_no_two_bundles_share_an_epoch(tmp_path: Path) -> None:
    held = policies(tmp_path)
    epochs: list[int] = []
    threads = [threading.Thread(target=lambda: epochs.append(held.reload().epoch)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(epochs) == list(range(2, 10))
