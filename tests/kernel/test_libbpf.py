"""The binding, on real maps; and what its errors say."""

from __future__ import annotations

import errno
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lockgate.kernel import libbpf
from lockgate.kernel.interceptor import OBJECTS
from lockgate.kernel.libbpf import KernelError, Object
from tests.support.cgroup import CgroupTree


@pytest.fixture
def loaded() -> Iterator[Object]:
    made = Object(OBJECTS / "lockgate.o")
    made.load()
    yield made
    made.close()


def test_the_library_is_new_enough() -> None:
    assert int(libbpf.version().split(".")[0]) >= 1


def test_an_object_shows_what_is_in_it(loaded: Object) -> None:
    assert set(loaded.maps) == {"targets", "exempt", "clients", "published", "accepted", "counters"}
    assert set(loaded.programs) == {"connect4", "connect6", "getpeername4", "getpeername6", "carry"}
    assert loaded.map("exempt").shape == loaded.declared("exempt")


def test_a_map_takes_gives_lists_and_forgets(loaded: Object) -> None:
    table = loaded.map("exempt")
    keys = [struct.pack("=Q", number) for number in range(5)]
    for key in keys:
        table.update(key, key[:1])
    assert table.lookup(keys[3]) == b"\3"
    assert sorted(table.keys()) == sorted(keys)
    table.delete(keys[3])
    assert table.lookup(keys[3]) is None
    with pytest.raises(KernelError) as absent:
        table.delete(keys[3])
    assert absent.value.errno == errno.ENOENT


def test_a_full_map_says_so(loaded: Object) -> None:
    table = loaded.map("exempt")
    for number in range(table.shape.max_entries):
        table.update(struct.pack("=Q", number), b"\1")
    with pytest.raises(KernelError, match="map exempt: update") as full:
        table.update(struct.pack("=Q", table.shape.max_entries), b"\1")
    assert full.value.errno == errno.E2BIG


def test_bytes_of_the_wrong_size_never_reach_the_kernel(loaded: Object) -> None:
    table = loaded.map("exempt")
    with pytest.raises(ValueError, match="takes 8 and 1 bytes"):
        table.update(b"short", b"\1")
    with pytest.raises(ValueError, match="takes 8 and 1 bytes"):
        table.update(bytes(8), b"\1\1")
    with pytest.raises(ValueError, match="takes 8"):
        table.lookup(b"")


def test_a_file_that_is_missing_or_no_object(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="No such file"):
        Object(tmp_path / "none.o")
    garbage = tmp_path / "garbage.o"
    garbage.write_bytes(b"\x7fELF" + bytes(100))
    with pytest.raises(KernelError, match=r"garbage\.o: can't be opened") as wrong:
        Object(garbage)
    assert "libbpf" in wrong.value.log


def test_what_the_kernel_does_not_take_is_explained() -> None:
    """A map that can't be looked up so under a name the programs use: the verifier's words are in the error."""
    donor, taker = Object(OBJECTS / "lockgate.o"), Object(OBJECTS / "lockgate.o")
    try:
        donor.load()
        taker.reuse("targets", donor.map("accepted").fd)
        with pytest.raises(KernelError, match="the kernel did not take it") as refused:
            taker.load()
        assert "connect" in refused.value.log
        assert str(refused.value).endswith(refused.value.log)
        assert len(refused.value.log.splitlines()) <= libbpf.LOG_LINES
    finally:
        donor.close()
        taker.close()


def test_one_program_can_be_loaded_alone() -> None:
    alone = Object(OBJECTS / "lockgate.o")
    try:
        alone.only("carry")
        alone.load()
        assert alone.program("carry").fd > 0
        with pytest.raises(KernelError):
            alone.program("connect4")
    finally:
        alone.close()


def test_a_link_knows_its_cgroup_until_that_is_gone(loaded: Object) -> None:
    with CgroupTree() as tree:
        number = tree.hierarchy.id_of(tree.apps)
        directory = tree.hierarchy.open(tree.apps)
        program = loaded.program("connect4")
        link = libbpf.link(program, directory)
        os.close(directory)
        before = libbpf.link_info(link)
        assert (before.cgroup_id, before.attach_type) == (number, program.attach_type)
        libbpf.relink(link, program)
        assert libbpf.link_info(link) == before
        with pytest.raises(KernelError):
            libbpf.relink(link, loaded.program("carry"))
    deadline = time.monotonic() + 10
    while libbpf.link_info(link).cgroup_id:  # the kernel lets go of a removed cgroup in its own time
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.close(link)


def test_nothing_pinned_is_none_and_a_stray_file_an_error(tmp_path: Path) -> None:
    assert libbpf.pinned(tmp_path / "none") is None
    (tmp_path / "file").touch()
    with pytest.raises(KernelError):
        libbpf.pinned(tmp_path / "file")
    with pytest.raises(KernelError, match="descriptor 1000000"):
        libbpf.map_shape(1000000)
