from __future__ import annotations

from random import Random

import pytest

from tests.fuzz import fuzz_session
from tests.fuzz.fuzz_session import main, mutated, play_bytes
from tests.wire.postgresql.hostile import Client


def test_a_short_run_holds(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FUZZ_SECONDS", "1")
    monkeypatch.setattr("sys.argv", ["fuzz_session", "7"])
    assert main() == 0
    assert "seed 7, 1 s" in capsys.readouterr().out


def test_what_breaks_is_said_and_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fuzz_session, "holds", lambda script, slow: False)
    monkeypatch.setattr(fuzz_session, "smallest", lambda script, slow: script[:2])
    monkeypatch.setattr("sys.argv", ["fuzz_session", "7"])
    assert main() == 1
    assert "broken after 0 scripts" in capsys.readouterr().out


@pytest.mark.parametrize("seed", range(20))
def test_mutated_bytes_from_both_sides(seed: int) -> None:
    random = Random(seed)
    for _ in range(10):
        play_bytes(Client(random).script(30), random.randbytes(200), random)
    assert mutated(b"", random) == b""
