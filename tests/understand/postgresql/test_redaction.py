"""What is remembered of a shape gives what looking anew would: no constant of another place, and never a password."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.understand.postgresql import Redaction, Understanding, redacted
from lockgate.understand.postgresql import redaction as subject
from lockgate.understand.postgresql.redaction import CHARACTERS, KINDS, TOKENS
from tests.understand.postgresql.catalogs import catalog, relation

CATALOG = catalog(relation("customers", "id email ssn note"), relation("orders", "id customer total"))
SECRETS = frozenset({"public.customers.ssn", "public.customers.email"})

SHAPES = [
    "select * from customers where ssn = {} and note = {}",
    "select {}, note from customers where {} < ssn",
    "update customers set note = {} where ssn = {}",
    "insert into customers (id, ssn) values ({}, {})",
    "insert into customers (note, email) values (lower({}), upper({})); select {} from orders where id = {}",
    "delete from customers /* {} */ where email = {}",
    "select id from orders where total = {} and id = {}",
    "select note from customers where 'password' = {} and id = {}",
]
CONSTANTS = ["'a'", "5", "-5", "true", "null", "1.5", "b'1'", "'password = x'", "E'\\xff'", "U&'a'", "'é'",
             "'postgres://a:b@c'", "'-- x'"]  # fmt: skip


@given(st.sampled_from(SHAPES), st.lists(st.tuples(*[st.sampled_from(CONSTANTS)] * 4), min_size=2, max_size=12))
def test_it_is_what_looking_anew_gives(shape: str, rows: list[tuple[str, ...]]) -> None:
    understanding = Understanding()
    remembered: dict[str, Redaction] = {}
    for constants in rows:
        asked = understanding.request(shape.format(*constants))
        found = remembered.setdefault(asked.shape, Redaction(SECRETS)).of(asked, CATALOG)
        assert found == redacted(asked, SECRETS, CATALOG)


def test_a_shape_that_says_the_same_of_null_and_of_a_string_hides_the_right_one() -> None:
    understanding = Understanding()
    first = understanding.request("select * from customers where ssn = null and note = 'kept'")
    second = understanding.request("select * from customers where ssn = 'GONE' and note = null")
    assert first.shape == second.shape
    redaction = Redaction(SECRETS)
    assert redaction.of(first, CATALOG) == first.text
    assert "GONE" not in redaction.of(second, CATALOG)


def test_another_catalog_is_another_answer() -> None:
    asked = Understanding().request("select * from customers where renamed = 'x' and id = 3")
    renamed = catalog(relation("customers", "id email renamed note"))
    redaction = Redaction(frozenset({"public.customers.renamed"}))
    assert "'x'" not in redaction.of(asked, renamed)
    assert redaction.of(asked, None) == "select * from customers where renamed = '***' and id = '***'"
    assert redaction.of(asked, renamed) == "select * from customers where renamed = '***' and id = 3"


def test_it_looks_once_for_each_sequence_of_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []

    def look(text: str, *_: object) -> dict[int, str]:
        looked.append(text)
        return {}

    monkeypatch.setattr(subject, "hidden", look)
    understanding, redaction = Understanding(), Redaction(SECRETS)
    for number in range(20):
        redaction.of(understanding.request(f"select * from customers where id = {number}"), CATALOG)
    assert len(looked) == 1


def test_what_is_remembered_is_bounded() -> None:
    understanding, redaction = Understanding(), Redaction(SECRETS)
    for kinds in itertools.product(("5", "'a'", "true", "null", "1.5"), repeat=2):
        redaction.of(
            understanding.request("select * from customers where id = {} and ssn = {}".format(*kinds)), CATALOG
        )
    assert len(redaction._places) == KINDS
    long = Redaction(SECRETS)
    long.of(understanding.request(f"select * from customers where id in ({', '.join('7' * TOKENS)})"), CATALOG)
    assert not long._places


def test_a_long_text_is_looked_at_each_time() -> None:
    redaction = Redaction(SECRETS)
    long = Understanding().request(f"select * from customers where ssn = '{'GONE' * CHARACTERS}'")
    for _ in range(2):
        assert redaction.of(long, CATALOG) == "select * from customers where ssn = '***'"
    assert redaction._text is None
