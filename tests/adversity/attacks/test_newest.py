"""What the newest PostgreSQL adds to the ways out: OLD and NEW, MERGE that returns, SQL/JSON, new functions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.adversity.attacks.world import attacked
from tests.support.attacks import Attack, Attacker
from tests.support.postgres18 import Postgres18

WITHHELD = "withheld because it may quote masked columns"
MORE = """
ALTER TABLE customers ADD COLUMN shown text GENERATED ALWAYS AS (upper(email)) VIRTUAL;
CREATE STATISTICS told ON (lower(email)) FROM customers;
ANALYZE customers;
"""


@pytest.fixture(scope="module")
def eve() -> Iterator[Attacker]:
    """ann before the newest server."""
    with attacked(Postgres18(), MORE) as attacker:
        yield attacker


def changed(text: str) -> list[str]:
    """A text that changes something, undone."""
    return ["BEGIN", text, "ROLLBACK"]


NEWEST = [
    Attack("OLD and NEW", "AMA", changed("UPDATE customers SET note = 'x' WHERE id = 1 RETURNING old.email, new.ssn"),
        r"^u\*\*\*@e\*\*\*\.org\|\*\*\*$"),
    Attack("OLD and NEW by other names", "AMA",
        changed("UPDATE customers SET note = 'x' WHERE id = 1 RETURNING WITH (OLD AS o, NEW AS n) o.email, n.ssn"),
        r"^u\*\*\*@e\*\*\*\.org\|\*\*\*$"),
    Attack("OLD as a row", "AMA", changed("UPDATE customers SET note = 'x' WHERE id = 1 RETURNING old, to_json(new)"),
        r'^\|"\*\*\*"$'),
    Attack("OLD of a conflict", "AMA",
        changed("INSERT INTO customers (id, name) VALUES (1, 'a') ON CONFLICT (id) DO UPDATE SET name = 'a' "
        "RETURNING old.email"), r"^u\*\*\*@e\*\*\*\.org$"),
    Attack("OLD called as a function", "AMA",
        changed("UPDATE customers SET note = 'x' WHERE id = 1 RETURNING lower(old.email) || new.ssn"), r"^\*\*\*$"),
    Attack("MERGE that returns", "AMA",
        changed("MERGE INTO customers c USING orders o ON c.id = o.id AND o.id = 3 WHEN MATCHED THEN "
        "UPDATE SET note = 'm' RETURNING merge_action(), c.email, old.ssn"), r"^UPDATE\|u\*\*\*@e\*\*\*\.org\|\*\*\*$"),
    Attack("MERGE in WITH", "AMA",
        changed("WITH m AS (MERGE INTO customers c USING orders o ON c.id = o.id AND o.id = 3 WHEN MATCHED THEN "
        "UPDATE SET note = 'm' RETURNING c.*) SELECT email FROM m"), r"^u\*\*\*@e\*\*\*\.org$"),
    Attack("MERGE that deletes what has no source", "H",
        ["MERGE INTO scratch s USING orders o ON s.id = o.id WHEN NOT MATCHED BY SOURCE THEN DELETE"],
        "nobody of dba approved"),
    Attack("MERGE that copies", "D",
        ["MERGE INTO scratch s USING customers c ON s.id = c.id WHEN NOT MATCHED THEN INSERT VALUES (c.id, c.shown)"],
        "lockgate: copying"),
    Attack("JSON_TABLE", "M",
        ["SELECT j.* FROM customers c, JSON_TABLE(to_jsonb(c), '$' COLUMNS (e text PATH '$.email')) j LIMIT 1"],
        r"^\*\*\*$"),
    Attack("JSON_TABLE, nested", "M",
        ["SELECT j.v FROM customers c, JSON_TABLE(to_jsonb(array[c.email]), '$' COLUMNS (NESTED '$[*]' COLUMNS "
        "(v text PATH '$'))) j LIMIT 1"], r"^\*\*\*$"),
    Attack("JSON_VALUE", "M", ["SELECT JSON_VALUE(to_jsonb(c), '$.email') FROM customers c LIMIT 1"], r"^\*\*\*$"),
    Attack("JSON_QUERY", "M", ["SELECT JSON_QUERY(to_jsonb(c), '$.*' WITH WRAPPER) FROM customers c LIMIT 1"],
        r'^"\*\*\*"$'),
    Attack("JSON_EXISTS", "M",
        ["SELECT JSON_EXISTS(to_jsonb(c), '$.email ? (@ starts with \"user1\")') FROM customers c LIMIT 1"], r"^$"),
    Attack("JSON by constructors", "M",
        ["SELECT JSON_OBJECT('a': email), JSON_ARRAY(email), JSON_SCALAR(email) FROM customers LIMIT 1"],
        r'^"\*\*\*"\|"\*\*\*"\|"\*\*\*"$'),
    Attack("JSON by aggregates", "M", ["SELECT JSON_ARRAYAGG(email), JSON_OBJECTAGG(id: email) FROM customers"],
        r'^"\*\*\*"\|"\*\*\*"$'),
    Attack("JSON in an error", "M", ["SELECT JSON(email) FROM customers LIMIT 1"], WITHHELD),
    Attack("JSON over values passed in", "M",
        ["SELECT JSON_QUERY(jsonb '1', '$x' PASSING email AS x) FROM customers LIMIT 1"], r'^"\*\*\*"$'),
    Attack("a virtual column", "M", ["SELECT shown FROM customers LIMIT 1"], r"^\*\*\*$"),
    Attack("a virtual column in a view's star", "M", ["SELECT * FROM (TABLE customers) c WHERE id = 2"],
        r"^2\|name2\|u\*\*\*@e\*\*\*\.org\|\*\*\*\|\|n\|\*\*\*\|\*\*\*$"),
    Attack("statistics of an expression", "M", ["SELECT histogram_bounds::text FROM pg_stats_ext_exprs"],
        r"^(\*\*\*)?$"),
    Attack("any_value", "M", ["SELECT any_value(email) FROM customers"], r"^\*\*\*$"),
    Attack("new functions of text", "M",
        ["SELECT casefold(email), reverse(email), crc32(email::bytea), array_sort(array[email]) FROM customers "
        "LIMIT 1"], r"^\*\*\*\|\*\*\*\|\|$"),
    Attack("what is no number", "M",
        ["SELECT g.message FROM customers c, LATERAL pg_input_error_info(c.email, 'int') g LIMIT 1"], r"^\*\*\*$"),
    Attack("a plan with all options", "M",
        ["EXPLAIN (ANALYZE, MEMORY, SERIALIZE, WAL, SETTINGS) SELECT email FROM customers"], "Seq Scan"),
    Attack("a copy's errors", "A", ["COPY (SELECT 1) TO STDOUT (FORMAT csv, FORCE_QUOTE *)"], '"1"'),
]  # fmt: skip


@pytest.mark.parametrize("attack", NEWEST, ids=str)
def test_what_is_new_is_no_way_out(eve: Attacker, attack: Attack) -> None:
    eve.run(attack)
