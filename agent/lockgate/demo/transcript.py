"""The demo on paper: for a person, or a JSON object a line."""

from __future__ import annotations

import dataclasses
import json
import sys
import textwrap
from typing import TextIO

from rich.console import Console
from rich.text import Text

from lockgate.demo.story import Step

WIDTH = 100
INDENT = "  "
REPEATED_LINES = 4
"""From how many lines on a repetition is left out."""


class Transcript:
    """Prints steps as they come. `file` is standard output unless given; colours are for terminals only."""

    def __init__(self, file: TextIO | None = None) -> None:
        self._console = Console(file=file or sys.stdout, highlight=False, emoji=False)
        self._width = min(WIDTH, self._console.width) if self._console.is_terminal else WIDTH
        self._shown: list[list[str]] = []

    def remark(self, text: str) -> None:
        self._print(Text(text, style="dim"))

    def step(self, step: Step) -> None:
        """A heading, the command as typed, what it answered, and a check mark or a cross with what was expected."""
        heading = Text.assemble((f"{step.step}", "bold cyan"), " ", (step.title, "bold"), " ")
        self._print(Text())
        self._print(heading.append("─" * (self._width - heading.cell_len), style="dim"))
        prompt, _, command = step.command.partition(" ")
        self._print(Text.assemble(INDENT, (prompt, "cyan"), " ", (command, "bold")))
        self._output(step.output.strip("\n").splitlines())
        mark = Text(f"{INDENT}✓ ", style="green") if step.ok else Text(f"{INDENT}✗ expected: ", style="bold red")
        self._print(mark.append(step.expected))

    def summary(self, text: str) -> None:
        self._print(Text())
        self._print(Text(text, style="bold green"))

    def _output(self, lines: list[str]) -> None:
        """Each line as it is, folded where it is too long. What was shown before is not shown again."""
        known = max((_common(lines, before) for before in self._shown), default=0)
        self._shown.append(lines)
        if known >= REPEATED_LINES:
            self._print(Text(f"{INDENT}... ({known} lines as above)", style="dim"))
            lines = lines[known:]
        for line in lines:
            folded = textwrap.wrap(line, self._width - len(INDENT), subsequent_indent="    ", break_on_hyphens=False)
            for piece in folded or [""]:
                self._print(Text(INDENT + piece))

    def _print(self, text: Text) -> None:
        # nothing in it is markup, and rich is not to fold it
        self._console.print(text, soft_wrap=True)


def _common(one: list[str], other: list[str]) -> int:
    """How many lines they begin with are the same."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def json_line(step: Step) -> str:
    """A step as one JSON object."""
    return json.dumps(dataclasses.asdict(step), ensure_ascii=False)
