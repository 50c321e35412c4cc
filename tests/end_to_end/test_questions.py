"""What policy is asked beyond running and seeing: inference, findings, how many rows. As an unmodified psql has it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.stack import POLICIES, SCHEMA, Stack

QUESTIONS = """
@id("no-guessing")
forbid (principal, action == Action::"infer", resource) unless { principal in Group::"pii-readers" };
@id("no-addresses") @mask("redact")
forbid (principal, action == Action::"reveal_detected", resource == Detector::"email")
unless { principal in Group::"pii-readers" };
@id("not-so-many")
forbid (principal, action == Action::"execute", resource)
when { context.kinds.contains("UPDATE") && context has estimated_rows && context.estimated_rows > 10000 };
"""
NOTES = """
CREATE TABLE notes (id int PRIMARY KEY, body text);
INSERT INTO notes SELECT n, 'ask ada' || n || '@example.org' FROM generate_series(1, 20000) n;
ANALYZE notes;
GRANT ALL ON notes TO PUBLIC;
"""


@pytest.fixture(scope="module")
def asking() -> Iterator[Stack]:
    with Stack(policies=POLICIES + QUESTIONS, schema=SCHEMA + NOTES) as stack:
        yield stack


def test_a_masked_column_is_not_sorted_by_and_still_looked_up(asking: Stack) -> None:
    run = asking.psql("ann", "SELECT id FROM customers ORDER BY email LIMIT 1")
    assert run.stdout == ""
    assert "public.customers.email is masked for you, and you may not sort by it" in run.stderr
    assert "policy no-guessing" in run.stderr
    assert asking.psql("ann", "SELECT id FROM customers WHERE email = 'user7@example.org'").stdout == "7\n"


def test_which_rows_an_expression_fails_for_is_not_told(asking: Stack) -> None:
    run = asking.psql("ann", "SELECT 1 / (ascii(email) - 97) FROM customers")
    assert "masked for you, and you may not choose rows by it, or compute of it what may fail" in run.stderr
    run = asking.psql("ann", r"\pset null NULL", "SELECT nullif(substr(email, 1, 1), 'u') FROM customers WHERE id = 7")
    assert run.stdout.endswith("***\n"), run.stderr


def test_an_address_in_a_note_is_masked_where_it_stands(asking: Stack) -> None:
    run = asking.psql("ann", "SELECT body FROM notes WHERE id = 7")
    assert run.stdout == "ask ***\n", run.stderr


def test_an_update_of_too_many_rows_is_refused_before_it_is_sent(asking: Stack) -> None:
    run = asking.psql("ann", "EXPLAIN UPDATE notes SET body = '' WHERE id > 0")
    assert run.returncode == 0, run.stderr
    run = asking.psql("ann", "UPDATE notes SET body = '' WHERE id > 0")
    assert "policy not-so-many" in run.stderr
    run = asking.psql("ann", "UPDATE notes SET body = 'x' WHERE id = 8; SELECT 1")
    assert run.returncode == 0, run.stderr
