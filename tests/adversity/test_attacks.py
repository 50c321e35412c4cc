"""What an engineer might try with all of PostgreSQL's SQL and protocol, and what comes of it.

ann sees e-mail addresses masked and other personal data not at all, may not change the schema, and needs a second
person to delete. Each attack is a row: what it is, how it is done, what comes of it.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
import yaml

from lockgate.approval.ask import socket_path
from lockgate.wire.postgresql.frames import frame
from tests.support.playbook import (
    COPY_DONE,
    SYNC,
    bind,
    close,
    copy_fail,
    describe,
    execute,
    parse,
    query,
)
from tests.support.raw import Raw
from tests.support.stack import POLICIES, Stack, environment

VALUE = re.compile(r"user\d+@example\.org|900-00-\d{4}|19(80-0|80-1|81-)\d")
"""What columns classified in the stack hold; none of it may reach ann."""

PREPARED = """
CREATE VIEW nested AS SELECT id, address AS a FROM contacts;
CREATE VIEW notes AS SELECT id, note AS n, email AS e FROM customers;
CREATE MATERIALIZED VIEW kept AS SELECT id, email AS e FROM customers;
CREATE FUNCTION wipe() RETURNS int LANGUAGE sql AS 'DELETE FROM scratch; SELECT 1';
CREATE FUNCTION abs(text) RETURNS int LANGUAGE sql AS 'DELETE FROM scratch; SELECT 1';
CREATE FUNCTION upper(customers) RETURNS text LANGUAGE sql AS 'SELECT $1.email';
CREATE FUNCTION leak(int, int) RETURNS text LANGUAGE sql AS 'SELECT email FROM customers WHERE id = $1';
CREATE OPERATOR @@ (LEFTARG = int, RIGHTARG = int, FUNCTION = leak);
CREATE TABLE parted (id int, email text) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (1000);
INSERT INTO parted SELECT id, email FROM customers;
ALTER TABLE customers ALTER name SET NOT NULL;
ALTER TABLE customers ADD CONSTRAINT named CHECK (name <> '');
ALTER TABLE customers ADD COLUMN folded text GENERATED ALWAYS AS (lower(email)) STORED;
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE NOTICE 'it is %', (SELECT email FROM customers WHERE id = 1); RETURN NEW; END $$;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'it is %', (SELECT email FROM customers WHERE id = 1); END $$;
CREATE TABLE telling (id int);
CREATE TRIGGER t AFTER INSERT ON telling FOR EACH ROW EXECUTE FUNCTION tell();
CREATE TABLE refusing (id int PRIMARY KEY);
CREATE TRIGGER t BEFORE INSERT OR DELETE ON refusing FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE VIEW refusing_too AS SELECT id FROM refusing;
CREATE TABLE ruled (id int);
CREATE RULE r AS ON INSERT TO ruled DO INSTEAD SELECT email, upper(ssn) FROM customers WHERE id = new.id;
CREATE RULE u AS ON UPDATE TO ruled DO INSTEAD SELECT email FROM customers WHERE id = new.id;
INSERT INTO ruled VALUES (1);
CREATE TABLE unique_emails (email text UNIQUE, CHECK (length(email) > 3), EXCLUDE USING btree (email WITH =));
CREATE TABLE known_emails (email text REFERENCES unique_emails (email));
INSERT INTO unique_emails SELECT email FROM customers;
INSERT INTO scratch VALUES (1, 'one'), (2, 'two');
GRANT ALL ON ALL TABLES IN SCHEMA public TO app;
ANALYZE;
"""

SLOW = """
@id("two-for-truncating")
@approvers("dba")
@timeout("60s")
forbid (principal, action == Action::"execute_alone", resource) when { context.kinds.contains("TRUNCATE TABLE") };
"""

WITHHELD = "withheld because it may quote masked columns"
HELD = "nobody of dba approved within 1 s"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    classification = {
        "orders": {
            "public.customers.email": ["email"],
            "public.customers.ssn": ["pii"],
            "public.customers.born": ["pii"],
            "public.parted.email": ["email"],
            "public.unique_emails.email": ["email"],
            "public.known_emails.email": ["email"],
        }
    }
    with Stack(policies=POLICIES.replace('"30s"', '"1s"') + SLOW, classification=classification) as running:
        running.server.psql(PREPARED)
        yield running


def attempt(stack: Stack, *statements: str) -> str:
    """What ann's psql prints for the statements, in one connection that has to be good afterwards."""
    run = stack.psql("ann", *statements, "SELECT 'still here'")
    said = run.stdout + run.stderr
    assert run.stdout.endswith("still here\n"), said
    assert not VALUE.search(said), said
    return said


