"""Hostile text on a terminal stays text."""

from __future__ import annotations

import contextlib
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.cli.show import duration, json_line, line, plain, table


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("SELECT 'Grüße, 世界'", "SELECT 'Grüße, 世界'"),
        ("\x1b[2J\x1b]0;root\x07", r"\x1b[2J\x1b]0;root\x07"),
        ("a\u202eb\u200b", r"a\u202eb\u200b"),
        ("a\rb\nc", r"a\rb\nc"),
        ("[bold red]x[/]", "[bold red]x[/]"),
    ],
)
def test_what_is_not_printable_is_an_escape(text: str, shown: str) -> None:
    assert plain(text) == shown


@given(st.text())
def test_a_line_is_printable_and_one_line(text: str) -> None:
    assert line(text).isprintable()
    assert len(line(text, 20)) <= 20


@given(st.recursive(st.text(), lambda value: st.dictionaries(st.text(), value)))
def test_json_is_printable_and_says_the_same(value: object) -> None:
    """C1 controls and signs that reorder a line are no less at work in JSON."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        json_line({"statement": value, "always": "\x9b2J\u202e\x7f\U000e0041"})
    shown = out.getvalue().removesuffix("\n")
    assert shown.isprintable()
    assert json.loads(shown) == {"statement": value, "always": "\x9b2J\u202e\x7f\U000e0041"}


def test_a_table_keeps_markup_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    table(["A", "B"], [["[bold]x[/bold]", "\x1b[31mred"]])
    out = capsys.readouterr().out
    assert "[bold]x[/bold]" in out
    assert "\x1b" not in out
    assert r"\x1b[31mred" in out


@pytest.mark.parametrize(
    ("seconds", "text"), [(-5, "0s"), (0, "0s"), (59, "59s"), (61, "1m"), (7200, "2h"), (9e5, "10d")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
