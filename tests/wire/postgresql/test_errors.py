from __future__ import annotations

import pytest

from lockgate.wire.gate import Refusal
from lockgate.wire.postgresql import errors
from lockgate.wire.postgresql.frames import parse_error
from tests.support.playbook import error, notice

SECRET = "123-45-6789"


def test_a_refusal_in_postgresqls_own_words() -> None:
    message = errors.error_response(Refusal("42501", "no\0pe", "policy p1", "ask ann"))
    assert parse_error(message[5:]) == {
        "S": "ERROR", "V": "ERROR", "C": "42501", "M": "no pe", "D": "policy p1", "H": "ask ann",
    }  # fmt: skip
    assert parse_error(errors.error_response(Refusal("08P01", "broken"), "FATAL")[5:])["V"] == "FATAL"
    assert parse_error(errors.notice_response("held", "wait")[5:])["C"] == "00000"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("42P01", f'relation "{SECRET}" does not exist'),  # ssn::regclass
        ("42704", f'type "{SECRET}" does not exist'),  # ssn::regtype
        ("42883", f'function "{SECRET}" does not exist'),  # ssn::regproc
        ("42601", f'syntax error in tsquery: "{SECRET}"'),
        ("34000", f'cursor "{SECRET}" does not exist'),  # cursor_to_xml
        ("58P01", f'could not open file "{SECRET}" for reading'),  # pg_read_file
        ("08001", f"could not connect to {SECRET}"),  # dblink
        ("22P02", f'invalid input syntax for type integer: "{SECRET}"'),
        ("P0001", SECRET),
    ],
)
def test_what_is_met_while_running_may_quote_a_value(code: str, message: str) -> None:
    cleaned = errors.without_values(b"E", error(code, message, D=SECRET, W=SECRET, q=SECRET, H=SECRET)[5:])
    assert SECRET.encode() not in cleaned
    assert parse_error(cleaned[5:])["C"] == code


@pytest.mark.parametrize("code", ["23505", "42501", "53200", "57014"])
@pytest.mark.parametrize("kind", [b"E", b"N"])
def test_what_a_function_raises_may_hold_a_value_in_any_field(kind: bytes, code: str) -> None:
    """RAISE ... USING ERRCODE, MESSAGE, TABLE, CONSTRAINT and so on: each of them is an expression."""
    names = dict.fromkeys("stcdn", SECRET)
    cleaned = errors.without_values(kind, error(code, SECRET, W="PL/pgSQL function f() line 1 at RAISE", **names)[5:])
    assert SECRET.encode() not in cleaned


@pytest.mark.parametrize(
    ("code", "message", "more"),
    [
        ("42P01", 'relation "nosuch" does not exist', {"P": "15"}),
        ("22P02", 'invalid input syntax for type integer: "x"', {"P": "8"}),
        ("42501", "permission denied for table customers", {}),
        ("23505", 'duplicate key value violates unique constraint "customers_email_key"', {}),
        ("40001", "could not serialize access due to concurrent update", {}),
        ("57014", "canceling statement due to user request", {}),
        ("25P02", "current transaction is aborted, commands ignored until end of transaction block", {}),
    ],
)
def test_what_quotes_no_value_is_kept(code: str, message: str, more: dict[str, str]) -> None:
    found = parse_error(
        errors.without_values(b"E", error(code, message, D="(secret)", n="customers_email_key", **more)[5:])[5:]
    )
    assert found == {"S": "ERROR", "V": "ERROR", "C": code, "M": message, "n": "customers_email_key", **more}


def test_notices_say_nothing() -> None:
    cleaned = errors.without_values(b"N", notice(f"found {SECRET}", P="3")[5:])
    assert cleaned[:1] == b"N"
    assert parse_error(cleaned[5:])["M"] == errors.WITHHELD


def test_an_error_without_any_field() -> None:
    assert parse_error(errors.without_values(b"E", b"\0")[5:])["C"] == "XX000"