SEEING = [
    ("a column", ["SELECT email FROM customers WHERE id = 1"], r"^u\*\*\*@e\*\*\*\.org"),
    ("a quoted one", ['SELECT "email" FROM "public"."customers" WHERE id = 1'], r"^u\*\*\*@"),
    ("one in Unicode escapes", ["SELECT U&\"em\\0061il\" FROM customers WHERE id = 1"], r"^u\*\*\*@"),
    ("one with comments in it", ["SELECT/**/email--\n FROM/*/**/*/customers WHERE id = 1"], r"^u\*\*\*@"),
    ("TABLE", ["TABLE customers LIMIT 1"], r"^1\|name1\|u\*\*\*@e\*\*\*\.org\|\*\*\*\|\|n\|\*\*\*$"),
    ("renamed in FROM", ["SELECT x.d FROM customers x(a, b, d) LIMIT 1"], r"^u\*\*\*@"),
    ("an expression", ["SELECT 'x' || email || 'y' FROM customers LIMIT 1"], r"^\*\*\*$"),
    ("characters one by one", ["SELECT ascii(substr(email, 5, 1)) FROM customers LIMIT 2"], r"^\n\n"),
    ("a comparison", ["SELECT email LIKE 'u%' FROM customers LIMIT 1"], r"^\n"),
    ("CASE", ["SELECT CASE WHEN email > 'a' THEN 'yes' ELSE 'no' END FROM customers LIMIT 1"], r"^\*\*\*$"),
    ("an aggregate", ["SELECT string_agg(email, ',') FROM customers"], r"^\*\*\*$"),
    ("a window", ["SELECT first_value(email) OVER () FROM customers LIMIT 1"], r"^\*\*\*$"),
    ("a scalar sub-query", ["SELECT (SELECT email FROM customers LIMIT 1)"], r"^\*\*\*$"),
    ("EXISTS", ["SELECT EXISTS (SELECT 1 FROM customers WHERE email > 'a')"], r"^\n"),
    ("an array", ["SELECT array_agg(email) FROM customers"], r"^\n"),
    ("a row", ["SELECT customers FROM customers LIMIT 1"], r"^\n"),
    ("a row as text", ["SELECT customers::text FROM customers LIMIT 1"], r"^\*\*\*$"),
    ("a field of a row", ["SELECT (c).email FROM (SELECT c FROM customers c LIMIT 1) x"], r"^\*\*\*$"),
    ("a row spread out", ["SELECT (c).* FROM (SELECT c FROM customers c LIMIT 1) x"], r"lockgate: .*may depend on"),
    ("a record", ["SELECT ROW(email, 1) FROM customers LIMIT 1"], r"^\n"),
    ("JSON of a row", ["SELECT row_to_json(c) FROM customers c LIMIT 1"], r'^"\*\*\*"$'),
    ("JSON, taken apart", ["SELECT to_jsonb(c) ->> 'email' FROM customers c LIMIT 1"], r"^\*\*\*$"),
    ("JSON, key by key", ["SELECT e.value FROM customers c, jsonb_each_text(to_jsonb(c)) e LIMIT 3"], r"^\*\*\*\n"),
    ("json_populate_record",
     ["SELECT (json_populate_record(NULL::customers, row_to_json(c))).email FROM customers c LIMIT 1"],
     r"^\*\*\*$"),
    ("XML", ["SELECT xmlforest(email) FROM customers LIMIT 1"], r"\*\*\*"),
    ("XMLTABLE",
     ["SELECT x.* FROM customers, xmltable('/a' PASSING xmlelement(name a, email) COLUMNS v text PATH '.') x LIMIT 1"],
     r"^\*\*\*$"),
    ("a set of rows in FROM", ["SELECT u FROM unnest(ARRAY(SELECT email FROM customers)) u LIMIT 1"], r"^\*\*\*$"),
    ("ROWS FROM", ["SELECT x.a FROM ROWS FROM (unnest(ARRAY(SELECT email FROM customers))) x(a) LIMIT 1"], r"^\*\*\*$"),
    ("a set in SELECT", ["SELECT regexp_split_to_table(email, '@') FROM customers LIMIT 1"], r"^\*\*\*$"),
    ("WITH", ["WITH x(a) AS (SELECT email FROM customers) SELECT a FROM x LIMIT 1"], r"^u\*\*\*@"),
    ("WITH of the same name", ["WITH customers AS (SELECT * FROM customers) SELECT email FROM customers LIMIT 1"],
     r"^u\*\*\*@"),
    ("WITH past its name", ["WITH customers AS (SELECT '' AS email) SELECT c.email FROM public.customers c LIMIT 1"],
     r"^u\*\*\*@"),
    ("recursion", ["WITH RECURSIVE r(a, b) AS (SELECT 'x', email FROM customers UNION SELECT b, a FROM r) "
                   "SELECT a FROM r ORDER BY 1 LIMIT 1"], r"^\*\*\*$"),
    ("UNION", ["SELECT note FROM customers UNION SELECT email FROM customers LIMIT 1"], r"^\*\*\*$"),
    ("UNION under another name", ["SELECT id::text AS x FROM orders UNION ALL SELECT email FROM customers LIMIT 1"],
     r"^\*\*\*$"),
    ("LATERAL", ["SELECT l.x FROM customers c, LATERAL (SELECT c.email) l(x) LIMIT 1"], r"^u?\*\*\*"),
    ("VALUES", ["VALUES ((SELECT email FROM customers LIMIT 1))"], r"^\*\*\*$"),
    ("a view", ["SELECT address FROM contacts LIMIT 1"], r"^u\*\*\*@"),
    ("a view of a view", ["SELECT a FROM nested LIMIT 1"], r"^u\*\*\*@"),
    ("a materialised view", ["SELECT e FROM kept LIMIT 1"], r"^u\*\*\*@"),
    ("a generated column", ["SELECT folded FROM customers LIMIT 1"], r"^\*\*\*$"),
    ("a partition", ["SELECT email FROM parted_1 LIMIT 1"], r"^u\*\*\*@"),
    ("a join's column", ["SELECT email FROM customers JOIN parted USING (email) LIMIT 1"], r"^u\*\*\*@"),
    ("a natural join", ["SELECT email FROM customers NATURAL JOIN parted LIMIT 1"], r"^u\*\*\*@"),
    ("another search path", ["SET search_path = pg_catalog, public", "SELECT email FROM customers LIMIT 1"],
     r"^u\*\*\*@"),
    ("a cursor", ["DECLARE c CURSOR WITH HOLD FOR SELECT email FROM customers", "FETCH c"], r"^u\*\*\*@"),
    ("a cursor backwards", ["BEGIN; DECLARE c SCROLL CURSOR FOR SELECT email FROM customers; MOVE 2 IN c; COMMIT",
                            "BEGIN", "DECLARE c SCROLL CURSOR FOR SELECT ssn FROM customers", "MOVE 5 IN c",
                            "FETCH PRIOR c", "COMMIT"], r"^\*\*\*$"),
    ("a cursor read by another name", ['DECLARE "C" CURSOR WITH HOLD FOR SELECT ssn FROM customers',
                                       "DECLARE c CURSOR WITH HOLD FOR SELECT note FROM customers", 'FETCH "C"'],
     r"^\*\*\*$"),
    ("PREPARE", ["PREPARE p AS SELECT email FROM customers", "EXECUTE p"], r"^u\*\*\*@"),
    ("PREPARE again",
     ["PREPARE p AS SELECT note FROM customers", "DEALLOCATE p", "PREPARE p AS SELECT ssn FROM customers",
                       "EXECUTE p"], r"^\*\*\*$"),
    ("PREPARE that fails",
     ["PREPARE p AS SELECT ssn FROM customers", "PREPARE p AS SELECT note FROM customers", "EXECUTE p"],
     r"^\*\*\*$"),
    ("PREPARE and EXECUTE in one", ["PREPARE p AS SELECT ssn FROM customers; EXECUTE p"],
     r"^\*\*\*$|no policy permits"),
    ("several statements", ["SELECT 1; SELECT ssn FROM customers; SELECT 2"], r"^\*\*\*$"),
    ("EXPLAIN", ["EXPLAIN (ANALYZE, VERBOSE) SELECT email FROM customers WHERE email > 'a'"], r"Seq Scan"),
    ("statistics", ["SELECT most_common_vals, histogram_bounds FROM pg_stats WHERE tablename = 'customers'"], r"^\|\n"),
    ("statistics as text", ["SELECT histogram_bounds::text FROM pg_stats WHERE attname = 'email'"], r"^\*\*\*$"),
    ("statistics in an error", ["SELECT 1 FROM pg_stats WHERE histogram_bounds::text::int = 1"], WITHHELD),
    ("statistics as JSON", ["SELECT to_json(s) FROM pg_stats s WHERE attname = 'ssn'"], r'^"\*\*\*"$'),
    ("what others run", ["SELECT query FROM pg_stat_activity WHERE pid = pg_backend_pid()"], r"^\*\*\*$"),
    ("what others run, by function", ["SELECT query FROM pg_stat_get_activity(NULL)"],
     r"lockgate: .*may depend on a masked"),
    ("a regclass", ["SELECT email::regclass FROM customers"], WITHHELD),
    ("an error", ["SELECT email::int FROM customers"], WITHHELD),
    ("an error in WHERE", ["SELECT 1 FROM customers WHERE ssn::int = 1"], WITHHELD),
    ("an error while planning", ["SELECT 1 FROM customers WHERE id = (SELECT email::int FROM customers LIMIT 1)"],
     WITHHELD),
    ("an error of a cursor", ["BEGIN", "DECLARE c CURSOR FOR SELECT email::int FROM customers", "FETCH c", "ROLLBACK"],
     WITHHELD),
    ("notices", ["SET client_min_messages = debug5", "SELECT email::int FROM customers"], WITHHELD),
    ("a failing row", ["UPDATE customers SET name = '' WHERE id = 1"], r'violates check constraint "named"\n'),
    ("a failing row, null", ["UPDATE customers SET name = NULL WHERE id = 1"], r"violates not-null constraint\n"),
    ("a failing row in WITH", ["WITH u AS (UPDATE customers SET name = '' RETURNING 1) SELECT * FROM u"],
     r"violates check"),
    ("a failing row by MERGE",
     ["MERGE INTO customers c USING orders o ON c.id = o.id WHEN MATCHED THEN UPDATE SET name = ''"],
     r"violates check"),
    ("a failing row by ON CONFLICT",
     ["INSERT INTO customers (id, name) VALUES (1, 'a') ON CONFLICT (id) DO UPDATE SET name = ''"],
     r"violates check"),
    ("a failing row behind a view", ["UPDATE contacts SET id = 2 WHERE id = 1"], r"duplicate key value"),
    ("a key that is there", ["INSERT INTO unique_emails SELECT email FROM unique_emails"], "duplicate key value"),
    ("a key that is there, changed", ["UPDATE unique_emails SET email = (SELECT min(email) FROM unique_emails)"],
     "duplicate key value"),
    ("a key that is missing", ["INSERT INTO known_emails VALUES ('nobody')"], "violates foreign key constraint"),
    ("a key that is needed", ["UPDATE unique_emails SET email = left(email, 2)"], "violates check constraint"),
    ("a notice of a trigger", ["INSERT INTO telling VALUES (1)"], WITHHELD),
    ("an error of a trigger", ["INSERT INTO refusing VALUES (1)"], WITHHELD),
    ("an error of a trigger behind a view", ["INSERT INTO refusing_too VALUES (1)"], WITHHELD),
    ("an error of a trigger by COPY", [r"\copy refusing FROM PROGRAM 'echo 1'"], WITHHELD),
    ("an error of a trigger by PREPARE", ["PREPARE p AS INSERT INTO refusing VALUES (1)", "EXECUTE p"], WITHHELD),
    ("an error of a trigger in a plan", ["EXPLAIN ANALYZE INSERT INTO refusing VALUES (1)"], WITHHELD),
    ("rows of a rule", ["UPDATE ruled SET id = 1"], "lockgate: .*may depend on a masked"),
    ("rows of a rule, computed", ["INSERT INTO ruled VALUES (1)"], "lockgate: .*may depend on a masked"),
    ("RETURNING", ["UPDATE customers SET note = 'n' WHERE id = 1 RETURNING email"], r"^u\*\*\*@"),
    ("RETURNING all", ["UPDATE customers SET note = 'n' WHERE id = 1 RETURNING customers.*"], r"^1\|name1\|u\*\*\*@"),
    ("a copy into a plain column", ["UPDATE customers SET note = email"], "lockgate: copying public.customers.email"),
    ("a copy through a view", ["UPDATE notes SET n = e"], "lockgate: copying public.customers.email"),
    ("a copy into another table", ["INSERT INTO scratch SELECT id, email FROM customers"], "lockgate: copying"),
    ("a copy into less of a secret", ["UPDATE customers SET email = ssn"], "lockgate: copying public.customers.ssn"),
    ("a copy by ON CONFLICT", ["INSERT INTO customers (id, name, email) SELECT id, name, email FROM customers "
                               "ON CONFLICT (id) DO UPDATE SET note = excluded.email"], "lockgate: copying"),
    ("a copy by MERGE",
     ["MERGE INTO scratch s USING customers c ON false WHEN NOT MATCHED THEN INSERT VALUES (c.id, c.email)"],
     "lockgate: copying"),
    ("a copy in WITH", ["WITH i AS (INSERT INTO scratch SELECT id, ssn FROM customers RETURNING body) SELECT * FROM i"],
     "lockgate: copying"),
    ("a copy of statistics", ["INSERT INTO scratch SELECT 1, histogram_bounds::text FROM pg_stats"],
     "lockgate: copying"),
    ("a new table", ["CREATE TEMP TABLE t AS SELECT email FROM customers"], "schema changes go through migrations"),
    ("SELECT INTO", ["SELECT email INTO t FROM customers"], "schema changes go through migrations"),
    ("a new view", ["CREATE TEMP VIEW v AS SELECT email AS e FROM customers"], "schema changes go through migrations"),
    ("COPY of the table", ["COPY customers TO STDOUT"], r"^1\tname1\tu\*\*\*@e\*\*\*\.org\t\*\*\*\t\\N\tn$"),
    ("COPY of a query", ["COPY (SELECT ssn FROM customers) TO STDOUT"], r"^\*\*\*$"),
    ("COPY of a view", ["COPY (SELECT * FROM nested) TO STDOUT WITH CSV"], r"^1,u\*\*\*@e\*\*\*\.org$"),
    ("COPY of an expression", ["COPY (SELECT id, lower(email) FROM customers) TO STDOUT CSV"], r"^1,\*\*\*$"),
    ("COPY of a row", ["COPY (SELECT c FROM customers c) TO STDOUT"], r"^\*\*\*$"),
    ("COPY of JSON", ["COPY (SELECT row_to_json(c) FROM customers c) TO STDOUT"], r"^\*\*\*$"),
    ("COPY of RETURNING", ["BEGIN", "COPY (UPDATE customers SET note = 'n' RETURNING ssn) TO STDOUT", "ROLLBACK"],
     r"^\*\*\*$"),
    ("COPY of a partition", ["COPY parted_1 TO STDOUT"], r"^1\tu\*\*\*@e\*\*\*\.org$"),
    ("COPY of a partitioned table", ["COPY parted TO STDOUT"], WITHHELD),
    ("COPY of chosen columns", ["COPY customers (note, email, id) TO STDOUT"], r"^n\tu\*\*\*@e\*\*\*\.org\t1$"),
    ("COPY with a header", ["COPY customers (id, email) TO STDOUT CSV HEADER"], r"^id,email\n1,u\*\*\*@"),
    ("COPY in the oldest words", ["COPY customers (email) TO STDOUT WITH DELIMITER '|' NULL AS ''"], r"^u\*\*\*@"),
    ("COPY with quotes", ["COPY customers (id, email) TO STDOUT CSV QUOTE 'u' FORCE QUOTE email"], r"^1,uuu\*\*\*@"),
    ("COPY with a guess as NULL", ["COPY customers (email) TO STDOUT (NULL 'user2@example.org')"],
     r"^u\*\*\*@e\*\*\*\.org\nu\*\*\*@e\*\*\*\.org$"),
    ("COPY with a guess as NULL of CSV", ["COPY customers (email) TO STDOUT (FORMAT csv, NULL 'user2@example.org')"],
     r"^u\*\*\*@e\*\*\*\.org\nu\*\*\*@e\*\*\*\.org$"),
    ("COPY in another encoding", ["COPY customers TO STDOUT (ENCODING 'SJIS')"], "its encoding is sjis"),
    ("COPY in another encoding, set before", ["SET client_encoding = 'SJIS'", "COPY customers TO STDOUT",
                                              "RESET client_encoding"], "in client_encoding UTF8 only"),
    ("COPY in another encoding, set in one text", ["SET client_encoding = 'SJIS'; COPY customers TO STDOUT",
                                                   "RESET client_encoding"], "in client_encoding UTF8 only"),
    ("COPY in another encoding, set on the way",
     ["COPY (SELECT set_config('client_encoding', 'SJIS', false), email FROM customers) TO STDOUT",
      "RESET client_encoding"], r"SJIS\tu\*\*\*@|lockgate: "),
    ("COPY of statistics", ["COPY pg_statistic TO STDOUT"], r"permission denied"),
    ("COPY of a view's statistics", ["COPY (SELECT most_common_vals, histogram_bounds FROM pg_stats) TO STDOUT"],
     r"^(\*\*\*|\\N)\t(\*\*\*|\\N)$"),
    ("COPY of what can't be told", ["COPY (SELECT (c).* FROM (SELECT c FROM customers c) x) TO STDOUT"],
     "it can't be told whether COPY would send"),
    ("COPY behind another", ["COPY orders TO STDOUT; COPY customers (ssn) TO STDOUT"], r"^\*\*\*$"),
    ("\\copy", [r"\copy customers (ssn, id) TO STDOUT"], r"^\*\*\*\t1$"),
    ("\\copy of a query", [r"\copy (SELECT ssn FROM customers) TO PSTDOUT CSV HEADER"], r"^ssn\n\*\*\*$"),
    ("COPY to a file", ["COPY customers TO '/tmp/lockgate-attack'"], "lockgate: "),
    ("COPY to a program", ["COPY customers TO PROGRAM 'cat'"], "lockgate: "),
    ("a notification", ["LISTEN c", "SELECT pg_notify('c', email) FROM customers"], "lockgate: copying"),
    ("a setting as carrier", ["SELECT set_config('a.b', email, false) FROM customers"], "lockgate: copying"),
    ("a large object", ["SELECT lo_from_bytea(0, email::bytea) FROM customers"], "lockgate: copying"),
    ("an advisory lock", ["SELECT pg_advisory_lock(ascii(email)) FROM customers"], "lockgate: copying"),
    ("a large object read", ["SELECT lo_get(1)"], r"lockgate: .*may depend on a masked|does not exist"),
    ("a large object's pages", ["SELECT * FROM pg_largeobject"], "permission denied|^still here"),
    ("a large object to a file", ["SELECT lo_export(1, '/tmp/lockgate-attack')"], "no policy permits"),
    ("the log of changes", ["SELECT * FROM pg_logical_slot_get_changes('s', NULL, NULL)"], "no policy permits"),
    ("a file of the server", ["SELECT pg_read_file('postgresql.conf')"], "no policy permits"),
    ("schema_to_xml", ["SELECT schema_to_xml('public', true, true, '')"], "no policy permits"),
    ("the running statement", ["SELECT current_query() || email FROM customers"], "lockgate: .*may depend on a masked"),
    ("what a backend runs", ["SELECT pg_stat_get_backend_activity(1)"], "lockgate: .*may depend on a masked"),
    ("what was prepared", ["PREPARE p AS SELECT 'somebody'::text",
                           "SELECT statement FROM pg_prepared_statements"], r"^\*\*\*$"),
    ("open cursors", ["BEGIN", "DECLARE c CURSOR FOR SELECT 'somebody'::text",
                      "SELECT statement FROM pg_cursors", "ROLLBACK"], r"^\*\*\*$"),
    ("extended statistics", ["SELECT most_common_vals FROM pg_stats_ext"], "^still here"),
    ("a cursor in binary, held", ["BEGIN", "DECLARE c BINARY CURSOR WITH HOLD FOR SELECT email, born FROM customers",
                                  "COMMIT", "FETCH 1 FROM c"], r"^u\*\*\*@e\*\*\*\.org\|$"),
    ("where rows are", ["SELECT ctid, xmin, email FROM customers LIMIT 1"], r"^\(0,1\)\|\d+\|u\*\*\*@"),
    ("a format of a value", ["SELECT format(email || '%z') FROM customers"], WITHHELD),
    ("a pattern of a value", ["SELECT regexp_replace('a', email || '(', '') FROM customers"], WITHHELD),
    ("an encoding called as a value", ["SELECT convert_from('a'::bytea, email) FROM customers"], WITHHELD),
    ("XML of a value", ["SELECT xmlparse(content email || '<') FROM customers"], WITHHELD),
    ("a date of a value", ["SELECT to_timestamp(email, 'YYYY') FROM customers"], WITHHELD),
    ("a division by what is masked", ["SELECT 1 / (length(email) - length(email)) FROM customers"], WITHHELD),
    ("a seed", ["SELECT setseed(length(email) / 100.0) FROM customers"], "lockgate: copying"),
    ("query_to_xml", ["SELECT query_to_xml('SELECT email FROM customers', true, true, '')"], "no policy permits"),
    ("table_to_xml", ["SELECT table_to_xml('customers', true, true, '')"], "no policy permits"),
    ("cursor_to_xml", ["SELECT cursor_to_xml('c', 1, true, true, '')"], "no policy permits"),
    ("ts_stat", ["SELECT * FROM ts_stat('SELECT to_tsvector(email) FROM customers')"], "no policy permits"),
    ("a function", ["SELECT leak(1, 1)"], "not known to be free of other data"),
    ("a function as a column", ["SELECT c.upper FROM customers c"], "lockgate: "),
    ("a function of a built-in name", ["SELECT upper(c) FROM customers c"], "lockgate: "),
    ("an operator of a built-in name", ["SELECT 1 @@ 1"], "not known to be free of other data"),
    ("an operator by its schema", ["SELECT 1 OPERATOR(public.@@) 1"], "not known to be free of other data"),
    ("a block", ["DO $$ BEGIN RAISE NOTICE '%', (SELECT email FROM customers LIMIT 1); END $$"], "no policy permits"),
    ("backslashes", ["SET standard_conforming_strings = off"], "must stay on"),
    ("backslashes by function", ["SELECT set_config('standard_conforming_strings', 'off', true)"], "must stay on"),
    ("backslashes by table", ["UPDATE pg_settings SET setting = 'off' WHERE name = 'standard_conforming_strings'"],
     "no policy permits"),
    ("another encoding",
     ["SET client_encoding = 'SJIS'", "SELECT email FROM customers LIMIT 1", "RESET client_encoding"], r"\*\*\*"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "statements", "expected"), SEEING, ids=[row[0] for row in SEEING])
