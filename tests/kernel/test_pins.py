"""Pins and their lock, with a plain map in the place of hooks."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lockgate.kernel import libbpf
from lockgate.kernel.interceptor import OBJECTS
from lockgate.kernel.libbpf import KernelError, Object
from lockgate.kernel.pins import Pins, is_on_bpffs, lock_holder, remove_pins


@pytest.fixture
def loaded() -> Iterator[Object]:
    made = Object(OBJECTS / "lockgate.o")
    made.load()
    yield made
    made.close()


def test_a_bpffs_is_mounted_once_and_private_to_root(pin_dir: Path) -> None:
    for _ in range(2):
        pins = Pins(pin_dir)
        pins.close()
    assert is_on_bpffs(pin_dir)
    assert not is_on_bpffs(pin_dir.parent)
    assert pin_dir.stat().st_mode & 0o777 == 0o700
    assert Path("/proc/self/mountinfo").read_text().count(str(pin_dir)) == 1


def test_a_pin_outlives_its_descriptor_and_is_replaced_in_one_step(pin_dir: Path, loaded: Object) -> None:
    pins = Pins(pin_dir)
    assert pins.get("map_x") is None
    for name in ("exempt", "targets"):
        pins.put("map_x", loaded.map(name).fd)
        fd = pins.get("map_x")
        assert fd is not None
        assert libbpf.map_shape(fd) == loaded.map(name).shape
        os.close(fd)
    assert [path.name for path in pin_dir.iterdir() if "." not in path.name] == ["map_x"]
    pins.drop("map_x")
    pins.drop("map_x")
    assert pins.get("map_x") is None
    pins.close()


def test_what_a_crash_left_half_done_is_no_obstacle(pin_dir: Path, loaded: Object) -> None:
    pins = Pins(pin_dir)
    libbpf.pin(loaded.map("exempt").fd, pin_dir / "unfinished_map_x")
    pins.put("map_x", loaded.map("targets").fd)
    assert (pin_dir / "map_x").exists()
    assert not (pin_dir / "unfinished_map_x").exists()
    pins.close()


def test_the_lock_says_who_holds_it_and_ends_with_the_holder(pin_dir: Path) -> None:
    first = Pins(pin_dir)
    with pytest.raises(KernelError, match=f"process {os.getpid()}") as held:
        Pins(pin_dir)
    assert held.value.errno == errno.EBUSY
    first.close()
    Pins(pin_dir).close()


def test_a_lock_file_taken_away_by_its_last_holder_is_no_lock(pin_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is removed between our open and our flock: what we then hold is a file that nobody else will find."""
    lock = pin_dir.parent / "bpf.lock"
    real = fcntl.flock
    turns: list[int] = []

    def flock(fd: int, operation: int) -> None:
        if not turns:
            lock.unlink()
        turns.append(fd)
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    pins = Pins(pin_dir)
    assert len(turns) == 2
    with pytest.raises(KernelError):
        Pins(pin_dir)
    pins.close()


