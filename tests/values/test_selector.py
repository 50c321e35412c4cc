from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.values.glob import compile_glob
from lockgate.values.selector import (
    MOST_STEPS,
    ClassifiedName,
    Document,
    Field,
    Selector,
    Step,
    Whole,
    parse_name,
    parse_path,
)
from lockgate.values.statement import Place


@pytest.mark.parametrize(
    ("text", "pattern", "selector"),
    [
        ("secret:*", b"secret:*", Whole()),
        ("profile:*#email", b"profile:*", Field(b"email")),
        ("profile:*#*_email", b"profile:*", Field(b"*_email")),
        ("profile:*#a#b", b"profile:*", Field(b"a#b")),
        (r"queue\#1", rb"queue\#1", Whole()),
        (r"queue\#1#f", rb"queue\#1", Field(b"f")),
        (r"a\\#f", rb"a\\", Field(b"f")),
        (r"p#\$x", b"p", Field(rb"\$x")),
        ("doc:*#$.user.email", b"doc:*", Document((Step("user"), Step("email")))),
        ("d#$..email", b"d", Document((Step("email", deep=True),))),
        ("d#$.a[0].*[*]", b"d", Document((Step("a"), Step(index=0), Step(), Step()))),
        ("d#$['first name'][\"b-c\"]", b"d", Document((Step("first name"), Step("b-c")))),
        ("d#$..*", b"d", Document((Step(deep=True),))),
        ("d#$..[3]", b"d", Document((Step(index=3, deep=True),))),
        ("clé:*#prénom", "clé:*".encode(), Field("prénom".encode())),
        ("d#$.prénom-2", b"d", Document((Step("prénom-2"),))),
    ],
)
def test_what_a_name_says(text: str, pattern: bytes, selector: Selector) -> None:
    assert parse_name(text) == ClassifiedName(pattern, selector)
    assert parse_name(f"~{text}") == ClassifiedName(pattern, selector), "as Redis' access lists write it"


@pytest.mark.parametrize(
    ("text", "pattern", "selector"),
    [
        ("&news:*", b"news:*", Whole()),
        ("&*", b"*", Whole()),
        ("&events:*#$.user.email", b"events:*", Document((Step("user"), Step("email")))),
        (r"&a\#b#$..c", rb"a\#b", Document((Step("c", deep=True),))),
        ("&&odd", b"&odd", Whole()),
        ("&~odd", b"~odd", Whole()),
        ("&a&b~c", b"a&b~c", Whole()),
    ],
)
def test_what_begins_with_an_ampersand_is_of_channels(text: str, pattern: bytes, selector: Selector) -> None:
    assert parse_name(text) == ClassifiedName(pattern, selector, Place.CHANNEL)


@pytest.mark.parametrize(
    ("text", "key"),
    [("~&odd:*", b"&odd:1"), (r"\&odd:*", b"&odd:1"), ("~~odd:*", b"~odd:1"), (r"\~odd:*", b"~odd:1"), ("a&*", b"a&b")],
)
def test_a_key_that_begins_like_a_mark_can_be_said(text: str, key: bytes) -> None:
    found = parse_name(text)
    assert found.place is Place.KEY
    assert compile_glob(found.pattern).fullmatch(key)
    assert not compile_glob(found.pattern).fullmatch(key[1:])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("&", "'&' has no pattern of channels"),
        ("~", "'~' has no pattern of keys"),
        ("&#$.a", "no pattern of channels in front of `#`"),
        ("&news#email", "a message has no fields"),
        ("&news#*", "a message has no fields"),
        ("&news#", "names no field"),
        ("&news#$", "is the whole message"),
        ("&news#$.", "no JSON path"),
    ],
)
def test_what_is_no_name_of_messages_says_why(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        parse_name(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "#email",
        "profile:*#",
        "d#$",
        "d#$.",
        "d#$user",
        "d#$.a b",
        "d#$.a[",
        "d#$.a[-1]",
        "d#$.a[01]",
        "d#$.a['x]",
        "d#$.a[?(@.x)]",
        "d#$.a[0:2]",
        "d#$.a['x','y']",
        "d#$['a\\u0062']",
        "d#$...a",
        "d#$.0",
        "a\nb",
        "a\x00#b",
        "a#b\r",
        "x" * 1025,
        "x#" + "y" * 1025,
        "d#$" + ".a" * (MOST_STEPS + 1),
        "&" + "x" * 1025,
        "&a\nb",
    ],
)
def test_what_is_no_name_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z") as refused:
        parse_name(text)
    assert len(str(refused.value)) < 1400


def test_a_path_of_nothing_is_the_root() -> None:
    assert parse_path("$") == ()
    with pytest.raises(ValueError, match="begins with"):
        parse_path(".a")


@given(st.text(max_size=40))
def test_whatever_is_written_is_a_name_or_a_value_error(text: str) -> None:
    try:
        found = parse_name(text)
    except ValueError:
        return
    assert found.pattern
