from __future__ import annotations

import pytest

from tests.fuzz.__main__ import main


def test_a_run_says_what_it_did(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FUZZ_SECONDS", "2")
    monkeypatch.setattr("sys.argv", ["fuzz", "frames", "model"])
    assert main() == 0
    told = capsys.readouterr().out
    assert "frames " in told
    assert " edges" in told
    assert "scripts held" in told


def test_a_target_that_there_is_none_of(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["fuzz", "everything"])
    assert main() == 2
    assert "no target is called everything" in capsys.readouterr().out


def test_a_finding_is_told_and_ends_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is found here is that a process needs more than a megabyte."""
    monkeypatch.setattr("tests.fuzz.__main__.MEMORY_MB", 1)
    monkeypatch.setattr("sys.argv", ["fuzz", "frames", "model"])
    assert main() == 1
    told = capsys.readouterr().out
    assert "frames is broken" in told
    assert "scripts held" not in told
