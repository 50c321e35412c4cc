"""What went by is recorded once, not too often, and also when nobody was there to see the counter grow."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockgate.proxy.passed import EVERY_SECONDS, FILE, Passed


class Desk:
    def __init__(self, state: Path) -> None:
        self.state = state
        self.now = 0.0
        self.notes: list[str] = []
        self.passed = self.again()

    def again(self) -> Passed:
        """The next agent."""
        self.passed = Passed(
            self.state, lambda event, detail: self.notes.append(f"{event}: {detail}"), lambda: self.now
        )
        return self.passed

    def said(self) -> list[int]:
        return [int(note.removeprefix("passed: ").split()[0]) for note in self.notes]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_nothing_went_by(desk: Desk) -> None:
    desk.passed.look(0)
    assert desk.notes == []
    assert not (desk.state / FILE).exists()


def test_what_went_by_is_recorded_once_and_not_too_often(desk: Desk) -> None:
    desk.passed.look(3)
    desk.passed.look(3)
    desk.passed.look(9)
    assert desk.said() == [3]
    desk.now += EVERY_SECONDS
    desk.passed.look(10)
    assert desk.said() == [3, 7]


def test_what_went_by_while_no_agent_was_there_is_recorded_by_the_next(desk: Desk) -> None:
    desk.passed.look(3)
    desk.again().look(8)
    assert desk.said() == [3, 5]


def test_a_counter_that_began_again_is_counted_from_nothing(desk: Desk) -> None:
    desk.passed.look(300)
    desk.again().look(2)
    assert desk.said() == [300, 2]


def test_a_file_that_says_nothing_counts_as_none(desk: Desk) -> None:
    (desk.state / FILE).write_text("?")
    desk.again().look(1)
    assert desk.said() == [1]
