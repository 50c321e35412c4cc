"""What plans, statistics, errors and notices may tell of masked columns."""

from __future__ import annotations

import pytest

from tests.support.attacks import Attack, Attacker

WITHHELD = "withheld because it may quote masked columns"

TELLING = [
    Attack("EXPLAIN", "M", ["EXPLAIN (ANALYZE, VERBOSE) SELECT email FROM customers WHERE email > 'a'"], "Seq Scan"),
    Attack("statistics", "M", ["SELECT most_common_vals, histogram_bounds FROM pg_stats WHERE tablename = 'customers'"],
        r"^\|\n"),
    Attack("statistics as text", "M", ["SELECT histogram_bounds::text FROM pg_stats WHERE attname = 'email'"],
        r"^\*\*\*$"),
    Attack("statistics in an error", "M", ["SELECT 1 FROM pg_stats WHERE histogram_bounds::text::int = 1"], WITHHELD),
    Attack("statistics as JSON", "M", ["SELECT to_json(s) FROM pg_stats s WHERE attname = 'ssn'"], r'^"\*\*\*"$'),
    Attack("what others run", "M", ["SELECT query FROM pg_stat_activity WHERE pid = pg_backend_pid()"], r"^\*\*\*$"),
    Attack("what others run, by function", "M", ["SELECT query FROM pg_stat_get_activity(NULL)"],
        "lockgate: .*may depend on a masked"),
    Attack("a regclass", "M", ["SELECT email::regclass FROM customers"], WITHHELD),
    Attack("an error", "M", ["SELECT email::int FROM customers"], WITHHELD),
    Attack("an error in WHERE", "M", ["SELECT 1 FROM customers WHERE ssn::int = 1"], WITHHELD),
    Attack("an error while planning", "M",
        ["SELECT 1 FROM customers WHERE id = (SELECT email::int FROM customers LIMIT 1)"], WITHHELD),
    Attack("an error of a cursor", "AMMA", ["BEGIN", "DECLARE c CURSOR FOR SELECT email::int FROM customers", "FETCH c",
        "ROLLBACK"], WITHHELD),
    Attack("notices", "AM", ["SET client_min_messages = debug5", "SELECT email::int FROM customers"], WITHHELD),
    Attack("a failing row", "M", ["UPDATE customers SET name = '' WHERE id = 1"],
        r'violates check constraint "named"\n'),
    Attack("a failing row, null", "M", ["UPDATE customers SET name = NULL WHERE id = 1"],
        r"violates not-null constraint\n"),
    Attack("a failing row in WITH", "M", ["WITH u AS (UPDATE customers SET name = '' RETURNING 1) SELECT * FROM u"],
        "violates check"),
    Attack("a failing row by MERGE", "M",
        ["MERGE INTO customers c USING orders o ON c.id = o.id WHEN MATCHED THEN UPDATE SET name = ''"],
        "violates check"),
    Attack("a failing row by ON CONFLICT", "M",
        ["INSERT INTO customers (id, name) VALUES (1, 'a') ON CONFLICT (id) DO UPDATE SET name = ''"],
        "violates check"),
    Attack("a failing row behind a view", "M", ["UPDATE contacts SET id = 2 WHERE id = 1"], "duplicate key value"),
    Attack("a key that is there", "M", ["INSERT INTO unique_emails SELECT email FROM unique_emails"],
        "duplicate key value"),
    Attack("a key that is there, changed", "M",
        ["UPDATE unique_emails SET email = (SELECT min(email) FROM unique_emails)"], "duplicate key value"),
    Attack("a key that is missing", "M", ["INSERT INTO known_emails VALUES ('nobody')"],
        "violates foreign key constraint"),
    Attack("a key that is needed", "M", ["UPDATE unique_emails SET email = left(email, 2)"],
        "violates check constraint"),
    Attack("a notice of a trigger", "M", ["INSERT INTO telling VALUES (1)"], WITHHELD),
    Attack("an error of a trigger", "M", ["INSERT INTO refusing VALUES (1)"], WITHHELD),
    Attack("an error of a trigger behind a view", "M", ["INSERT INTO refusing_too VALUES (1)"], WITHHELD),
    Attack("an error of a trigger by COPY", "MA", [r"\copy refusing FROM PROGRAM 'echo 1'"], WITHHELD),
    Attack("an error of a trigger by PREPARE", "MM", ["PREPARE p AS INSERT INTO refusing VALUES (1)", "EXECUTE p"],
        WITHHELD),
    Attack("an error of a trigger in a plan", "M", ["EXPLAIN ANALYZE INSERT INTO refusing VALUES (1)"], WITHHELD),
    Attack("a format of a value", "M", ["SELECT format(email || '%z') FROM customers"], WITHHELD),
    Attack("a pattern of a value", "M", ["SELECT regexp_replace('a', email || '(', '') FROM customers"], WITHHELD),
    Attack("an encoding called as a value", "M", ["SELECT convert_from('a'::bytea, email) FROM customers"], WITHHELD),
    Attack("XML of a value", "M", ["SELECT xmlparse(content email || '<') FROM customers"], WITHHELD),
    Attack("a date of a value", "M", ["SELECT to_timestamp(email, 'YYYY') FROM customers"], WITHHELD),
    Attack("a division by what is masked", "M", ["SELECT 1 / (length(email) - length(email)) FROM customers"],
        WITHHELD),
]  # fmt: skip


@pytest.mark.parametrize("attack", TELLING, ids=str)
def test_no_value_of_a_masked_column_comes_out_in_words(ann: Attacker, attack: Attack) -> None:
    ann.run(attack)