def test_a_lock_file_that_is_a_link_is_not_followed(pin_dir: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    pin_dir.parent.mkdir(parents=True)
    (pin_dir.parent / "bpf.lock").symlink_to(victim)
    with pytest.raises(KernelError, match="lock file"):
        Pins(pin_dir)
    assert victim.read_text() == "precious"


def test_removing_takes_the_first_first_and_then_all(pin_dir: Path, loaded: Object) -> None:
    pins = Pins(pin_dir)
    pins.put("map_x", loaded.map("exempt").fd)
    pins.put("map_y", loaded.map("targets").fd)
    pins.close()
    remove_pins(pin_dir, first=("map_y", "map_z"))
    assert list(pin_dir.parent.iterdir()) == []
    remove_pins(pin_dir)


def test_a_folder_below_a_bpffs_can_t_hold_the_lock_and_is_refused(pin_dir: Path) -> None:
    outer = Pins(pin_dir)
    with pytest.raises(KernelError, match="lock file"):
        Pins(pin_dir / "lockgate")
    outer.close()


def test_what_is_not_mounted_is_not_there_for_who_can_not_mount(pin_dir: Path) -> None:
    with pytest.raises(KernelError, match="lockgate prepare"):
        Pins(pin_dir, mounted=True)
    pin_dir.mkdir(parents=True)
    with pytest.raises(KernelError, match="lockgate prepare"):
        Pins(pin_dir, mounted=True)
    assert not is_on_bpffs(pin_dir)


def test_a_link_in_the_place_of_the_folder_is_not_followed(pin_dir: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    pin_dir.parent.mkdir(parents=True)
    pin_dir.symlink_to(elsewhere)
    with pytest.raises(KernelError):
        Pins(pin_dir)
    assert not is_on_bpffs(elsewhere)
    pin_dir.unlink()


def test_who_holds_the_lock_is_known(pin_dir: Path) -> None:
    assert lock_holder(pin_dir) is None
    pins = Pins(pin_dir)
    assert lock_holder(pin_dir) == os.getpid()
    pins.close()
    assert lock_holder(pin_dir) is None, "the file says who it was, the lock that nobody is there"


def test_handed_over_the_lock_and_the_named_pins_are_another_account_s(pin_dir: Path, loaded: Object) -> None:
    pins = Pins(pin_dir)
    pins.put("map_x", loaded.map("exempt").fd)
    pins.put("map_y", loaded.map("targets").fd)
    pins.hand_over(["map_x"], 64001, 64002)
    assert [(pin_dir / name).stat().st_uid for name in ("map_x", "map_y")] == [64001, 0]
    assert pin_dir.with_name("bpf.lock").stat().st_uid == 64001
    assert pin_dir.stat().st_uid == 0, "which of them are there is root's to say"
    with pytest.raises(KernelError, match="hand"):
        pins.hand_over(["map_z"], 64001, 64002)
    pins.close()


def test_a_link_in_the_place_of_the_folder_has_nothing_removed_behind_it(pin_dir: Path, tmp_path: Path) -> None:
    """Whoever owns the folder above chooses where it leads, and root removes."""
    victim = tmp_path / "etc"
    victim.mkdir()
    (victim / "shadow").write_text("precious")
    (victim / "link_connect4").write_text("precious")
    pin_dir.parent.mkdir(parents=True)
    pin_dir.symlink_to(victim)
    with pytest.raises(KernelError, match="folder"):
        remove_pins(pin_dir, first=("link_connect4",))
    pin_dir.unlink()
    victim.rename(pin_dir)
    remove_pins(pin_dir, first=("link_connect4",))
    assert sorted(path.name for path in pin_dir.iterdir()) == ["link_connect4", "shadow"], (
        "nor in it, where no pins are"
    )
    shutil.rmtree(pin_dir)


def test_who_stands_in_the_folder_keeps_no_hooks(pin_dir: Path, loaded: Object) -> None:
    pins = Pins(pin_dir)
    pins.put("map_x", loaded.map("exempt").fd)
    standing = os.open(pin_dir, os.O_RDONLY)
    remove_pins(pin_dir)
    assert not pin_dir.exists()
    os.close(standing)
    pins.close()


def test_what_is_pinned_and_handed_over_is_in_the_folder_that_was_mounted(
    pin_dir: Path, loaded: Object, tmp_path: Path
) -> None:
    """Also when another one has its name by then, with a link in it to somebody else's file."""
    victim = tmp_path / "shadow"
    victim.write_text("precious")
    pins = Pins(pin_dir)
    pins.put("map_x", loaded.map("exempt").fd)
    # here by renaming what is above it; its owner does it from a mount namespace in which it is no mount point
    pin_dir.parent.rename(tmp_path / "before")
    pin_dir.mkdir(parents=True)
    (pin_dir / "map_x").symlink_to(victim)
    pins.hand_over(["map_x"], 64001, 64002)
    pins.put("map_y", loaded.map("targets").fd)
    assert victim.stat().st_uid == 0
    assert (pin_dir.stat().st_mode & 0o777, pin_dir.stat().st_gid) != (0o710, 64002)
    assert (tmp_path / "before" / "bpf" / "map_x").stat().st_uid == 64001
    assert (tmp_path / "before" / "bpf" / "map_y").exists()
    pins.close()
    shutil.rmtree(pin_dir)
    remove_pins(tmp_path / "before" / "bpf")


def test_a_lock_file_that_is_another_s_file_or_none_is_left_alone(pin_dir: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    pin_dir.parent.mkdir(parents=True)
    lock = pin_dir.parent / "bpf.lock"
    lock.hardlink_to(victim)
    with pytest.raises(KernelError, match="another name"):
        Pins(pin_dir)
    assert victim.read_text() == "precious"
    lock.unlink()
    os.mkfifo(lock)
    with pytest.raises(KernelError, match="not a file"):
        Pins(pin_dir)
    assert lock_holder(pin_dir) is None, "and who asks is not kept waiting"