def test_no_value_of_a_masked_column_comes_out(stack: Stack, name: str, statements: list[str], expected: str) -> None:
    assert re.search(expected, attempt(stack, *statements), re.MULTILINE)


ORDINARY = [
    ("a join", ["SELECT o.total, c.name FROM orders o JOIN customers c ON c.id = o.customer WHERE o.id = 2"],
     r"^20\|name2$"),
    ("groups",
     ["SELECT c.name, sum(o.total) FROM orders o JOIN customers c ON c.id = o.customer GROUP BY 1 ORDER BY 2 LIMIT 1"],
     r"^name1\|10$"),
    ("a window", ["SELECT id, rank() OVER (ORDER BY total DESC) FROM orders ORDER BY 2 LIMIT 1"], r"^100\|1$"),
    ("WITH", ["WITH t AS (SELECT * FROM orders) SELECT count(*), max(total) FROM t"], r"^100\|1000$"),
    ("rows of an ordinary table", ["SELECT o, to_json(o) FROM orders o WHERE id = 1"], r'^\(1,1,10\)\|\{"id":1,'),
    ("a plain column beside others", ["SELECT id, initcap(name), note FROM customers WHERE id = 1"], r"^1\|Name1\|n$"),
    ("a count", ["SELECT count(*) FROM customers"], r"^100$"),
    ("a temporary setting", ["SELECT set_config('app.tenant', '7', false)", "SELECT current_setting('app.tenant')"],
     r"^7\n7$"),
    ("writing a classified column", ["BEGIN", "UPDATE customers SET email = 'x@y.org' WHERE id = 1 RETURNING id",
     "ROLLBACK"],
     r"^1\nUPDATE 1$"),
    ("ON CONFLICT", ["BEGIN", "INSERT INTO customers (id, name, email) VALUES (1, 'a', 'x@y.org') ON CONFLICT (id) "
                     "DO UPDATE SET email = excluded.email RETURNING id", "ROLLBACK"], r"^1\nINSERT 0 1$"),
    ("a key's detail", ["INSERT INTO orders (id) VALUES (1)"], r"Key \(id\)=\(1\) already exists"),
    ("COPY of an ordinary table", ["COPY (SELECT id FROM orders ORDER BY id LIMIT 1) TO STDOUT"], r"^1$"),
    ("information_schema", ["SELECT data_type FROM information_schema.columns WHERE column_name = 'ssn'"], r"^text$"),
    ("who is there", ["SELECT count(*) > 0, max(state) FROM pg_stat_activity WHERE pid = pg_backend_pid()"],
     r"^t\|active$"),
    ("sizes", ["SELECT n_live_tup IS NOT NULL FROM pg_stat_user_tables WHERE relname = 'customers'"], r"^t$"),
    ("widths", ["SELECT avg_width > 0 FROM pg_stats WHERE attname = 'ssn'"], r"^t$"),
    ("\\d+", [r"\d+ customers", r"\d+ contacts", r"\d+ parted"], r"email\|text"),
    ("\\d of everything", [r"\dtvms+", r"\di+", r"\df+ wipe", r"\du+", r"\dp", r"\dn+", r"\dx+", r"\dT+", r"\dX",
     r"\l+"],
     r"public\|customers\|table"),
    ("\\sv and \\sf", [r"\sv contacts", r"\sf wipe"], "CREATE OR REPLACE VIEW"),
    ("what pg_dump sets", ["SELECT set_config(name, 'view, foreign-table', false) FROM pg_settings "
                           "WHERE name = 'restrict_nonsystem_relation_kind'"], r"view, foreign-table|^still here"),
    ("an EXECUTE in a text", ["PREPARE p AS SELECT count(*) FROM orders", "EXECUTE p"], r"^100$"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "statements", "expected"), ORDINARY, ids=[row[0] for row in ORDINARY])
