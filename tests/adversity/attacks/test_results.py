"""What an engineer may try to see of masked columns in the rows of a result."""

from __future__ import annotations

import pytest

from tests.support.attacks import Attack, Attacker

SHOWING = [
    Attack("a column", "M", ["SELECT email FROM customers WHERE id = 1"], r"^u\*\*\*@e\*\*\*\.org"),
    Attack("a quoted one", "M", ['SELECT "email" FROM "public"."customers" WHERE id = 1'], r"^u\*\*\*@"),
    Attack("one in Unicode escapes", "M", [r'SELECT U&"em\0061il" FROM customers WHERE id = 1'], r"^u\*\*\*@"),
    Attack("one with comments in it", "M", ["SELECT/**/email--\n FROM/*/**/*/customers WHERE id = 1"], r"^u\*\*\*@"),
    Attack("TABLE", "M", ["TABLE customers LIMIT 1"], r"^1\|name1\|u\*\*\*@e\*\*\*\.org\|\*\*\*\|\|n\|\*\*\*$"),
    Attack("renamed in FROM", "M", ["SELECT x.d FROM customers x(a, b, d) LIMIT 1"], r"^u\*\*\*@"),
    Attack("an expression", "M", ["SELECT 'x' || email || 'y' FROM customers LIMIT 1"], r"^\*\*\*$"),
    Attack("characters one by one", "M", ["SELECT ascii(substr(email, 5, 1)) FROM customers LIMIT 2"], r"^\n\n"),
    Attack("a comparison", "M", ["SELECT email LIKE 'u%' FROM customers LIMIT 1"], r"^\n"),
    Attack("CASE", "M", ["SELECT CASE WHEN email > 'a' THEN 'yes' ELSE 'no' END FROM customers LIMIT 1"], r"^\*\*\*$"),
    Attack("an aggregate", "M", ["SELECT string_agg(email, ',') FROM customers"], r"^\*\*\*$"),
    Attack("a window", "M", ["SELECT first_value(email) OVER () FROM customers LIMIT 1"], r"^\*\*\*$"),
    Attack("a scalar sub-query", "M", ["SELECT (SELECT email FROM customers LIMIT 1)"], r"^\*\*\*$"),
    Attack("EXISTS", "M", ["SELECT EXISTS (SELECT 1 FROM customers WHERE email > 'a')"], r"^\n"),
    Attack("an array", "M", ["SELECT array_agg(email) FROM customers"], r"^\n"),
    Attack("a row", "M", ["SELECT customers FROM customers LIMIT 1"], r"^\n"),
    Attack("a row as text", "M", ["SELECT customers::text FROM customers LIMIT 1"], r"^\*\*\*$"),
    Attack("a field of a row", "M", ["SELECT (c).email FROM (SELECT c FROM customers c LIMIT 1) x"], r"^\*\*\*$"),
    Attack("a row spread out", "M", ["SELECT (c).* FROM (SELECT c FROM customers c LIMIT 1) x"],
        "lockgate: .*may depend on"),
    Attack("a record", "M", ["SELECT ROW(email, 1) FROM customers LIMIT 1"], r"^\n"),
    Attack("JSON of a row", "M", ["SELECT row_to_json(c) FROM customers c LIMIT 1"], r'^"\*\*\*"$'),
    Attack("JSON, taken apart", "M", ["SELECT to_jsonb(c) ->> 'email' FROM customers c LIMIT 1"], r"^\*\*\*$"),
    Attack("JSON, key by key", "M", ["SELECT e.value FROM customers c, jsonb_each_text(to_jsonb(c)) e LIMIT 3"],
        r"^\*\*\*\n"),
    Attack("json_populate_record", "M",
        ["SELECT (json_populate_record(NULL::customers, row_to_json(c))).email FROM customers c LIMIT 1"], r"^\*\*\*$"),
    Attack("XML", "M", ["SELECT xmlforest(email) FROM customers LIMIT 1"], r"\*\*\*"),
    Attack("XMLTABLE", "M",
        ["SELECT x.* FROM customers, xmltable('/a' PASSING xmlelement(name a, email) COLUMNS v text PATH "
        "'.') x LIMIT 1"], r"^\*\*\*$"),
    Attack("a set of rows in FROM", "M", ["SELECT u FROM unnest(ARRAY(SELECT email FROM customers)) u LIMIT 1"],
        r"^\*\*\*$"),
    Attack("ROWS FROM", "M", ["SELECT x.a FROM ROWS FROM (unnest(ARRAY(SELECT email FROM customers))) x(a) LIMIT 1"],
        r"^\*\*\*$"),
    Attack("a set in SELECT", "M", ["SELECT regexp_split_to_table(email, '@') FROM customers LIMIT 1"], r"^\*\*\*$"),
    Attack("WITH", "M", ["WITH x(a) AS (SELECT email FROM customers) SELECT a FROM x LIMIT 1"], r"^u\*\*\*@"),
    Attack("WITH of the same name", "M",
        ["WITH customers AS (SELECT * FROM customers) SELECT email FROM customers LIMIT 1"], r"^u\*\*\*@"),
    Attack("WITH past its name", "M",
        ["WITH customers AS (SELECT '' AS email) SELECT c.email FROM public.customers c LIMIT 1"], r"^u\*\*\*@"),
    Attack("recursion", "M",
        ["WITH RECURSIVE r(a, b) AS (SELECT 'x', email FROM customers UNION SELECT b, a FROM r) SELECT a "
        "FROM r ORDER BY 1 LIMIT 1"], r"^\*\*\*$"),
    Attack("UNION", "M", ["SELECT note FROM customers UNION SELECT email FROM customers LIMIT 1"], r"^\*\*\*$"),
    Attack("UNION under another name", "M",
        ["SELECT id::text AS x FROM orders UNION ALL SELECT email FROM customers LIMIT 1"], r"^\*\*\*$"),
    Attack("LATERAL", "M", ["SELECT l.x FROM customers c, LATERAL (SELECT c.email) l(x) LIMIT 1"], r"^u?\*\*\*"),
    Attack("VALUES", "M", ["VALUES ((SELECT email FROM customers LIMIT 1))"], r"^\*\*\*$"),
    Attack("a view", "M", ["SELECT address FROM contacts LIMIT 1"], r"^u\*\*\*@"),
    Attack("a view of a view", "M", ["SELECT a FROM nested LIMIT 1"], r"^u\*\*\*@"),
    Attack("a materialised view", "M", ["SELECT e FROM kept LIMIT 1"], r"^u\*\*\*@"),
    Attack("a generated column", "M", ["SELECT folded FROM customers LIMIT 1"], r"^\*\*\*$"),
    Attack("a partition", "M", ["SELECT email FROM parted_1 LIMIT 1"], r"^u\*\*\*@"),
    Attack("a join's column", "M", ["SELECT email FROM customers JOIN parted USING (email) LIMIT 1"], r"^u\*\*\*@"),
    Attack("a natural join", "M", ["SELECT email FROM customers NATURAL JOIN parted LIMIT 1"], r"^u\*\*\*@"),
    Attack("another search path", "AM", ["SET search_path = pg_catalog, public", "SELECT email FROM customers LIMIT 1"],
        r"^u\*\*\*@"),
    Attack("a cursor", "MM", ["DECLARE c CURSOR WITH HOLD FOR SELECT email FROM customers", "FETCH c"], r"^u\*\*\*@"),
    Attack("a cursor backwards", "MAMMMA",
        ["BEGIN; DECLARE c SCROLL CURSOR FOR SELECT email FROM customers; MOVE 2 IN c; COMMIT", "BEGIN",
        "DECLARE c SCROLL CURSOR FOR SELECT ssn FROM customers", "MOVE 5 IN c", "FETCH PRIOR c", "COMMIT"],
        r"^\*\*\*$"),
    Attack("a cursor read by another name", "MAM", ['DECLARE "C" CURSOR WITH HOLD FOR SELECT ssn FROM customers',
        "DECLARE c CURSOR WITH HOLD FOR SELECT note FROM customers", 'FETCH "C"'], r"^\*\*\*$"),
    Attack("PREPARE", "MM", ["PREPARE p AS SELECT email FROM customers", "EXECUTE p"], r"^u\*\*\*@"),
    Attack("PREPARE again", "AAMM", ["PREPARE p AS SELECT note FROM customers", "DEALLOCATE p",
        "PREPARE p AS SELECT ssn FROM customers", "EXECUTE p"], r"^\*\*\*$"),
    Attack("PREPARE that fails", "MAM", ["PREPARE p AS SELECT ssn FROM customers",
        "PREPARE p AS SELECT note FROM customers", "EXECUTE p"], r"^\*\*\*$"),
    Attack("PREPARE and EXECUTE in one", "D", ["PREPARE p AS SELECT ssn FROM customers; EXECUTE p"],
        r"^\*\*\*$|no policy permits"),
    Attack("several statements", "M", ["SELECT 1; SELECT ssn FROM customers; SELECT 2"], r"^\*\*\*$"),
]  # fmt: skip


@pytest.mark.parametrize("attack", SHOWING, ids=str)
def test_no_value_of_a_masked_column_comes_out_as_a_row(ann: Attacker, attack: Attack) -> None:
    ann.run(attack)
