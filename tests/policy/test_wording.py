from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.policy import wording
from lockgate.values.statement import Statement
from tests.policy.given import DELETE, statement


def test_an_attempt_says_who_what_and_where() -> None:
    assert wording.attempt("ann", "orders", DELETE) == "ann to read and write in orders (DELETE customers)"
    assert wording.attempt("ann", "orders", statement("BEGIN", "transaction", objects=())) == (
        "ann to control transactions in orders (BEGIN)"
    )
    call = Statement("SELECT", frozenset(), functions=("f",))
    assert wording.attempt("ann", "orders", call) == "ann to do what can't be told in orders (SELECT, calling f)"


def test_many_names_are_cut_short() -> None:
    assert wording.listed(tuple("abcdefg")) == "a, b, c, d, e and 2 more"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1, "1 second"), (90, "90 seconds"), (60, "1 minute"), (900, "15 minutes"), (3600, "1 hour"), (86400, "24 hours")],
)
def test_durations(seconds: float, text: str) -> None:
    assert wording.duration(seconds) == text


@given(st.text(), st.lists(st.text(), max_size=30))
def test_whatever_clients_send_a_sentence_stays_one_printable_line(name: str, names: list[str]) -> None:
    said = wording.attempt(name, "orders", Statement(name, DELETE.effects, tuple(names), functions=tuple(names)))
    assert said.isprintable()
    assert len(said) < 1000
