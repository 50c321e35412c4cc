"""The start-up packet's settings, split as PostgreSQL splits them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.proxy.postgresql.startup import settings
from lockgate.understand.postgresql import Understanding
from lockgate.values.statement import Effect
from lockgate.wire.gate import ProtocolError


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"user": "ann", "database": "shop", "application_name": "x'; DROP TABLE t", "client_encoding": "UTF8"},
        {"DateStyle": "ISO", "TimeZone": "UTC", "extra_float_digits": "2", "replication": "false"},
        {"client_encoding": "utf-8"},
        {"client_encoding": "'utf-8'"},
        {"options": ""},
        {"options": "-c geqo=off --client-encoding=UTF8"},
    ],
)
def test_what_does_no_harm_is_no_statement(parameters: dict[str, str]) -> None:
    assert settings(parameters) == []


@pytest.mark.parametrize(
    ("parameters", "statements"),
    [
        ({"search_path": "a, b"}, ["SET \"search_path\" TO 'a, b'"]),
        ({"options": "-c search_path=a"}, ["SET \"search_path\" TO 'a'"]),
        ({"options": "-csearch_path=a"}, ["SET \"search_path\" TO 'a'"]),
        ({"options": "--search-path=a"}, ["SET \"search_path\" TO 'a'"]),
        ({"options": r"-c search_path=a\ b\\"}, ["SET \"search_path\" TO 'a b\\'"]),
        ({"options": "-c role=it's"}, ["SET \"role\" TO 'it''s'"]),
        ({"my.own": "x"}, ['SET "my"."own" TO \'x\'']),
        ({"ROLE": "x"}, ["SET \"ROLE\" TO 'x'"]),
    ],
)
def test_settings_are_the_set_that_they_are(parameters: dict[str, str], statements: list[str]) -> None:
    assert settings(parameters) == statements


def test_a_quote_hides_nothing() -> None:
    # to PostgreSQL a quote is a letter: it takes three settings from this
    hidden = {"options": "-c application_name='x -c row_security=off -c application_name=y'"}
    assert settings(hidden) == ["SET \"row_security\" TO 'off'"]


@pytest.mark.parametrize(
    "parameters",
    [
        {"client_encoding": "SJIS"},
        {"CLIENT_ENCODING": "SJIS"},
        {"options": "-c client_encoding=SJIS"},
        {"options": "--Client-Encoding=latin1"},
    ],
)
def test_other_encodings_are_refused(parameters: dict[str, str]) -> None:
    with pytest.raises(ProtocolError, match="UTF8 is"):
        settings(parameters)


def test_other_encodings_are_settings_where_texts_need_not_be_judged() -> None:
    assert settings({"client_encoding": "SJIS", "options": "-c a=1"}, any_encoding=True) == ["SET \"a\" TO '1'"]


@pytest.mark.parametrize("options", ["-e", "-c", "-c x", "--", "-d5", "x", "-c 1=2", "-c a=b\xa0-c c=d", "-c 'a=b"])
def test_options_nobody_can_read_are_refused(options: str) -> None:
    with pytest.raises(ProtocolError, match="option"):
        settings({"options": options})


@given(st.dictionaries(st.text(max_size=12), st.text(max_size=12), max_size=3), st.text(max_size=40))
def test_whatever_comes_is_one_set_each_or_refused(parameters: dict[str, str], options: str) -> None:
    try:
        statements = settings({**parameters, "options": options})
    except ProtocolError:
        return
    for text in statements:
        request = Understanding().request(text)
        assert request.refusal is not None or (
            len(request.statements) == 1 and request.effects & {Effect.SESSION, Effect.ADMIN, Effect.UNKNOWN}
        )