def test_ordinary_work_raises_no_alarm(stack: Stack, name: str, statements: list[str], expected: str) -> None:
    said = attempt(stack, *statements)
    assert re.search(expected, said, re.MULTILINE)
    assert "lockgate" not in said.replace("lockgate|", "")


HELD_OR_REFUSED = [
    ("plainly", ["DELETE FROM scratch"], HELD),
    ("in WITH", ["WITH d AS (DELETE FROM scratch RETURNING *) SELECT count(*) FROM d"], HELD),
    ("in WITH of an INSERT",
     ["WITH d AS (DELETE FROM scratch RETURNING *) INSERT INTO scratch SELECT * FROM d WHERE id < 0"], HELD),
    ("by EXPLAIN ANALYZE", ["EXPLAIN ANALYZE DELETE FROM scratch"], HELD),
    ("by EXPLAIN with options", ["EXPLAIN (ANALYZE 1, TIMING off) DELETE FROM scratch"], HELD),
    ("by COPY", ["COPY (DELETE FROM scratch RETURNING id) TO STDOUT"], HELD),
    ("by MERGE", ["MERGE INTO scratch s USING orders o ON s.id = o.id WHEN MATCHED THEN DELETE"], HELD),
    ("behind another statement", ["SELECT 1; DELETE FROM scratch"], HELD),
    ("behind a comment", ["/* SELECT 1 */ DELETE/**/FROM scratch -- SELECT"], HELD),
    ("in a transaction", ["BEGIN", "DELETE FROM scratch", "ROLLBACK"], HELD),
    ("by PREPARE", ["PREPARE p AS DELETE FROM scratch", "EXECUTE p"], HELD),
    ("by a cursor's name", ["DELETE FROM scratch WHERE CURRENT OF c"], HELD),
    ("by a rule's view", ["DELETE FROM ONLY scratch *"], "syntax error"),
    ("in a block", ["DO $$ BEGIN DELETE FROM scratch; END $$"], "no policy permits"),
    ("in a function", ["SELECT wipe()"], "no policy permits"),
    ("in a function in FROM", ["SELECT * FROM wipe()"], "no policy permits"),
    ("in a function in VALUES", ["INSERT INTO scratch VALUES (wipe(), '')"], "no policy permits"),
    ("in a function in LIMIT", ["SELECT 1 LIMIT wipe()"], "no policy permits"),
    ("in a function that is planned", ["EXPLAIN SELECT wipe()"], "no policy permits"),
    ("in an overloaded function", ["SELECT abs('x'::text)"], "no policy permits"),
    ("in an overloaded function, prepared", ["PREPARE p AS SELECT abs('x'::text)", "EXECUTE p"], "no policy permits"),
    ("by query_to_xml", ["SELECT query_to_xml('DELETE FROM scratch', true, true, '')"], "no policy permits"),
    ("by CALL", ["CALL wipe()"], "no policy permits"),
    ("DROP", ["DROP TABLE scratch"], "schema changes go through migrations"),
    ("DROP in a transaction", ["BEGIN; DROP TABLE scratch; COMMIT"], "schema changes go through migrations"),
    ("ALTER", ["ALTER TABLE scratch RENAME TO gone"], "schema changes go through migrations"),
    ("EXECUTE of what isn't known", ["EXECUTE nobody_made_this"], "was not made on this connection"),
    ("as somebody else", ["SET ROLE postgres", "SET SESSION AUTHORIZATION postgres"], "permission denied"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "statements", "expected"), HELD_OR_REFUSED, ids=[row[0] for row in HELD_OR_REFUSED])
