"""How origins mix: never fewer sources, never plain by accident."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lockgate.understand.postgresql.origins import NOWHERE, Origin, Rows, choice, union, unknown

A = Origin(frozenset({"s.t.a"}), plain="s.t.a")
B = Origin(frozenset({"s.t.b"}), plain="s.t.b", views=frozenset({"s.v.b"}))
ORIGINS = st.lists(st.sampled_from([A, B, NOWHERE, unknown("why")]), min_size=1, max_size=4)


@given(ORIGINS)
def test_nothing_gets_lost(origins: list[Origin]) -> None:
    for mixed in (union(origins), choice(origins)):
        assert all(origin.all <= mixed.all for origin in origins)
        assert (mixed.why is not None) == any(origin.why for origin in origins)
    assert union(origins).plain is None
    assert choice(origins).plain is None or set(origins) == {origins[0]}


def test_a_choice_between_equals_is_unchanged() -> None:
    assert choice([A, A]) == A
    assert choice([A]) == A
    # a view's own classification would be lost with the server's name for the column
    assert choice([B, B]).plain is None


def test_rows() -> None:
    rows = Rows((("a", A), ("b", B), ("b", A)))
    assert rows.column("a") == A
    assert rows.column("b") == union([A, B])
    assert rows.column("c") is None
    assert rows.whole.all == A.all | B.all
    assert [name for name, _ in rows.renamed(("x",)).columns] == ["x", "b", "b"]
    lost = Rows(why="why")
    assert (lost.counted, lost.column("a"), lost.renamed(("x",))) == (False, unknown("why"), lost)
    open_ended = Rows(anything=A)
    assert (open_ended.counted, open_ended.column("c")) == (False, A)
    mixed = Rows((("a", A), ("b", B)), exact=False).renamed(("x",))
    assert mixed.column("x") == union([A, B])
