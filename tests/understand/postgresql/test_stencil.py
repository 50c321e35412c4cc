"""What a stencil lets stand is never the constant of another place, and what doesn't fit exactly is left to others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pglast import parser

from lockgate.understand.postgresql.stencil import CHARACTERS, CONSTANTS, Stencil

TEXT = "select * from t where a = 'x' and b = 5"
SHAPE = "select * from t where a = $1 and b = $2"


def stencil(*gone: int) -> Stencil:
    made = Stencil.of(SHAPE, TEXT, gone)
    assert made is not None
    return made


def test_it_cuts_what_has_to_go() -> None:
    both = stencil(TEXT.index("'x'"), TEXT.index("5"))
    assert both.cut("select * from t where a = 'it''s' and b = 77", "?") == "select * from t where a = ? and b = ?"
    assert stencil(TEXT.index("5")).cut(TEXT, "?") == "select * from t where a = 'x' and b = ?"
    assert stencil().cut(TEXT, "?") == TEXT


@pytest.mark.parametrize(
    "constant",
    ["null", "true", "-5", "5", "E'a'", "U&'a'", "b'1'", "N'a'", "'a\\'", "'a'\n'b'", "$$a$$", "'a' /* 'b' */", "''a'"],
)
def test_what_is_no_plain_string_in_a_strings_place_does_not_fit(constant: str) -> None:
    assert stencil().cut(f"select * from t where a = {constant} and b = 5", "?") is None


@pytest.mark.parametrize("constant", ["1.5", "1e3", "0x1f", "1_000", "-1", "'1'", "null", "٣", "5 "])
def test_what_is_no_plain_number_in_a_numbers_place_does_not_fit(constant: str) -> None:
    assert stencil().cut(f"select * from t where a = 'x' and b = {constant}", "?") is None


def test_where_it_would_have_to_know_more_there_is_none() -> None:
    assert Stencil.of("select $1 /* c */", "select 5 /* c */", []) is None
    assert Stencil.of("select $1 -- c", "select 5 -- c", []) is None
    assert Stencil.of("select $1::varchar(10)", "select 'a'::varchar(10)", [len("select 'a'::varchar(")]) is None
    assert Stencil.of("select $1", "select -5", []) is None
    assert Stencil.of(f"select $1 as {'a' * CHARACTERS}", f"select 5 as {'a' * CHARACTERS}", []) is None
    many = ", ".join("7" * (CONSTANTS + 1))
    assert Stencil.of(parser.normalize(f"select {many}"), f"select {many}", []) is None


STRINGS = st.text("a'\\ \n$5é-/*=", max_size=6).map(lambda s: "'" + s.replace("'", "''") + "'")
CONSTANT = st.one_of(
    STRINGS, st.integers(-9, 99).map(str), st.sampled_from(["null", "1.5", "E'a''b'", "b'1'", "'a'\n'b'"])
)


@given(st.lists(CONSTANT, min_size=3, max_size=3), st.lists(CONSTANT, min_size=3, max_size=3))
def test_what_fits_is_lined_up_as_the_scanner_does(first: list[str], second: list[str]) -> None:
    template = "select * from t where a = {} and b in ({}, {})"
    one, other = template.format(*first), template.format(*second)
    shape = parser.normalize(one)
    start = one.index(first[0])
    made = Stencil.of(shape, one, [start])
    if made is None or parser.normalize(other) != shape:
        return
    shown = made.cut(other, "?")
    assert shown in (None, template.format("?", *second[1:]))