def test_nothing_runs_without_its_second_key(stack: Stack, name: str, statements: list[str], expected: str) -> None:
    assert re.search(expected, attempt(stack, *statements))
    assert stack.server.psql("SELECT count(*) FROM scratch") == "2\n"


# the protocol

NOTE = "SELECT note, id FROM customers ORDER BY id"
SECRET = "SELECT ssn, email FROM customers ORDER BY id"
MASKED = r"D \\x00\\x02\\x00\\x00\\x00\\x03\*\*\*\\x00\\x00\\x00\\ru\*\*\*@e\*\*\*\.org"


def bind_binary(portal: str, statement: str) -> bytes:
    """Bind without parameters, all results in binary."""
    return frame(b"B", f"{portal}\0{statement}\0".encode() + b"\0\0\0\0\0\1\0\1")


SPEAKING = [
    ("described one, run another",
     [parse("a", NOTE), parse("b", SECRET), bind("p", "a"), bind("q", "b"), describe("P", "p"), execute("q", 1), SYNC],
     1, MASKED),
    ("the unnamed, made again", [parse("", NOTE), bind("", ""), describe("P", ""), parse("", SECRET), bind("", ""),
                                 execute("", 1), SYNC], 1, MASKED),
    ("in parts", [parse("", SECRET), bind("", ""), execute("", 1), execute("", 2), SYNC],
     1, rf"{MASKED}.*s .*{MASKED}"),
    ("in binary", [parse("", "SELECT ssn, born, email::bytea FROM customers LIMIT 1"), bind_binary("", ""), execute(""),
                   SYNC], 1, r"D \\x00\\x03\\x00\\x00\\x00\\x03\*\*\*(\\xff){8}"),
    ("prepared by protocol, run by SQL", [parse("c", SECRET), SYNC, query("EXECUTE c")], 2, MASKED),
    ("prepared by SQL, run by protocol", [query("PREPARE d AS " + SECRET), bind("", "d"), execute("", 1), SYNC],
     2, MASKED),
    ("prepared twice over", [query("PREPARE e AS " + SECRET), parse("f", "EXECUTE e"), bind("", "f"), execute("", 1),
     SYNC],
     2, MASKED),
    ("a portal fetched by SQL", [query("BEGIN"), parse("", SECRET), bind("g", ""), SYNC, query("FETCH 2 FROM g"),
                                 query("ROLLBACK")], 4, MASKED),
    ("a cursor run by protocol", [query("BEGIN"), query("DECLARE h CURSOR FOR " + SECRET), execute("h", 1), SYNC,
                                  query("ROLLBACK")], 4, "is a cursor made in SQL"),
    ("made again, which fails", [parse("i", SECRET), SYNC, parse("i", NOTE), SYNC, bind("", "i"), execute("", 1), SYNC],
     3, MASKED),
    ("closed and made again", [parse("j", NOTE), close("S", "j"), parse("j", SECRET), bind("", "j"), execute("", 1),
     SYNC],
     1, MASKED),
    ("closed behind an error", [parse("k", SECRET), SYNC, parse("l", "SELECT 1 / 0"), bind("", "l"), execute(""),
                                close("S", "k"), parse("k", NOTE), SYNC, bind("", "k"), execute("", 1), SYNC],
                                3, MASKED),
    ("names in capitals", [query('PREPARE "M" AS ' + SECRET), query("PREPARE m AS " + NOTE), bind("", "M"),
     execute("", 1),
                           SYNC], 3, MASKED),
    ("DISCARD ALL between", [query("PREPARE n AS " + NOTE), query("DISCARD ALL"), query("PREPARE n AS " + SECRET),
                             query("EXECUTE n")], 4, MASKED),
    ("several at once", [query(SECRET + " LIMIT 1"), query(NOTE + " LIMIT 1"), query(SECRET + " LIMIT 1")], 3,
     rf"{MASKED}.*D \\x00\\x02\\x00\\x00\\x00\\x01n.*{MASKED}"),
    ("an error of what was described", [parse("", "SELECT ssn::int FROM customers"), bind("", ""), describe("P", ""),
                                        execute(""), SYNC], 1, WITHHELD),
    ("a function call", [frame(b"F", b"\0\0\0\1\0\0\0\0\0\0")], 1, "function call protocol is refused"),
    ("a deletion", [parse("", "DELETE FROM scratch"), bind("", ""), execute(""), SYNC], 1, HELD),
    ("a deletion prepared by protocol, run by SQL", [parse("o", "DELETE FROM scratch"), SYNC, query("EXECUTE o")],
     2, HELD),
    ("a deletion prepared twice over", [parse("q", "DELETE FROM scratch"), parse("r", "EXECUTE q"), bind("", "r"),
                                        execute(""), SYNC], 1, HELD),
    ("a deletion inside a copy", [query("COPY scratch FROM STDIN"), SYNC, COPY_DONE, query("DELETE FROM scratch")],
     2, HELD),
    ("a deletion behind a copy", [parse("", "COPY scratch FROM STDIN"), bind("", ""), execute(""), SYNC,
     COPY_DONE, SYNC,
                                  query("DELETE FROM scratch")], 2, HELD),
    ("a deletion behind a failed copy", [query("COPY scratch FROM STDIN"), copy_fail("x"),
     query("DELETE FROM scratch")],
     2, HELD),
    ("a deletion behind an error", [parse("", "SELECT 1 / 0"), bind("", ""), execute(""),
                                    parse("", "DELETE FROM scratch"), bind("", ""), execute(""), SYNC],
                                    1, "division by zero"),
]  # fmt: skip


