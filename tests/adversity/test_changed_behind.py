"""A catalog that is changed past the agent: what a name means now is told by the server's own numbers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.stack import Stack


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack() as running:
        yield running


def test_columns_that_trade_their_names_do_not_trade_their_masks(stack: Stack) -> None:
    before = stack.psql("ann", "SELECT name FROM customers WHERE id = 1", "SELECT email FROM customers WHERE id = 1")
    assert "name1" in before.stdout
    assert "user1@" not in before.stdout
    stack.server.psql(
        "ALTER TABLE customers RENAME name TO other; ALTER TABLE customers RENAME email TO name;"
        "ALTER TABLE customers RENAME other TO email"
    )
    # judged by the catalog of before, as a column that is not classified
    at_once = stack.psql("ann", "SELECT name FROM customers WHERE id = 1", "SELECT 'still here'")
    assert "user1@example.org" not in at_once.stdout + at_once.stderr
    assert "still here" in at_once.stdout
    again = stack.psql("ann", "SELECT name FROM customers WHERE id = 1")
    assert again.stdout.strip()
    assert "user1@" not in again.stdout


def test_a_table_made_anew_is_looked_at_again(stack: Stack) -> None:
    assert stack.psql("ann", "SELECT count(*), max(body) FROM scratch").returncode == 0
    stack.psql("ann", "SELECT body FROM scratch")
    stack.server.psql("DROP TABLE scratch; CREATE TABLE scratch (id int, body text); GRANT ALL ON scratch TO app;"
                      "INSERT INTO scratch VALUES (1, 'fresh')")  # fmt: skip
    first = stack.psql("ann", "SELECT body FROM scratch")
    assert "try again" in first.stderr
    assert stack.psql("ann", "SELECT body FROM scratch").stdout == "fresh\n"
