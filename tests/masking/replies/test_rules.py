from __future__ import annotations

import pytest

from lockgate.masking import RootKey
from lockgate.masking.replies.rules import NOTHING, Rule, rule_of, together
from lockgate.values.selector import parse_name

KEYS = RootKey(bytes(32)).keys("cache")


def rule(*masks: str) -> Rule:
    """`k#email=partial`: what of the key, and its masker."""
    parts = [mask.rpartition("=") for mask in masks]
    return rule_of(tuple((parse_name(name).selector, masker) for name, _, masker in parts), KEYS)


def shown(found: Rule, name: bytes, value: bytes) -> bytes | None:
    treatment = found.named(name)
    return value if treatment is None else treatment.shown(value)[0]


def test_the_whole_value_is_its_elements_names_and_fields() -> None:
    found = rule("k=redact")
    assert found.element is not None
    assert found.element.shown(b"s3cret") == (b"***", 1)
    assert found.name is not None
    assert found.any_field == found.named(b"any") == found.element


def test_fields_are_masked_by_name_and_elements_are_not() -> None:
    found = rule("k#email=redact", "k#e*=partial", "k#name=partial")
    assert found
    assert found.element is None
    assert found.name is None
    assert shown(found, b"email", b"Annabel") == b"***"
    assert shown(found, b"else", b"Annabel") == b"A******"
    assert shown(found, b"name", b"Annabel") == b"A******"
    assert shown(found, b"city", b"Annabel") == b"Annabel"
    assert found.any_field is not None
    assert found.any_field.shown(b"Annabel") == (b"***", 1)


def test_a_document_in_a_masked_field_is_masked_as_strictly_as_its_places() -> None:
    found = rule("k#f=truncate:64", "k#$.a=null")
    assert shown(found, b"f", b'{"a":"s3cret"}') is None
    assert shown(found, b"g", b'{"a":"s3cret"}') == b'{"a":null}'
    assert shown(found, b"g", b"s3cret") is None
    whole = rule("k=truncate:64", "k#$.a=redact")
    assert whole.element is not None
    assert whole.element.shown(b'{"a":"s3cret"}' * 9) == (b"***", 1)


def test_a_field_may_be_masked_more_strictly_than_the_whole() -> None:
    found = rule("k=partial", "k#email=redact")
    assert shown(found, b"email", b"Annabel") == b"***"
    assert shown(found, b"name", b"Annabel") == b"A******"
    assert found.any_field is not None
    assert found.any_field.shown(b"Annabel") == (b"***", 1)
    assert shown(rule("k=redact", "k#email=partial"), b"email", b"Annabel") == b"***"


@pytest.mark.parametrize(
    ("source", "to", "fields", "covered"),
    [
        ("k=redact", "k=redact", True, True),
        ("k=partial", "k=redact", True, True),
        ("k=redact", "k=partial", True, False),
        ("k=redact", "k#f=redact", True, False),
        ("k#f=redact", "k=redact", True, True),
        ("k#f=redact", "k#f=redact", True, True),
        ("k#f=redact", "k#g=redact", True, False),
        ("k#f=redact", "k#*=redact", True, False),
        ("k#f=redact", "k#f=partial", True, False),
        ("k#f=redact", "k#g=redact", False, True),
        ("k#$.a=redact", "k#$.a=null", True, True),
        ("k#$.a=redact", "k#$.b=redact", False, False),
    ],
)
def test_what_covers_what(source: str, to: str, fields: bool, covered: bool) -> None:
    assert rule(to).covers(rule(source), fields=fields) is covered
    assert not NOTHING.covers(rule("k=redact"), fields=fields)
    assert rule(to).covers(NOTHING, fields=fields)


def test_rules_of_several_keys_are_one() -> None:
    found = together([rule("k=partial"), NOTHING, rule("k=redact", "k#f=null")])
    assert found.whole is not None
    assert found.whole.text == "redact"
    assert len(found.masks) == 3
    assert not together([NOTHING])