def written(messages: list[tuple[str, bytes]]) -> str:
    return " ".join(f"{kind} {str(payload)[2:-1]}" for kind, payload in messages)


@pytest.mark.parametrize(("name", "said", "answers", "expected"), SPEAKING, ids=[row[0] for row in SPEAKING])
def test_the_protocol_is_no_way_around(stack: Stack, name: str, said: list[bytes], answers: int, expected: str) -> None:
    with Raw(stack, "ann") as raw:
        raw.start()
        raw.send(*said)
        assert re.search(expected, written(raw.until(times=answers)))
        raw.send(query("SELECT 'still here'"))
        assert "still here" in written(raw.until())
        assert not VALUE.search(raw.heard.decode("latin-1"))
    assert stack.server.psql("SELECT count(*) FROM scratch") == "2\n"


ENDING = [
    ("a text with a NUL", [frame(b"Q", b"SELECT 1\0; DROP TABLE scratch\0")], "holds a NUL"),
    ("a text that doesn't end", [frame(b"Q", b"SELECT 1")], "not terminated"),
    ("a message without bounds", [b"Q\x7f\xff\xff\xff"], "the bound is"),
    ("a message shorter than its length", [b"Q\0\0\0\3"], "the bound is"),
    ("a message nobody knows", [frame(b"y")], "unknown type"),
    ("a query in the middle of a copy", [query("COPY scratch FROM STDIN"), query("SELECT 1")], "in the middle of COPY"),
    ("a password out of turn", [frame(b"p", b"x\0")], "unknown type"),
]


