"""Commands as a person types them, and what came of them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO

_PLAIN_IN_DOUBLE_QUOTES = re.compile(r'[^"$`\\!]*')


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that has ended. `typed` is its line with the prompt, `output` both of its streams as they came."""

    typed: str
    status: int
    output: str

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The rows of the one table that psql printed, cells without their padding; none when it printed no table."""
        lines = iter(self.output.splitlines())
        for line in lines:
            if re.fullmatch(r"-[-+]*", line):
                break
        body = (line for line in lines if line and not re.fullmatch(r"\(\d+ rows?\)", line))
        return [tuple(cell.strip() for cell in line.split("|")) for line in body]


class Running:
    """A command in the background, both of its streams in the file `output`: leave its `with` and it is killed."""

    def __init__(self, typed: str, process: subprocess.Popen[bytes], output: BinaryIO) -> None:
        self.typed = typed
        self._process = process
        self._output = output

    @property
    def waits(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def so_far(self) -> str:
        """What it has printed."""
        file = self._output.fileno()
        # read() would move the position at which the command writes on: it is one and the same open file
        return os.pread(file, os.fstat(file).st_size, 0).decode(errors="replace")

    def finish(self, seconds: float) -> Ran:
        """Wait for its end. Raises subprocess.TimeoutExpired."""
        status = self._process.wait(seconds)
        return Ran(self.typed, status, self.so_far)

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._output:
            self._process.kill()  # nothing happens to one that has ended
            self._process.wait()


def typed(person: str, argv: Sequence[str]) -> str:
    """`argv` as `person` would type it: `ann$ psql -c "SELECT 1"`."""
    return f"{person}{'#' if person == 'root' else '$'} {' '.join(map(_quoted, argv))}"


def _quoted(word: str) -> str:
    plain = shlex.quote(word)
    return plain if plain == word or not _PLAIN_IN_DOUBLE_QUOTES.fullmatch(word) else f'"{word}"'
