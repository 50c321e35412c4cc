"""A whole system that tests have commands run in, wherever it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

COMMAND_SECONDS = 120.0
PAUSE_SECONDS = 0.05


class Trouble(Exception):
    """A system that doesn't come up or go down, or a command in it that failed."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that ended: `output` is what it printed, `errors` what it complained of."""

    argv: tuple[str, ...]
    status: int
    output: str
    errors: str

    @property
    def said(self) -> str:
        return self.output + self.errors

    def __str__(self) -> str:
        return f"$ {' '.join(self.argv)}\n{self.said}(exit status {self.status})"


class System:
    """What can be done in one. `attempt` is its own to say how."""

    __slots__ = ()

    def attempt(
        self, *argv: str, user: str | None = None, input: str = "", unit: str = "", timeout: float = COMMAND_SECONDS
    ) -> Ran:
        """Run to its end, whatever that is, as a unit of the system. Raises TimeoutError."""
        raise NotImplementedError

    def reboot(self) -> None:
        """As an administrator does; returns when it is up again."""
        raise NotImplementedError

    def run(self, *argv: str, user: str | None = None, input: str = "", timeout: float = COMMAND_SECONDS) -> str:
        """Run to its good end; its output. Raises Trouble with what it said when it failed."""
        ran = self.attempt(*argv, user=user, input=input, timeout=timeout)
        if ran.status:
            raise Trouble(str(ran))
        return ran.output

    def read(self, path: str) -> str:
        return self.run("cat", path)

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """A file of root's, with the folders above it."""
        self.run("install", "-D", "-m", f"{mode:o}", "/dev/stdin", path, input=text)

    def journal(self, unit: str, *options: str) -> list[str]:
        """What a unit has said since the system came up, and what systemd has said of it."""
        return self.run("journalctl", "-b", "-o", "cat", "--no-pager", "-u", unit, *options).splitlines()

    def active(self, unit: str) -> str:
        """active, inactive, failed, activating, ..."""
        return self.attempt("systemctl", "is-active", unit).output.strip()

    def until(self, what: str, enough: Callable[[], bool], seconds: float = 15.0) -> None:
        """Wait until `enough`. Raises Trouble saying `what` didn't come about."""
        deadline = time.monotonic() + seconds
        while not enough():
            if time.monotonic() > deadline:
                raise Trouble(f"not in {seconds:g} s: {what}")
            time.sleep(PAUSE_SECONDS)


def in_unit(argv: Sequence[str], user: str | None = None, unit: str = "") -> list[str]:
    """The systemd-run that runs `argv` in a transient service, waits for it and has its exit status."""
    given = [f"User={user}", "WorkingDirectory=-~"] if user else []
    # systemd replaces $NAME in what it runs; $$ is a dollar
    words = [word.replace("$", "$$") for word in argv]
    return ["systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--service-type=exec",
            "--setenv=LC_ALL=C.UTF-8", *([f"--unit={unit}"] if unit else []),
            *(f"--property={each}" for each in given), "--", *words]  # fmt: skip
