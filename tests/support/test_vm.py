"""How a virtual machine is started, and what it says. (That it runs is for `make vm`.)"""

from __future__ import annotations

import base64
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.vm import DEBIAN_11, DEBIAN_12, Image, Vm, answer, disk


def test_an_answer_has_a_status_and_both_outputs() -> None:
    out, err = (base64.b64encode(text.encode()).decode() for text in ("rows\n", "ERROR:  no\n"))
    assert answer(f"1 {out} {err}") == (1, "rows\n", "ERROR:  no\n")
    assert answer("0  ") == (0, "", "")


def test_an_answer_that_was_cut_off_is_none() -> None:
    with pytest.raises(ValueError, match="unpack"):
        answer("0 ")


def test_a_machine_has_no_network_and_leaves_its_disk_as_it_is() -> None:
    with closing(Vm(Image(Path("/d"), Path("/k"), Path("/i")), {})) as vm:
        command = " ".join(vm.command())
    assert "-accel tcg" in command
    assert "-nic none" in command
    assert "file=/d,if=virtio,format=raw,snapshot=on" in command


def test_only_the_newer_system_has_what_tracing_needs() -> None:
    assert set(DEBIAN_12.packages) - set(DEBIAN_11.packages) == {"linux-headers-cloud-amd64", "python3-bpfcc"}
    assert DEBIAN_12.digest != DEBIAN_11.digest


def test_a_disk_holds_what_is_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "file").write_text("text\n")
    disk(tmp_path / "disk", tmp_path / "root", 8)
    seen = subprocess.run(
        ["debugfs", "-R", "cat /file", str(tmp_path / "disk")], capture_output=True, text=True, check=True
    )
    assert seen.stdout == "text\n"
