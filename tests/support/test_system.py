"""What a system is told, and when waiting is over."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.system import COMMAND_SECONDS, Ran, System, Trouble, in_unit


class Here(System):
    """Runs commands on this machine, without a unit."""

    def attempt(
        self, *argv: str, user: str | None = None, input: str = "", unit: str = "", timeout: float = COMMAND_SECONDS
    ) -> Ran:
        ran = subprocess.run(argv, input=input, capture_output=True, text=True, timeout=timeout, check=False)
        return Ran(argv, ran.returncode, ran.stdout, ran.stderr)


def test_a_command_becomes_a_unit_of_somebody_s() -> None:
    argv = in_unit(["psql", "-c", "DO $$ BEGIN END $$"], user="ann", unit="billing.service")
    assert argv[0] == "systemd-run"
    assert {"--wait", "--pipe", "--collect", "--unit=billing.service", "--property=User=ann"} <= set(argv)
    assert argv[argv.index("--") :] == ["--", "psql", "-c", "DO $$$$ BEGIN END $$$$"], "a dollar is doubled"


def test_a_command_of_root_s_names_neither_a_user_nor_a_unit() -> None:
    assert not [word for word in in_unit(["true"]) if "User=" in word or word.startswith("--unit")]


def test_a_command_that_fails_is_shown_with_what_it_said() -> None:
    with pytest.raises(Trouble, match=r"\$ sh -c echo no >&2; exit 3\nno\n\(exit status 3\)"):
        Here().run("sh", "-c", "echo no >&2; exit 3")


def test_input_reaches_a_command_and_output_comes_back() -> None:
    assert Here().run("cat", input="a\nb\n") == "a\nb\n"


def test_waiting_ends_when_it_is_enough_or_too_late() -> None:
    left = iter([False, False, True])
    Here().until("three times", lambda: next(left))
    with pytest.raises(Trouble, match=r"not in 0\.1 s: rain"):
        Here().until("rain", lambda: False, seconds=0.1)


def test_a_file_is_written_with_the_folders_above_it(tmp_path: Path) -> None:
    path = f"{tmp_path}/a/b"
    Here().write(path, "text\n", 0o600)
    assert Here().read(path) == "text\n"
    assert Here().run("stat", "-c", "%a", path) == "600\n"