@pytest.mark.parametrize(("name", "said", "expected"), ENDING, ids=[row[0] for row in ENDING])
def test_what_is_no_message_ends_the_connection(stack: Stack, name: str, said: list[bytes], expected: str) -> None:
    with Raw(stack, "ann") as raw:
        raw.start()
        raw.send(*said)
        messages = raw.until("never")
        assert re.search(expected, written(messages[-1:]))
    assert "1" in attempt(stack, "SELECT 1")


INTRODUCTIONS = [
    ("backslashes", {"options": "-c standard_conforming_strings=off"}, "must stay on"),
    ("backslashes, spelt otherwise", {"options": "--Standard-Conforming-Strings=off"}, "must stay on"),
    ("backslashes as a parameter", {"standard_conforming_strings": "off"}, "must stay on"),
    ("another encoding", {"client_encoding": "SJIS"}, "is not supported"),
    ("another encoding as an option", {"options": "-c client_encoding=LATIN1"}, "is not supported"),
    ("an option that isn't one", {"options": "-d 5"}, "is not a setting"),
    ("replication", {"replication": "database"}, "replication connections are refused"),
    ("replication, spelt otherwise", {"replication": "1"}, "replication connections are refused"),
    ("no name", {"user": ""}, "names no user"),
]


@pytest.mark.parametrize(("name", "parameters", "expected"), INTRODUCTIONS, ids=[row[0] for row in INTRODUCTIONS])
def test_no_introduction_opens_a_side_door(stack: Stack, name: str, parameters: dict[str, str], expected: str) -> None:
    with Raw(stack, "ann") as raw:
        messages = raw.start(**parameters)
        assert messages[-1][0] == "E"
        assert re.search(expected, written(messages))


