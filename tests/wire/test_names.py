from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.wire.names import LIGHT, NO_SEGMENT, Names


def test_a_confirmed_name_stands_for_one_value() -> None:
    names: Names[str] = Names(10, len, 1000)
    old, new = names.make("a", "old", 0), names.make("a", "new", 1)
    assert names.candidates("a", 2) == ["new", "old"]
    assert names.confirm(old) == []
    assert names.confirm(new) == ["old"]
    assert names.candidates("a", 2) == ["new"]


def test_a_name_used_in_the_segment_that_made_it_stands_for_that_alone() -> None:
    names: Names[str] = Names(10, len, 1000)
    names.confirm(names.make("a", "old", 0))
    names.make("a", "new", 1)
    assert names.candidates("a", 1) == ["new"]
    assert names.candidates("a", 2) == ["new", "old"]


def test_a_making_by_text_hides_nothing() -> None:
    """`PREPARE a` may fail, and `EXECUTE a` behind it runs all the same: then it runs the old one."""
    names: Names[str] = Names(10, len, 1000)
    names.confirm(names.make("a", "forbidden", 0))
    names.make("a", "harmless", NO_SEGMENT)
    assert names.candidates("a", NO_SEGMENT) == ["harmless", "forbidden"]


def test_what_was_refused_was_never_there() -> None:
    names: Names[str] = Names(10, len, 1000)
    names.confirm(names.make("a", "old", 0))
    names.withdraw(names.make("a", "new", 1))
    assert names.candidates("a", 1) == ["old"]
    names.withdraw(names.make("b", "new", 1))
    assert len(names) == 1


def test_a_doubted_making_stays_one_of_the_values() -> None:
    names: Names[str] = Names(10, len, 1000)
    names.confirm(names.make("a", "old", 0))
    for _ in range(100):
        names.doubt(names.make("a", "new", NO_SEGMENT))
    assert names.candidates("a", 5) == ["new", "old"]
    names.confirm(names.make("a", "newest", 6))
    assert names.candidates("a", 7) == ["newest"]


def test_an_unmade_name_is_gone_once_confirmed() -> None:
    names: Names[str] = Names(10, len, 1000)
    names.confirm(names.make("a", "old", 0))
    closing = names.make("a", None, 1)
    assert names.candidates("a", 1) == []
    assert names.candidates("a", 2) == ["old"]
    assert names.confirm(closing) == ["old"]
    assert len(names) == 0
    assert names.confirm(closing) == []


def test_a_late_answer_does_not_undo_what_came_after() -> None:
    names: Names[str] = Names(10, len, 1000)
    closing, made = names.make("a", None, 0), names.make("a", "new", 0)
    names.confirm(closing)
    assert names.candidates("a", 9) == ["new"]
    names.clear()
    names.withdraw(made)
    names.doubt(made)
    assert names.candidates("a", 9) == []


def test_names_and_uses_of_a_name_are_bounded() -> None:
    names: Names[int] = Names(3, int, 0)
    for n in range(3):
        names.make("a", n, n)
    with pytest.raises(OverflowError, match="3 unanswered"):
        names.make("a", 3, 3)
    names.make("b", 0, 0)
    names.make("c", 0, 0)
    with pytest.raises(OverflowError, match="3 names"):
        names.make("d", 0, 0)


@given(st.lists(st.tuples(st.sampled_from(["ok", "refused", "doubted"]), st.integers(0, 3)), max_size=12), st.data())
def test_the_value_on_the_server_is_always_among_the_candidates(
    makings: list[tuple[str, int]], data: st.DataObject
) -> None:
    """However many answers are still on their way, and whatever they will be."""
    names: Names[int] = Names(100, int, 0)
    segments = sorted(segment for _, segment in makings)
    entries = [names.make("a", n, 10 + segments[n]) for n in range(len(makings))]
    known = data.draw(st.integers(0, len(makings)))
    value: int | None = None
    for n, (answer, _) in enumerate(makings):
        done = answer == "ok" or (answer == "doubted" and data.draw(st.booleans()))
        if n < known:
            {"ok": names.confirm, "refused": names.withdraw, "doubted": names.doubt}[answer](entries[n])
        value = n if done else value
    assert value is None or value in names.candidates("a", 99)


def test_heavy_values_are_bounded_together() -> None:
    names: Names[str] = Names(10, len, 3 * LIGHT)
    heavy = "x" * (LIGHT + 1)
    first = names.make("a", heavy, 0)
    names.make("b", heavy, 0)
    with pytest.raises(OverflowError, match="characters"):
        names.make("c", heavy, 0)
    # what is light is bound by its number
    names.make("c", "x" * LIGHT, 0)
    names.withdraw(first)
    with pytest.raises(OverflowError):
        names.make("d", heavy, 0)
    names.clear()
    names.make("d", heavy, 0)
