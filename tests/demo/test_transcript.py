from __future__ import annotations

import io
import json

from lockgate.demo.story import Step
from lockgate.demo.transcript import WIDTH, Transcript, json_line

STEP = Step(1, "A read", 'ann$ psql -c "SELECT 1"', " a \n---\n 1\n(1 row)\n\n", True, "one row")


def printed(*steps: Step) -> list[str]:
    file = io.StringIO()
    transcript = Transcript(file)
    for step in steps:
        transcript.step(step)
    return file.getvalue().splitlines()


def test_a_step_is_a_heading_the_command_its_output_and_a_mark() -> None:
    blank, heading, *rest = printed(STEP)
    assert blank == ""
    assert heading.startswith("1 A read ───")
    assert len(heading) == WIDTH
    assert rest == ['  ann$ psql -c "SELECT 1"', "   a", "  ---", "   1", "  (1 row)", "  ✓ one row"]


def test_a_step_that_failed_has_a_cross() -> None:
    assert printed(Step(2, "A read", "ann$ x", "", False, "one row"))[-1] == "  ✗ expected: one row"


def test_output_is_text_and_nothing_else() -> None:
    text = "[bold]x[/bold] :smile: [/]"
    assert f"  {text}" in printed(Step(1, "t", "ann$ x", text, True, "e"))


def test_a_long_line_is_folded_with_an_indentation() -> None:
    long = "word " * 30
    lines = [line for line in printed(Step(1, "t", "ann$ x", long, True, "e")) if "word" in line]
    assert len(lines) == 2
    assert lines[1].startswith("      word")
    assert all(len(line) <= WIDTH for line in lines)
    assert "".join(lines).split() == long.split()


def test_what_was_shown_is_not_shown_again() -> None:
    block = "".join(f"line {number}\n" for number in range(6))
    first = Step(1, "t", "ann$ x", block + "refused", True, "e")
    second = Step(2, "t", "bob$ x", block + "approved", True, "e")
    assert printed(first, second)[-4:] == ["  bob$ x", "  ... (6 lines as above)", "  approved", "  ✓ e"]


def test_a_short_repetition_is_shown() -> None:
    step = Step(1, "t", "ann$ x", "one\ntwo\nthree", True, "e")
    assert printed(step, step)[-4:] == ["  one", "  two", "  three", "  ✓ e"]


def test_without_a_terminal_there_are_no_colours() -> None:
    assert "\x1b" not in "".join(printed(STEP))


def test_a_step_is_a_json_object_on_one_line() -> None:
    line = json_line(STEP)
    assert "\n" not in line
    assert json.loads(line) == {
        "step": 1,
        "title": "A read",
        "command": 'ann$ psql -c "SELECT 1"',
        "output": " a \n---\n 1\n(1 row)\n\n",
        "ok": True,
        "expected": "one row",
    }
