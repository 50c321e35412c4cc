from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.masking import RootKey
from lockgate.masking.replies.documents import MOST_DEPTH, Place, below, mask_document
from lockgate.masking.replies.texts import text_masker
from lockgate.values.selector import parse_path

KEYS = RootKey(bytes(32)).keys("cache")


def place(path: str, masker: str = "redact") -> Place:
    return parse_path(path), text_masker(masker, KEYS)


def shown(document: str, *places: Place) -> str | None:
    found = mask_document(document.encode(), places)
    return None if found is None else found[0].decode()


@pytest.mark.parametrize(
    ("path", "document", "expected"),
    [
        ("$.a", '{"a": "x"}', '{"a": "***"}'),
        ("$.a", ' { "a" :\t"x" , "b":1.50e+3 } \n', ' { "a" :\t"***" , "b":1.50e+3 } \n'),
        ("$.a", '{"a":1,"a":2,"b":{"a":3}}', '{"a":"***","a":"***","b":{"a":3}}'),
        ("$.a", r'{"\u0061":"x"}', r'{"\u0061":"***"}'),
        ("$.a", '{"A":"x"}', '{"A":"x"}'),
        ("$.a", '{"a":true,"b":true}', '{"a":"***","b":true}'),
        ("$.a", '{"a":null}', '{"a":null}'),
        ("$.a", '{"a":{"b":[1]}}', '{"a":"***"}'),
        ("$.a", '{"a":[]}', '{"a":"***"}'),
        ("$.a.b", '{"a":[{"b":1}]}', '{"a":[{"b":1}]}'),
        ("$.a[*].b", '{"a":[{"b":1},{"b":2,"c":3}]}', '{"a":[{"b":"***"},{"b":"***","c":3}]}'),
        ("$.a[1]", '{"a":[1,2,3]}', '{"a":[1,"***",3]}'),
        ("$.*", '{"a":1,"b":"c"}', '{"a":"***","b":"***"}'),
        ("$..b", '{"b":1,"a":[{"b":{"b":2}}],"c":{"b":3}}', '{"b":"***","a":[{"b":"***"}],"c":{"b":"***"}}'),
        ("$..a.b", '{"a":{"a":{"b":1}},"b":2}', '{"a":{"a":{"b":"***"}},"b":2}'),
        ("$..*", '{"a":[1]}', '{"a":"***"}'),
        ("$[0]", "[1]", '["***"]'),
        ("$.0", "{}", None),
        ("$.a", "[]", "[]"),
        ("$.a", "{}", "{}"),
        ("$.a", "1", "1"),
        ("$.a", '"a"', '"a"'),
        ("$.n", '{"n":123456789012345678901234567890,"m":123456789012345678901234567890.10}',
         '{"n":"***","m":123456789012345678901234567890.10}'),
    ],
)  # fmt: skip
def test_only_the_place_is_masked(path: str, document: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(ValueError, match="no JSON path"):
            parse_path(path)
    else:
        assert shown(document, place(path)) == expected


@pytest.mark.parametrize(
    ("masker", "value", "expected"),
    [
        ("null", '"x"', "null"),
        ("null", "{}", "null"),
        ("veil", "null", '"***"'),
        ("redact", "null", "null"),
        ("partial", '"Annabel"', '"A******"'),
        ("partial", "4111111111111111", '"************1111"'),
        ("partial", '"\\u00e9abcdef"', '"é******"'),
        ("partial", r'"\ud800abcdef"', '"***"'),
        ("truncate:2", r'"\"\"x"', r'"\"\""'),
        ("truncate:month", '"2024-05-17"', '"2024-05-01"'),
        ("truncate:month", '"whenever"', '"***"'),
    ],
)
def test_maskers_write_json(masker: str, value: str, expected: str) -> None:
    assert shown(f'{{"a":{value},"b":1}}', place("$.a", masker)) == f'{{"a":{expected},"b":1}}'


def test_the_strictest_of_several_maskers_counts() -> None:
    places = (place("$.a", "partial"), place("$.*", "redact"), place("$..b", "null"))
    assert shown('{"a":"Annabel","b":1,"c":{"b":2}}', *places) == '{"a":"***","b":null,"c":"***"}'


@pytest.mark.parametrize(
    "document",
    [
        "", " ", "x", "{", '{"a"}', '{"a":}', '{"a":1,}', "[1,]", "[1 2]", '{"a":1}x', "{'a':1}", '{"a":NaN}',
        "[Infinity]", "[1]//", "\ufeff{}", "[" * 200 + "]" * 200,
        '{"a":01}', '{"a":+1}', '{"a":.5}', '{"a":1.}', '"\t"', r'"\x41"', '{a:1}',
        '{"a":"x', "nul", "[,]", '{"a":1 "b":2}', '{,}', '["\\u12"]', "１",
    ],
)  # fmt: skip
def test_what_is_no_document_is_told(document: str) -> None:
    assert shown(document, place("$.a")) is None


def test_bytes_that_are_no_text_are_no_document() -> None:
    assert mask_document(b'{"a":"\xff"}', [place("$.a")]) is None
    assert mask_document('{"a":"x"}'.encode("utf-16"), [place("$.a")]) is None


def test_depth_is_bounded() -> None:
    assert shown("[" * MOST_DEPTH + "]" * MOST_DEPTH, place("$.a")) is not None
    assert shown("[" * (MOST_DEPTH + 1) + "]" * (MOST_DEPTH + 1), place("$.a")) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inside: (
        st.lists(inside, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "é", '"', "\\"]), inside, max_size=3)
    ),
    max_leaves=12,
)


def masked(found: Any, at: tuple[str, ...]) -> Any:
    """The same of what was read, as `$.a.b` says."""
    if not at:
        return found if found is None else "***"
    if isinstance(found, dict) and at[0] in found:
        return {name: masked(one, at[1:]) if name == at[0] else one for name, one in found.items()}
    return found


@given(JSON, st.booleans(), st.sampled_from([None, 2]))
def test_a_document_is_masked_as_it_reads(found: Any, ascii_only: bool, indent: int | None) -> None:
    document = json.dumps(found, ensure_ascii=ascii_only, indent=indent)
    try:
        document.encode()
    except UnicodeEncodeError:
        return
    for path in (("a",), ("a", "b"), ("é",)):
        text = shown(document, place("$" + "".join(f"['{step}']" for step in path)))
        assert text is not None
        assert json.loads(text) == masked(found, path)
    # with no place in it there is nothing to write
    assert shown(document, place("$.nothing")) == document


@pytest.mark.parametrize(
    ("path", "asked", "left"),
    [
        ("$.user.email", "$", ["$.user.email"]),
        ("$.user.email", "$.user", ["$.email"]),
        ("$.user.email", "$.user.email", ["$"]),
        ("$.user.email", "$.user.email.host", ["$"]),
        ("$.user.email", "$.user.name", []),
        ("$.user.email", "$.other", []),
        ("$.user.email", "$.*", ["$.email"]),
        ("$.user.email", "$[0]", []),
        ("$.a[*].b", "$.a[3]", ["$.b"]),
        ("$.a[1]", "$.a[3]", []),
        ("$.a[1]", "$.a[*]", ["$"]),
        ("$..b", "$.a", ["$..b"]),
        ("$..b", "$.b", ["$..b", "$"]),
        ("$.a..b", "$.a.c.d", ["$..b"]),
    ],
)
def test_what_is_left_of_a_path(path: str, asked: str, left: list[str]) -> None:
    assert below(parse_path(path), parse_path(asked)) == tuple(parse_path(one) for one in left)