def test_the_databases_superuser_is_still_ann(stack: Stack) -> None:
    with Raw(stack, "ann") as raw:
        raw.start(user="postgres")
        for text, expected in (("DROP TABLE scratch", "schema changes"), (SECRET, MASKED), ("DELETE FROM scratch",
        HELD),
                               ("SELECT stavalues1::text FROM pg_statistic", r"\*\*\*"),
                               ("SELECT pg_read_file('postgresql.conf')", "no policy permits")):  # fmt: skip
            raw.send(query(text))
            assert re.search(expected, written(raw.until()))
        assert not VALUE.search(raw.heard.decode("latin-1"))


def test_what_is_sent_while_something_waits_is_another_statement(stack: Stack) -> None:
    """The names of what was approved are made again behind it: that waits for an approval of its own."""
    with Raw(stack, "ann") as raw:
        raw.start()
        harmless, harm = "DELETE FROM scratch WHERE id < 0", "DELETE FROM scratch"
        raw.send(parse("s", harmless), bind("p", "s"), execute("p"), SYNC)
        raw.send(close("S", "s"), parse("s", harm), bind("p", "s"), execute("p"), SYNC)
        hold = waiting(stack, harmless)
        assert (
            stack.lockgate("approvals", "approve", hold, "--config", str(stack.agent_yaml), person="bob").returncode
            == 0
        )
        said = written(raw.until(times=2))
        assert re.search(rf"DELETE 0.*{HELD}", said)
    assert stack.server.psql("SELECT count(*) FROM scratch") == "2\n"


def waiting(stack: Stack, text: str) -> str:
    """The id of the hold of this statement, once there is one."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for status in stack.json("approvals", "list", "--config", str(stack.agent_yaml), person="bob"):
            if status["hold"]["statement"] == text:
                return str(status["hold"]["id"])
    raise AssertionError("it is not held")


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
    attempt(stack, *SECRET_TEXTS)
    kept = json.dumps(stack.records(), default=str)
    assert "curl" not in kept
    with urllib.request.urlopen(f"http://127.0.0.1:{stack.metrics_port}/metrics", timeout=10) as answer:
        counted = answer.read().decode()
    holds = stack.lockgate(
        "approvals", "list", "--all", "--json", "--config", str(stack.agent_yaml), person="bob"
    ).stdout
    for place in (kept, counted, holds, stack.log("agent"), stack.log("collector")):
        assert "hunter2" not in place
        assert not VALUE.search(place)


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


# the second key


def test_a_token_of_another_kind_approves_nothing(stack: Stack) -> None:
    """Whoever speaks to the agent's socket and the collector's API gets tokens of their own, which are not enough."""
    running = subprocess.Popen(
        stack.psql_command("ann", "-c", "TRUNCATE scratch"), stderr=subprocess.PIPE, text=True, env=environment()
    )
    hold = waiting(stack, "TRUNCATE scratch")
    held = stack.json("approvals", "list", "--config", str(stack.agent_yaml), person="bob")
    digest = next(str(status["hold"]["digest"]) for status in held if status["hold"]["id"] == hold)
    api = yaml.safe_load(stack.agent_yaml.read_text())["collector"]["api"]
    ordinary = {"op": "token"}
    signed = {"op": "approval-token", "hold": hold, "digest": digest, "decision": "approve"}
    for person, asked, forge in (
        ("bob", ordinary, str),
        ("ann", signed, str),
        ("ann-laptop", signed, str),
        ("eve", signed, str),
        ("bob", signed | {"hold": "0" * 32}, str),
        ("bob", signed | {"digest": "0" * len(digest)}, str),
        ("bob", signed | {"decision": "deny"}, str),
        ("bob", signed, lambda text: text[:-8] + "AAAAAAAA"),
        ("ann", signed, lambda text: _without_signature(text)),
    ):
        token = forge(_ask(stack, person, asked))
        assert _post(f"{api}/v1/holds/{hold}/approve", token, digest) in (401, 403), (person, asked)
    assert running.poll() is None, "it waits on"
    right = _ask(stack, "bob", signed | {"decision": "deny"})
    assert _post(f"{api}/v1/holds/{hold}/deny", right, digest) == 200
    assert "denied by bob" in running.communicate(timeout=20)[1]
    assert _post(f"{api}/v1/holds/{hold}/approve", _ask(stack, "bob", signed), digest) == 409
    assert stack.server.psql("SELECT count(*) FROM scratch") == "2\n"


def _ask(stack: Stack, person: str, line: dict[str, str]) -> str:
    """The token that the agent's control socket gives to a process of that person."""
    code = """
import json, socket, sys
control = socket.socket(socket.AF_UNIX)
control.connect(sys.argv[1])
control.sendall(sys.argv[2].encode() + b"\\n")
print(json.loads(control.makefile().readline()).get("token", "a.b.c"))
"""
    run = subprocess.run(
        stack.command(person, [sys.executable, "-c", code, str(socket_path(stack.folder / "run")), json.dumps(line)]),
        capture_output=True, text=True, check=True, timeout=20, env=environment(), cwd="/",
    )  # fmt: skip
    return run.stdout.strip()


def _post(url: str, token: str, digest: str) -> int:
    request = urllib.request.Request(
        url,
        json.dumps({"digest": digest}).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def _without_signature(text: str) -> str:
    """The same claims under `alg: none`, with bob in them."""

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    claims = json.loads(base64.urlsafe_b64decode(text.split(".")[1] + "=="))
    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims | {'sub': 'bob', 'person': 'bob', 'groups': ['dba']})}."


# who it is


def test_a_process_can_not_be_taken_for_somebody_else(stack: Stack) -> None:
    """Who connected is who asks: a connection handed to another process stays its maker's."""
    with Raw(stack, "cyd") as raw:
        raw.start()
        raw.send(query("SELECT email FROM customers LIMIT 1"))
        assert VALUE.search(written(raw.until()))
    with Raw(stack, "ann") as raw:
        # held by this process, which is root
        raw.start()
        raw.send(query("SELECT email FROM customers LIMIT 1"))
        assert b"u***@" in dict(raw.until())["D"]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "localhost"])
def test_every_way_to_write_the_address_is_redirected(stack: Stack, address: str) -> None:
    run = stack.psql("ann", "SELECT email FROM customers LIMIT 1", host=address)
    assert run.stdout.startswith("u***@"), run.stderr
