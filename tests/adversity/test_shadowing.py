"""Names that mean something else from one statement to the next: temporary tables, search_path, views replaced, columns
renamed, tables moved, in transactions and after them. Whatever a name means to the server, masked values stay masked.

ann sees e-mail addresses masked; cyd may see them, and what he makes is his choice, but ann's masks hold there too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.support.stack import SCHEMA, Stack

POLICIES = """
permit (principal in Group::"engineers", action == Action::"execute", resource in Datastore::"orders");
permit (principal, action in [Action::"execute_alone", Action::"reveal"], resource);
@mask("partial")
forbid (principal, action == Action::"reveal", resource in Tag::"email") unless { principal in Group::"pii-readers" };
"""
PREPARED = """
CREATE SCHEMA other; GRANT ALL ON SCHEMA other, public TO app;
CREATE TABLE other.customers (id int, email text);
INSERT INTO other.customers VALUES (7, 'free');
CREATE VIEW swapped AS SELECT id, name AS x FROM customers;
ALTER VIEW swapped OWNER TO app;
GRANT ALL ON ALL TABLES IN SCHEMA other, public TO app;
GRANT TEMPORARY ON DATABASE postgres TO app;
ALTER TABLE customers OWNER TO app;
ALTER TABLE orders OWNER TO app;
"""
VALUE = re.compile(r"user\d+@", re.IGNORECASE)
"""What public.customers.email holds; none of it may reach ann."""
SHOWN = "u***@e***.org"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    classification = {"orders": {"public.customers.email": ["email"]}}
    with Stack(policies=POLICIES, schema=SCHEMA + PREPARED, classification=classification) as running:
        yield running


def say(stack: Stack, *statements: str) -> list[str]:
    """The lines that ann's psql prints, in one connection that has to be good afterwards."""
    run = stack.psql("ann", *statements, "ROLLBACK", "SELECT 'still here'")
    said = run.stdout + run.stderr
    assert run.stdout.endswith("still here\n"), said
    assert not VALUE.search(said), said
    return said.splitlines()


EMAIL = "SELECT email FROM customers WHERE id = 7"
UPPER = "SELECT upper(email) FROM customers WHERE id = 7"
TEMPORARY = "CREATE TEMP TABLE customers (id int, email text)"


def test_a_temporary_table_shows_its_own_rows_and_hides_nothing_of_the_other(stack: Stack) -> None:
    said = say(stack, TEMPORARY, "INSERT INTO customers VALUES (7, 'mine')", EMAIL, UPPER,
               EMAIL.replace("customers", "public.customers"), "SELECT upper(email) FROM public.customers")  # fmt: skip
    assert "mine" in said  # the server says which table it is
    assert SHOWN in said
    assert "***" in said
    assert "MINE" not in said  # an expression: the name alone says of no table which it is


def test_a_temporary_table_that_is_gone_leaves_the_name_to_the_other(stack: Stack) -> None:
    said = say(stack, TEMPORARY, EMAIL, "DROP TABLE pg_temp.customers", EMAIL, UPPER, "SELECT customers FROM customers")
    assert SHOWN in said


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_a_temporary_table_of_a_transaction(stack: Stack, end: str) -> None:
    said = say(stack, "BEGIN", f"{TEMPORARY} ON COMMIT DROP", EMAIL, "SELECT email FROM public.customers WHERE id = 7",
               end, EMAIL, UPPER)  # fmt: skip
    assert said.count(SHOWN) == 2


def test_nothing_masked_is_copied_under_a_name_of_ones_own(stack: Stack) -> None:
    for text in ("CREATE TEMP TABLE kept AS SELECT id, email FROM customers",
                 "CREATE TEMP VIEW kept AS SELECT id, email AS e FROM customers",
                 "SELECT id, email INTO TEMP kept FROM customers",
                 "CREATE OR REPLACE VIEW swapped AS SELECT id, email AS x FROM customers"):  # fmt: skip
        assert any("masked for you" in line for line in say(stack, text, "SELECT * FROM kept WHERE id = 7")), text


def test_search_path_changes_what_a_name_means(stack: Stack) -> None:
    said = say(stack, "SET search_path = other", EMAIL, UPPER, "SET search_path = public", EMAIL, UPPER)
    assert said.count("free") == 1
    assert said.count(SHOWN) == 1


def test_what_was_prepared_is_read_again_under_another_search_path(stack: Stack) -> None:
    said = say(stack, "SET search_path = other", f"PREPARE p AS {EMAIL}", f"PREPARE q AS {UPPER}", "EXECUTE p",
               "SET search_path = public", "EXECUTE p", "EXECUTE q")  # fmt: skip
    assert "free" in said
    assert SHOWN in said


def test_a_view_replaced_shows_what_it_shows_now(stack: Stack) -> None:
    try:
        assert "name7" in say(stack, "SELECT x FROM swapped WHERE id = 7", "SELECT upper(x) FROM swapped WHERE id = 7")
        done = stack.psql("cyd", "CREATE OR REPLACE VIEW swapped AS SELECT id, email AS x FROM customers",
                          "SELECT x FROM swapped WHERE id = 7")  # fmt: skip
        assert "user7@example.org" in done.stdout, done.stderr
        said = say(stack, "SELECT x FROM swapped WHERE id = 7", "SELECT upper(x) FROM swapped WHERE id = 7")
        assert "USER7@EXAMPLE.ORG" not in said
        assert "***" in said
    finally:
        stack.server.psql("CREATE OR REPLACE VIEW swapped AS SELECT id, name AS x FROM customers")


@pytest.mark.parametrize(
    ("change", "back", "name", "table"),
    [
        ("ALTER TABLE customers RENAME email TO mail", "ALTER TABLE customers RENAME mail TO email", "mail",
         "customers"),
        ("ALTER TABLE customers RENAME TO people", "ALTER TABLE people RENAME TO customers", "email", "people"),
        ("CREATE SCHEMA moved; ALTER TABLE customers SET SCHEMA moved",
         "ALTER TABLE moved.customers SET SCHEMA public; DROP SCHEMA moved", "email", "moved.customers"),
    ],
)  # fmt: skip
def test_a_column_stays_what_it_is_under_another_name(
    stack: Stack, change: str, back: str, name: str, table: str
) -> None:
    stack.server.psql("GRANT CREATE ON DATABASE postgres TO app")
    looks = [f"SELECT {name} FROM {table} WHERE id = 7", f"SELECT upper({name}) FROM {table} WHERE id = 7",
             f"SELECT x.* FROM {table} x WHERE id = 7", f"SELECT x::text FROM {table} x WHERE id = 7"]  # fmt: skip
    # in a transaction of one's own, which comes to nothing
    assert SHOWN in say(stack, "BEGIN", change, looks[0])
    for look in looks[1:]:
        say(stack, "BEGIN", change, look)
    assert SHOWN in say(stack, EMAIL, UPPER)
    # and for good
    try:
        done = stack.psql("cyd", change)
        assert done.returncode == 0, done.stderr
        assert SHOWN in say(stack, *looks)
    finally:
        done = stack.psql("cyd", back)
    assert done.returncode == 0, done.stderr
    assert SHOWN in say(stack, EMAIL, UPPER)
