"""What a person reads: text that others wrote must not write to the terminal."""

from __future__ import annotations

import logging
import sys
import time
from typing import TYPE_CHECKING, Any, NoReturn

import click
import msgspec

if TYPE_CHECKING:
    from rich.console import Console


PIPE_COLUMNS = 240
"""A table that nobody's window cuts."""


def plain(text: object, keep: str = "") -> str:
    """`text` with everything that is not printable as an escape: control sequences, and signs that reorder a line."""
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in str(text))


def line(text: object, width: int = 0) -> str:
    """`text` on one line, white space folded, cut to `width` characters (0: whole)."""
    folded = plain(" ".join(str(text).split()))
    return folded if not width or len(folded) <= width else folded[: width - 1] + "…"


def fail(why: str, status: int) -> NoReturn:
    """End with an exit status, having said why in one line."""
    from lockgate import logs

    click.echo(f"{logs.prefix(logging.ERROR) if logs.in_journal() else ''}lockgate: {line(why)}", err=True)
    sys.exit(status)


def moment(seconds: float) -> str:
    """A time since the epoch as the reader's clock shows it."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def duration(seconds: float) -> str:
    """`45s`, `12m`, `3h`, `2d`."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f}{unit}"
    return f"{max(0.0, seconds):.0f}s"


def json_line(value: object) -> None:
    """One JSON object on a line of its own, as safe to look at as `plain`: JSON has an escape for every sign."""
    text = msgspec.json.encode(value).decode()
    if not text.isprintable():
        text = "".join(c if c.isprintable() else _escaped(c) for c in text)
    click.echo(text)


def _escaped(sign: str) -> str:
    """One character as JSON may write it: in units of UTF-16."""
    units = sign.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def console() -> Console:
    """Standard output; rich is loaded here, not when the program starts. In a pipe lines are PIPE_COLUMNS wide."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else PIPE_COLUMNS
    return Console(highlight=False, markup=False, emoji=False, width=width)


def table(columns: list[str], rows: list[list[Any]]) -> None:
    """A table without frames. Cells are text as it stands: nothing in them is markup."""
    from rich.table import Table
    from rich.text import Text

    found = Table(box=None, pad_edge=False, header_style="bold")
    for number, name in enumerate(columns):
        # the last column is the long one: it takes what is left and is cut, the others are whole
        last = number == len(columns) - 1
        found.add_column(name, no_wrap=last, overflow="ellipsis" if last else "fold")
    for row in rows:
        found.add_row(*(Text(line(cell)) for cell in row))
    console().print(found)
