"""What a grant covers: names that can stand for one thing only, as it is now."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lockgate.proxy.postgresql.grants import NotGrantable, coverage, meaning
from lockgate.understand.postgresql import Understanding
from lockgate.values.catalog import Catalog, Relation, Routine
from lockgate.values.identity import Claims
from lockgate.values.verdict import Decision, Verdict
from tests.proxy.house import catalog, relation

READ = Understanding().request
ANN = Claims("jti-1", "ann", "ann", ("engineers",), "host-1", 1, 2)
HOLD = Verdict(Decision.HOLD, "two", "it takes two", 1, (), ("dba",), 30.0, 10.0, 7200.0)
TABLE, VIEW = relation(101, "scratch", "id", "body"), replace(relation(201, "recent", "id"), kind="v")
VIEW = replace(VIEW, definition="SELECT id FROM public.scratch WHERE id > 5")
SHOP = catalog(TABLE, VIEW)


def covers(*texts: str, known: Catalog = SHOP, effects: tuple[str, ...] = ("write",)) -> str | None:
    requests = tuple(READ(text) for text in texts)
    return coverage(requests, effects, HOLD, known, ANN, ("orders", "shop", "app"), READ).fingerprint


def test_constants_and_only_constants_are_free() -> None:
    one = covers("DELETE FROM scratch WHERE id = 1")
    assert one is not None
    assert covers("DELETE FROM scratch WHERE id = 2") == one
    others = [
        covers("DELETE FROM scratch"),
        covers("DELETE FROM scratch WHERE id = 1 OR true"),
        covers("DELETE FROM public.scratch WHERE id = 1"),
        covers("DELETE FROM scratch WHERE id = 1", "DELETE FROM scratch WHERE id = 1"),
    ]
    assert one not in others


def test_bound_values_are_free_and_their_text_is_not() -> None:
    one = covers("DELETE FROM scratch WHERE id = $1")
    assert one is not None
    assert covers("DELETE FROM scratch WHERE id = 1 AND body = $1") != one
    words = coverage((READ("DELETE FROM scratch WHERE id = $1"),), (), HOLD, SHOP, ANN, ("o", "s", "a"), READ).words
    assert words == "this very text, with other bound values too"


@pytest.mark.parametrize(
    "changed",
    [
        replace(VIEW, definition="SELECT id FROM public.scratch"),
        replace(VIEW, oid=202),
        replace(VIEW, columns=TABLE.columns),
    ],
)
def test_a_view_that_means_something_else_is_not_covered(changed: Relation) -> None:
    text = "DELETE FROM recent WHERE id = 1"
    assert covers(text) not in (None, covers(text, known=catalog(TABLE, changed)))


def test_what_a_view_reads_counts_as_the_view_does() -> None:
    text = "DELETE FROM recent WHERE id = 1"
    other = replace(TABLE, oid=999)
    assert covers(text) not in (None, covers(text, known=catalog(other, VIEW)))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("DELETE FROM nowhere", "not known"),
        ("DELETE FROM other.scratch", "not known"),
        ('DELETE FROM "public.scratch"', "public.scratch"),
        ("DELETE FROM scratch WHERE id = evil(1)", "evil"),
        ("DELETE FROM pg_temp.scratch", "not known"),
    ],
)
def test_what_a_name_stands_for_has_to_be_known(text: str, why: str) -> None:
    known = replace(SHOP, functions=frozenset({"evil"}))
    if why == "public.scratch":
        # the quoted name and the qualified one are spelled alike: both have to be ruled out
        known = catalog(TABLE, replace(TABLE, oid=7, name="public.scratch"))
    with pytest.raises(NotGrantable, match=why):
        meaning((READ(text),), ("write",), known, READ)


def test_a_second_relation_of_the_name_anywhere_ends_it() -> None:
    other = Catalog("shop", {}, {"scratch": (TABLE, replace(TABLE, oid=7, schema="pg_temp_3"))})
    with pytest.raises(NotGrantable, match="several relations"):
        meaning((READ("DELETE FROM scratch"),), ("write",), other, READ)
    assert meaning((READ("DELETE FROM public.scratch"),), ("write",), other, READ)


def test_an_extension_s_function_counts_as_the_database_s_own() -> None:
    known = replace(SHOP, routines={"gen": (Routine("public", "gen", "v", False, "c", extension=True),)})
    with pytest.raises(NotGrantable, match="gen"):
        meaning((READ("DELETE FROM scratch WHERE id = gen()"),), ("write",), known, READ)


def test_what_can_not_be_told_is_not_granted() -> None:
    assert covers("DELETE FROM scratch", effects=("unknown", "write")) is None
    assert covers("NONSENSE") is None
