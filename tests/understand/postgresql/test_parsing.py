"""Hostile texts: refused with a reason, in bounded time, and never a crash."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest

from lockgate.understand.postgresql.parsing import STATEMENTS, Unreadable, parse

DEEP = {
    "parentheses": lambda n: "select " + "(" * n + "1" + ")" * n,
    "sub-queries": lambda n: "select * from " + "(select * from " * n + "t" + ") x" * n,
    "unions": lambda n: "select 1" + " union select 1" * n,
    "joins": lambda n: "select * from t" + " join t on true" * n,
    "additions": lambda n: "select 1" + "+1" * n,
    "nots": lambda n: "select " + "not " * n + "a",
    "casts": lambda n: "select 1" + "::int" * n,
    "tests": lambda n: "select a" + " is null" * n,
    "collations": lambda n: "select a" + ' collate "C"' * n,
    "cases": lambda n: "select " + "case when true then " * n + "1" + " end" * n,
    "arrays": lambda n: "select " + "array[" * n + "1" + "]" * n,
    "calls": lambda n: "select " + "f(" * n + "1" + ")" * n,
    "with queries": lambda n: "with a as (" * n + "select 1" + ") select 1" * n,
    "comments": lambda n: "select 1 " + "/*" * n + "*/" * n,
}


@pytest.mark.parametrize("kind", DEEP)
@pytest.mark.parametrize("depth", [2_000, 60_000])
def test_deep_nesting_is_refused_or_read_but_never_crashes(kind: str, depth: int) -> None:
    began = time.monotonic()
    with contextlib.suppress(Unreadable):
        parse(DEEP[kind](depth)[:990_000])
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("kind", ["parentheses", "sub-queries", "unions", "additions", "casts", "cases"])
def test_what_nests_too_deep_says_so(kind: str) -> None:
    with pytest.raises(Unreadable, match="nests too deep"):
        parse(DEEP[kind](20_000))


def test_ordinary_depth_is_fine() -> None:
    for kind in ("unions", "additions", "casts"):
        assert len(parse(DEEP[kind](300))) == 1
    assert len(parse(DEEP["sub-queries"](100))) == 1


def test_a_thread_with_its_smaller_stack_does_as_well() -> None:
    refusals: list[str] = []

    def read() -> None:
        try:
            parse(DEEP["unions"](60_000))
        except Unreadable as reason:
            refusals.append(str(reason))

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    assert refusals == ["the statement nests too deep"]


@pytest.mark.parametrize("text", ["select 1" + ",1" * 490_000, "values (1)" + ",(1)" * 240_000])
def test_too_many_constants_are_refused_before_they_cost_much(text: str) -> None:
    began = time.monotonic()
    with pytest.raises(Unreadable, match="too many names and constants"):
        parse(text)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "run", ["+", "-+", "+-", "++-", "/*", "*/", "*=/", "/*+", "+/*", "/*/", "*//", "+" * 15 + "=" * 200]
)
@pytest.mark.parametrize("start", ["select ", "/*", "select $$ "])
def test_what_is_slow_to_scan_is_refused_at_once(start: str, run: str) -> None:
    began = time.monotonic()
    with contextlib.suppress(Unreadable):
        parse(start + run * (300_000 // len(run)))
    assert time.monotonic() - began < 2


def test_banners_are_no_operators() -> None:
    assert len(parse("/" + "*" * 300 + "/ select 1 --" + "=" * 300)) == 1
    assert len(parse("/* +" + "-" * 300 + "+" + "-" * 300 + "+ */ select '" + "=" * 500 + "'")) == 1


def test_too_many_statements_are_refused() -> None:
    assert len(parse("select 1;" * 1000)) == 1000
    with pytest.raises(Unreadable, match=f"too many statements \\({STATEMENTS + 1}; the limit is {STATEMENTS}\\)"):
        parse("begin;" * (STATEMENTS + 1))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("select 1\0", "the text holds a NUL character"),
        ("select '\udcff'", "the text is not valid Unicode"),
        (r"select U&'\D800'", "invalid Unicode surrogate pair (at character 16)"),
        ("select é é é", 'syntax error at or near "é" (at character 12)'),
        ("select 'a", "unterminated quoted string (at character 8)"),
        ("alter role a hunter2", "unrecognized role option (at character 14)"),
        ("select 1 'hunter'", "syntax error (at character 10)"),
    ],
)
def test_reasons(text: str, reason: str) -> None:
    with pytest.raises(Unreadable) as caught:
        parse(text)
    assert str(caught.value) == reason


def test_the_length_counts_in_bytes() -> None:
    assert len(parse("select 'é'", max_bytes=11)) == 1
    with pytest.raises(Unreadable, match=r"too long \(11 bytes; the limit is 10\)"):
        parse("select 'é'", max_bytes=10)
