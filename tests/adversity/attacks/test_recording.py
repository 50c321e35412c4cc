"""What is kept of statements: every one, and no secret in it."""

from __future__ import annotations

import json
import urllib.request

from tests.support.markers import marker
from tests.support.playbook import SYNC, bind, execute, parse, query
from tests.support.raw import Raw
from tests.support.stack import Stack

SECRET_TEXTS = [
    "ALTER ROLE app PASSWORD 'hunter2'",
    "ALTER ROLE app hunter2 hunter2",
    "CREATE USER MAPPING FOR app SERVER s OPTIONS (password 'hunter2')",
    "CREATE SUBSCRIPTION s CONNECTION 'password=hunter2' PUBLICATION p",
    "SELECT dblink('password=hunter2')",
    "SELECT set_config('my.password', 'hunter2', false)",
    "SET my.password = 'hunter2'",
    "SET my.where = 'postgres://me:hunter2@somewhere/'",
    "COPY customers FROM PROGRAM 'curl -u me:hunter2 somewhere'",
    "DO $$ BEGIN PERFORM 1 FROM customers WHERE email = 'hunter2'; END $$",
    "SELECT * FROM customers WHERE email = 'hunter2",
    "SELECT 1 /* hunter2 */ FROM customers WHERE email = 'x'",
    "SELECT 1 FROM customers WHERE email IN ('hunter2')",
    "SELECT 1 FROM customers WHERE substr(email, 1, 7) = 'hunter2'",
    "SELECT 1 FROM customers WHERE folded = 'hunter2'",
    "SELECT 1 FROM customers WHERE (email, id) = ('hunter2', 1)",
    "SELECT 1 FROM customers c WHERE c.* = ROW(1, 'a', 'hunter2', 'x', NULL, NULL, NULL)",
    "SELECT 1 FROM contacts WHERE address LIKE 'hunter2'",
    "SELECT 1 FROM (SELECT email AS e FROM customers) q WHERE e = 'hunter2'",
    "SELECT nullif(email, 'hunter2') FROM customers",
    "SELECT count(*) FILTER (WHERE email = 'hunter2') FROM customers",
    "SELECT 1 FROM customers ORDER BY email = 'hunter2'",
    "SELECT 1 FROM customers GROUP BY email HAVING email = 'hunter2'",
    "SELECT 1 FROM customers NATURAL JOIN (SELECT 'hunter2'::text AS email) x",
    "SELECT 1 FROM customers, LATERAL (SELECT 'hunter2' AS q) l WHERE l.q = email",
    "WITH x(e) AS (VALUES ('hunter2')) SELECT 1 FROM x JOIN customers ON email = e",
    "SELECT 1 FROM (VALUES ('hunter2')) v(x) WHERE EXISTS (SELECT 1 FROM customers WHERE email = x)",
    "EXPLAIN SELECT 1 FROM customers WHERE email = 'hunter2'",
    "UPDATE customers SET email = 'hunter2' WHERE id = -1",
    "DELETE FROM customers WHERE ssn = 'hunter2'",
    "MERGE INTO customers c USING (VALUES ('hunter2')) v(e) ON c.email = v.e WHEN MATCHED THEN DO NOTHING",
    "PREPARE p(text) AS SELECT 1 FROM customers WHERE ssn = $1; EXECUTE p('hunter2')",
]


def test_no_secret_is_recorded_logged_counted_or_shown(stack: Stack) -> None:
    """All of a connection's statements at once: what is recorded, held, logged and counted has none of it."""
    with Raw(stack, "ann") as raw:
        raw.start()
        for text in SECRET_TEXTS:
            raw.send(query(text))
            raw.until()
    kept = json.dumps(stack.records(), default=str)
    assert "curl" not in kept
    with urllib.request.urlopen(f"http://127.0.0.1:{stack.metrics_port}/metrics", timeout=10) as answer:
        counted = answer.read().decode()
    holds = stack.lockgate(
        "approvals", "list", "--all", "--json", "--config", str(stack.agent_yaml), person="bob"
    ).stdout
    for place in (kept, counted, holds, stack.log("agent"), stack.log("collector")):
        assert marker(place.encode()) is None


def test_every_statement_that_reached_the_server_is_recorded(stack: Stack) -> None:
    marks = [f"SELECT {n}" for n in range(7001, 7006)]
    with Raw(stack, "ann") as raw:
        raw.start()
        raw.send(query("; ".join(marks[:2])), parse("", marks[2]), bind("", ""), execute(""), SYNC,
                 query(f"PREPARE z AS {marks[3]}"), query("EXECUTE z"),
                 query(f"COPY ({marks[4]}) TO STDOUT"))  # fmt: skip
        raw.until(times=5)
    told = [record.get("statement", "") for record in stack.records(type="statement", phase="begin")]
    for mark in marks:
        assert any(mark in text for text in told)
    assert "EXECUTE z" in told
