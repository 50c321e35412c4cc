from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.policy import wording
from lockgate.policy.annotations import Policy
from lockgate.policy.wording import Touched
from lockgate.values.statement import Effect, Place, Statement
from lockgate.values.use import Use
from tests.policy.given import DELETE, statement


def test_an_attempt_says_who_what_and_where() -> None:
    assert wording.attempt("ann", "orders", DELETE) == "ann to read and write in orders (DELETE customers)"
    assert wording.attempt("ann", "orders", statement("BEGIN", "transaction", objects=())) == (
        "ann to control transactions in orders (BEGIN)"
    )
    call = Statement("SELECT", frozenset(), functions=("f",))
    assert wording.attempt("ann", "orders", call) == "ann to do what can't be told in orders (SELECT, calling f)"


@pytest.mark.parametrize(
    ("touched", "effects", "said"),
    [
        (Touched(Place.KEY, ("session:*",)), "write", "write keys session:* of cache"),
        (Touched(Place.KEY, ("a", "b")), "read write", "read and write keys a, b of cache"),
        (Touched(Place.KEY, ()), "read", "read keys of cache"),
        (Touched(Place.KEY, None), "write", "write any keys of cache"),
        (Touched(Place.KEY, ("a",)), "admin read", "read keys a of cache and administer"),
        (Touched(Place.KEY, ("a",)), "transaction", "touch keys a of cache and control transactions"),
        (Touched(Place.CHANNEL, ("news:*",)), "write", "publish to channels news:* of cache"),
        (Touched(Place.CHANNEL, None), "read", "listen to any channels of cache"),
        (None, "read", "read in cache"),
    ],
)
def test_an_attempt_on_keys_names_their_pattern(touched: Touched | None, effects: str, said: str) -> None:
    one = Statement("SET", frozenset(map(Effect, effects.split())))
    assert wording.attempt("ann", "cache", one, touched) == f"ann to {said} (SET)"


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
    touched = Touched(Place.KEY, tuple(names))
    said = wording.attempt(name, "cache", Statement(name, DELETE.effects, functions=tuple(names)), touched)
    assert said.isprintable()
    assert len(said) < 1200


@pytest.mark.parametrize("use", Use)
def test_every_use_has_words(use: Use) -> None:
    policy = Policy("p", "forbid", frozenset(), Path("p"), 1)
    said = wording.inferring(policy, "a.b.c", {use}, told=True)
    assert said.startswith("a.b.c is masked for you, and you may not ")
    assert said != "a.b.c is masked for you, and you may not "
