"""What is copied to where nobody masks it: into other columns, tables, views."""

from __future__ import annotations

import pytest

from tests.support.attacks import Attack, Attacker

MOVING = [
    Attack("rows of a rule", "M", ["UPDATE ruled SET id = 1"], "lockgate: .*may depend on a masked"),
    Attack("rows of a rule, computed", "M", ["INSERT INTO ruled VALUES (1)"], "lockgate: .*may depend on a masked"),
    Attack("RETURNING", "AMA", ["BEGIN", "UPDATE customers SET note = 'n' WHERE id = 1 RETURNING email", "ROLLBACK"],
        r"^u\*\*\*@"),
    Attack("RETURNING all", "AMA", ["BEGIN", "UPDATE customers SET note = 'n' WHERE id = 1 RETURNING customers.*",
        "ROLLBACK"], r"^1\|name1\|u\*\*\*@"),
    Attack("a copy into a plain column", "D", ["UPDATE customers SET note = email"],
        "lockgate: copying public.customers.email"),
    Attack("a copy through a view", "D", ["UPDATE notes SET n = e"], "lockgate: copying public.customers.email"),
    Attack("a copy into another table", "D", ["INSERT INTO scratch SELECT id, email FROM customers"],
        "lockgate: copying"),
    Attack("a copy into less of a secret", "D", ["UPDATE customers SET email = ssn"],
        "lockgate: copying public.customers.ssn"),
    Attack("a copy by ON CONFLICT", "D",
        ["INSERT INTO customers (id, name, email) SELECT id, name, email FROM customers ON CONFLICT (id) "
        "DO UPDATE SET note = excluded.email"], "lockgate: copying"),
    Attack("a copy by MERGE", "D",
        ["MERGE INTO scratch s USING customers c ON false WHEN NOT MATCHED THEN INSERT VALUES (c.id, " "c.email)"],
        "lockgate: copying"),
    Attack("a copy in WITH", "D",
        ["WITH i AS (INSERT INTO scratch SELECT id, ssn FROM customers RETURNING body) SELECT * FROM i"],
        "lockgate: copying"),
    Attack("a copy of statistics", "D", ["INSERT INTO scratch SELECT 1, histogram_bounds::text FROM pg_stats"],
        "lockgate: copying"),
    Attack("a new table", "D", ["CREATE TEMP TABLE t AS SELECT email FROM customers"],
        "schema changes go through migrations"),
    Attack("SELECT INTO", "D", ["SELECT email INTO t FROM customers"], "schema changes go through migrations"),
    Attack("a new view", "D", ["CREATE TEMP VIEW v AS SELECT email AS e FROM customers"],
        "schema changes go through migrations"),
]  # fmt: skip


@pytest.mark.parametrize("attack", MOVING, ids=str)
def test_no_value_of_a_masked_column_moves_elsewhere(ann: Attacker, attack: Attack) -> None:
    ann.run(attack)
