"""Masked values, as an unmodified psql sees them."""

from __future__ import annotations

from tests.support.stack import Stack


def test_plain_columns_are_masked_by_their_masker(stack: Stack) -> None:
    run = stack.psql("ann", "SELECT id, name, email, ssn, born FROM customers WHERE id = 7")
    assert run.stdout == "7|name7|u***@e***.org|***|\n", run.stderr


def test_who_may_see_them_sees_them(stack: Stack) -> None:
    run = stack.psql("cyd", "SELECT email, ssn FROM customers WHERE id = 7")
    assert run.stdout == "user7@example.org|900-00-0007\n"


def test_a_star_an_alias_a_join_and_a_subquery_change_nothing(stack: Stack) -> None:
    for sql in (
        "SELECT * FROM customers WHERE id = 7",
        "SELECT c.email AS x FROM customers c WHERE id = 7",
        "SELECT y FROM (SELECT email AS y FROM customers WHERE id = 7) s",
        "WITH w AS (SELECT email FROM customers WHERE id = 7) SELECT * FROM w",
        "SELECT c.email FROM orders o JOIN customers c ON o.customer = c.id WHERE o.id = 7",
        "SELECT address FROM contacts WHERE id = 7",
        "TABLE customers",
    ):
        run = stack.psql("ann", sql)
        assert run.returncode == 0, (sql, run.stderr)
        assert "user7@" not in run.stdout, sql
        assert "u***@e***.org" in run.stdout, sql


def test_an_expression_over_a_masked_column_is_redacted_whole(stack: Stack) -> None:
    for sql in (
        "SELECT upper(email) FROM customers WHERE id = 7",
        "SELECT email || '' FROM customers WHERE id = 7",
        "SELECT string_agg(email, ',') FROM customers",
        "SELECT row_to_json(c) FROM customers c WHERE id = 7",
        "SELECT c FROM customers c WHERE id = 7",
        "SELECT email FROM customers WHERE id = 7 UNION SELECT 'x' ORDER BY 1",
    ):
        run = stack.psql("ann", sql)
        assert "user7@" not in run.stdout.lower(), sql
        assert "example.org" not in run.stdout.lower(), sql


def test_what_does_not_depend_on_a_masked_column_is_left_alone(stack: Stack) -> None:
    run = stack.psql("ann", "SELECT count(*), max(name), upper('abc') FROM customers")
    assert run.stdout == "100|name99|ABC\n", run.stderr


def test_what_is_copied_out_is_masked(stack: Stack) -> None:
    for sql in ("COPY customers TO STDOUT", "COPY (SELECT email FROM customers) TO STDOUT"):
        run = stack.psql("ann", sql)
        assert "u***@e***.org" in run.stdout, (sql, run.stderr)
        assert "user7" not in run.stdout + run.stderr


def test_the_result_may_not_be_copied_over(stack: Stack) -> None:
    for sql in (
        "INSERT INTO scratch SELECT id, email FROM customers",
        "UPDATE customers SET note = email",
    ):
        run = stack.psql("ann", sql)
        assert run.returncode == 1, sql
        assert "masked for you" in run.stderr, (sql, run.stderr)
        assert "user7" not in run.stdout + run.stderr
    assert stack.server.psql("SELECT count(*) FROM scratch") == "0\n"


def test_a_write_whose_result_cannot_be_told_is_not_done(stack: Stack) -> None:
    # a relation of a kind that the catalog is not read for
    sql = "INSERT INTO scratch VALUES (99, 'x') RETURNING (SELECT max(chunk_seq) FROM pg_toast.pg_toast_2619) AS n"
    run = stack.psql("ann", sql)
    assert run.returncode == 1
    assert "it can't be told whether n returns" in run.stderr
    assert stack.server.psql("SELECT count(*) FROM scratch") == "0\n"


def test_an_error_does_not_quote_a_masked_value(stack: Stack) -> None:
    run = stack.psql("ann", "SELECT email::int FROM customers WHERE id = 7")
    assert run.returncode == 1
    assert "user7" not in run.stderr


def test_a_literal_compared_with_a_classified_column_is_not_recorded(stack: Stack) -> None:
    stack.psql("ann", "SELECT id FROM customers WHERE email = 'user9@example.org' AND id = 9")
    stack.psql("ann", "ALTER ROLE app PASSWORD 'hunter22'")
    texts = [r["statement"] for r in stack.records() if "statement" in r]
    assert not any("user9@" in text or "hunter22" in text for text in texts)
    assert any("'***'" in text and "id = 9" in text for text in texts)


def test_masked_cells_are_counted_and_the_masks_recorded(stack: Stack) -> None:
    stack.psql("ann", "SELECT email, ssn FROM customers WHERE id IN (3, 4, 5)")
    begin = next(
        r for r in reversed(stack.records(type="statement", phase="begin")) if "ssn FROM" in r.get("statement", "")
    )
    end = stack.record(type="statement", phase="end", id=begin["id"])
    assert {tuple(m) for m in begin["masks"]} >= {
        ("public.customers.email", "partial"),
        ("public.customers.ssn", "redact"),
    }
    assert (end["rows"], end["masked_cells"]) == (3, 6)
